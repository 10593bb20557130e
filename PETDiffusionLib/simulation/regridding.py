"""A phantom's fine voxels brought on to those of a scanner, about the same centre; beyond the phantom there is air."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from PETDiffusionLib.volumes.resampling import downsampled


def regridded(
    array: np.ndarray, size_mm: Sequence[float], shape: Sequence[int], new_size_mm: Sequence[float]
) -> np.ndarray:
    """Averages of `array` over voxels of `new_size_mm` on a grid of `shape`; all are (z, y, x)."""
    margin = [
        max(2, int(np.ceil((n * s / f - m) / 2)) + 2)
        for n, s, f, m in zip(shape, new_size_mm, size_mm, array.shape, strict=True)
    ]
    if (shape[0] - 1) * new_size_mm[0] <= array.shape[0] * size_mm[0]:
        margin[0] = 0  # the phantom goes on where the scanner ends
    padded = np.pad(array, [(m, m) for m in margin])
    return np.maximum(downsampled(padded, tuple(size_mm), tuple(shape), tuple(new_size_mm)), 0)


def labels_on_grid(
    labels: np.ndarray, size_mm: Sequence[float], shape: Sequence[int], new_size_mm: Sequence[float]
) -> np.ndarray:
    """The label at each new voxel's centre, uint16; 0 beyond the phantom."""
    nearest = [
        np.round((np.arange(n) - (n - 1) / 2) * s / f + (m - 1) / 2).astype(int)
        for n, s, f, m in zip(shape, new_size_mm, size_mm, labels.shape, strict=True)
    ]
    inside = [(index >= 0) & (index < m) for index, m in zip(nearest, labels.shape, strict=True)]
    clipped = [np.clip(index, 0, m - 1) for index, m in zip(nearest, labels.shape, strict=True)]
    found = labels[np.ix_(*clipped)] * (inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :])
    return found.astype(np.uint16)
