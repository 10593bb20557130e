"""The Gaussian process x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps (DDPM, Ho et al. 2020) and walks back from it.

Times are indices into `alphas_cumprod`, falling, in the numbering that the network was trained with; a sampler may
take any subset of them. A denoiser here answers (x_t, t, condition) with x_0 in channel 0 and, for `ancestral`, in
channel 1 where the step's log variance lies between its bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from PETDiffusionLib.diffusion.residual import Denoiser, Noise


def linear_alphas_cumprod(steps: int = 1000, first_beta: float = 1e-4, last_beta: float = 0.02) -> list[float]:
    """abar_t = prod_(s <= t) (1 - beta_s) for betas that rise linearly."""
    return np.cumprod(1 - np.linspace(first_beta, last_beta, steps)).tolist()


def spaced_times(steps: int, first: int = 999) -> list[int]:
    """At most `steps` times from `first` down to 0 at even distances (Nichol and Dhariwal 2021)."""
    return [int(time) for time in np.unique(np.linspace(first, 0, steps).round())[::-1]]


def log_snr_times(steps: int, alphas_cumprod: Sequence[float], first: int = 999) -> list[int]:
    """At most `steps` times from `first` down to 0 at even distances in log(abar / (1 - abar)): more near the end."""
    log_snr = np.log(alphas_cumprod) - np.log1p(-np.asarray(alphas_cumprod))
    wanted = np.linspace(log_snr[first], log_snr[0], steps)
    nearest = np.interp(-wanted, -log_snr, np.arange(len(log_snr))).round()  # log_snr falls with time
    return [int(time) for time in np.unique(nearest)[::-1]]


def noised(x0: torch.Tensor, time: int, alphas_cumprod: Sequence[float], noise: torch.Tensor) -> torch.Tensor:
    """A draw of x_t given x_0 (or a low-dose volume, to start a walk from it half way) and standard normal `noise`."""
    abar = alphas_cumprod[time]
    return math.sqrt(abar) * x0 + math.sqrt(1 - abar) * noise


def ancestral(
    denoiser: Denoiser,
    start: torch.Tensor,
    condition: torch.Tensor,
    times: Sequence[int],
    alphas_cumprod: Sequence[float],
    noise: Noise,
) -> torch.Tensor:
    """Draw x_0 from `start` = x_t at times[0], with learned variance (Nichol and Dhariwal 2021, eq. 15; respaced).

    Volumes are [batch, channel, z, y, x]; `noise(step)` is the standard normal field that step adds, none in the last.
    """
    x_t = start
    for step, (time, abar, before) in enumerate(_walk(times, alphas_cumprod)):
        answer = denoiser(x_t, time, condition)
        x0, share = answer[:, :1], answer[:, 1:]
        if before == 1:
            return x0
        beta = 1 - abar / before
        posterior = beta * (1 - before) / (1 - abar)
        log_sd = 0.5 * (math.log(posterior) + share * (math.log(beta) - math.log(posterior)))
        mean = math.sqrt(before) * beta / (1 - abar) * x0 + math.sqrt(1 - beta) * (1 - before) / (1 - abar) * x_t
        x_t = mean + log_sd.exp() * noise(step)
    return x_t


def ddim(
    denoiser: Denoiser,
    start: torch.Tensor,
    condition: torch.Tensor,
    times: Sequence[int],
    alphas_cumprod: Sequence[float],
    noise: Noise,
    eta: float = 0.0,
) -> torch.Tensor:
    """Draw x_0 from `start` = x_t at times[0] (Song et al. 2021, eq. 12); eta 0 adds no noise, eta 1 is ancestral."""
    x_t = start
    for step, (time, abar, before) in enumerate(_walk(times, alphas_cumprod)):
        x0 = denoiser(x_t, time, condition)[:, :1]
        eps = (x_t - math.sqrt(abar) * x0) / math.sqrt(1 - abar)
        sigma = eta * math.sqrt((1 - before) / (1 - abar) * (1 - abar / before))
        x_t = math.sqrt(before) * x0 + math.sqrt(1 - before - sigma**2) * eps
        if sigma > 0:
            x_t = x_t + sigma * noise(step)
    return x_t


def dpm_solver_2m(
    denoiser: Denoiser,
    start: torch.Tensor,
    condition: torch.Tensor,
    times: Sequence[int],
    alphas_cumprod: Sequence[float],
) -> torch.Tensor:
    """Draw x_0 from `start` = x_t at times[0] by DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), without noise."""
    x_t, x0_before, log_snr_before = start, None, 0.0
    for time, abar, before in _walk(times, alphas_cumprod):
        x0 = denoiser(x_t, time, condition)[:, :1]
        if before == 1:  # the last step goes to no noise at all: its limit is the estimate itself
            return x0
        log_snr, next_log_snr = _half_log_snr(abar), _half_log_snr(before)
        h = next_log_snr - log_snr
        if x0_before is None:
            estimate = x0
        else:
            ratio = (log_snr - log_snr_before) / h
            estimate = x0 + (x0 - x0_before) / (2 * ratio)
        x_t = math.sqrt((1 - before) / (1 - abar)) * x_t - math.sqrt(before) * math.expm1(-h) * estimate
        x0_before, log_snr_before = x0, log_snr
    return x_t


def _walk(times: Sequence[int], alphas_cumprod: Sequence[float]) -> list[tuple[int, float, float]]:
    """(time, abar there, abar at the next time) of every step; after the last time there is no noise left."""
    levels = [alphas_cumprod[time] for time in times] + [1.0]
    return list(zip(times, levels[:-1], levels[1:], strict=True))


def _half_log_snr(abar: float) -> float:
    """lambda = log(sqrt(abar) / sqrt(1 - abar))."""
    return 0.5 * (math.log(abar) - math.log1p(-abar))
