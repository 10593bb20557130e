"""How noisy a PET volume is, from the volume alone: a smooth twin, a local noise scale, a level and a correlation.

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
LAGS = (1, 2, 4)  # voxels, each along the axis and across it
CORRELATIONS = 2 * len(LAGS)
MOST_SAMPLES = 40_000
SPECTRUM_SIGMAS = (1.0, 2.0, 4.0, 8.0)  # voxels: the borders of the bands
SPECTRUM_WINDOW = 12.0  # voxels: sigma of the neighbourhood that a spectrum is of
LEAST_OF_SCALE = 0.03


@dataclass(frozen=True)
class WholeVolume:
    """What is measured once for a volume: `uptake` [batch] in its unit, and two facts about its noise.

    `level` [batch] is its relative size. `correlation` [batch, 6] is how alike it is at 1, 2 and 4 voxels along the
    axis and across it: from 0 for white noise to 1 for noise much coarser than that.
    """

    uptake: torch.Tensor
    level: torch.Tensor
    correlation: torch.Tensor


@dataclass(frozen=True)
class NoiseScale:
    """`smooth`, `scale` [batch, 1, z, y, x] in the volume's unit, and what is one for the `whole` volume."""

    smooth: torch.Tensor
    scale: torch.Tensor
    whole: WholeVolume


def noise_scale(volume: torch.Tensor, voxel_size_mm: float, whole: WholeVolume | None = None) -> NoiseScale:
    """Measure `volume` [batch, 1, z, y, x] on cubic voxels.

    `scale` is the root mean square of y - smooth in a Gaussian window of 10 mm, so it follows the noise from the warm
    rim to the attenuated middle and into hot organs; it is at least 2 % of the local uptake. Crops of a larger volume
    are given what was measured in the `whole` of it.
    """
    smooth = smoothed(volume, SMOOTHING_SIGMA_MM / voxel_size_mm).clamp_min_(0)
    uptake = whole.uptake if whole else _uptake(smooth)
    mean_square = smoothed((volume - smooth).square_(), LOCAL_SIGMA_MM / voxel_size_mm).clamp_min_(0)
    scale = torch.maximum(mean_square.sqrt_(), LEAST_LEVEL * local_uptake(smooth, uptake))
    return NoiseScale(smooth, scale, whole or _whole_volume(volume, smooth, scale, uptake))


def local_spectrum(volume: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """How strong each band of a neighbourhood is, as the logarithm of its RMS over `scale`: [batch, 3, z, y, x].

    Noise is strong in the finer bands, anatomy in the coarser ones: what is calm may be smoothed further than a network
    that sees a few centimetres would dare.
    """
    twins = [smoothed(volume, sigma) for sigma in SPECTRUM_SIGMAS]
    bands = [
        smoothed((finer - coarser).square_(), SPECTRUM_WINDOW)
        for finer, coarser in zip(twins[:-1], twins[1:], strict=True)
    ]
    strength = torch.cat(bands, dim=1).clamp_min_(0).sqrt_()
    return (strength / scale).clamp_min_(LEAST_OF_SCALE).log_()


def local_uptake(smooth: torch.Tensor, uptake: torch.Tensor) -> torch.Tensor:
    """The smooth twin [batch, 1, z, y, x] over a floor of the mean `uptake` [batch]: nowhere zero."""
    return smooth + (UPTAKE_FLOOR * uptake).clamp_min(1e-12)[:, None, None, None, None]


def _uptake(smooth: torch.Tensor) -> torch.Tensor:
    """The activity-weighted mean, sum y^2 / sum y of the smooth volume: [batch]."""
    return smooth.square().sum((1, 2, 3, 4)) / smooth.sum((1, 2, 3, 4)).clamp_min(1e-12)


def _whole_volume(volume: torch.Tensor, smooth: torch.Tensor, scale: torch.Tensor, uptake: torch.Tensor) -> WholeVolume:
    """Level and correlation of the noise y - smooth, where there is at least a twentieth of the mean uptake.

    Both are medians, which a lesion's edge does not move: of |y - smooth| over the local uptake, and of the differences
    between voxels, each over its local `scale`.
    """
    noise = volume - smooth
    relative, unit = noise.abs() / local_uptake(smooth, uptake), noise / scale
    levels, correlations = [], []
    for share, normal, near, mean in zip(relative[:, 0], unit[:, 0], smooth[:, 0], uptake, strict=True):
        occupied = near > UPTAKE_FLOOR * mean
        places = occupied.nonzero()
        places = places[:: max(1, len(places) // MOST_SAMPLES)]
        sampled = share[places.unbind(1)]
        levels.append(sampled.median() / 0.6745 if len(places) else torch.zeros(()))
        correlations.append(_correlation(normal, occupied, places))
    level = torch.stack(levels).to(volume).clamp(LEAST_LEVEL, LARGEST_LEVEL)
    return WholeVolume(uptake, level, torch.stack(correlations).to(volume))


def _correlation(noise: torch.Tensor, occupied: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """1 - E (n(r) - n(r + lag))^2 / 2 E n^2 of `noise` [z, y, x] by medians at `places` [n, 3]: [6]."""
    if not len(places):
        return torch.zeros(CORRELATIONS, device=noise.device)
    lags = torch.tensor(LAGS, device=noise.device)
    steps = (torch.eye(3, dtype=torch.long, device=noise.device)[:, None] * lags[:, None]).reshape(-1, 1, 3)
    moved = places + steps  # [axis * lag, n, 3]
    last = torch.tensor(noise.shape, device=noise.device) - 1
    inside = (moved <= last).all(-1)
    there = moved.minimum(last).unbind(-1)
    paired, first = inside & occupied[there], noise[places.unbind(1)].expand(len(moved), -1)
    size = _median(first.abs(), paired).clamp_min(1e-6)
    differences = _median((first - noise[there]).abs(), paired)
    of_axis = (1 - 0.5 * (differences / size).square()).clamp(-1, 1).nan_to_num(0.0)
    axial, second, third = of_axis.reshape(3, len(LAGS))
    return torch.cat([axial, (second + third) / 2])


def _median(values: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """The lower median of those of `values` [row, n] that are `counted`; infinite for a row of none."""
    ordered = values.where(counted, torch.inf).sort(1).values
    middle = ((counted.sum(1, keepdim=True) - 1) // 2).clamp_min(0)
    return ordered.gather(1, middle)[:, 0]


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
