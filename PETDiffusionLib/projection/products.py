"""The sparse products of a cylindrical projector: a matrix for each group of planes and each batch of folded lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
import torch

from PETDiffusionLib.projection.axial import Group, Run, Window
from PETDiffusionLib.projection.in_plane import matrix_of_group, samples_along_y
from PETDiffusionLib.projection.sparse import SparseMatrix
from PETDiffusionLib.projection.symmetry import Block, Fold
from PETDiffusionLib.sinograms.geometry import TimeOfFlight

PRODUCT_BYTES = {"cpu": 2**25, "cuda": 2**29}  # of one product's result: what a cache holds, what keeps a GPU busy
SAMPLES_AT_ONCE = 2_000_000  # while a matrix is made
PlaneValues = Callable[[slice], torch.Tensor]


@dataclass(frozen=True)
class Use:
    """Which of the data's lines the rows of a product are when the image is folded by `fold`."""

    fold: Fold
    rows: torch.Tensor | None  # None: all rows, in their order
    lines: torch.Tensor

    def lines_of(self, values: torch.Tensor) -> torch.Tensor:
        """From the values of all rows to those of `lines`."""
        return values if self.rows is None else values[self.rows]

    def rows_of(self, values: torch.Tensor, count: int) -> torch.Tensor:
        """The transpose of `lines_of`, for `count` rows."""
        if self.rows is None:
            return values
        return values.new_zeros((count, *values.shape[1:])).index_add_(0, self.rows, values)


@dataclass(frozen=True)
class Product:
    """The matrix [row * shift * bin, pixel] of some folded lines in the planes of one group."""

    group: Group
    matrix: SparseMatrix
    rows: int
    shifts: range
    uses: list[Use]
    corrects: ClassVar[bool] = False  # whether its values are added to those of another product

    def plane_sums(
        self, columns: torch.Tensor, runs: list[Run], window: Window
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        """For the folded image's `columns` [pixel, slice]: planes, and their values [row, bin, plane]."""
        shifted = self.matrix.multiply(columns).reshape(self.rows, len(self.shifts), -1, window.slices)
        for run in runs:
            yield run.planes, run.diagonals(shifted, self.shifts.start, window.start).sum(1)

    def add_transposed(self, total: torch.Tensor, values_of: PlaneValues, runs: list[Run], window: Window) -> None:
        """The transpose of `plane_sums`: from values [row, bin, plane] of planes to the columns `total`, added."""
        bins = self.matrix.shape[0] // (self.rows * len(self.shifts))
        shifted = total.new_zeros((self.rows, len(self.shifts), bins, window.slices))
        for run in runs:
            diagonals = run.diagonals(shifted, self.shifts.start, window.start)
            diagonals += values_of(run.planes)[:, None]
        self.matrix.add_transposed(total, shifted.reshape(-1, window.slices))


@dataclass(frozen=True)
class BeyondImage(Product):
    """What has to be taken off again where lines leave the image through its first or last slice.

    Samples beyond the outer face of such a slice, though less than a slice from its middle, do not count; the matrix
    holds the samples on that `side` of their slice.
    """

    side: int
    corrects = True

    def plane_sums(
        self, columns: torch.Tensor, runs: list[Run], window: Window
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        for run in runs:
            edge, planes, places = self._edge(run, window)
            if places:
                column = columns[:, edge - window.start, None]
                shifted = self.matrix.multiply(column).reshape(self.rows, len(self.shifts), -1)
                yield planes, -shifted[:, places].transpose(1, 2)

    def add_transposed(self, total: torch.Tensor, values_of: PlaneValues, runs: list[Run], window: Window) -> None:
        for run in runs:
            edge, planes, places = self._edge(run, window)
            if places:
                values = values_of(planes)
                shifted = total.new_zeros((self.rows, len(self.shifts), values.shape[1]))
                shifted[:, places] = -values.transpose(1, 2)
                column = total.new_zeros((len(total), 1))
                self.matrix.add_transposed(column, shifted.reshape(-1, 1))
                total[:, edge - window.start] += column[:, 0]

    def _edge(self, run: Run, window: Window) -> tuple[int, slice, list[int]]:
        """The image's slice in question, the planes of the run that meet it, and where among the shifts they do."""
        edge = 0 if self.side * run.sign > 0 else window.depth - 1
        if not window.start <= edge < window.stop:
            return edge, slice(0, 0), []
        planes, shifts = run.meetings(edge, self.shifts)
        return edge, planes, [shift - self.shifts.start for shift in shifts]


def products_of(
    blocks: Iterable[Block],
    groups: Iterable[Group],
    slice_mm: float,
    tof: TimeOfFlight | None,
    window: Window,
    device: torch.device,
) -> Iterator[Product]:
    """The products of the folded lines in `blocks`, in batches whose results are of a handy size."""
    bins = 1 if tof is None else tof.bins
    for block, group in product(blocks, groups):
        height, width = block.grid.shape
        row_bytes = (group.tilt + 2) * bins * window.slices * 4
        batch = max(1, int(min(PRODUCT_BYTES[device.type] / row_bytes, SAMPLES_AT_ONCE / (height * bins))))
        for first in range(0, len(block.start_mm), batch):
            start, end = block.start_mm[first : first + batch], block.end_mm[first : first + batch]
            samples = samples_along_y(start, end, block.grid)
            uses = list(_uses(block, range(first, first + len(start)), device))
            for side in (0, -1, 1) if window.leaves_image else (0,):
                matrix, shifts = matrix_of_group(samples, group, slice_mm, height * width, tof, side)
                parts = (group, SparseMatrix(matrix, device), len(start), shifts, uses)
                yield Product(*parts) if side == 0 else BeyondImage(*parts, side)


def _uses(block: Block, batch: range, device: torch.device) -> Iterator[Use]:
    """The uses of the block's rows in `batch`."""
    for fold, rows, lines in block.uses:
        chosen = np.nonzero((rows >= batch.start) & (rows < batch.stop))[0]
        chosen = chosen[np.argsort(rows[chosen], kind="stable")]
        places = rows[chosen] - batch.start
        if not len(places):
            continue
        whole = np.array_equal(places, np.arange(len(batch)))
        yield Use(
            fold,
            None if whole else torch.from_numpy(places).to(device),
            torch.from_numpy(lines[chosen]).to(device),
        )
