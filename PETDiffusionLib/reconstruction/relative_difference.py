"""Penalised likelihood with the relative difference prior, by variance-reduced ascent that never falls."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.reconstruction.ascent import Objective, ascend
from PETDiffusionLib.reconstruction.em import em_update, first_image
from PETDiffusionLib.reconstruction.model import AcquisitionModel, Callback, Update
from PETDiffusionLib.reconstruction.neighbours import Neighbourhood
from PETDiffusionLib.sinograms.sinogram import Sinogram

GAMMA = 2.0


@torch.no_grad()
def rdp(
    projector: Projector,
    sinogram: Sinogram,
    beta: float,
    iterations: int,
    subsets: int = 1,
    voxel_size_mm: Sequence[float] = (1.0, 1.0, 1.0),
    start: torch.Tensor | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Maximise likelihood - beta' sum_pairs w_jk (x_j - x_k)^2 / (x_j + x_k + 2 |x_j - x_k| + eps), x >= 0.

    The prior of Nuyts et al. 2002 with gamma 2, by stochastic variance-reduced gradients over the subsets
    (reconstruction/ascent.py): the objective that the callback hears of never falls, and the expected trues stay
    within MOST_OFF of the measured ones. An iteration is a pass over the data. `beta` is free of units: beta' is beta
    times the mean sensitivity. `start` is one iteration of OSEM by default.
    """
    model = AcquisitionModel(projector, sinogram, subsets)
    model.prepare(callback)
    visible = model.visible()
    sensitivity = model.sensitivity
    scaled = beta * float(sensitivity[visible].mean())
    smallest = 1e-3 * model.uniform_activity()
    prior = RelativeDifferencePrior(Neighbourhood(sensitivity.shape, voxel_size_mm, sensitivity.device), smallest)
    image = first_image(model, visible, start)
    for subset in model.order if start is None else []:
        image, _ = em_update(model, visible, subset, image)
        if callback is not None:
            callback(Update(-1, subset, image, 0.0))
    return ascend(Objective(model, visible, prior, scaled, smallest), image, iterations, callback)


class RelativeDifferencePrior:
    """sum_pairs w (a - b)^2 / (a + b + gamma |a - b| + eps) of an image [z, y, x], and its derivatives."""

    def __init__(self, neighbourhood: Neighbourhood, epsilon: float) -> None:
        self._near, self._epsilon = neighbourhood, epsilon

    def value_and_gradient(self, image: torch.Tensor) -> tuple[float, torch.Tensor]:
        value, gradient = torch.zeros((), dtype=torch.float64, device=image.device), torch.zeros_like(image)
        for here, there, weight in self._near.pairs():
            a, b = image[here], image[there]
            difference, apart = a - b, GAMMA * (a - b).abs()
            scale = a + b + apart + self._epsilon
            relative = weight * difference / scale
            value += (relative * difference).sum(dtype=torch.float64)
            slope = relative / scale
            gradient[here] += slope * (apart + a + 3 * b + 2 * self._epsilon)
            gradient[there] -= slope * (apart + b + 3 * a + 2 * self._epsilon)
        return float(value), gradient

    def curvature(self, image: torch.Tensor) -> torch.Tensor:
        """The diagonal of the second derivative, [z, y, x]."""
        total = torch.zeros_like(image)
        for here, there, weight in self._near.pairs():
            a, b = image[here], image[there]
            cubed = (a + b + GAMMA * (a - b).abs() + self._epsilon) ** 3
            total[here] += 2 * weight * (2 * b + self._epsilon) ** 2 / cubed
            total[there] += 2 * weight * (2 * a + self._epsilon) ** 2 / cubed
        return total
