"""From a network that says the noise in x_t, or v, to a denoiser that says x_0, for the Gaussian process.

x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps. The published network says eps, which at late times is x_t itself to a
hundredth: what it is off by there, x_0 is off by times 1 / sqrt(abar), up to 150. One that says v = sqrt(abar) eps -
sqrt(1 - abar) x_0 (Salimans and Ho 2022) knows x_0 as well at every time. Both work on SUV over the scale of the card,
clipped to 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from PETDiffusionLib.networks.ddpm3d import DDPM3D, Film


def clipped_to_scale(volume: torch.Tensor, scale: float) -> torch.Tensor:
    """SUV as the network wants it: 0 to 1, whatever lies above `scale` at 1."""
    return (volume / scale).clamp(0, 1)


def back_to_suv(x0: torch.Tensor, low_dose: torch.Tensor, scale: float) -> torch.Tensor:
    """An estimate of x_0 in SUV. What of the low dose lies above the scale, which no network saw, is kept as it is."""
    return scale * x0.clamp(0, 1) + (low_dose - scale).clamp_min(0)


def x0_and_noise(
    answer: torch.Tensor, x_t: torch.Tensor, signal: torch.Tensor | float, noise: torch.Tensor | float, predicts: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """(x_0, eps) of x_t = `signal` x_0 + `noise` eps, where `answer` is the noise or v, as `predicts` says."""
    if predicts == "v":
        return signal * x_t - noise * answer, noise * x_t + signal * answer
    return (x_t - noise * answer) / signal, answer


class PredictionDenoiser:
    """The denoiser of a `network` that says the noise in x_t, or v: `estimate = denoiser(x_t, t, condition)`.

    Volumes are [batch, 1, z, y, x] in units of the model card's scale, `condition` (the low dose) of one volume or of
    each; t is an index into `alphas_cumprod`. Returns [batch, 2, z, y, x]: x_0 between -1 and 1, and where the learned
    log variance of a step lies between the posterior's (0) and beta (1). What time does to the network is worked out
    once a step, however many windows ask.
    """

    def __init__(self, network: DDPM3D, alphas_cumprod: Sequence[float]) -> None:
        self.network, self.alphas_cumprod = network, alphas_cumprod
        self._film: tuple[int, list[Film]] | None = None

    def __call__(self, x_t: torch.Tensor, t: float, condition: torch.Tensor) -> torch.Tensor:
        time, timesteps = int(t), torch.tensor([t], device=x_t.device)
        if self._film is None or self._film[0] != time:
            self._film = (time, self.network.film(timesteps))
        answer = self.network(x_t, timesteps, condition, self._film[1])
        signal, noise = math.sqrt(self.alphas_cumprod[time]), math.sqrt(1 - self.alphas_cumprod[time])
        x0, _ = x0_and_noise(answer[:, :1], x_t, signal, noise, self.network.predicts)
        return torch.cat([x0.clamp_(-1, 1), (answer[:, 1:] + 1) / 2], dim=1)
