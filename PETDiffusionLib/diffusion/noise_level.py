"""How noisy a PET volume is, from the volume alone: a smooth twin, a local noise scale, and one relative noise level.

Everything is homogeneous in activity, so a denoiser built on these scales is exactly linear in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from PETDiffusionLib.diffusion.tiling import padded_to_multiple

SMOOTHING_SIGMA_MM = 6.0
LOCAL_SIGMA_MM = 10.0  # of the window in which the noise is measured
UPTAKE_FLOOR = 0.05  # of the mean uptake: where there is nearly no activity there is still noise
LEAST_LEVEL = 0.02
LARGEST_LEVEL = 1.5


@dataclass(frozen=True)
class NoiseScale:
    """`smooth`, `scale` [batch, 1, z, y, x] and `uptake` [batch] in the volume's unit; `level` [batch] is relative."""

    smooth: torch.Tensor
    scale: torch.Tensor
    uptake: torch.Tensor
    level: torch.Tensor


def noise_scale(
    volume: torch.Tensor,
    voxel_size_mm: float,
    whole: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> NoiseScale:
    """Measure `volume` [batch, 1, z, y, x] on cubic voxels.

    `scale` is the root mean square of y - smooth in a Gaussian window of 10 mm, so it follows the noise from the warm
    rim to the attenuated middle and into hot organs; it is at least 2 % of the local uptake. `uptake` is the
    activity-weighted mean, sum y^2 / sum y of the smooth volume; `level` is the median of |y - smooth| over the local
    uptake, in the voxels that hold at least a twentieth of it, as a standard deviation. Crops of a larger volume are
    given the (uptake, level) [batch] of the `whole`.
    """
    smooth = smoothed(volume, SMOOTHING_SIGMA_MM / voxel_size_mm).clamp_min_(0)
    uptake, level = whole or _whole_volume(volume, smooth)
    mean_square = smoothed((volume - smooth).square_(), LOCAL_SIGMA_MM / voxel_size_mm).clamp_min_(0)
    scale = torch.maximum(mean_square.sqrt_(), LEAST_LEVEL * local_uptake(smooth, uptake))
    return NoiseScale(smooth, scale, uptake, level)


def local_uptake(smooth: torch.Tensor, uptake: torch.Tensor) -> torch.Tensor:
    """The smooth twin [batch, 1, z, y, x] over a floor of the mean `uptake` [batch]: nowhere zero."""
    return smooth + (UPTAKE_FLOOR * uptake).clamp_min(1e-12)[:, None, None, None, None]


def _whole_volume(volume: torch.Tensor, smooth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The uptake and the noise level of each volume: [batch] both."""
    uptake = smooth.square().sum((1, 2, 3, 4)) / smooth.sum((1, 2, 3, 4)).clamp_min(1e-12)
    relative = (volume - smooth).abs_() / local_uptake(smooth, uptake)
    levels = []
    for deviation, near, mean in zip(relative, smooth, uptake, strict=True):
        occupied = near > UPTAKE_FLOOR * mean
        ratio = deviation[occupied][:: max(1, int(occupied.sum()) // 200_000)]
        levels.append(ratio.median() / 0.6745 if ratio.numel() else torch.zeros(()))
    return uptake, torch.stack(levels).to(volume).clamp(LEAST_LEVEL, LARGEST_LEVEL)


def smoothed(volume: torch.Tensor, sigma: float) -> torch.Tensor:
    """A Gaussian of `sigma` voxels, through a grid of half the resolution (exact to 1 % for sigma above 2)."""
    half = F.avg_pool3d(padded_to_multiple(volume, 2), 2)
    reach = max(1, round(1.5 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=volume.dtype, device=volume.device)
    kernel = torch.exp(-0.5 * (offsets / (sigma / 2)) ** 2)
    kernel = (kernel / kernel.sum()).reshape(1, 1, -1, 1, 1)
    for axis in range(3):
        turned = half.transpose(2, 2 + axis)
        edge = F.pad(turned, (0, 0, 0, 0, reach, reach), mode="replicate")
        half = F.conv3d(edge, kernel).transpose(2, 2 + axis)
    fine = F.interpolate(half, scale_factor=2, mode="trilinear", align_corners=False)
    return fine[..., : volume.shape[-3], : volume.shape[-2], : volume.shape[-1]].contiguous()
