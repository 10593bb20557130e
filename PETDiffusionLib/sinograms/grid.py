"""The voxels that a sinogram is reconstructed on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry


@dataclass(frozen=True)
class ImageGrid:
    """Voxels centred on the scanner: `shape` is [z, y, x], sizes are (x, y, z) in mm."""

    shape: tuple[int, int, int]
    voxel_size_mm: tuple[float, float, float]

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """The centre (x, y, z) of the first voxel in the scanner's coordinates."""
        x, y, z = (-(count - 1) / 2 * size for count, size in zip(self.shape[::-1], self.voxel_size_mm, strict=True))
        return (x, y, z)

    def to_image(self, array: np.ndarray) -> sitk.Image:
        """Values [z, y, x] as an LPS image: a patient on the back, head first, has x to the left and y to the back."""
        image = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=np.float32))
        image.SetSpacing(self.voxel_size_mm)
        image.SetOrigin(self.origin_mm)
        return image

    def from_image(self, image: sitk.Image, outside: float = 0.0) -> np.ndarray:
        """An image in the scanner's coordinates (mm), read on these voxels: float32 [z, y, x]."""
        reference = self.to_image(np.zeros(self.shape, np.float32))
        read = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, outside, sitk.sitkFloat32)
        return sitk.GetArrayFromImage(read)


def default_grid(
    geometry: ScannerGeometry,
    voxel_mm: float | None = None,
    shape: tuple[int, int, int] | None = None,
) -> ImageGrid:
    """A grid over the scanner's field of view: `voxel_mm` in plane (the width of the central bins where it is None).

    Axially a voxel is a plane: half a ring spacing, or a whole one where no plane lies between rings. `shape` [z, y, x]
    overrides what the field of view needs.
    """
    across = voxel_mm or _central_bin_mm(geometry)
    if not across > 0:
        raise PETDiffusionError("bad-grid", f"A voxel size above 0 mm is expected, found {across}.")
    between = any(segment.lowest < segment.highest or segment.lowest % 2 for segment in geometry.segments)
    along = geometry.ring_spacing_mm / (2 if between else 1)
    if shape is None:
        width = math.ceil(2 * np.abs(geometry.tangential_mm).max() / across - 1e-6) + 1
        shape = ((2 * geometry.rings - 1) if between else geometry.rings, width, width)
    if min(shape) < 1:
        raise PETDiffusionError("bad-grid", f"A grid of at least one voxel a side is expected, found {shape}.")
    return ImageGrid(shape, (across, across, along))


def _central_bin_mm(geometry: ScannerGeometry) -> float:
    """The distance of the bins about the scanner's centre."""
    if geometry.bin_mm is not None:
        return geometry.bin_mm
    return math.pi * geometry.radius_mm / geometry.crystals
