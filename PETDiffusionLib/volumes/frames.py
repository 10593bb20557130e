"""The frames of an acquisition: one volume of a static one, several of a dynamic or gated one, read one at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.volume import Volume

_RANGES = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*", re.ASCII)

FrameKind = Literal["static", "dynamic", "gated", "unknown"]


@dataclass(frozen=True)
class FrameTime:
    """When a frame was measured: seconds from the time zero of its series to its start, and its length."""

    start_s: float
    duration_s: float


@dataclass(frozen=True)
class FrameSeries:
    """The frames of one acquisition, on one grid and in one unit; a static one has one frame.

    source: where it was read from; kind: why there are several frames ("unknown" where the file does not say);
    times:  one entry a frame, None where it is not known;
    read:   the frame of an index from 0 as a Volume, from the disk at each call, so that memory holds one frame;
    facts:  what is known of the series as a whole (JSON-able): time zero, decay correction, warnings ...
    """

    source: str
    kind: FrameKind
    times: tuple[FrameTime | None, ...]
    read: Callable[[int], Volume]
    facts: dict[str, object] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.times)

    def selected(self, selection: FrameSelection) -> FrameSeries:
        """The chosen frames as a series of their own; of a mean it has one frame.

        Raises PETDiffusionError "bad-frames" where a chosen frame is not there.
        """
        indices = selection.indices(len(self), self.source)
        times = tuple(self.times[index] for index in indices)
        if selection.mean:
            return FrameSeries(self.source, "static", (_whole(times),), lambda _: self._mean(indices), dict(self.facts))
        return FrameSeries(self.source, self.kind, times, lambda one: self.read(indices[one]), dict(self.facts))

    def _mean(self, indices: Sequence[int]) -> Volume:
        """The mean over frames, each weighted by its length (all alike where a length is not known), one in memory."""
        known = [time.duration_s for index in indices if (time := self.times[index]) is not None]
        lengths = np.array(known if len(known) == len(indices) else [1.0] * len(indices), np.float32)
        weights = lengths / lengths.sum()
        first = self.read(indices[0])
        total = first.array * weights[0]
        for index, weight in zip(indices[1:], weights[1:], strict=True):
            total += self.read(index).array * weight
        return first.with_array(total)


@dataclass(frozen=True)
class FrameSelection:
    """Which frames of a series are meant: ranges of numbers from 1, or none for all; and whether their mean is."""

    ranges: tuple[tuple[int, int], ...] = ()
    mean: bool = False

    @classmethod
    def parse(cls, text: str) -> FrameSelection:
        """Of a text: "3", "3-7", "1-4,9", "mean" (of all frames) or "mean:3-7".

        Raises PETDiffusionError "bad-frames".
        """
        words = re.sub(r"\s", "", text)
        if words == "mean":
            return cls(mean=True)
        listed = words.removeprefix("mean:")
        parts = [part.partition("-") for part in listed.split(",")] if _RANGES.fullmatch(listed) else []
        ranges = tuple((int(first), int(last or first)) for first, _, last in parts)
        if not ranges or any(not 1 <= first <= last for first, last in ranges):
            raise PETDiffusionError(
                "bad-frames",
                f"Frames are numbered from 1 and given like 3, 3-7, 1-4,9, mean or mean:3-7; found '{text}'.",
            )
        return cls(ranges, mean=words.startswith("mean:"))

    def indices(self, count: int, source: str) -> list[int]:
        """The indices from 0 of the chosen among `count` frames, in the order given."""
        largest = max((last for _, last in self.ranges), default=count)
        if largest > count:
            raise PETDiffusionError(
                "bad-frames", f"'{source}' has {count} frame(s), and frame {largest} was asked for."
            )
        ranges = self.ranges or ((1, count),)
        return [number - 1 for first, last in ranges for number in range(first, last + 1)]


def _whole(times: Sequence[FrameTime | None]) -> FrameTime | None:
    """The time of a mean: from the start of the first frame, as long as all frames together."""
    known = [time for time in times if time is not None]
    if not known or len(known) < len(times):
        return None
    return FrameTime(min(time.start_s for time in known), sum(time.duration_s for time in known))
