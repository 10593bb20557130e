"""Denoisers that know the data: a prior's estimate of clean activity, brought to agree with a sinogram at every step.

Each takes a denoiser `x0 = denoiser(x_t, t, condition)` and returns another, so any sampler of the Gaussian process
walks to the posterior with them. Volumes are [1, 1, z, y, x] in units of the activity scale (`activity_scale.py`).
None of them knows which projector or scanner is beneath the acquisition model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from PETDiffusionLib.diffusion.gaussian import Denoiser
from PETDiffusionLib.reconstruction.em import em_towards
from PETDiffusionLib.reconstruction.model import AcquisitionModel

DATA_VARIANCE = 0.5  # of clean activity in units of its scale: what the prior cannot be further off than
BARELY_ACTIVE = 1e-3  # of the mean activity: EM cannot leave zero


class ReconstructionProblem:
    """min over x >= 0 of -log-likelihood(x) + mu / 2 |x - z|^2, by `iterations` of OSEM in De Pierro's closed form."""

    def __init__(self, model: AcquisitionModel, scale: float, iterations: int = 1) -> None:
        self.model, self.scale, self.iterations = model, scale, iterations

    @torch.no_grad()
    def solve(self, z: torch.Tensor, mu: float) -> torch.Tensor:
        """x for the target `z` [1, 1, z, y, x], both in units of the scale; `mu` per unit squared."""
        model, strength = self.model, mu / self.scale**2 / self.model.subsets
        target = self.scale * z[0, 0].clamp_min(BARELY_ACTIVE) * model.visible()
        image = target
        for _, subset in model.passes(self.iterations):
            ratio, _ = model.back_projected_ratio(subset, image)
            image = em_towards(image * ratio, model.subset_sensitivity(subset), target, strength)
            image = image * model.hold(image)  # the prior may say where the trues came from, and not how many
        return (image / self.scale)[None, None]


def data_consistent(denoiser: Denoiser, problem: ReconstructionProblem, mu: Callable[[float], float]) -> Denoiser:
    """Half-quadratic splitting with a fixed prior (DiffPIR, Zhu et al. 2023; DDS, Chung et al. 2024).

    The estimate is the reconstruction that is pulled to the prior's by `mu(t)`.
    """
    return lambda x_t, t, condition: problem.solve(_estimate(denoiser, x_t, t, condition), mu(t))


class AdaptingDenoiser:
    """DDIP with half-quadratic splitting (Hashimoto and Gong 2025): the prior learns from the data as it goes.

    At every step the reconstruction x+ is pulled to the prior's estimate, the network takes `inner` gradient steps on
    |D(x_t) - x+|^2, and its new estimate is the next step's. `network` belongs to this walk: it is changed. The data
    and their projector stay outside of the graph.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        trained: Sequence[nn.Parameter],
        rate: float,
        problem: ReconstructionProblem,
        mu: Callable[[float], float],
        inner: int,
    ) -> None:
        self.denoiser, self.problem, self.mu, self.inner = denoiser, problem, mu, inner
        self.optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=0)

    def __call__(self, x_t: torch.Tensor, t: float, condition: torch.Tensor) -> torch.Tensor:
        x_plus = self.problem.solve(_estimate(self.denoiser, x_t, t, condition), self.mu(t))
        for _ in range(self.inner):
            with torch.enable_grad():
                loss = (self.denoiser(x_t, t, condition) - x_plus).square().mean()
                self.optimiser.zero_grad(set_to_none=True)
                loss.backward()
            self.optimiser.step()
        return _estimate(self.denoiser, x_t, t, condition)


def posterior_sampling(denoiser: Denoiser, model: AcquisitionModel, scale: float, step: float) -> Denoiser:
    """Diffusion posterior sampling (Chung et al. 2023): the likelihood's gradient, through the network to x_t.

    The gradient is scaled so that the estimate moves by `step` of its own root mean square, as Poisson gradients differ
    by orders of magnitude between doses. Only one back-projection is needed; the projector stays outside of the graph.
    """

    def guided(x_t: torch.Tensor, t: float, condition: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            state = x_t.detach().requires_grad_()
            x0 = denoiser(state, t, condition)
        image = scale * x0.detach()[0, 0].clamp_min(BARELY_ACTIVE) * model.visible()
        with torch.no_grad():
            ratios = sum(model.back_projected_ratio(subset, image)[0] for subset in model.order)
            slope = scale * (ratios - model.sensitivity)[None, None]  # of the log-likelihood along x_0
        (ascent,) = torch.autograd.grad(x0, state, slope)
        length = float(x0.detach().square().mean().sqrt() / ascent.square().mean().sqrt().clamp_min(1e-12))
        x0 = (x0.detach() + step * length * ascent).clamp_min(0) * model.visible()
        return x0 * model.hold(scale * x0[0, 0])

    return guided


def coupling(alphas_cumprod: Sequence[float], mu: float) -> Callable[[float], float]:
    """mu(t) = `mu` / r_t^2 (DiffPIR, eq. 12), r_t^2 being how far off the estimate at t may be."""

    def at(t: float) -> float:
        variance = (1 - alphas_cumprod[int(t)]) / alphas_cumprod[int(t)]
        return mu * (1 / variance + 1 / DATA_VARIANCE)

    return at


@torch.no_grad()
def _estimate(denoiser: Denoiser, x_t: torch.Tensor, t: float, condition: torch.Tensor) -> torch.Tensor:
    """The prior's estimate, where activity cannot be negative."""
    return denoiser(x_t, t, condition).clamp_min(0)
