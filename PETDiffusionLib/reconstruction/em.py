"""Expectation maximisation: MLEM, OSEM, and MAP-EM with a quadratic prior in De Pierro's closed form."""

from __future__ import annotations

import torch

from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.reconstruction.model import AcquisitionModel, Callback, Update
from PETDiffusionLib.reconstruction.neighbours import Neighbourhood
from PETDiffusionLib.sinograms.sinogram import Sinogram


@torch.no_grad()
def osem(
    projector: Projector,
    sinogram: Sinogram,
    iterations: int,
    subsets: int = 1,
    start: torch.Tensor | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Ordered subsets expectation maximisation (Hudson and Larkin 1994); with one subset MLEM (Shepp and Vardi 1982).

    Returns the activity [z, y, x], in the unit that the sinogram's multiplicative term makes counts of. `start`
    (uniform by default) continues an earlier image; voxels at zero stay there. The callback may raise Cancelled.
    """
    model = AcquisitionModel(projector, sinogram, subsets)
    model.prepare(callback)
    visible = model.visible()
    image = first_image(model, visible, start)
    for iteration, subset in model.passes(iterations):
        image, likelihood = em_update(model, visible, subset, image)
        if callback is not None:
            callback(Update(iteration, subset, image, likelihood))
    return image


def mlem(
    projector: Projector,
    sinogram: Sinogram,
    iterations: int,
    start: torch.Tensor | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """OSEM with one subset: the likelihood rises with every iteration."""
    return osem(projector, sinogram, iterations, 1, start, callback)


@torch.no_grad()
def map_em(
    projector: Projector,
    sinogram: Sinogram,
    beta: float,
    iterations: int,
    subsets: int = 1,
    voxel_size_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    start: torch.Tensor | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """MAP-EM with the quadratic prior beta' / 2 sum_pairs w_jk (x_j - x_k)^2 (De Pierro 1995), over 26 neighbours.

    `beta` is free of units: beta' is beta times the mean sensitivity over the mean activity. `voxel_size_mm` (x, y, z)
    sets the weights. With one subset the penalised likelihood rises with every iteration. Otherwise like `osem`.
    """
    model = AcquisitionModel(projector, sinogram, subsets)
    model.prepare(callback)
    visible = model.visible()
    image = first_image(model, visible, start)
    scaled = beta * float(model.sensitivity[visible].mean()) / model.uniform_activity()
    near = Neighbourhood(image.shape, voxel_size_mm, image.device)
    for iteration, subset in model.passes(iterations):
        ratio, likelihood = model.back_projected_ratio(subset, image)
        target = (image + near.mean(image)) / 2
        sensitivity = model.subset_sensitivity(subset)
        strength = 2 * scaled * near.total_weight / subsets
        objective = likelihood - scaled * near.half_squares(image) / subsets if callback is not None else 0.0
        image = torch.where(visible, em_towards(image * ratio, sensitivity, target, strength), 0)
        if callback is not None:
            callback(Update(iteration, subset, image, objective))
    return image


def em_towards(
    expectation: torch.Tensor, sensitivity: torch.Tensor, target: torch.Tensor, strength: torch.Tensor | float
) -> torch.Tensor:
    """The maximum over x >= 0 of e log x - s x - mu / 2 (x - z)^2, voxel by voxel: De Pierro's closed form.

    e is `expectation`, x * P^T(m y / ybar) of the EM step; s the sensitivity; z the `target`; mu the `strength`.
    """
    b = sensitivity - strength * target
    root = torch.sqrt(b.square() + 4 * strength * expectation)
    towards = torch.where(b >= 0, 2 * expectation / (b + root).clamp(min=1e-20), (root - b) / (2 * strength))
    return towards.clamp_(min=0)


def em_update(
    model: AcquisitionModel, visible: torch.Tensor, subset: int, image: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """One step of OSEM, and the subset's log-likelihood before it. A subset without any count changes nothing."""
    ratio, likelihood = model.back_projected_ratio(subset, image)
    if model.subsets > 1 and not bool((ratio > 0).any()):
        return image, likelihood
    return image * torch.where(visible, ratio / model.subset_sensitivity(subset).clamp(min=1e-12), 0), likelihood


def first_image(model: AcquisitionModel, visible: torch.Tensor, start: torch.Tensor | None) -> torch.Tensor:
    """The given image where the scanner sees, or a uniform one with as many counts as were measured."""
    if start is None:
        return visible * model.uniform_activity()
    return torch.where(visible, start.to(visible.device).clamp(min=0), 0)
