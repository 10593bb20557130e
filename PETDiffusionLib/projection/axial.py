"""The axial half of a cylindrical scanner's lines: which slices a tilted plane passes, and where along its lines.

In slices, a line of the plane is at z = first + (last - first) t, a share t of the way from its start. Planes of equal
|last - first| whose first slices lie at whole slices from each other weight the slices alike, one shifted against the
other and, tilted the other way, mirrored: they are one group, and share the in-plane work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

ROUNDING = 1e-5  # of a slice: what single precision leaves of positions in mm


@dataclass(frozen=True, order=True)
class Group:
    """Planes that weight the slices alike: shift m has the weight 1 - |offset + tilt t - m|, where that is positive."""

    tilt: float  # |last - first|
    offset: float  # 0 to 1


@dataclass(frozen=True)
class Run:
    """Planes of a group at a constant step: shift m of the run's plane k is the slice first_slice + k step + sign m."""

    group: Group
    planes: slice
    sign: int
    first_slice: int
    step: int

    @property
    def count(self) -> int:
        return len(range(self.planes.start, self.planes.stop, self.planes.step))

    def diagonals(self, shifted: torch.Tensor, first_shift: int, window_start: int) -> torch.Tensor:
        """A view [line, m, bin, plane] of contiguous `shifted` [line, m, bin, slice]: what the planes sum over m.

        `first_shift` and `window_start` are the m and the slice of its first elements. No element appears twice.
        """
        lines, shifts, bins, slices = shifted.shape
        offset = self.first_slice + self.sign * first_shift - window_start
        strides = (shifts * bins * slices, bins * slices + self.sign, slices, self.step)
        return shifted.as_strided((lines, shifts, bins, self.count), strides, offset)

    def meetings(self, slice_: int, shifts: range) -> tuple[slice, list[int]]:
        """The planes that have `slice_` among `shifts`, and the shift of each."""
        found = [self.sign * (slice_ - self.first_slice - k * self.step) for k in range(self.count)]
        kept = [k for k, shift in enumerate(found) if shift in shifts]
        if not kept:
            return slice(0, 0), []
        numbers = range(self.planes.start, self.planes.stop, self.planes.step)[kept[0] : kept[-1] + 1]
        return slice(numbers.start, numbers.stop, numbers.step), [found[k] for k in kept]


@dataclass(frozen=True)
class Window:
    """The slices that any line passes, `start` to `stop`; the image has those from 0 to `depth`."""

    start: int
    stop: int
    depth: int

    @property
    def slices(self) -> int:
        return self.stop - self.start

    @property
    def leaves_image(self) -> bool:
        return self.start < 0 or self.stop > self.depth

    @staticmethod
    def around(z: np.ndarray, depth: int) -> Window:
        """The window that holds the positions `z`, in slices."""
        return Window(int(np.floor(z.min() + ROUNDING)), int(np.ceil(z.max() - ROUNDING)) + 1, depth)

    def cut(self, image: torch.Tensor) -> torch.Tensor:
        """The window of an image [z, y, x] as [y, x, slice]; slices beyond the image are empty."""
        inside = image[max(self.start, 0) : max(self.stop, 0)]
        before = min(max(-self.start, 0), self.slices)
        padding = (before, self.slices - before - len(inside))
        return torch.nn.functional.pad(inside.permute(1, 2, 0), padding).contiguous()

    def paste(self, stack: torch.Tensor) -> torch.Tensor:
        """The transpose of `cut`."""
        image = stack.new_zeros((self.depth, *stack.shape[:2]))
        inside = image[max(self.start, 0) : max(self.stop, 0)]
        before = min(max(-self.start, 0), self.slices)
        inside += stack[:, :, before : before + len(inside)].permute(2, 0, 1)
        return image


def runs_of_planes(first: np.ndarray, last: np.ndarray) -> list[Run]:
    """The planes as runs; `first` and `last` [plane] are z of the lines' starts and ends, in slices."""
    sign = np.where(last >= first, 1, -1)
    whole = np.floor(sign * first + ROUNDING).astype(int)
    offset = np.round(np.maximum(sign * first - whole, 0) / ROUNDING) * ROUNDING
    tilt = np.round(np.abs(last - first) / ROUNDING) * ROUNDING
    members: dict[tuple[Group, int], list[int]] = {}
    for plane, key in enumerate(zip(tilt, offset, sign, strict=True)):
        members.setdefault((Group(float(key[0]), float(key[1])), int(key[2])), []).append(plane)
    return [
        Run(group, planes, one_sign, int(start), step)
        for (group, one_sign), numbers in members.items()
        for planes, start, step in _even_stretches(np.array(numbers), (sign * whole)[numbers])
    ]


def _even_stretches(planes: np.ndarray, slices: np.ndarray) -> Iterator[tuple[slice, int, int]]:
    """Stretches of planes whose numbers and whose first slices both ascend evenly: planes, first slice, step."""
    start = 0
    while start < len(planes):
        stop = start + 1
        steps = (1, 1)
        if stop < len(planes) and slices[stop] > slices[start]:
            steps = (planes[stop] - planes[start], slices[stop] - slices[start])
            while stop < len(planes) and (planes[stop] - planes[stop - 1], slices[stop] - slices[stop - 1]) == steps:
                stop += 1
        yield slice(int(planes[start]), int(planes[stop - 1]) + 1, int(steps[0])), slices[start], int(steps[1])
        start = stop
