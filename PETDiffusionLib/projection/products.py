"""The sparse products of a cylindrical projector: a matrix for each group of planes and each batch of folded lines."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
import torch

from PETDiffusionLib.projection.axial import Group, Run, Window
from PETDiffusionLib.projection.in_plane import matrix_of_group, samples_along_y
from PETDiffusionLib.projection.sparse import SparseMatrix
from PETDiffusionLib.projection.symmetry import SAME_LINE_MM, Block, Fold, Grid
from PETDiffusionLib.sinograms.geometry import TimeOfFlight

PRODUCT_BYTES = {"cpu": 2**25, "cuda": 2**29}  # of one product's result: what a cache holds, what keeps a GPU busy
SAMPLES_AT_ONCE = 2_000_000  # while a matrix is made
PlaneValues = Callable[[slice], torch.Tensor]
Matrices = dict[tuple[bytes, Grid, Group, int], tuple[SparseMatrix, range]]  # by folded lines, grid, group and side


class Scratch:
    """Memory that passing results share: fresh pages for each would cost as much as the arithmetic.

    Every thread has its own, since a training projects its next batch while it walks on the last.
    """

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def take(self, purpose: str, shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        """A contiguous tensor of any values; the last one of the same purpose is lost."""
        size = math.prod(shape)
        held = self._of_thread.__dict__
        kept = held.get(purpose)
        if kept is None or kept.numel() < size or kept.dtype != like.dtype or kept.device != like.device:
            with torch.inference_mode(False):  # a tensor of inference mode could not be written to outside of it again
                kept = held[purpose] = torch.empty(size, dtype=like.dtype, device=like.device)
        return kept[:size].view(*shape)


@dataclass(frozen=True)
class Folded:
    """A folded image as `columns` [pixel, slice], and its first and last slice beside it, `faces` [2, pixel, 1].

    What lines leave the image through touches single slices, for which whole columns would be walked over and over.
    """

    columns: torch.Tensor
    faces: torch.Tensor

    @staticmethod
    def of(columns: torch.Tensor, window: Window) -> Folded:
        """Of an image to project."""
        faces = (
            columns[:, _faces(window)].T.contiguous() if window.leaves_image else columns.new_empty((0, len(columns)))
        )
        return Folded(columns, faces[..., None])

    @staticmethod
    def empty(columns: torch.Tensor, window: Window) -> Folded:
        """To add to: `columns` are set to zero."""
        return Folded(columns.zero_(), columns.new_zeros((2, len(columns), 1)))

    def joined(self, window: Window) -> torch.Tensor:
        """The columns with all that was added to the faces, in place."""
        if window.leaves_image:
            for place, face in zip(_faces(window), self.faces, strict=True):
                self.columns[:, place] += face[:, 0]
        return self.columns


def _faces(window: Window) -> list[int]:
    """Where the image's first and last slice are in the window; one that is not in it stands for none."""
    return [min(max(edge - window.start, 0), window.slices - 1) for edge in (0, window.depth - 1)]


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

    def plane_sums(self, folded: Folded, runs: list[Run], window: Window) -> Iterator[tuple[slice, torch.Tensor]]:
        """For the folded image: planes, and their values [row, bin, plane]."""
        shifted = self.matrix.multiply(folded.columns).reshape(self.rows, len(self.shifts), -1, window.slices)
        for run in runs:
            yield run.planes, run.diagonals(shifted, self.shifts.start, window.start).sum(1)

    def add_transposed(
        self, total: Folded, values_of: PlaneValues, runs: list[Run], window: Window, scratch: Scratch
    ) -> None:
        """The transpose of `plane_sums`: from values [row, bin, plane] of planes to the folded image `total`, added."""
        bins = self.matrix.shape[0] // (self.rows * len(self.shifts))
        shifted = scratch.take("shifted", (self.rows, len(self.shifts), bins, window.slices), total.columns).zero_()
        for run in runs:
            diagonals = run.diagonals(shifted, self.shifts.start, window.start)
            diagonals += values_of(run.planes)[:, None]
        self.matrix.add_transposed(total.columns, shifted.reshape(-1, window.slices))


@dataclass(frozen=True)
class BeyondImage(Product):
    """What has to be taken off again where lines leave the image through its first or last slice.

    Samples beyond the outer face of such a slice, though less than a slice from its middle, do not count; the matrix
    holds the samples on that `side` of their slice.
    """

    side: int
    corrects = True

    def plane_sums(self, folded: Folded, runs: list[Run], window: Window) -> Iterator[tuple[slice, torch.Tensor]]:
        for run in runs:
            edge, planes, places = self._edge(run, window)
            if places:
                shifted = self.matrix.multiply(folded.faces[int(edge > 0)]).reshape(self.rows, len(self.shifts), -1)
                yield planes, -shifted[:, places].transpose(1, 2)

    def add_transposed(
        self, total: Folded, values_of: PlaneValues, runs: list[Run], window: Window, scratch: Scratch
    ) -> None:
        for run in runs:
            edge, planes, places = self._edge(run, window)
            if places:
                values = values_of(planes)
                shifted = values.new_zeros((self.rows, len(self.shifts), values.shape[1]))
                shifted[:, places] = -values.transpose(1, 2)
                self.matrix.add_transposed(total.faces[int(edge > 0)], shifted.reshape(-1, 1))

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
    known: Matrices,
) -> Iterator[Product]:
    """The products of the folded lines in `blocks`, in batches whose results are of a handy size.

    Matrices are taken from those that are `known`, and added to them: subsets of views that mirror each other fold to
    the same lines.
    """
    bins = 1 if tof is None else tof.bins
    for block, group in product(blocks, groups):
        height, width = block.grid.shape
        row_bytes = (group.tilt + 2) * bins * window.slices * 4
        batch = max(1, int(min(PRODUCT_BYTES[device.type] / row_bytes, SAMPLES_AT_ONCE / (height * bins))))
        for first in range(0, len(block.start_mm), batch):
            start, end = block.start_mm[first : first + batch], block.end_mm[first : first + batch]
            lines = np.round(np.stack([start, end]) / SAME_LINE_MM).astype(np.int64).tobytes()
            samples = None
            uses = list(_uses(block, range(first, first + len(start)), device))
            for side in (0, -1, 1) if window.leaves_image else (0,):
                key = (lines, block.grid, group, side)
                if key not in known:
                    samples = samples or samples_along_y(start, end, block.grid)
                    matrix, shifts = matrix_of_group(samples, group, slice_mm, height * width, tof, side)
                    known[key] = SparseMatrix(matrix, device), shifts
                parts = (group, known[key][0], len(start), known[key][1], uses)
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
