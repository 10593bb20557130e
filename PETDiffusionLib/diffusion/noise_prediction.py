"""From a network that says the noise in x_t to a denoiser that says x_0, for the Gaussian process.

Such a network works on SUV over the scale of its card, clipped to 0 to 1.
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


class NoiseDenoiser:
    """The denoiser of a `network` that says the noise in x_t: `estimate = denoiser(x_t, t, condition)`.

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
        abar = self.alphas_cumprod[time]
        x0 = (x_t - math.sqrt(1 - abar) * answer[:, :1]) / math.sqrt(abar)
        return torch.cat([x0.clamp_(-1, 1), (answer[:, 1:] + 1) / 2], dim=1)
