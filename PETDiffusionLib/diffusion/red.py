"""Residual Estimation Diffusion (Ai et al., Medical Image Analysis 2025): the noise-free member of the residual family.

x_t = x_0 + alpha_t (x_T - x_0) with T = 500 timesteps: what diffuses is the residual between the low-dose sinogram x_T
and the full-dose x_0. A residual estimation network (REN) walks back, a drift correction network (DCN) mends its drift.
Sinograms are [batch, 1, views, bins] on the networks' scale (`Normalisation`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from PETDiffusionLib.diffusion.residual import bridge_step

MAX_TIMESTEP = 500
LEAST_MAXIMUM = 0.1  # an empty sinogram is not blown up

Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def alphas(max_timestep: int = MAX_TIMESTEP) -> torch.Tensor:
    """The residual's share at t = 0 ... T: 1 - (1 - t/T)^2, at least 1e-4; [T + 1] float32."""
    t = torch.arange(max_timestep + 1) / max_timestep
    return (1 - (1 - t) ** 2).clamp(1e-4, 1)


def betas(max_timestep: int = MAX_TIMESTEP) -> torch.Tensor:
    """The drift correction's strength at t = 0 ... T: (t/T)^3 scaled to a sum of one; [T + 1] float32."""
    t = (torch.arange(max_timestep + 1) / max_timestep) ** 3
    return t / t.sum()


def has_schedules(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a published checkpoint's `max_T`, `alphas` and `betas` are those above."""
    if checkpoint.get("max_T") != MAX_TIMESTEP:
        return False
    return all(
        torch.allclose(torch.as_tensor(checkpoint[name], dtype=torch.float32).flatten().cpu(), schedule, atol=1e-6)
        for name, schedule in (("alphas", alphas()), ("betas", betas()))
        if name in checkpoint
    )


def degraded(x0: torch.Tensor, residual: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """x_t = x_0 + alpha_t r with `share` = alpha_t [batch]."""
    return x0 + share[:, None, None, None] * residual


def reverse(
    x_T: torch.Tensor,
    ren: Network,
    dcn: Network | None,
    steps: int = 50,
    max_timestep: int = MAX_TIMESTEP,
    callback: Callable[[], None] | None = None,
) -> torch.Tensor:
    """Walk from x_T to x_0 in `steps` strides of T / steps; without a DCN by the residuals alone. Returns x_0.

    x^ = x_t - (alpha_t - alpha_t') REN(x_t, t), then x_t' = x^ + beta_t' DCN(x^, t). `callback` is called every step.
    """
    share, strength = alphas(max_timestep), betas(max_timestep)
    times = [round(max_timestep * (1 - step / steps)) for step in range(steps + 1)]
    still = torch.zeros((), device=x_T.device)
    state = x_T
    for t, next_t in zip(times[:-1], times[1:], strict=True):
        timesteps = torch.full((len(x_T),), t, device=x_T.device)
        alpha, next_alpha = float(share[t]), float(share[next_t])
        state = bridge_step(state, state - alpha * ren(state, timesteps), alpha, next_alpha, 0.0, still)
        if dcn is not None and next_t > 0:  # beta_0 is zero
            state = state + float(strength[next_t]) * dcn(state, timesteps)
        if callback:
            callback()
    return state


@dataclass(frozen=True)
class Normalisation:
    """From counts to the networks' scale and back: [0, maximum] to [-1, 1], one `maximum` [batch, 1, 1, 1] each."""

    maximum: torch.Tensor

    @classmethod
    def of(cls, low_dose: torch.Tensor) -> Normalisation:
        """The published scale: each low-dose sinogram's own maximum, at least 0.1."""
        return cls(low_dose.amax((1, 2, 3), keepdim=True).clamp_min(LEAST_MAXIMUM))

    def apply(self, sinogram: torch.Tensor) -> torch.Tensor:
        """Counts to the networks' scale."""
        return 2 * sinogram / self.maximum - 1

    def undo(self, x: torch.Tensor) -> torch.Tensor:
        """The networks' scale to counts; the maximum too, which the published code leaves out."""
        return (x + 1) / 2 * self.maximum
