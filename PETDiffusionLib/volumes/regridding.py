"""A volume on another grid: cubic voxels of a wanted size, or the voxels of another volume, and back.

Where both grids lie along the same axes this is one small matrix an axis (resampling.py), as `denoise` goes to its
model's grid: a cubic spline, averaged over the new voxels where those are the larger, so that activity is kept and
nothing finer than they are aliases. Between tilted grids the same average comes first and ITK's spline after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.model_grid import as_scanned
from PETDiffusionLib.volumes.resampling import apply_matrices, averages_at, spline_matrix
from PETDiffusionLib.volumes.volume import Volume

# Of the published 3D DDPM, along the patient's x, y and z (its code calls our y "x": 317 mm deep, 475 mm wide).
DDPM3D_VOXEL_MM, DDPM3D_SHAPE = 1.65, (288, 192, 520)

MOST_VOXELS = 2**31  # 8 GB; more is a slip of the hand
AXES_AGREE_VOXELS = 0.01  # how far a corner may be off for two grids to count as parallel
SAME_SIZE = 1e-6  # relative; below it voxels are no larger
SAME_PLACE = 1e-4  # of a voxel; centres that lie so near to the old ones are those, and their values stay to the bit
LEAST_SAID = 5e-5  # of the activity, or of the voxels; less is rounding


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: counts and sizes in mm along x, y and z, the first centre, and the axes (as in SimpleITK)."""

    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: sitk.Image) -> Grid:
        """The grid of an image."""
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @property
    def axes(self) -> np.ndarray:
        """The axes as columns [3, 3]."""
        return np.reshape(self.direction, (3, 3))

    @property
    def extent_mm(self) -> tuple[float, ...]:
        """From edge to edge along x, y and z."""
        return tuple(count * spacing for count, spacing in zip(self.size, self.spacing_mm, strict=True))

    def shares_voxels_with(self, other: Grid) -> bool:
        """Whether both cut space into the same voxels, of which each may hold another part."""
        offset = (np.array(other.origin_mm) - self.origin_mm) @ self.axes / self.spacing_mm
        return (
            np.allclose(self.spacing_mm, other.spacing_mm, rtol=1e-4)
            and np.allclose(self.direction, other.direction, atol=1e-4)
            and np.allclose(offset, np.round(offset), atol=AXES_AGREE_VOXELS)
        )

    def image(self, array: np.ndarray) -> sitk.Image:
        """An image of values [z, y, x] on this grid."""
        image = sitk.GetImageFromArray(np.ascontiguousarray(array, np.float32))
        image.SetSpacing(self.spacing_mm)
        image.SetOrigin(self.origin_mm)
        image.SetDirection(self.direction)
        return image


def cubic_grid(image: sitk.Image, voxel_mm: float, shape: Sequence[int] | None = None) -> Grid:
    """Cubic voxels about the centre of `image`, along its axes in the order nearest to left, posterior, superior.

    `shape` (x, y, z of the patient) crops or pads alike on both sides; without it the grid covers the whole image.
    Raises PETDiffusionError "bad-value" for a voxel size that no memory holds.
    """
    scanned = as_scanned(image)
    counts, spacings = scanned.GetSize(), scanned.GetSpacing()
    extents = [n * s / voxel_mm for n, s in zip(counts, spacings, strict=True)]
    size = tuple(shape) if shape is not None else tuple(max(1, math.ceil(extent - 1e-6)) for extent in extents)
    if math.prod(size) > MOST_VOXELS:
        raise PETDiffusionError(
            "bad-value",
            f"Voxels of {voxel_mm:g} mm would make {' x '.join(map(str, size))} of them. Give larger ones or a shape.",
        )
    first = [(n - 1) / 2 - (m - 1) / 2 * voxel_mm / s for n, m, s in zip(counts, size, spacings, strict=True)]
    return Grid(size, (voxel_mm,) * 3, scanned.TransformContinuousIndexToPhysicalPoint(first), scanned.GetDirection())


