"""Joseph's method line by line, for lines that share nothing: any scanner, list mode.

Joseph, IEEE TMI 1982: a line is sampled where it crosses the voxel planes across its principal axis, each sample
interpolated between the four voxels around it. The edge rule is parallelproj 2's: samples count within the outer
faces of the image and between the line's two end points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.projection.tof import tof_weights
from PETDiffusionLib.sinograms.geometry import TimeOfFlight

SAMPLES_AT_ONCE = 2_000_000
X, Y, Z = 0, 1, 2


class LineProjector(Projector):
    """Line integrals from `start_mm` to `end_mm`, [..., 3] as (x, y, z), through images [z, y, x].

    `image_origin_mm` is the middle of the first voxel and `voxel_size_mm` the voxels' size, both as (x, y, z). Data
    have the lines' leading shape, with TOF bins behind where `tof` is given. The device is that of `start_mm`.
    """

    name = "line by line"

    def __init__(
        self,
        start_mm: torch.Tensor | np.ndarray,
        end_mm: torch.Tensor | np.ndarray,
        image_shape: Sequence[int],
        image_origin_mm: Sequence[float],
        voxel_size_mm: Sequence[float],
        tof: TimeOfFlight | None = None,
    ) -> None:
        start, end = (torch.as_tensor(points).to(torch.float32) for points in (start_mm, end_mm))
        if start.shape != end.shape or start.shape[-1:] != (3,) or start.ndim < 2:
            raise PETDiffusionError(
                "bad-geometry",
                "Line end points of one shape [..., 3] are expected, "
                f"found {tuple(start.shape)} for the starts and {tuple(end.shape)} for the ends.",
            )
        z, y, x = (int(n) for n in image_shape)
        self.image_shape = (z, y, x)
        self.tof = tof
        self.device = start.device
        lines = tuple(start.shape[:-1])
        self.data_shape = lines if tof is None else (*lines, tof.bins)
        self.view_axis = min(1, len(lines) - 1)  # a plain list of lines is shared out line by line
        self.views = torch.arange(lines[self.view_axis])
        self._lines = lines
        self._start, self._end = start, end
        self._origin = [float(v) for v in image_origin_mm]
        self._voxel = [float(v) for v in voxel_size_mm]

    @cached_property
    def _by_axis(self) -> list[torch.Tensor]:
        return _by_principal_axis((self._end - self._start).reshape(-1, 3))

    def over_views(self, views: torch.Tensor) -> LineProjector:
        grid = (self.image_shape, self._origin, self._voxel, self.tof)
        start, end = (p.index_select(self.view_axis, views.to(self.device)) for p in (self._start, self._end))
        part = type(self)(start, end, *grid)
        part.views = self.views[views]
        return part

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        data = image.new_zeros(self._flat_shape)
        stacks = [image.movedim(2 - axis, 0)[:, None].contiguous() for axis in (X, Y, Z)]
        for axis, chosen in self._chunks():
            samples = _Samples(self, axis, chosen)
            values = F.grid_sample(stacks[axis], samples.positions, align_corners=False)[:, 0, :, 0]  # [step, line]
            data[chosen] = samples.gathered(values)
        return data.reshape(self.data_shape)

    def adjoint(self, data: torch.Tensor) -> torch.Tensor:
        flat = data.reshape(self._flat_shape)
        image = flat.new_zeros(self.image_shape)
        for axis, chosen in self._chunks():
            samples = _Samples(self, axis, chosen)
            stack = image.movedim(2 - axis, 0)
            empty = torch.empty(stack.shape, dtype=image.dtype, device=image.device)[:, None]
            values = samples.spread(flat[chosen])[:, None, :, None].contiguous()  # [step, 1, line, 1]
            # grid_sample's own transpose: bilinear, zeros outside, corners not aligned; the image's gradient alone.
            part, _ = torch.ops.aten.grid_sampler_2d_backward(
                values, empty, samples.positions, 0, 0, False, [True, False]
            )
            stack += part[:, 0]
        return image

    @property
    def _flat_shape(self) -> tuple[int, ...]:
        count = int(np.prod(self._lines))
        return (count,) if self.tof is None else (count, self.tof.bins)

    def _chunks(self) -> Iterator[tuple[int, torch.Tensor]]:
        """The principal axis and the numbers of some lines at a time."""
        for axis, chosen in enumerate(self._by_axis):
            steps = self.image_shape[2 - axis] * (1 if self.tof is None else self.tof.bins)
            for part in chosen.split(max(1, SAMPLES_AT_ONCE // steps)):
                if len(part):
                    yield axis, part


class _Samples:
    """Where some lines cross the planes across their principal `axis`, and how the samples make up the data."""

    def __init__(self, projector: LineProjector, axis: int, chosen: torch.Tensor) -> None:
        origin, voxel = projector._origin, projector._voxel
        sizes = projector.image_shape[::-1]  # (x, y, z)
        start = projector._start.reshape(-1, 3)[chosen]
        along = projector._end.reshape(-1, 3)[chosen] - start  # [line, 3]
        planes_mm = origin[axis] + voxel[axis] * torch.arange(sizes[axis], device=start.device)[:, None]
        fraction = (planes_mm - start[:, axis]) / along[:, axis]  # [step, line], of the way from start to end
        inside = (fraction >= 0) & (fraction <= 1)
        coordinates = []
        for other in (o for o in (X, Y, Z) if o != axis):  # grid_sample wants the fastest axis first
            index = (start[:, other] - origin[other] + fraction * along[:, other]) / voxel[other]
            inside &= (index >= -0.5) & (index <= sizes[other] - 0.5)
            coordinates.append((2 * index + 1) / sizes[other] - 1)
        self.positions = torch.stack(coordinates, dim=-1)[:, :, None]  # [step, line, 1, 2]
        length = along.norm(dim=1)
        self._step_mm = inside * (voxel[axis] * length / along[:, axis].abs())  # [step, line]
        self._shares = None
        if projector.tof is not None:
            self._shares = tof_weights((fraction - 0.5) * length, projector.tof)  # [step, line, bin]

    def gathered(self, values: torch.Tensor) -> torch.Tensor:
        """Samples [step, line] summed to data [line(, bin)]."""
        weighted = values * self._step_mm
        return weighted.sum(0) if self._shares is None else torch.einsum("sl,slb->lb", weighted, self._shares)

    def spread(self, data: torch.Tensor) -> torch.Tensor:
        """The transpose of `gathered`."""
        if self._shares is None:
            return data * self._step_mm
        return torch.einsum("lb,slb->sl", data, self._shares) * self._step_mm


def _by_principal_axis(along: torch.Tensor) -> list[torch.Tensor]:
    """The numbers of the lines that run mostly along x, along y and along z; lines without length have no axis.

    Ties go to y, then to z, decided in single precision as parallelproj decides them.
    """
    squares = along**2
    cosines = squares / squares.sum(dim=1, keepdim=True)  # no length: not a number, which no comparison accepts
    x, y, z = cosines.unbind(dim=1)
    along_y = (y >= x) & (y >= z)
    along_z = (z >= x) & (z >= y) & ~along_y
    along_x = (x > y) & (x > z)
    return [torch.nonzero(mask)[:, 0] for mask in (along_x, along_y, along_z)]
