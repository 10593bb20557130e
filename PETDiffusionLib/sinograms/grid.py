"""The voxels that a sinogram is reconstructed on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry
from PETDiffusionLib.sinograms.orientation import ASSUMED, scanner_image, sizes_in_scanner_order, volume_of


@dataclass(frozen=True)
class ImageGrid:
    """Voxels centred on the scanner and along its axes: `shape` is [z, y, x], sizes are (x, y, z) in mm.

    `position` is DICOM's name of how the patient lies, which says what these axes are in LPS (see orientation.py).
    """

    shape: tuple[int, int, int]
    voxel_size_mm: tuple[float, float, float]
    position: str = ASSUMED

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """The centre (x, y, z) of the first voxel in the scanner's coordinates."""
        x, y, z = (-(count - 1) / 2 * size for count, size in zip(self.shape[::-1], self.voxel_size_mm, strict=True))
        return (x, y, z)

    def described(self) -> dict[str, Any]:
        """The volume's voxels along x, y and z of the patient, and their sizes, for the manifest."""
        shape = sizes_in_scanner_order(self.shape, self.position)
        sizes_mm = sizes_in_scanner_order(self.voxel_size_mm[::-1], self.position)
        return {"shape": shape[::-1], "voxel_size_mm": sizes_mm[::-1], "patient_position": self.position}

    def to_image(self, array: np.ndarray) -> sitk.Image:
        """Values [z, y, x] as an LPS image; the scanner's centre is its origin."""
        return volume_of(array.astype(np.float32, copy=False), self.voxel_size_mm, self.origin_mm, self.position)

    def from_image(self, image: sitk.Image, outside: float = 0.0) -> np.ndarray:
        """An image in LPS about the scanner's centre, read on these voxels: float32 [z, y, x]."""
        empty = np.zeros(self.shape, np.uint8)
        reference = scanner_image(empty, self.voxel_size_mm, self.origin_mm, self.position)
        read = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, outside, sitk.sitkFloat32)
        return sitk.GetArrayFromImage(read)


def default_grid(
    geometry: ScannerGeometry,
    voxel_mm: float | None = None,
    shape: tuple[int, int, int] | None = None,
) -> ImageGrid:
    """A grid over the scanner's field of view: `voxel_mm` in plane (the width of the central bins where it is None).

    Axially a voxel is a plane: half a ring spacing, or a whole one where no plane lies between rings. `shape`, of the
    volume [z, y, x] as the patient's axes lie, overrides what the field of view needs. Raises PETDiffusionError
    "patient-position" where it is not known how the patient lies.
    """
    position = geometry.patient_position.taken
    across = voxel_mm or _central_bin_mm(geometry)
    if not across > 0:
        raise PETDiffusionError("bad-grid", f"A voxel size above 0 mm is expected, found {across}.")
    between = any(segment.lowest < segment.highest or segment.lowest % 2 for segment in geometry.segments)
    along = geometry.ring_spacing_mm / (2 if between else 1)
    if shape is None:
        width = math.ceil(2 * np.abs(geometry.tangential_mm).max() / across - 1e-6) + 1
        shape = ((2 * geometry.rings - 1) if between else geometry.rings, width, width)
    else:
        shape = sizes_in_scanner_order(shape, position)
    if min(shape) < 1:
        raise PETDiffusionError("bad-grid", f"A grid of at least one voxel a side is expected, found {shape}.")
    return ImageGrid(shape, (across, across, along), position)


def _central_bin_mm(geometry: ScannerGeometry) -> float:
    """The distance of the bins about the scanner's centre."""
    if geometry.bin_mm is not None:
        return geometry.bin_mm
    return math.pi * geometry.radius_mm / geometry.crystals