def regridded(volume: Volume, grid: Grid, blocks: bool = False) -> Volume:
    """The volume on `grid`, zero where it has no data; linear in activity, whatever order its axes are stored in.

    `blocks` takes the values as constant in each voxel, as those of a mask are, where a spline would run over.

    The sum over voxels times their volume is kept inside what both cover: a uniform volume stays uniform, and a voxel
    that sticks out of it holds the share of its value that was measured. Warnings in the facts say where that lowers
    values, what share of the activity was cut off, and what share of the grid has no data. Raises PETDiffusionError
    "no-overlap".
    """
    image = as_scanned(volume.image)
    given = Grid.of(image)
    array = sitk.GetArrayViewFromImage(image)
    cosines = given.axes.T @ grid.axes  # [axis of the volume, axis of the grid]
    nearest = np.abs(cosines).argmax(axis=0)
    exact = np.zeros((3, 3))
    exact[nearest, range(3)] = np.sign(cosines[nearest, range(3)])
    reach = max(*given.extent_mm, *grid.extent_mm) * np.abs(cosines - exact).max()
    if len(set(nearest)) == 3 and reach < AXES_AGREE_VOXELS * min(*given.spacing_mm, *grid.spacing_mm):
        values, kept, covered, lowered = _along_axes(array, given, grid, nearest, blocks)
    else:
        (values, kept, covered), lowered = _tilted(array, given, grid, cosines), 0.0
    said = _what_was_lost(kept, covered, lowered, grid)
    return Volume(grid.image(values), volume.unit, {**volume.facts, "warnings": volume.warnings + said})


def _along_axes(
    array: np.ndarray, given: Grid, grid: Grid, nearest: np.ndarray, blocks: bool
) -> tuple[np.ndarray, float, float, float]:
    """Values [z, y, x] on a parallel grid; the share of the activity that it holds, and of its voxels with data; and
    what share more it would hold if voxels that stick out of the volume were not lowered.

    `nearest` holds, for each axis of the grid, the axis of the volume that lies along it.
    """
    matrices, held, filled = {}, {}, []
    for new, old in enumerate(nearest):
        centres = _positions(given, grid, int(old), new)
        width = grid.spacing_mm[new] / given.spacing_mm[old]
        share = _overlaps(given.size[old], centres, width).sum(axis=1)
        share = np.where(share > SAME_PLACE / width, np.where(share > 1 - SAME_PLACE / width, 1, share), 0)
        matrices[2 - int(old)] = _axis_matrix(given.size[old], centres, width, blocks, share)
        filled.append(share)
        held[2 - int(old)] = _held_by(given.size[old], centres, width)
    covered = math.prod(float((share > 0).mean()) for share in filled)
    if covered == 0:
        raise _no_overlap()
    values = apply_matrices(array, [matrices[axis] for axis in range(3)])
    values = values.transpose([2 - int(nearest[2 - axis]) for axis in range(3)])
    lowered = 0.0 if blocks else _lowered(values, filled)
    return values, _share(array[np.ix_(*(held[axis] for axis in range(3)))], array), covered, lowered


def _lowered(values: np.ndarray, filled: Sequence[np.ndarray]) -> float:
    """By what share of the activity [z, y, x] would be more without the shares along x, y and z that lowered it."""
    total = whole = values
    for share in filled:
        total = total.sum(axis=-1, dtype=np.float64)
        whole = whole @ np.divide(1.0, share, out=np.zeros_like(share), where=share > 0).astype(whole.dtype)
    return float(whole / total - 1) if total > 0 else 0.0


def _positions(given: Grid, grid: Grid, old: int, new: int) -> np.ndarray:
    """The centres along axis `new` of the grid as places along axis `old` of the volume, in its samples.

    Taken through the middle of the grid, where axes that are a rounding off do least harm.
    """
    index = np.repeat((np.array(grid.size)[:, None] - 1) / 2, grid.size[new], axis=1)
    index[new] = np.arange(grid.size[new])
    points = grid.axes @ (index * np.array(grid.spacing_mm)[:, None]) + np.array(grid.origin_mm)[:, None]
    centres = given.axes[:, old] @ (points - np.array(given.origin_mm)[:, None]) / given.spacing_mm[old]
    whole = np.round(centres)
    return np.where(np.abs(centres - whole) < SAME_PLACE, whole, centres)


