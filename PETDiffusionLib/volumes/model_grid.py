"""The way from a volume to a model's cubic voxels, and of results back to an image.

Models know bodies whose planes lie across and whose axes point left, back and up (LPS), as scanners store them. Other
programs store other orders; `as_scanned` turns them, without touching a value, and `image_on_grid` turns results back.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.volumes.resampling import GridPair, isotropic_grid
from PETDiffusionLib.volumes.volume import Volume


def as_scanned(image: sitk.Image) -> sitk.Image:
    """The same voxels with the axes in the order left, posterior, superior, or nearest to it."""
    return sitk.DICOMOrient(image, "LPS")


def grid_pair(volume: Volume, voxel_size_mm: float) -> GridPair:
    """The volume's own grid and that of cubic voxels about the same centre."""
    x, y, z = volume.voxel_size_mm
    shape = tuple(int(side) for side in volume.image.GetSize()[::-1])
    return isotropic_grid(shape, (z, y, x), voxel_size_mm)


def image_on_grid(array: np.ndarray, volume: Volume, pair: GridPair, grid: str, given: sitk.Image) -> sitk.Image:
    """An image of values [z, y, x] with the `given` input's geometry bit for bit ("input"), or on the "model" grid.

    `volume` is that input as it was scanned.
    """
    if grid == "input":
        order = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(given.GetDirection())
        result = sitk.DICOMOrient(volume.with_array(array).image, order)
        result.CopyInformation(given)
        return result
    image = sitk.GetImageFromArray(array)
    image.SetDirection(volume.image.GetDirection())
    image.SetSpacing(pair.model_spacing_mm[::-1])
    counts = zip(pair.input_shape, pair.input_spacing_mm, pair.model_shape, pair.model_spacing_mm, strict=True)
    first = [((n - 1) / 2 - (m - 1) / 2 * spacing / size) for n, size, m, spacing in counts]  # in input voxels
    image.SetOrigin(volume.image.TransformContinuousIndexToPhysicalPoint(first[::-1]))
    return image
