"""A network as a prior: the estimate of clean activity under Gaussian noise, with an anatomical image or without.

The inputs and outputs are scaled after Karras et al. 2022 (EDM, table 1): with y = x_0 + sigma eps,
D(y) = c_skip y + c_out F(c_in y), so that the plain network F always sees and answers at unit size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from PETDiffusionLib.diffusion.tiling import padded_to_multiple

SIGMA_DATA = 0.7  # the standard deviation of FDG-like activity in units of its mean
NETWORK_ARGUMENTS = {"in_channels": 3, "out_channels": 1}  # y, the anatomy, and y filtered along the anatomy
GUIDE_REACH, GUIDE_VARIANCE = 2, 0.003  # voxels to each side; of the anatomy: below it, a window shows no structure


def denoised(
    network: nn.Module, y: torch.Tensor, sigma: torch.Tensor, voxel_size_mm: torch.Tensor, anatomy: torch.Tensor
) -> torch.Tensor:
    """E[x_0 | y] as the network has learnt it, for y [batch, 1, z, y, x] in units of the activity scale.

    `sigma` and `voxel_size_mm` (in-plane) are [batch]; `anatomy` [batch, 1, z, y, x] has a mean of one, or is zero
    where there is none.
    """
    skip, out, scale = (c[:, None, None, None, None] for c in edm_coefficients(sigma))
    inputs = torch.cat([scale * y, anatomy, scale * guided_filter(y, anatomy)], dim=1)
    return skip * y + out * network(inputs, sigma.log() / 4, (voxel_size_mm / 3).log())


def edm_coefficients(sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """c_skip, c_out and c_in at noise levels `sigma`."""
    total = sigma.square() + SIGMA_DATA**2
    return SIGMA_DATA**2 / total, sigma * SIGMA_DATA / total.sqrt(), total.rsqrt()


def guided_filter(y: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
    """`y` as a straight line in `guide` within every small window (He et al. 2013), both [batch, 1, z, y, x].

    Where the guide shows no structure it is a moving mean. As an input it hands a network the edges that activity and
    anatomy share, which it would need long to find by itself: every tissue's grey value is another in every image.
    """
    guide_mean, y_mean = _window_mean(guide), _window_mean(y)
    covariance = _window_mean(guide * y) - guide_mean * y_mean
    variance = _window_mean(guide.square()) - guide_mean.square()
    slope = covariance / (variance + GUIDE_VARIANCE)
    return _window_mean(slope) * guide + _window_mean(y_mean - slope * guide_mean)


def _window_mean(volume: torch.Tensor) -> torch.Tensor:
    """The mean over a cube of 2 GUIDE_REACH + 1 voxels, axis by axis; beyond an edge nothing counts."""
    side = 2 * GUIDE_REACH + 1
    for axis in range(3):
        kernel, reach = [1, 1, 1], [0, 0, 0]
        kernel[axis], reach[axis] = side, GUIDE_REACH
        volume = F.avg_pool3d(volume, kernel, 1, reach, count_include_pad=False)
    return volume


class PriorDenoiser:
    """`x0 = denoiser(x_t, t, anatomy)` in the Gaussian process whose `alphas_cumprod` are given.

    x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps is y = x_t / sqrt(abar) at sigma^2 = (1 - abar) / abar.
    """

    def __init__(self, network: nn.Module, alphas_cumprod: Sequence[float], voxel_size_mm: float) -> None:
        self.network, self.alphas_cumprod, self.voxel_size_mm = network, alphas_cumprod, voxel_size_mm

    def __call__(self, x_t: torch.Tensor, t: float, anatomy: torch.Tensor) -> torch.Tensor:
        abar = self.alphas_cumprod[int(t)]
        depth, height, width = x_t.shape[2:]
        y, anatomy = padded_to_multiple(x_t / math.sqrt(abar)), padded_to_multiple(anatomy)
        sigma = y.new_full((len(y),), math.sqrt((1 - abar) / abar))
        x0 = denoised(self.network, y, sigma, y.new_full((len(y),), self.voxel_size_mm), anatomy)
        return x0[..., :depth, :height, :width]
