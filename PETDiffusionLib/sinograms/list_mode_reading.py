"""List mode as sinograms: the whole of a file or a time window as one, or time frames one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry
from PETDiffusionLib.sinograms.list_mode import ListMode, binned_geometry, open_list_mode
from PETDiffusionLib.sinograms.list_mode_frames import (
    BinnedFrame,
    binned_frames,
    check_frames,
    decay_factor,
    frame_times,
)
from PETDiffusionLib.sinograms.sinogram import Sinogram
from PETDiffusionLib.volumes.frames import FrameTime

Progress = Callable[[str, float], None]
FOREVER_S = 1e9


@dataclass(frozen=True)
class ListModeWindow:
    """What of list mode is meant: frames (none: the whole file), and how many ring differences are merged."""

    frames: tuple[FrameTime, ...] = ()
    span: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ListModeWindow:
        """From the options of a job. Raises PETDiffusionError "bad-frames"."""
        start_s, stop_s, text = (options.get(name) for name in ("from_s", "to_s", "frame_times"))
        span = options.get("span")
        if text is not None:
            if start_s is not None or stop_s is not None:
                raise PETDiffusionError("bad-frames", "Give --frame-times, or --from-s and --to-s, not both.")
            return cls(frame_times(text), span)
        if start_s is None and stop_s is None:
            return cls((), span)
        start_s = start_s or 0.0
        return cls(check_frames([FrameTime(start_s, (stop_s or FOREVER_S) - start_s)]), span)

    @property
    def is_default(self) -> bool:
        return self == ListModeWindow()


def read_list_mode(
    path: Path,
    window: ListModeWindow | None = None,
    progress: Progress | None = None,
    *,
    with_pairs: bool = True,
) -> Sinogram:
    """The prompts of list mode, whole or in the window of one frame.

    `with_pairs`: how many pairs of crystals a bin sums is the multiplicative term, which no effect counts as corrected
    by. Raises PETDiffusionError "bed-moves" where bed or gantry stood at several places meanwhile.
    """
    frames = ListModeFrames(path, window or ListModeWindow(), with_pairs=with_pairs)
    first, *others = frames.read(progress)
    assert not others, "one frame is read as one sinogram"
    for sentence in frames.opened.warnings:
        first = first.with_warning(sentence)
    return first


class ListModeFrames:
    """The sinograms of a window's frames. `opened.warnings` are complete after the last."""

    def __init__(self, path: Path, window: ListModeWindow, *, with_pairs: bool = True) -> None:
        self.opened: ListMode = open_list_mode(path)
        self.window = window
        self.geometry: ScannerGeometry = binned_geometry(self.opened.geometry, window.span)
        if window.span is None and self.geometry != self.opened.geometry:
            self.opened.warnings.append(
                f"The {self.opened.geometry.planes} planes of single ring differences are merged to "
                f"{self.geometry.planes} (span {1 + max(s.highest - s.lowest for s in self.geometry.segments)}), to "
                "keep the sinogram small; --span 1 keeps them."
            )
        self.pairs = _more_than_one(self.opened.pairs(self.geometry)) if with_pairs else None

    def read(self, progress: Progress | None = None) -> Iterator[Sinogram]:
        """One sinogram a frame. Raises PETDiffusionError "bed-moves" and what `binned_frames` raises."""
        # The last stay of a frame tells whether there was another: each is handed on when the next one begins.
        ready: BinnedFrame | None = None
        static = len(self.window.frames) < 2
        for frame in binned_frames(self.opened, self.geometry, self.window.frames, progress):
            if ready is not None and "" not in (ready.position, frame.position) and ready.position != frame.position:
                raise self._several_positions()
            if ready is not None and (static or _same_frame(self.window.frames, ready, frame)):
                frame = _summed(ready, frame)
            elif ready is not None:
                yield self.sinogram(ready)
            ready = frame
        assert ready is not None, "binned_frames refuses files without events"
        yield self.sinogram(ready)

    def sinogram(self, frame: BinnedFrame) -> Sinogram:
        """The prompts of a frame, with what is known of it."""
        facts = {"source": self.opened.path.name, "scanner": self.geometry.name, **self.facts_of(frame)}
        return Sinogram(self.geometry, frame.prompts, self.pairs, facts=facts, delayed=frame.delayed)

    def facts_of(self, frame: BinnedFrame) -> dict[str, Any]:
        """What is known of a frame, JSON-able."""
        facts: dict[str, Any] = {
            "delayed": int(frame.delayed.numpy().sum(dtype=np.float64)),
            "list_mode": dict(self.opened.facts),
        }
        # What the header states of the singles is of the whole measurement, and of no frame.
        for name in ("energy_window_kev", *(() if self.window.frames else ("bucket_singles",))):
            if name in self.opened.facts:
                facts[name] = self.opened.facts[name]
        if frame.time is not None:
            facts |= {"start_s": frame.time.start_s, "duration_s": frame.time.duration_s}
            if self.opened.half_life_s is not None:
                facts["half_life_s"] = self.opened.half_life_s
                facts["decay_factor"] = round(decay_factor(frame.time, self.opened.half_life_s), 6)
        if frame.position:
            facts["position"] = frame.position
        return facts

    def _several_positions(self) -> PETDiffusionError:
        stays = stays_of(self.opened, self.geometry)
        named = "; ".join(f"{position} from {start:.1f} to {stop:.1f} s" for position, start, stop in stays[:12])
        more = f"; and {len(stays) - 12} more" if len(stays) > 12 else ""
        return PETDiffusionError(
            "bed-moves",
            f"Bed or gantry stood at several places while '{self.opened.path.name}' was measured ({named}{more}): "
            "their lines do not go through the same points of the patient. Give the time of one place by --from-s and "
            "--to-s, or make a sinogram of each by petdiffusion histogram.",
        )


def stays_of(opened: ListMode, geometry: ScannerGeometry) -> list[tuple[str, float, float]]:
    """Where bed and gantry stood, from when to when, in seconds: a pass over the whole file."""
    stays: list[tuple[str, float, float]] = []
    for batch in opened.batches(geometry):
        if batch.measured_s is None:
            continue
        start_s, stop_s = batch.measured_s
        if stays and batch.position in ("", stays[-1][0]):
            stays[-1] = (stays[-1][0], min(stays[-1][1], start_s), max(stays[-1][2], stop_s))
        elif batch.position:
            stays.append((batch.position, start_s, stop_s))
    return stays


def _same_frame(frames: tuple[FrameTime, ...], one: BinnedFrame, other: BinnedFrame) -> bool:
    """Whether two parts were cut from one frame, by a bed whose place was stated in its middle."""
    if one.time is None or other.time is None:
        return False
    return any(
        frame.start_s <= one.time.start_s and other.time.start_s < frame.start_s + frame.duration_s for frame in frames
    )


def _summed(one: BinnedFrame, other: BinnedFrame) -> BinnedFrame:
    times = [time for time in (one.time, other.time) if time is not None]
    start = min((time.start_s for time in times), default=inf)
    stop = max((time.start_s + time.duration_s for time in times), default=-inf)
    return BinnedFrame(
        one.prompts + other.prompts,
        one.delayed + other.delayed,
        FrameTime(start, stop - start) if times else None,
        other.position or one.position,
    )


def _more_than_one(pairs: torch.Tensor) -> torch.Tensor | None:
    """The term, or none where it is one everywhere."""
    return None if bool((pairs == 1).all()) else pairs
