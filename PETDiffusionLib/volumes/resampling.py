"""Separable cubic-spline resampling between two grids that share axes and centre.

Models see PET on isotropic voxels of their own (the bundled denoiser 2.5 mm, the published DDPM 1.65 mm). Both grids
lie along the same axes and cover the same centre, so resampling is one small matrix an axis, of which only a band about
the diagonal counts: matrix products alone, on every machine, linear in activity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

ROWS_AT_ONCE, NEGLIGIBLE = 32, 1e-8


def spline_collocation(count: int) -> np.ndarray:
    """Values of `count` cubic B-splines at their own centres, mirrored at the ends: [count, count], tridiagonal."""
    matrix = np.zeros((count, count))
    index = np.arange(count)
    matrix[index, index] = 4 / 6
    for offset in (-1, 1):
        np.add.at(matrix, (index, mirrored(index + offset, count)), 1 / 6)
    return matrix


def mirrored(index: np.ndarray, count: int) -> np.ndarray:
    """Fold indices outside 0..count-1 back inside by reflection at the end samples."""
    if count == 1:
        return np.zeros_like(index)
    period = 2 * (count - 1)
    folded = np.mod(index, period)
    return np.where(folded < count, folded, period - folded)


def spline_matrix(count: int, positions: np.ndarray) -> np.ndarray:
    """The matrix [len(positions), count] that evaluates the interpolating cubic spline of `count` samples.

    `positions` are in samples (0 is the first sample's centre); those outside are held at the ends of the grid.
    """
    positions = np.clip(np.asarray(positions, dtype=np.float64), 0, count - 1)
    left = np.floor(positions).astype(int)
    fraction = positions - left
    weights = np.stack(
        [
            (1 - fraction) ** 3 / 6,
            (3 * fraction**3 - 6 * fraction**2 + 4) / 6,
            (-3 * fraction**3 + 3 * fraction**2 + 3 * fraction + 1) / 6,
            fraction**3 / 6,
        ]
    )
    evaluation = np.zeros((len(positions), count))
    rows = np.arange(len(positions))
    for tap in range(4):
        np.add.at(evaluation, (rows, mirrored(left + tap - 1, count)), weights[tap])
    return evaluation @ inverse_collocation(count)


@lru_cache(maxsize=512)
def inverse_collocation(count: int) -> np.ndarray:
    """From samples to B-spline coefficients: [count, count]; kept, since every volume of a shape asks for it."""
    return np.linalg.inv(spline_collocation(count))


def centre_matrix(count: int, spacing: float, new_count: int, new_spacing: float) -> np.ndarray:
    """Read the spline of `count` samples `spacing` apart at `new_count` centres about the same middle: [new, count]."""
    return spline_matrix(count, centre_positions(count, spacing, new_count, new_spacing)).astype(np.float32)


def average_matrix(count: int, spacing: float, new_count: int, new_spacing: float) -> np.ndarray:
    """Average the spline of `count` samples over each of `new_count` larger voxels about the same middle: [new, count].

    The sum over voxels times their volume, the activity, is kept, and nothing finer than the new voxels aliases.
    """
    return averages_at(count, centre_positions(count, spacing, new_count, new_spacing), new_spacing / spacing)


def averages_at(count: int, centres: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """Average the spline of `count` samples over voxels `width` wide about `centres`, all in samples: [new, count]."""
    widths = np.broadcast_to(width, centres.shape)[:, None]
    points = 2 * math.ceil(widths.max()) + 1
    offsets = ((np.arange(points) + 0.5) / points - 0.5) * widths
    fine = spline_matrix(count, (centres[:, None] + offsets).ravel())
    return fine.reshape(len(centres), points, count).mean(axis=1).astype(np.float32)


def centre_positions(count: int, spacing: float, new_count: int, new_spacing: float) -> np.ndarray:
    """The centres of `new_count` samples `new_spacing` apart about the middle of `count`, in samples of the latter."""
    return (np.arange(new_count) - (new_count - 1) / 2) * (new_spacing / spacing) + (count - 1) / 2


def downsampled(
    array: np.ndarray, spacing_mm: tuple[float, ...], new_shape: tuple[int, ...], new_spacing_mm: tuple[float, ...]
) -> np.ndarray:
    """`array` [z, y, x] on larger voxels (z, y, x in mm) about the same centre, each the mean over its volume."""
    matrices = tuple(average_matrix(array.shape[a], spacing_mm[a], new_shape[a], new_spacing_mm[a]) for a in range(3))
    return apply_matrices(array, matrices)


def apply_matrices(array: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Apply one matrix [new, old] to each axis of `array` [z, y, x]; the axis that shrinks most goes first."""
    for axis in sorted(range(3), key=lambda axis: matrices[axis].shape[0] / matrices[axis].shape[1]):
        array = _along(axis, array, matrices[axis])
    return array


def _along(axis: int, array: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The matrix [new, old] of a spline applied to one axis of `array` [z, y, x], a few rows at a time.

    A spline's samples reach but a dozen voxels, so most of the matrix is nothing: ten times faster than the whole of it
    for a whole body.
    """
    read = np.empty((*array.shape[:axis], len(matrix), *array.shape[axis + 1 :]), np.float32)
    source, target = np.moveaxis(array, axis, 0), np.moveaxis(read, axis, 0)
    for start in range(0, len(matrix), ROWS_AT_ONCE):
        rows = matrix[start : start + ROWS_AT_ONCE]
        reached = np.flatnonzero(np.abs(rows).max(axis=0) > NEGLIGIBLE)
        if not len(reached):
            target[start : start + ROWS_AT_ONCE] = 0
            continue
        columns = slice(reached[0], reached[-1] + 1)
        target[start : start + ROWS_AT_ONCE] = np.tensordot(rows[:, columns], source[columns], axes=1)
    return read


@dataclass(frozen=True)
class GridPair:
    """The input's grid and the model's grid about the same centre, and the way between them.

    Shapes are [z, y, x]; spacings are (z, y, x) in millimetres.
    """

    input_shape: tuple[int, ...]
    input_spacing_mm: tuple[float, ...]
    model_shape: tuple[int, ...]
    model_spacing_mm: tuple[float, ...]

    def to_model(self, array: np.ndarray, average: bool = True) -> np.ndarray:
        """Resample [z, y, x] from the input's grid to the model's.

        Where the model's voxels are the larger it is averaged over them, or not (`average` False): a spline read at
        their centres keeps the peak of a small lesion, and the noise that is folded in is the denoiser's to remove.
        """
        return self._resampled(
            array, self.input_shape, self.input_spacing_mm, self.model_shape, self.model_spacing_mm, average
        )

    def to_input(self, array: np.ndarray) -> np.ndarray:
        """Resample [z, y, x] from the model's grid to the input's, read at the voxel centres.

        After `to_model` on to finer voxels this gives the input back to about 1 % of its finest detail.
        """
        return self._resampled(
            array, self.model_shape, self.model_spacing_mm, self.input_shape, self.input_spacing_mm, average=False
        )

    @staticmethod
    def _resampled(
        array: np.ndarray,
        shape: tuple[int, ...],
        spacing: tuple[float, ...],
        new_shape: tuple[int, ...],
        new_spacing: tuple[float, ...],
        average: bool,
    ) -> np.ndarray:
        if tuple(array.shape) != tuple(shape):
            raise ValueError(f"expected an array of shape {shape}, found {array.shape}")
        if tuple(shape) == tuple(new_shape) and np.allclose(spacing, new_spacing, rtol=1e-6):
            return array
        matrices = []
        for axis in range(3):
            coarser = average and new_spacing[axis] > spacing[axis] * (1 + 1e-6)
            make = average_matrix if coarser else centre_matrix
            matrices.append(make(shape[axis], spacing[axis], new_shape[axis], new_spacing[axis]))
        return apply_matrices(array, matrices)


def isotropic_grid(shape: tuple[int, ...], spacing_mm: tuple[float, ...], voxel_size_mm: float) -> GridPair:
    """The pair of `shape` [z, y, x] at `spacing_mm` (z, y, x) and an isotropic grid that covers it.

    An axis already within 1 % of `voxel_size_mm` keeps its samples, so such a volume is never interpolated.
    """
    model_shape, model_spacing = [], []
    for count, spacing in zip(shape, spacing_mm, strict=True):
        if abs(spacing / voxel_size_mm - 1) < 0.01:
            model_shape.append(count)
            model_spacing.append(spacing)
        else:
            model_shape.append(max(1, math.ceil(count * spacing / voxel_size_mm - 1e-6)))
            model_spacing.append(voxel_size_mm)
    return GridPair(tuple(shape), tuple(spacing_mm), tuple(model_shape), tuple(model_spacing))
