"""How the values of a sinogram lie in its file: which axis runs fastest, which segments come first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from PETDiffusionLib.sinograms.interfile_header import InterfileHeader

TANGENTIAL, VIEW, AXIAL, SEGMENT, TIMING = (
    "tangential coordinate",
    "view",
    "axial coordinate",
    "segment",
    "timing positions",
)
AXES = (TANGENTIAL, VIEW, AXIAL, SEGMENT, TIMING)
LARGEST_AXIS = 100_000  # views, bins and planes of any scanner are far fewer


@dataclass(frozen=True)
class Layout:
    """The axes of the file from the slowest to the fastest, and their sizes."""

    axes: tuple[str, ...]
    views: int
    tangential_bins: int
    planes: list[int]  # of every segment, in the file's order
    tof_bins: int | None = None
    tof_order: tuple[int, ...] = ()  # which stored bin is each of the geometry's; () for STIR's order, the last first

    @property
    def values(self) -> int:
        """How many there are."""
        return sum(self.planes) * self.views * self.tangential_bins * (self.tof_bins or 1)

    def arranged(self, stored: np.ndarray) -> np.ndarray:
        """The stored values [any] as float32 [plane, view, tangential(, tof)], the segments one after the other.

        The axial coordinate has as many values as its segment has planes. Where it runs slower than the segments, the
        longer ones go on where the shorter ones have ended.
        """
        size = {TANGENTIAL: self.tangential_bins, VIEW: self.views, TIMING: self.tof_bins or 1}
        axes = self.axes if TIMING in self.axes else (TIMING, *self.axes)
        outer = min(axes.index(SEGMENT), axes.index(AXIAL))
        before, after = axes[:outer], axes[outer + 1 :]
        inner = AXIAL if axes[outer] == SEGMENT else SEGMENT
        between = math.prod(size[axis] for axis in after if axis != inner)
        rows = stored.reshape(*(size[axis] for axis in before), sum(self.planes) * between)
        arranged = np.empty((sum(self.planes), self.views, self.tangential_bins, self.tof_bins or 1), np.float32)
        found = [*before, *after]
        order = [found.index(axis) for axis in (inner, VIEW, TANGENTIAL, TIMING)]
        tof_order = list(self.tof_order) or list(range(self.tof_bins or 1))[::-1]
        first = 0
        for planes in self._together(outer_is_segment=axes[outer] == SEGMENT):
            part = rows[..., first : first + len(planes) * between]
            shape = [*(size[axis] for axis in before), *(len(planes) if a == inner else size[a] for a in after)]
            block = part.reshape(shape).transpose(order)
            arranged[planes] = block if self.tof_bins is None else block[..., tof_order]
            first += len(planes) * between
        return arranged[..., 0] if self.tof_bins is None else arranged

    def _together(self, outer_is_segment: bool) -> list[np.ndarray]:
        """The planes that share one value of the slower of segment and axial coordinate, in the file's order."""
        starts = np.cumsum([0, *self.planes[:-1]])
        if outer_is_segment:
            return [start + np.arange(count) for start, count in zip(starts, self.planes, strict=True)]
        counts = np.array(self.planes)
        return [starts[counts > axial] + axial for axial in range(max(self.planes))]


def read_layout(header: InterfileHeader) -> Layout:
    """The order and sizes of the data's axes, which STIR's labels name, in any order."""
    dimensions = header.whole("number of dimensions")
    if dimensions not in (4, 5):
        raise header.error(f'"number of dimensions" should be 4, or 5 with TOF, but is {dimensions}')
    axis_of: dict[str, int] = {}
    for number in range(1, dimensions + 1):
        label = header.word(f"matrix axis label[{number}]")
        if label in axis_of:
            raise header.error(f'"matrix axis label[{number}]" and "[{axis_of[label]}]" are both "{label}"')
        axis_of[label] = number
    for label in AXES[:dimensions]:
        if label not in axis_of:
            raise header.error(f'no "matrix axis label" is "{label}", as STIR calls it; found {", ".join(axis_of)}')

    def size(label: str) -> int:
        return header.whole(f"matrix size[{axis_of[label]}]", 1, LARGEST_AXIS)

    tof_bins = size(TIMING) if dimensions == 5 else None
    return Layout(
        axes=tuple(sorted(axis_of, key=axis_of.__getitem__, reverse=True)),
        views=size(VIEW),
        tangential_bins=size(TANGENTIAL),
        planes=header.whole_numbers(f"matrix size[{axis_of[AXIAL]}]", size(SEGMENT), 1, LARGEST_AXIS),
        tof_bins=tof_bins,
        tof_order=() if tof_bins is None else _tof_order(header, tof_bins),
    )


def _tof_order(header: InterfileHeader, bins: int) -> tuple[int, ...]:
    """The stored bin of each of the geometry's, where "TOF bin order" numbers the stored ones as STIR does.

    STIR counts them from -(bins // 2) up, its last nearest to detector 1; the geometry the other way (TimeOfFlight).
    """
    if "tof bin order" not in header:
        return ()
    numbers = header.whole_numbers("tof bin order", bins)
    if sorted(numbers) != list(range(-(bins // 2), bins - bins // 2)):
        raise header.error(f'"TOF bin order" should hold each of {bins} bins from {-(bins // 2)} up once')
    return tuple(numbers.index(number) for number in sorted(numbers, reverse=True))
