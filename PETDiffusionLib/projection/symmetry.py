"""Lines that are images of each other under the symmetries of a square grid, so that one matrix row serves up to eight.

Mirrored at the image's axes or its diagonal, a line of a scanner centred on the image is most often another line of
it. Every line is folded to one that runs along +y, leans towards +x and passes the centre on its positive side;
what folds to the same line shares its row, applied to the image folded in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

SAME_LINE_MM = 1e-5


@dataclass(frozen=True)
class Grid:
    """The pixels of a slice: `shape` (y, x), `voxel_mm` (x, y), around `middle_mm` (x, y)."""

    shape: tuple[int, int]
    voxel_mm: tuple[float, float]
    middle_mm: tuple[float, float]

    @property
    def is_square(self) -> bool:
        return self.shape[0] == self.shape[1] and self.voxel_mm[0] == self.voxel_mm[1]

    def folded(self, transposed: bool) -> Grid:
        """The grid of an image folded with or without transposing, around the origin."""
        (height, width), (voxel_x, voxel_y) = self.shape, self.voxel_mm
        if transposed:
            height, width, voxel_x, voxel_y = width, height, voxel_y, voxel_x
        return Grid((height, width), (voxel_x, voxel_y), (0.0, 0.0))


@dataclass(frozen=True)
class Fold:
    """One way of folding: transpose the image, then flip it; `reversed_` lines then run from end to start."""

    transposed: bool
    flipped_x: bool
    flipped_y: bool
    reversed_: bool

    @staticmethod
    def of(number: int) -> Fold:
        return Fold(*(bool(number >> bit & 1) for bit in range(4)))

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """Images [y, x, ...] folded."""
        image = image.transpose(0, 1) if self.transposed else image
        return image.flip(self._flips) if self._flips else image

    def undo(self, image: torch.Tensor) -> torch.Tensor:
        """The inverse, and the transpose, of `apply`."""
        image = image.flip(self._flips) if self._flips else image
        return image.transpose(0, 1) if self.transposed else image

    def order(self, shape: tuple[int, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """`apply` and `undo` as indices of the pixels (y * width + x) of images [y, x]: to gather whole columns by."""
        order = self.apply(torch.arange(shape[0] * shape[1], device=device).reshape(shape)).reshape(-1)
        return order, order.argsort()

    @property
    def _flips(self) -> list[int]:
        return [0] * self.flipped_y + [1] * self.flipped_x


@dataclass(frozen=True)
class Block:
    """Distinct folded lines and, for every fold that any of them serves, which of them are which of the lines given."""

    start_mm: np.ndarray  # [row, 2] as (x, y), on `grid`
    end_mm: np.ndarray
    grid: Grid
    uses: list[tuple[Fold, np.ndarray, np.ndarray]]  # fold, rows of the block, lines


def folded_blocks(start_mm: np.ndarray, end_mm: np.ndarray, grid: Grid) -> Iterator[Block]:
    """Lines [line, 2] as (x, y) in blocks whose rows serve the same folds of `grid`."""
    folded, fold = _fold(start_mm, end_mm, np.array(grid.middle_mm))
    keys = np.round(folded / SAME_LINE_MM).astype(np.int64)
    if not grid.is_square:
        keys = np.concatenate([keys, fold[:, None] & 1], axis=1)
    _, first, row = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    row = row.reshape(-1)
    served = np.zeros(len(first), np.int64)  # the folds that each row serves, a bit each
    np.bitwise_or.at(served, row, 1 << fold)
    for rows in _rows_with_common_folds(served):
        place = np.full(len(first), -1)
        place[rows] = np.arange(len(rows))
        lines = np.nonzero(place[row] >= 0)[0]
        uses = [
            (Fold.of(number), place[row[lines[fold[lines] == number]]], lines[fold[lines] == number])
            for number in np.unique(fold[lines])
        ]
        ends = folded[first[rows]]
        yield Block(ends[:, :2], ends[:, 2:], grid.folded(uses[0][0].transposed), uses)


def _fold(start_mm: np.ndarray, end_mm: np.ndarray, middle_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The folded lines' start and end around the middle, [line, 4], and the number of the fold of each."""
    start, end = start_mm - middle_mm, end_mm - middle_mm
    squares = (end_mm.astype(np.float32) - start_mm.astype(np.float32)) ** 2
    cosines = squares / squares.sum(axis=1, keepdims=True)  # ties go to y, decided as parallelproj decides them
    transposed = cosines[:, 0] > cosines[:, 1]
    for points in (start, end):
        points[transposed] = points[transposed, ::-1]
    backwards = end[:, 1] < start[:, 1]
    start[backwards], end[backwards] = end[backwards], start[backwards]
    leaning = end[:, 0] < start[:, 0]
    for points in (start, end):
        points[leaning, 0] *= -1
    along = end - start
    negative = start[:, 0] * along[:, 1] - start[:, 1] * along[:, 0] < 0  # half a turn and a swap of the ends mend it
    start[negative], end[negative] = -end[negative], -start[negative]
    bits = (transposed, leaning ^ negative, negative, backwards ^ negative)
    fold = np.sum([mask.astype(np.int64) << bit for bit, mask in enumerate(bits)], axis=0)
    return np.concatenate([start, end], axis=1), fold


def _rows_with_common_folds(served: np.ndarray) -> Iterator[np.ndarray]:
    """Rows that serve the same folds together; a rarer set of folds joins a more common one that holds it."""
    sets, counts = np.unique(served, return_counts=True)
    joined: dict[int, list[int]] = {}
    for folds in sets[np.argsort(-counts, kind="stable")]:
        host = next((larger for larger in joined if folds & ~larger == 0), int(folds))
        joined.setdefault(host, []).append(int(folds))
    for members in joined.values():
        yield np.nonzero(np.isin(served, members))[0]
