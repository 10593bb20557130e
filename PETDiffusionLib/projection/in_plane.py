"""Joseph's samples of lines in one plane, and the sparse matrices they make up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
import torch

from PETDiffusionLib.projection.axial import ROUNDING, Group
from PETDiffusionLib.projection.symmetry import Grid
from PETDiffusionLib.projection.tof import tof_weights
from PETDiffusionLib.sinograms.geometry import TimeOfFlight

SMALLEST_WEIGHT = 2 * ROUNDING  # of a slice, so that no sample leaves its planes' slices by rounding


@dataclass(frozen=True)
class Samples:
    """Where lines meet pixels: a sample between two pixels is two entries. All arrays are [entry]."""

    line: np.ndarray
    pixel: np.ndarray  # y * width + x
    weight: np.ndarray  # of the pixel in the sample
    fraction: np.ndarray  # of the way from the line's start to its end
    spacing: np.ndarray  # [line]: of neighbouring samples, as a fraction of the line
    length_mm: np.ndarray  # [line], in plane


def samples_along_y(start_mm: np.ndarray, end_mm: np.ndarray, grid: Grid) -> Samples:
    """Samples of lines [line, 2] as (x, y) that run mostly along +y, where they cross the pixel rows of `grid`.

    Samples count within the outer faces of the grid and between the two ends.
    """
    (height, width), (voxel_x, voxel_y), (middle_x, middle_y) = grid.shape, grid.voxel_mm, grid.middle_mm
    along = end_mm - start_mm
    rows_mm = middle_y + (np.arange(height) - (height - 1) / 2) * voxel_y
    fraction = (rows_mm - start_mm[:, 1:]) / along[:, 1:]  # [line, row]
    column = (start_mm[:, :1] + fraction * along[:, :1] - middle_x) / voxel_x + (width - 1) / 2
    inside = (fraction >= 0) & (fraction <= 1) & (column >= -0.5) & (column <= width - 0.5)
    line, row = np.nonzero(inside)
    fraction, column = fraction[inside], column[inside]
    left = np.floor(column).astype(np.int64)
    share = column - left
    pixels, weights = np.stack([left, left + 1]), np.stack([1 - share, share])  # [2, sample]
    kept = (pixels >= 0) & (pixels < width) & (weights > 0)
    of_sample = np.nonzero(kept)[1]
    return Samples(
        line[of_sample],
        (row * width + pixels)[kept],
        weights[kept],
        fraction[of_sample],
        voxel_y / along[:, 1],
        np.hypot(along[:, 0], along[:, 1]),
    )


def matrix_of_group(
    samples: Samples, group: Group, slice_mm: float, pixels: int, tof: TimeOfFlight | None, side: int = 0
) -> tuple[sparse.csr_matrix, range]:
    """The matrix [line * shift * bin, pixel] of the lines in the planes of `group`, and its shifts.

    With a `side`, only samples further than half a slice from the slice that they add to: +1, those before it on the
    way to the line's end; -1, those behind it.
    """
    length_mm = np.hypot(samples.length_mm, group.tilt * slice_mm)
    position = group.offset + group.tilt * samples.fraction
    before = np.floor(position).astype(np.int64)
    share = position - before
    shift, weight = np.concatenate([before, before + 1]), np.concatenate([1 - share, share])
    kept = weight > SMALLEST_WEIGHT
    if side:
        kept &= (weight < 0.5) & (np.repeat([-1, 1], len(share)) == side)
    chosen = np.nonzero(kept)[0]
    entry, shift = chosen % len(share) if len(share) else chosen, shift[chosen]
    shifts = range(shift.min(), shift.max() + 1) if len(shift) else range(1)
    line = samples.line[entry]
    values = weight[chosen] * samples.weight[entry] * (length_mm * samples.spacing)[line]
    row, column, bins = line * len(shifts) + shift - shifts.start, samples.pixel[entry], 1
    if tof is not None:
        distance_mm = (samples.fraction[entry] - 0.5) * length_mm[line]
        shares = tof_weights(torch.from_numpy(distance_mm), tof).numpy()  # [entry, bin]
        entry, tof_bin = np.nonzero(shares)
        bins = tof.bins
        row, column, values = row[entry] * bins + tof_bin, column[entry], values[entry] * shares[entry, tof_bin]
    shape = (len(samples.length_mm) * len(shifts) * bins, pixels)
    indices = (row.astype(np.int32), column.astype(np.int32))
    return sparse.csr_matrix((values.astype(np.float32), indices), shape=shape), shifts
