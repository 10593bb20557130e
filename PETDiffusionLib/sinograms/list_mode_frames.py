"""List mode binned to sinograms: one for each time frame and each position of the bed, in one pass over the file."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry
from PETDiffusionLib.sinograms.list_mode import Batch, ListMode, no_coincidences
from PETDiffusionLib.volumes.frames import FrameTime

COARSE = 0.1  # of a frame: a clock's step that is longer is warned about
MOST_STAYS = 200  # of a bed that steps; more are a bed that moves on and on
RANGES = re.compile(r"[\d.]+-[\d.]+(,[\d.]+-[\d.]+)*", re.ASCII)
DURATIONS = re.compile(r"(\d+[x*])?[\d.]+(,(\d+[x*])?[\d.]+)*", re.ASCII)


@dataclass(frozen=True)
class BinnedFrame:
    """Counts [plane, view, tangential(, tof)], when they were measured and where bed and gantry stood."""

    prompts: torch.Tensor
    delayed: torch.Tensor
    time: FrameTime | None
    position: str


def frame_times(text: str) -> tuple[FrameTime, ...]:
    """Frames of a text: "0-60,60-120", from and to in seconds, or lengths one after the other, "6x10,4x60,300".

    Raises PETDiffusionError "bad-frames" for others, and for frames that overlap or are out of order.
    """
    words = re.sub(r"\s", "", text)
    try:
        if RANGES.fullmatch(words):
            pairs = [tuple(float(end) for end in part.split("-")) for part in words.split(",")]
        elif DURATIONS.fullmatch(words):
            parts = [re.split("[x*]", part) for part in words.split(",")]
            lengths = [float(part[-1]) for part in parts for _ in range(int(part[0]) if len(part) > 1 else 1)]
            ends = np.cumsum(lengths).tolist()
            pairs = list(zip([0.0, *ends], ends, strict=False))
        else:
            raise ValueError(text)
    except ValueError:
        raise PETDiffusionError(
            "bad-frames",
            "Frame times are given like 0-60,60-120 (from and to, in seconds) or like 6x10,4x60,300 (lengths of frames "
            f"that follow each other); found '{text}'.",
        ) from None
    return check_frames([FrameTime(start, stop - start) for start, stop in pairs])


def check_frames(frames: Sequence[FrameTime]) -> tuple[FrameTime, ...]:
    """The frames. Raises PETDiffusionError "bad-frames" where they are empty, overlap or are out of order."""
    end = 0.0
    for frame in frames:
        if frame.duration_s <= 0 or frame.start_s < end:
            raise PETDiffusionError(
                "bad-frames",
                f"Frames that follow each other without overlap are expected, and one is from {frame.start_s:g} to "
                f"{frame.start_s + frame.duration_s:g} s after one that ends at {end:g} s.",
            )
        end = frame.start_s + frame.duration_s
    return tuple(frames)


def decay_factor(time: FrameTime, half_life_s: float) -> float:
    """What the frame's mean activity is multiplied by to be that at time zero: the decay within it is integrated."""
    rate = math.log(2) / half_life_s
    x = rate * time.duration_s
    return math.exp(rate * time.start_s) * (x / -math.expm1(-x) if x > 0 else 1.0)


def binned_frames(
    opened: ListMode,
    geometry: ScannerGeometry,
    frames: Sequence[FrameTime] = (),
    progress: Callable[[str, float], None] | None = None,
) -> Iterator[BinnedFrame]:
    """The sinogram of each of the frames (the whole file where there are none) at each stay of the bed, in order.

    Memory holds one of them, besides what the caller keeps. The reader's warnings are complete after the last.
    `progress(stage, fraction)` may raise Cancelled. Raises PETDiffusionError "bad-frames" for a frame outside of the
    time measured, and what the reader raises.
    """
    sorter = _Sorter(opened, geometry, frames)
    for batch in opened.batches(geometry):
        yield from sorter.take(batch)
        if progress is not None:
            progress("Binning list mode", batch.read)
        if sorter.done:
            break
    yield from sorter.finish()


