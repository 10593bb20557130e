"""From a plain network to a denoiser: inputs brought to one scale, and an output that corrects x_t by what it should.

After Karras et al. 2022 (EDM), for the residual-plus-noise process: x_0 = x_t - alpha u F(...), with u the local noise
scale, so the network always answers a question of unit size, whatever the dose, the tracer or the unit.
"""

from __future__ import annotations

import torch
from torch import nn

from PETDiffusionLib.diffusion.noise_level import NoiseScale, local_uptake

LOG_SD_RANGE = (-4.0, 2.0)


def make_condition(y: torch.Tensor, noise: NoiseScale) -> torch.Tensor:
    """What the denoiser knows besides x_t: [batch, 3, z, y, x] of y, its smooth twin and the local noise scale."""
    return torch.cat([y, noise.smooth, noise.scale], dim=1)


class ResidualDenoiser:
    """The denoiser of `network` for volumes of one noise level: `estimate = denoiser(x_t, alpha, condition)`.

    `uptake` and `level` [batch] are those of the whole volume (`noise_scale`), so every window is scaled alike.
    Returns [batch, 2, z, y, x]: the estimate of x_0, and its variance.
    """

    def __init__(self, network: nn.Module, uptake: torch.Tensor, level: torch.Tensor) -> None:
        self.network, self.uptake, self.level = network, uptake, level

    def __call__(self, x_t: torch.Tensor, alpha: torch.Tensor | float, condition: torch.Tensor) -> torch.Tensor:
        y, smooth, scale = condition.chunk(3, dim=1)
        batch = x_t.shape[0]
        alpha = torch.as_tensor(alpha, dtype=x_t.dtype, device=x_t.device).expand(batch)
        weight = alpha[:, None, None, None, None]
        uptake = self.uptake.expand(batch)
        local_level = torch.log(scale / local_uptake(smooth, uptake))
        structure = torch.asinh(smooth / uptake[:, None, None, None, None])
        inputs = [(x_t - y) / scale, (y - smooth) / scale, structure, local_level]
        answer = self.network(torch.cat(inputs, dim=1), alpha, self.level.log().expand(batch))
        x0 = x_t - weight * scale * answer[:, :1]
        log_sd = answer[:, 1:2].clamp(*LOG_SD_RANGE)
        return torch.cat([x0, (scale * log_sd.exp()).square()], dim=1)
