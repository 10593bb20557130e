"""The way from a volume to a model's cubic voxels, and of results back to an image."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.volumes.resampling import GridPair, isotropic_grid
from PETDiffusionLib.volumes.volume import Volume


def grid_pair(volume: Volume, voxel_size_mm: float) -> GridPair:
    """The volume's own grid and that of cubic voxels about the same centre."""
    x, y, z = volume.voxel_size_mm
    shape = tuple(int(side) for side in volume.image.GetSize()[::-1])
    return isotropic_grid(shape, (z, y, x), voxel_size_mm)


def image_on_grid(array: np.ndarray, volume: Volume, pair: GridPair, grid: str) -> sitk.Image:
    """An image of values [z, y, x] with the input's geometry bit for bit ("input"), or on the "model" grid over it."""
    if grid == "input":
        return volume.with_array(array).image
    image = sitk.GetImageFromArray(array)
    image.SetDirection(volume.image.GetDirection())
    image.SetSpacing(pair.model_spacing_mm[::-1])
    counts = zip(pair.input_shape, pair.input_spacing_mm, pair.model_shape, pair.model_spacing_mm, strict=True)
    first = [((n - 1) / 2 - (m - 1) / 2 * spacing / size) for n, size, m, spacing in counts]  # in input voxels
    image.SetOrigin(volume.image.TransformContinuousIndexToPhysicalPoint(first[::-1]))
    return image
