"""Filtered back-projection of direct planes with evenly spaced bins."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry
from PETDiffusionLib.sinograms.grid import ImageGrid
from PETDiffusionLib.sinograms.sinogram import Sinogram

VIEWS_AT_ONCE = 8  # so that the indices take little memory


@torch.no_grad()
def fbp(
    sinogram: Sinogram, grid: ImageGrid, cutoff: float = 1.0, progress: Callable[[float], None] | None = None
) -> torch.Tensor:
    """Ramp filter under a Hamming window that ends at `cutoff` of the Nyquist frequency, then back-projection.

    Additive and multiplicative terms are taken out of the prompts first. Returns activity [z, y, x] on `grid`, whose
    planes must be the sinogram's. `progress(fraction)` may raise Cancelled.

    Raises PETDiffusionError "no-fbp" for tilted lines, TOF or uneven bins.
    """
    geometry = sinogram.geometry
    _check(geometry, grid)
    lines = sinogram.prompts if sinogram.additive is None else sinogram.prompts - sinogram.additive
    if sinogram.multiplicative is not None:
        factors = sinogram.multiplicative
        lines = torch.where(factors > 0, lines / factors.clamp(min=1e-20), 0)
    filtered = _filtered(lines, float(geometry.bin_mm or 0), cutoff)
    x_mm, y_mm = (
        torch.as_tensor([start + i * side for i in range(count)], dtype=torch.float32, device=lines.device)
        for start, side, count in zip(grid.origin_mm[:2], grid.voxel_size_mm[:2], grid.shape[:0:-1], strict=True)
    )
    table = torch.nn.functional.pad(filtered, (1, 2)).permute(1, 2, 0)  # a line beyond the bins reads zero
    first = float(geometry.tangential_positions[0])
    image = torch.zeros(grid.shape[1] * grid.shape[2], grid.shape[0], device=lines.device)  # planes of a voxel together
    for start in range(0, geometry.views, VIEWS_AT_ONCE):
        angles = geometry.view_angles[start : start + VIEWS_AT_ONCE]
        profiles = table[start : start + len(angles)].reshape(-1, geometry.planes)  # [view x tangential, plane]
        phi = torch.as_tensor(angles, dtype=torch.float32, device=lines.device)
        s_mm = x_mm[None, :, None] * phi.cos() + y_mm[:, None, None] * phi.sin()  # [y, x, view]
        position = (s_mm / float(geometry.bin_mm or 0) - first + 1).clamp_(0, geometry.tangential_bins + 1)
        left = position.int()
        fraction = position - left
        left += table.shape[1] * torch.arange(len(angles), dtype=torch.int32, device=lines.device)
        image += torch.nn.functional.embedding_bag(
            torch.cat([left, left + 1], dim=2).flatten(0, 1),
            profiles,
            mode="sum",
            per_sample_weights=torch.cat([1 - fraction, fraction], dim=2).flatten(0, 1),
        )
        if progress is not None:
            progress((start + len(angles)) / geometry.views)
    image = image.T.reshape(grid.shape)
    return image * (math.pi / geometry.views)


def _filtered(lines: torch.Tensor, bin_mm: float, cutoff: float) -> torch.Tensor:
    """Every profile [..., tangential] under the band-limited ramp (Kak and Slaney 1988, eq. 61) and the window."""
    count = lines.shape[-1]
    length = 2 ** math.ceil(math.log2(2 * count))
    n = torch.fft.fftfreq(length, 1 / length, device=lines.device)
    kernel = torch.where(n % 2 != 0, -1 / (math.pi * n * bin_mm) ** 2, 0.0)
    kernel[0] = 1 / (4 * bin_mm**2)
    frequency = torch.fft.rfftfreq(length, device=lines.device) * 2 / cutoff
    window = torch.where(frequency <= 1, 0.54 + 0.46 * torch.cos(math.pi * frequency), 0.0)
    response = torch.fft.rfft(kernel).real * window * bin_mm
    return torch.fft.irfft(torch.fft.rfft(lines, length) * response, length)[..., :count]


def _check(geometry: ScannerGeometry, grid: ImageGrid) -> None:
    if geometry.bin_mm is None or not geometry.is_direct or geometry.tof is not None:
        raise PETDiffusionError(
            "no-fbp",
            "Filtered back-projection is for direct planes with evenly spaced (arc-corrected) bins and without TOF; "
            f"the sinogram of {geometry.name} is not of that kind. Choose osem.",
        )
    if grid.shape[0] != geometry.planes:
        raise PETDiffusionError(
            "no-fbp",
            f"Filtered back-projection gives a slice for each of the {geometry.planes} planes, but {grid.shape[0]} "
            "were asked for. Leave the number of slices to it.",
        )
