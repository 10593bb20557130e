"""Filtered back-projection of direct planes with evenly spaced bins."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry
from PETDiffusionLib.sinograms.grid import ImageGrid
from PETDiffusionLib.sinograms.sinogram import Sinogram


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
    image = torch.zeros(grid.shape, device=lines.device)
    padded = torch.nn.functional.pad(filtered, (1, 2))  # a line beyond the bins reads zero
    first = float(geometry.tangential_positions[0])
    for view, phi in enumerate(geometry.view_angles):
        s_mm = x_mm[None, :] * math.cos(phi) + y_mm[:, None] * math.sin(phi)
        position = (s_mm / float(geometry.bin_mm or 0) - first + 1).clamp_(0, geometry.tangential_bins + 1)
        left = position.long()
        fraction = position - left
        profile = padded[:, view]  # [plane, tangential]
        image += torch.lerp(profile[:, left], profile[:, left + 1], fraction)
        if progress is not None:
            progress((view + 1) / geometry.views)
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
