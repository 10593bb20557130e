"""The residual-plus-noise process x_t = x_0 + alpha_t (y - x_0) + sigma_t eps between a low-dose y and a clean x_0.

With alpha as the clock and sigma_t^2 = (kappa u)^2 alpha (1 - alpha) this is a Brownian bridge that starts exactly at y
(Liu et al. 2023, I2SB), with u the local noise scale; kappa = 0 is the noise-free process of RED (Ai et al. 2025).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

Denoiser = Callable[[torch.Tensor, float, torch.Tensor], torch.Tensor]
Noise = Callable[[int], torch.Tensor]


def diffused(
    x0: torch.Tensor, y: torch.Tensor, alpha: torch.Tensor | float, spread: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """A draw of x_t given x_0 and y, for `spread` = kappa u and standard normal `noise`; all [batch, 1, z, y, x]."""
    alpha = torch.as_tensor(alpha)
    return x0 + alpha * (y - x0) + spread * torch.sqrt(alpha * (1 - alpha)) * noise


def bridge_step(
    x_t: torch.Tensor,
    x0: torch.Tensor,
    alpha: float,
    next_alpha: float,
    spread: torch.Tensor | float,
    noise: torch.Tensor,
) -> torch.Tensor:
    """One reverse step alpha -> next_alpha given the estimate x_0: the bridge's own posterior q(x_s | x_t, x_0).

    With s = next_alpha, its mean is x_0 + (s / alpha) (x_t - x_0) and its variance (kappa u)^2 s (alpha - s) / alpha.
    """
    width = (next_alpha * (alpha - next_alpha) / alpha) ** 0.5
    return torch.lerp(x0, x_t, next_alpha / alpha) + (width * spread) * noise


def uniform_times(steps: int) -> list[float]:
    """`steps` + 1 values of alpha from 1 to 0."""
    return [1 - step / steps for step in range(steps + 1)]


def sample(
    denoiser: Denoiser,
    y: torch.Tensor,
    condition: torch.Tensor,
    times: Sequence[float],
    spread: torch.Tensor | float,
    noise: Noise,
) -> torch.Tensor:
    """Walk from the low-dose volume y [1, 1, z, y, x] at times[0] = 1 to the last estimate before times[-1] = 0.

    `noise(step)` gives the standard normal field of a step. Returns what `denoiser` said last of x_0 and, in channel 1,
    the variance of x_0 given y, which it said first: of a state that its own estimates led to it is far too sure. One
    step is the posterior mean; more steps draw from the posterior.
    """
    state = y
    first = estimate = denoiser(state, times[0], condition)
    for step, (alpha, next_alpha) in enumerate(pairwise(times[:-1])):
        state = bridge_step(state, estimate[:, :1], alpha, next_alpha, spread, noise(step))
        estimate = denoiser(state, next_alpha, condition)
    return torch.cat([estimate[:, :1], first[:, 1:]], dim=1)
