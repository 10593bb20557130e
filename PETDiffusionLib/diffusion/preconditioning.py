"""From a plain network to a denoiser: inputs brought to one scale, and an output that corrects x_t by what it should.

After Karras et al. 2022 (EDM), for the residual-plus-noise process: x_0 = x_t - alpha u F(...), with u the local noise
scale, so the network always answers a question of unit size, whatever the dose, the tracer or the unit.
"""

from __future__ import annotations

import torch

from PETDiffusionLib.diffusion.noise_level import (
    SPECTRUM_SIGMAS,
    NoiseScale,
    WholeVolume,
    local_spectrum,
    local_uptake,
    smoothed,
)

LOG_SD_RANGE = (-4.0, 2.0)
INPUTS = 3 + len(SPECTRUM_SIGMAS)
BANDS = (1.0, 2.0, 4.0)  # sigma in voxels


def make_condition(y: torch.Tensor, noise: NoiseScale) -> torch.Tensor:
    """What the denoiser knows besides x_t, [batch, 6, z, y, x]: y, its smooth twin, the noise scale and spectrum."""
    return torch.cat([y, noise.smooth, noise.scale, local_spectrum(y, noise.scale)], dim=1)


class ResidualDenoiser:
    """The denoiser of `network` for volumes of one noise: `estimate = denoiser(x_t, alpha, condition)`.

    `whole` is measured in the whole volume (`noise_scale`), so every window is scaled alike. The network answers, for
    each voxel, the correction, the logarithm of its standard deviation, and how much of each band between x_0 and ever
    smoother twins of it is noise too: a network learns to copy noise, so as to take it away, far more slowly than it
    learns where to smooth. Returns [batch, 2, z, y, x]: the estimate of x_0, and its variance.
    """

    def __init__(self, network: torch.nn.Module, whole: WholeVolume) -> None:
        self.network, self.whole = network, whole

    def __call__(self, x_t: torch.Tensor, alpha: torch.Tensor | float, condition: torch.Tensor) -> torch.Tensor:
        y, smooth, scale, spectrum = condition.split((1, 1, 1, len(SPECTRUM_SIGMAS) - 1), dim=1)
        batch = x_t.shape[0]
        alpha = torch.as_tensor(alpha, dtype=x_t.dtype, device=x_t.device).expand(batch)
        weight = alpha[:, None, None, None, None]
        uptake = self.whole.uptake.expand(batch)
        local_level = torch.log(scale / local_uptake(smooth, uptake))
        structure = torch.asinh(smooth / uptake[:, None, None, None, None])
        inputs = torch.cat([(x_t - y) / scale, (y - smooth) / scale, structure, local_level, spectrum], dim=1)
        coarseness = -torch.log(1.02 - self.whole.correlation)  # tells 0.9 from 0.95 as well as 0 from 0.5
        answer = self.network(inputs, alpha, self.whole.level.log().expand(batch), coarseness.expand(batch, -1))
        x0 = without_bands(x_t - weight * scale * answer[:, :1], weight * answer[:, 2:].tanh())
        log_sd = answer[:, 1:2].clamp(*LOG_SD_RANGE)
        return torch.cat([x0, (scale * log_sd.exp()).square()], dim=1)


def without_bands(volume: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
    """`volume` [batch, 1, z, y, x] less the share in `gates` [batch, bands, z, y, x] of each band, the finest first."""
    result = finer = volume
    for sigma, gate in zip(BANDS, gates.split(1, dim=1), strict=True):
        coarser = smoothed(volume, sigma)
        result, finer = result - gate * (finer - coarser), coarser
    return result