def _axis_matrix(count: int, centres: np.ndarray, width: float, blocks: bool, share: np.ndarray) -> np.ndarray:
    """The matrix [new, count] of one axis; `centres` and `width` of the new voxels are in samples.

    `share` [new] is the part of each new voxel that the samples fill.
    """
    if blocks:
        return _overlaps(count, centres, width)
    larger = width > 1 + SAME_SIZE
    if not larger and np.array_equal(centres, np.round(centres)):
        matrix = (centres[:, None] == np.arange(count)).astype(np.float32)
    elif larger:  # over the part that was measured
        low, high = np.clip([centres - width / 2, centres + width / 2], -0.5, count - 0.5)
        matrix = averages_at(count, (low + high) / 2, high - low)
    else:
        matrix = spline_matrix(count, centres).astype(np.float32)
    return matrix * share[:, None].astype(np.float32)


def _overlaps(count: int, centres: np.ndarray, width: float) -> np.ndarray:
    """The share of each new voxel that each of `count` samples fills: [new, count]."""
    low, high = (centres - width / 2)[:, None], (centres + width / 2)[:, None]
    samples = np.arange(count)
    shared = np.minimum(high, samples + 0.5) - np.maximum(low, samples - 0.5)
    return (np.maximum(shared, 0) / width).astype(np.float32)


def _held_by(count: int, centres: np.ndarray, width: float) -> np.ndarray:
    """Which of `count` samples have their centres in the new voxels: boolean [count].

    A grid that covers a volume sticks out by less than half a voxel on each side, and so loses nothing on the way back.
    """
    samples = np.arange(count)
    return (samples > centres.min() - width / 2 - SAME_PLACE) & (samples < centres.max() + width / 2 + SAME_PLACE)


def _tilted(array: np.ndarray, given: Grid, grid: Grid, cosines: np.ndarray) -> tuple[np.ndarray, float, float]:
    """The same as `_along_axes` where the axes are tilted against each other."""
    widths = np.sqrt((cosines**2) @ np.square(grid.spacing_mm)) / given.spacing_mm  # of a new voxel along old axes
    matrices = []
    for old in (2, 1, 0):
        samples = np.arange(given.size[old], dtype=np.float64)
        larger = widths[old] > 1 + SAME_SIZE
        matrices.append(averages_at(len(samples), samples, widths[old]) if larger else np.eye(len(samples)))
    smooth = given.image(apply_matrices(array, [matrix.astype(np.float32) for matrix in matrices]))

    values = _read(smooth, grid, sitk.sitkBSpline)
    covered = float(_overlap(given, grid).mean())
    if covered == 0:
        raise _no_overlap()
    return values, _share(array[_overlap(grid, given) > 0], array), covered


def _overlap(one: Grid, other: Grid) -> np.ndarray:
    """Which voxels of the other grid have their centres in the one: 1 or 0 [z, y, x]."""
    ones = sitk.Image(one.size, sitk.sitkUInt8) + 1
    ones.SetSpacing(one.spacing_mm)
    ones.SetOrigin(one.origin_mm)
    ones.SetDirection(one.direction)
    return _read(ones, other, sitk.sitkNearestNeighbor)


def _read(image: sitk.Image, grid: Grid, interpolator: int) -> np.ndarray:
    """The image at the centres of `grid`, 0 outside it: [z, y, x]."""
    read = sitk.Resample(
        image, grid.size, sitk.Transform(), interpolator, grid.origin_mm, grid.spacing_mm, grid.direction, 0.0
    )
    return sitk.GetArrayFromImage(read)


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    """The activity of a part in that of the whole; 1 where there is none."""
    total = float(whole.sum(dtype=np.float64))
    return float(part.sum(dtype=np.float64)) / total if total > 0 else 1.0


def _no_overlap() -> PETDiffusionError:
    return PETDiffusionError(
        "no-overlap",
        "The volume and the grid that it should be brought to do not overlap in space. Give a reference whose header "
        "places it where the volume is.",
    )


def _what_was_lost(kept: float, covered: float, lowered: float, grid: Grid) -> list[str]:
    said = []
    if lowered > LEAST_SAID:
        said.append(
            "The outermost voxels of the new grid stick out of the volume, where nothing was measured; their values "
            f"are lowered to the share that was, which keeps the activity ({100 * lowered:.2g} % more without)."
        )
    if 1 - kept > LEAST_SAID:
        extent = " x ".join(f"{side:.0f}" for side in grid.extent_mm)
        said.append(f"{100 * (1 - kept):.2g} % of the activity lies outside the new grid of {extent} mm and was cut.")
    if 1 - covered > LEAST_SAID:
        said.append(f"{100 * (1 - covered):.2g} % of the new grid lies outside the volume; it is 0 there.")
    return said
