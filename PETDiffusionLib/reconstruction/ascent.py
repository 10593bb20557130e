"""Ascent of a penalised Poisson likelihood by subsets, with stochastic variance-reduced gradients (SVRG).

After the winner of the PETRIC challenge (Twyman et al., arXiv 2511.22566): between passes with the full gradient, two
passes of subset steps whose gradients are corrected by the full one. What two such passes found is taken only as far as
the objective rises, on the line from the last image: projections are linear, so that this costs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from PETDiffusionLib.reconstruction.model import MOST_OFF, AcquisitionModel, Callback, Update

PRIOR_WEIGHT = 1.5  # of the prior's curvature in the preconditioner
STEPS = (3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 1.5, 1.5, 1.0)  # of successive passes of subset steps; the last one stays
RENEWALS = 3  # of the preconditioner, at the first full gradients
HALVINGS = 8  # of a step that would let the objective fall, before the image stays as it is


class Prior(Protocol):
    """What is taken off the likelihood."""

    def value_and_gradient(self, image: torch.Tensor) -> tuple[float, torch.Tensor]: ...

    def curvature(self, image: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True)
class Objective:
    """Likelihood less `strength` times the prior, over images of which a voxel counts as `smallest` at least."""

    model: AcquisitionModel
    visible: torch.Tensor
    prior: Prior
    strength: float
    smallest: float

    def preconditioner(self, image: torch.Tensor) -> torch.Tensor:
        """x / (sensitivity + x * curvature of the prior), where no voxel sticks to zero."""
        known = image + self.smallest
        curvature = PRIOR_WEIGHT * self.strength * self.prior.curvature(image)
        diagonal = known / (self.model.sensitivity + known * curvature).clamp(min=1e-20)
        return torch.where(self.visible, diagonal, 0)

    def held(self, image: torch.Tensor) -> torch.Tensor:
        """The image with its expected trues in bounds."""
        image = image.clamp_(min=0)
        factor = self.model.hold(image)
        return image if factor == 1 else image.mul_(factor)

    def along_the_bound(self, image: torch.Tensor, ascent: torch.Tensor, diagonal: torch.Tensor) -> torch.Tensor:
        """The preconditioned `ascent`, without what would lead out of the bounds of the trues."""
        step, sensitivity = diagonal * ascent, self.model.sensitivity
        free = torch.where((image > 0) | (step > 0), diagonal, 0)
        outward = float((sensitivity * step * (free > 0)).sum(dtype=torch.float64))
        trues = float((sensitivity * image).sum(dtype=torch.float64)) / self.model.measured_trues - 1
        if abs(trues) < 0.999 * MOST_OFF or trues * outward <= 0:
            return step
        return step - outward / float((sensitivity.square() * free).sum(dtype=torch.float64)) * free * sensitivity


@dataclass
class _Anchor:
    """An image, the expectation of every subset, and the objective."""

    image: torch.Tensor
    expected: list[torch.Tensor]
    value: float


def ascend(
    objective: Objective, image: torch.Tensor, iterations: int, callback: Callback | None = None
) -> torch.Tensor:
    """The image after `iterations` passes over the data, from `image` [z, y, x].

    The callback hears of every subset; its objectives sum in each iteration to that of the best image known by then,
    which never falls. The callback may raise Cancelled.
    """
    model = objective.model
    anchor, candidate, scale = None, objective.held(image.clone()), 1.0
    diagonal = torch.zeros_like(image)
    passes = 0  # of subset steps
    for iteration in range(iterations):
        if iteration % 3 == 0:
            anchor, reached = _advanced(objective, anchor, candidate)
            scale = min(1.0, scale * (2.0 if reached == 1 else max(reached, 0.25)))
            if iteration < 3 * RENEWALS:
                diagonal = objective.preconditioner(anchor.image)
            ratios = [model.ratio(subset, anchor.expected[subset]) for subset in range(model.subsets)]
            full = torch.zeros_like(image)
            for subset in model.order:
                full += model.back_projected(subset, ratios[subset])
                _tell(callback, iteration, subset, anchor.image, anchor.value, model)
            slope = full - model.sensitivity - objective.strength * objective.prior.value_and_gradient(anchor.image)[1]
            step = objective.along_the_bound(anchor.image, slope, diagonal)
            candidate = objective.held(anchor.image + scale * step)
            continue
        assert anchor is not None
        length = scale * STEPS[min(passes, len(STEPS) - 1)]
        passes += 1
        for subset in model.order:
            change = model.ratio(subset, model.expected(subset, candidate)) - ratios[subset]
            slope = full + model.subsets * model.back_projected(subset, change) - model.sensitivity
            slope -= objective.strength * objective.prior.value_and_gradient(candidate)[1]
            candidate = objective.held(candidate + length * objective.along_the_bound(candidate, slope, diagonal))
            last = iteration == iterations - 1 and subset == model.order[-1]
            if not last:
                _tell(callback, iteration, subset, candidate, anchor.value, model)
    before = anchor
    anchor, _ = _advanced(objective, anchor, candidate)
    if iterations % 3 != 1 and before is not None:
        gain = model.subsets * (anchor.value - before.value)
        _tell(callback, iterations - 1, model.order[-1], anchor.image, before.value + gain, model)
    return anchor.image


def _advanced(objective: Objective, anchor: _Anchor | None, candidate: torch.Tensor) -> tuple[_Anchor, float]:
    """The best image found on the way from `anchor` to `candidate`, and how far on the way it lies (0 to 1)."""
    expected = [objective.model.expected(subset, candidate) for subset in range(objective.model.subsets)]
    value = _value(objective, candidate, expected)
    if anchor is None or value >= anchor.value:
        return _Anchor(candidate, expected, value), 1.0
    share = 1.0
    for _ in range(HALVINGS):
        share /= 2
        image = anchor.image.lerp(candidate, share)
        between = [old.lerp(new, share) for old, new in zip(anchor.expected, expected, strict=True)]
        value = _value(objective, image, between)
        if value > anchor.value:
            return _Anchor(image, between, value), share
    return anchor, 0.0


def _value(objective: Objective, image: torch.Tensor, expected: list[torch.Tensor]) -> float:
    likelihood = sum(objective.model.likelihood(subset, lines) for subset, lines in enumerate(expected))
    return likelihood - objective.strength * objective.prior.value_and_gradient(image)[0]


def _tell(
    callback: Callback | None, iteration: int, subset: int, image: torch.Tensor, value: float, model: AcquisitionModel
) -> None:
    if callback is not None:
        callback(Update(iteration, subset, image, value / model.subsets))