class _Sorter:
    """Puts batches into the sinogram of the present frame and stay."""

    def __init__(self, opened: ListMode, geometry: ScannerGeometry, frames: Sequence[FrameTime]) -> None:
        self._opened, self._geometry, self._frames = opened, geometry, frames
        self._size = int(np.prod(geometry.data_shape))
        self._number = 0  # of the present frame
        self._position = ""
        self._stays = 1
        self._counts: torch.Tensor | None = None
        self._events = self._outside = 0
        self._now_s = -math.inf
        self._measured: tuple[float, float] | None = None  # of the present sinogram
        self._last_s: float | None = None  # of the whole file so far

    @property
    def done(self) -> bool:
        """Whether what follows is after the last frame."""
        return bool(self._frames) and self._number == len(self._frames)

    def take(self, batch: Batch) -> Iterator[BinnedFrame]:
        """Count a batch; yields the sinograms that are complete before it or within it."""
        if batch.position and batch.position != self._position:
            if self._position:
                yield from self._closed()
                self._count_stay()
            self._position = batch.position
        if batch.measured_s is not None:
            self._last_s = max(self._last_s or 0.0, batch.measured_s[1])
        if not self._frames:
            self._count(batch.bins, batch.measured_s)
        else:
            self._check_clock(batch)
            yield from self._into_frames(batch)
        if len(batch.clock_s):
            self._now_s = float(batch.clock_s[-1])

    def finish(self) -> Iterator[BinnedFrame]:
        """The last sinogram. Says what was left out, and refuses what was not measured."""
        if self._frames:
            self._check_frames_measured()
        if self._events == 0:
            raise no_coincidences(self._opened.path, int(self._opened.facts.get("singles", 0)))
        if self._outside:
            self._opened.warnings.append(
                f"{self._outside} of {self._events} coincidences lie outside of the sinogram's bins (too oblique, too "
                "far from the axis, or outside of the TOF bins), and are left out."
            )
        yield from self._closed()

    def _check_clock(self, batch: Batch) -> None:
        """That time goes on, and in steps that tell the frames apart."""
        ticks = np.concatenate([[self._now_s], batch.clock_s])
        back = np.flatnonzero(ticks[1:] < ticks[:-1])
        if len(back):
            raise PETDiffusionError(
                "bad-time",
                f"The list mode is not in order of time ({ticks[back[0] + 1]:.3f} s follows {ticks[back[0]]:.3f} s), "
                "so that frames cannot be cut from it in one pass: bin it whole, or sort its blocks.",
            )
        step_s = self._opened.facts.get("longest_block_s", 0.0)
        shortest_s = min(frame.duration_s for frame in self._frames)
        if step_s > shortest_s:
            raise PETDiffusionError(
                "bad-frames",
                f"The list mode tells time in blocks of up to {step_s:g} s, which is too coarse for frames of "
                f"{shortest_s:g} s: ask for longer ones.",
            )

    def _into_frames(self, batch: Batch) -> Iterator[BinnedFrame]:
        while self._number < len(self._frames):
            frame = self._frames[self._number]
            stop_s = frame.start_s + frame.duration_s
            first, last = (self._event_at(batch, moment) for moment in (frame.start_s, stop_s))
            covered = batch.measured_s and (max(batch.measured_s[0], frame.start_s), min(batch.measured_s[1], stop_s))
            self._count(batch.bins[first:last], covered if covered and covered[1] > covered[0] else None)
            over = len(batch.clock_s) > 0 and batch.clock_s[-1] >= stop_s
            if not over:
                return
            yield from self._closed()
            self._number += 1

    def _event_at(self, batch: Batch, moment_s: float) -> int:
        """The number of the first event of the batch at or after a moment."""
        if self._now_s >= moment_s:
            return 0
        tick = int(np.searchsorted(batch.clock_s, moment_s, "left"))
        return int(batch.first[tick]) if tick < len(batch.clock_s) else len(batch.bins)

    def _count(self, bins: np.ndarray, measured: tuple[float, float] | None) -> None:
        if measured is not None:
            start, stop = self._measured or measured
            self._measured = (min(start, measured[0]), max(stop, measured[1]))
        if not len(bins):
            return
        if self._counts is None:
            self._counts = torch.zeros(2 * self._size + 1)
        self._counts.scatter_add_(0, torch.from_numpy(bins), torch.ones(len(bins)))
        self._events += len(bins)
        self._outside += int(np.count_nonzero(bins == 2 * self._size))

    def _closed(self) -> Iterator[BinnedFrame]:
        """The present sinogram, if anything was measured for it."""
        if self._counts is None and (self._measured is None or not self._frames):
            self._measured = None
            return
        counts = torch.zeros(2 * self._size + 1) if self._counts is None else self._counts
        time = None if self._measured is None else FrameTime(self._measured[0], self._measured[1] - self._measured[0])
        self._counts = self._measured = None
        shape = self._geometry.data_shape
        prompts, delayed = counts[: self._size].reshape(shape), counts[self._size : -1].reshape(shape)
        yield BinnedFrame(prompts, delayed, time, self._position)

    def _count_stay(self) -> None:
        self._stays += 1
        if self._stays > MOST_STAYS:
            raise PETDiffusionError(
                "bed-moves",
                f"The bed stands at more than {MOST_STAYS} places one after the other ({self._position} at last): it "
                "moves on and on, and such list mode is not binned here.",
            )

    def _check_frames_measured(self) -> None:
        if self._last_s is None:
            raise PETDiffusionError(
                "bad-frames", f"'{self._opened.path.name}' has no time in it: its frames cannot be told apart."
            )
        step_s = self._opened.facts.get("longest_block_s", 0.0)
        if step_s > COARSE * min(frame.duration_s for frame in self._frames):
            self._opened.warnings.append(
                f"The list mode tells time in blocks of up to {step_s:g} s, each of which counts in the frame of its "
                "middle: frames that begin or end within a block have counts of the time beside them."
            )
        for number, frame in enumerate(self._frames, 1):
            stop_s = frame.start_s + frame.duration_s
            if frame.start_s >= self._last_s:
                raise PETDiffusionError(
                    "bad-frames",
                    f"Frame {number}, from {frame.start_s:g} to {stop_s:g} s, is after the end of the list mode at "
                    f"{self._last_s:.3f} s.",
                )
            if stop_s > self._last_s + 0.01:
                self._opened.warnings.append(
                    f"Frame {number} was asked for to {stop_s:g} s, and the list mode ends at {self._last_s:.3f} s."
                )
