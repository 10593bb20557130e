"""When the frames of a DICOM series were measured, and what a frame table (a BIDS sidecar, for example) says of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from PETDiffusionLib.volumes.frame_groups import GATE_TAGS, FrameGroups, acquisition
from PETDiffusionLib.volumes.frames import FrameTime
from PETDiffusionLib.volumes.radiopharmacy import positive
from PETDiffusionLib.volumes.scan_time import frame_average_s
from PETDiffusionLib.volumes.suv_report import SuvFacts


def frame_times(frames: Sequence[Sequence[Dataset]], suv: SuvFacts) -> tuple[FrameTime | None, ...]:
    """The time of every frame, counted from `time_zero`; None where its slices do not say it.

    From the acquisition's date and time; where these are the same in all frames (some vendors write the start of the
    scan into each), from FrameReferenceTime, which is the time of the frame's mean activity.
    """
    spans = [_span(frame) for frame in frames]
    zero = time_zero(frames, suv)
    starts = [None if span is None else span[0] for span in spans]
    if zero is not None and None not in starts and (len(set(starts)) == len(starts) or len(frames) == 1):
        return tuple(
            FrameTime((span[0] - zero).total_seconds(), (span[1] - span[0]).total_seconds())
            for span in spans
            if span is not None
        )
    return tuple(_by_reference_time(frame, suv.half_life_s) for frame in frames)


def time_zero(frames: Sequence[Sequence[Dataset]], suv: SuvFacts) -> datetime | None:
    """What frame times count from: the moment that the activity is corrected to, or the start of the first frame.

    The latter with DecayCorrection ADMIN (corrected to the injection) and where no moment is known.
    """
    if suv.reference_time and suv.decay_correction != "ADMIN":
        return datetime.fromisoformat(suv.reference_time)
    spans = [_span(frame) for frame in frames]
    return min(span[0] for span in spans if span is not None) if None not in spans else None


def timing_facts(groups: FrameGroups, suv: SuvFacts) -> dict[str, object]:
    """JSON-able facts: what the times count from, to which moment activity is corrected, and gates where there are."""
    zero = time_zero(groups.frames, suv)
    corrected = suv.decay_correction in ("START", "ADMIN") or (suv.decay_correction == "NONE" and suv.refusal is None)
    facts: dict[str, object] = {
        "time_zero": zero.isoformat() if zero else None,
        "decay_corrected": corrected,
        "decay_corrected_to": suv.reference_time if corrected else None,
        "frames_told_by": groups.told_by or None,
    }
    if groups.kind == "gated":
        facts["gates"] = [
            {tag: float(value) for tag in GATE_TAGS if (value := frame[0].get(tag)) not in (None, "")}
            for frame in groups.frames
        ]
    return facts


def _span(frame: Sequence[Dataset]) -> tuple[datetime, datetime] | None:
    """From the start of a frame's first slice (or bed position) to the end of its last."""
    starts = [acquisition(header) for header in frame]
    lengths = [positive(header.get("ActualFrameDuration")) for header in frame]
    known = [
        (start, start + timedelta(milliseconds=length))
        for start, length in zip(starts, lengths, strict=True)
        if start is not None and length is not None
    ]
    if len(known) < len(frame):
        return None
    return min(start for start, _ in known), max(end for _, end in known)


def _by_reference_time(frame: Sequence[Dataset], half_life_s: float | None) -> FrameTime | None:
    """The time of a frame whose slices all state one FrameReferenceTime and one duration."""
    stated = {(str(header.get("FrameReferenceTime")), str(header.get("ActualFrameDuration"))) for header in frame}
    length_ms = positive(frame[0].get("ActualFrameDuration"))
    middle_ms = positive(frame[0].get("FrameReferenceTime"))
    if len(stated) > 1 or length_ms is None or middle_ms is None:
        return None
    length = length_ms / 1000
    average = length / 2 if half_life_s is None else frame_average_s(length, half_life_s)
    return FrameTime(middle_ms / 1000 - average, length)
