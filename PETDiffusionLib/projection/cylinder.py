"""Joseph's method for cylindrical scanners, whose planes all have the same lines in plane.

A line of a tilted plane samples the image where the in-plane line does, somewhere between two slices. So the samples
of an in-plane line, sorted by the shift m (how many slices further than at its start a plane has come there), make one
sparse matrix [line, m] x [pixel] for all planes of the same tilt, and the slices are the columns of one sparse-times-
dense product; each plane then sums a diagonal of the result over m and slices. Planes tilted the other way use the same
product mirrored, and lines that the symmetries of the grid turn into each other use the same rows. The operator is that
of LineProjector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property, partial

import numpy as np
import torch

from PETDiffusionLib.projection.axial import Group, Run, Window, runs_of_planes
from PETDiffusionLib.projection.products import PRODUCT_BYTES, Folded, Matrices, Product, Scratch, Use, products_of
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.projection.symmetry import Block, Fold, Grid, folded_blocks
from PETDiffusionLib.projection.tof import tof_reach
from PETDiffusionLib.sinograms.geometry import TimeOfFlight

MATRIX_BYTES = {"cpu": 6e9, "cuda": 2.4e10}  # beyond it, other projectors serve


class CylinderProjector(Projector):
    """Lines with the in-plane ends `start_mm`, `end_mm` [view, tangential, 2] as (x, y), the same in every plane.

    `start_z_mm` and `end_z_mm` [plane] are z at the lines' ends. Images, their origin and voxel size, and TOF are as in
    LineProjector. Data are [plane, view, tangential(, tof)]. The matrices are made on first use.
    """

    name = "cylinder"

    def __init__(
        self,
        start_mm: np.ndarray,
        end_mm: np.ndarray,
        start_z_mm: np.ndarray,
        end_z_mm: np.ndarray,
        image_shape: Sequence[int],
        image_origin_mm: Sequence[float],
        voxel_size_mm: Sequence[float],
        tof: TimeOfFlight | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        z, y, x = (int(n) for n in image_shape)
        self.image_shape = (z, y, x)
        self.device = torch.device(device)
        self.tof = tof
        self._voxel = (float(voxel_size_mm[0]), float(voxel_size_mm[1]), float(voxel_size_mm[2]))
        middle = [image_origin_mm[axis] + (n - 1) / 2 * self._voxel[axis] for axis, n in enumerate((x, y))]
        self._grid = Grid((y, x), self._voxel[:2], (float(middle[0]), float(middle[1])))
        self._start, self._end = np.asarray(start_mm, np.float64), np.asarray(end_mm, np.float64)
        first, last = ((np.asarray(ends) - image_origin_mm[2]) / self._voxel[2] for ends in (start_z_mm, end_z_mm))
        self._runs = {False: _by_group(first, last), True: _by_group(last, first)}  # by whether the lines are reversed
        self._window = Window.around(np.concatenate([first, last]), z)
        self._planes = len(first)
        self._scratch = Scratch()  # this and what follows are shared by the projectors of subsets
        self._matrices: Matrices = {}
        self._orders: dict[Fold, tuple[torch.Tensor, torch.Tensor]] = {}
        self._set_views(torch.arange(len(self._start)))

    def obstacle(self) -> str | None:
        """Why this projector cannot or should not serve its lines and image; None where it can."""
        if self.device.type not in PRODUCT_BYTES:
            return f"sparse products are not known to work on {self.device.type}"
        in_plane = np.abs(self._end - self._start).max(axis=-1).min()
        if max(group.tilt for group in self._runs[False]) * self._voxel[2] > in_plane:
            return "lines run mostly along the axis"
        needed = self._expected_bytes()
        if needed > MATRIX_BYTES[self.device.type]:
            return f"its matrices would take {needed / 1e9:.0f} GB"
        return None

    def _expected_bytes(self) -> float:
        """About how much memory the matrices of all views take: index and value, in both orders."""
        rows = sum(len(block.start_mm) for block in self._blocks())
        slices = sum(2 if group.tilt or group.offset else 1 for group in self._runs[False])
        bins = 1.0 if self.tof is None else min(self.tof.bins, tof_reach(self.tof) * 2 + 2)
        return rows * max(self._grid.shape) * 2 * slices * bins * 2 * 8

    @property
    def matrix_bytes(self) -> int:
        """The memory that the matrices take, in both orders."""
        products = {id(product): product for served in self._products.values() for product, _ in served}
        return sum(product.matrix.bytes for product in products.values())

    def _set_views(self, views: torch.Tensor) -> None:
        bins = () if self.tof is None else (self.tof.bins,)
        self.views = views
        self.data_shape = (self._planes, len(views), self._start.shape[1], *bins)

    def over_views(self, views: torch.Tensor) -> CylinderProjector:
        part = copy(self)
        part.__dict__.pop("_products", None)
        part.subset_count = 1
        part._start, part._end = self._start[views.numpy()], self._end[views.numpy()]
        part._set_views(self.views[views])
        return part

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        data = image.new_zeros(self._line_shape)
        stack = self._window.cut(image)
        for fold, products in self._products.items():
            folded = Folded.of(self._gathered(stack, self._order(fold)[0], "folded"), self._window)
            for product, use in products:
                runs = self._runs[fold.reversed_][product.group]
                for planes, values in product.plane_sums(folded, runs, self._window):
                    values = use.lines_of(self._directed(values, fold))
                    if product.corrects:
                        values = values + data[use.lines, :, planes]
                    data[use.lines, :, planes] = values
        return data.permute(2, 0, 1).reshape(self.data_shape)

    def adjoint(self, data: torch.Tensor) -> torch.Tensor:
        data = data.reshape(self._planes, *self._line_shape[:2]).permute(1, 2, 0).contiguous()
        stack = data.new_zeros((*self._grid.shape, self._window.slices))
        for fold, products in self._products.items():
            columns = self._scratch.take("folded", (stack.shape[0] * stack.shape[1], stack.shape[2]), stack)
            total = Folded.empty(columns, self._window)
            for product, use in products:
                runs = self._runs[fold.reversed_][product.group]
                rows = partial(self._rows, data, product, use)
                product.add_transposed(total, rows, runs, self._window, self._scratch)
            stack += self._gathered(total.joined(self._window), self._order(fold)[1], "unfolded").view(stack.shape)
        return self._window.paste(stack)

    def _order(self, fold: Fold) -> tuple[torch.Tensor, torch.Tensor]:
        if fold not in self._orders:
            self._orders[fold] = fold.order(self._grid.shape, self.device)
        return self._orders[fold]

    def _gathered(self, stack: torch.Tensor, order: torch.Tensor, purpose: str) -> torch.Tensor:
        """The columns [pixel, slice] of a stack in another order, in memory that serves again."""
        columns = stack.reshape(-1, self._window.slices)
        return torch.index_select(columns, 0, order, out=self._scratch.take(purpose, columns.shape, columns))

    def _rows(self, data: torch.Tensor, product: Product, use: Use, planes: slice) -> torch.Tensor:
        """The data [line, bin, plane] of some planes, for the product's rows."""
        return use.rows_of(self._directed(data[use.lines, :, planes], use.fold), product.rows)

    @property
    def _line_shape(self) -> tuple[int, int, int]:
        """(lines, bins, planes): the order in which the data are worked on."""
        _, views, tangential, *bins = self.data_shape
        return (views * tangential, bins[0] if bins else 1, self._planes)

    def _blocks(self) -> Iterator[Block]:
        return folded_blocks(self._start.reshape(-1, 2), self._end.reshape(-1, 2), self._grid)

    @cached_property
    def _products(self) -> dict[Fold, list[tuple[Product, Use]]]:
        """What is to be multiplied with the image folded in each way. Made on first use: it takes seconds."""
        groups = sorted({group for runs in self._runs.values() for group in runs})
        parts = (groups, self._voxel[2], self.tof, self._window, self.device, self._matrices)
        by_fold: dict[Fold, list[tuple[Product, Use]]] = {}
        for product in products_of(self._blocks(), *parts):
            for use in product.uses:
                if product.group in self._runs[use.fold.reversed_]:
                    by_fold.setdefault(use.fold, []).append((product, use))
        return by_fold

    def _directed(self, values: torch.Tensor, fold: Fold) -> torch.Tensor:
        """Values [row, bin, plane] with the bins in the lines' own direction."""
        return values.flip(1) if fold.reversed_ and self.tof is not None else values


def _by_group(first: np.ndarray, last: np.ndarray) -> dict[Group, list[Run]]:
    runs: dict[Group, list[Run]] = {}
    for run in runs_of_planes(first, last):
        runs.setdefault(run.group, []).append(run)
    return runs
