"""Which slices of a DICOM series make which frame: time frames, gates, or one static volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import numpy as np
from pydicom.dataset import Dataset

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.frames import FrameKind
from PETDiffusionLib.volumes.headers import tag_name
from PETDiffusionLib.volumes.radiopharmacy import positive
from PETDiffusionLib.volumes.slices import slice_places
from PETDiffusionLib.volumes.times import combine

# What tells frames apart, in classic series and (merged from the functional groups) in enhanced ones.
TIME_TAGS = ("TemporalPositionIndex", "FrameReferenceTime", "TemporalPositionIdentifier")
GATE_TAGS = (
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "NominalRespiratoryTriggerDelayTime",
    "NominalPercentageOfCardiacPhase",
    "NominalPercentageOfRespiratoryPhase",
    "LowRRValue",
    "HighRRValue",
)
SEVERAL_FRAMES = ("DYNAMIC", "GATED")

Key = tuple[object, ...]


@dataclass(frozen=True)
class FrameGroups:
    """The headers of each frame, in the order of the frames; why there are several, and what told them apart."""

    kind: FrameKind
    frames: tuple[tuple[Dataset, ...], ...]
    told_by: str = ""


def group_frames(headers: Sequence[Dataset], name: str) -> FrameGroups:
    """The frames of one series; `name` is for the sentences.

    The first of the tags that tell frames apart counts by which every frame has one slice at every position. Where a
    frame lasts for several bed positions (passes over the body), the slices of a position are numbered by their time.
    Raises PETDiffusionError "duplicate-slices", "missing-slices", "overlapping-beds" and what the geometry refuses.
    """
    places = slice_places(headers)
    several = np.bincount(places)
    if several.max() == 1:
        return FrameGroups("static", (tuple(headers),))
    kind: FrameKind = "gated" if series_kind(headers[0]) == "GATED" else "dynamic"
    short: dict[Key, list[int]] = {}
    for label, keys in _candidates(headers, places):
        groups = _groups(keys)
        if any(len(set(places[group])) < len(group) for group in groups.values()):
            continue
        if all(len(group) == len(several) for group in groups.values()):
            frames = tuple(tuple(headers[one] for one in groups[key]) for key in sorted(groups))
            gated = kind == "gated" or any(tag in label for tag in GATE_TAGS)
            return FrameGroups("gated" if gated else "dynamic", frames, label)
        short = short if 0 < len(short) <= len(groups) else groups
    if not short:
        raise _indistinguishable(headers, places, name)
    raise _incomplete(headers, places, [short[key] for key in sorted(short)], name)


def series_kind(header: Dataset) -> str:
    """The first value of SeriesType: STATIC, DYNAMIC, GATED or WHOLE BODY; empty where it is not stated."""
    value = header.get("SeriesType")
    if value is None or isinstance(value, str):
        return str(value or "")
    return str(value[0]) if value else ""


def acquisition(header: Dataset) -> datetime | None:
    """When the measurement of a slice started, by the scanner's clock."""
    return combine(header.get("AcquisitionDate"), header.get("AcquisitionTime"))


def telling_tags(header: Dataset) -> Key:
    """All that may tell a slice from others at its position; equal for copies of one slice."""
    told = [str(header.get(tag)) for tag in (*TIME_TAGS, *GATE_TAGS, "ActualFrameDuration", "AcquisitionTime")]
    if series_kind(header) in SEVERAL_FRAMES:
        told.append(str(header.get("ImageIndex") or header.get("InstanceNumber")))
    return tuple(told)


def _candidates(headers: Sequence[Dataset], places: np.ndarray) -> Iterator[tuple[str, list[Key]]]:
    """Ways to tell the slices of a position apart, the surest first: a name of the way, and a key for each slice."""
    ways: dict[str, Callable[[Dataset], object]] = {tag: partial(_number, keyword=tag) for tag in TIME_TAGS}
    ways["AcquisitionTime"] = acquisition
    gates: dict[str, Callable[[Dataset], object]] = {tag: partial(_number, keyword=tag) for tag in GATE_TAGS}
    ways = {**gates, **ways} if series_kind(headers[0]) == "GATED" else {**ways, **gates}
    told: dict[str, list[object]] = {}
    for label, way in ways.items():
        values = [way(header) for header in headers]
        if None not in values and len(set(values)) > 1:
            told[label] = values
            yield label, [(value,) for value in values]
    for time in [label for label in told if label not in GATE_TAGS]:
        gated = [time, *(label for label in told if label in GATE_TAGS)]
        if len(gated) > 1:
            yield " and ".join(gated), list(zip(*(told[label] for label in gated), strict=True))
    several_gates = [label for label in told if label in GATE_TAGS]
    if len(several_gates) > 1:
        yield " and ".join(several_gates), list(zip(*(told[label] for label in several_gates), strict=True))
    if "AcquisitionTime" in told and (passes := _passes(told["AcquisitionTime"], places)):
        yield "AcquisitionTime in passes over the bed positions", passes
    if series_kind(headers[0]) in SEVERAL_FRAMES:
        for tag in ("ImageIndex", "InstanceNumber"):
            numbers = [_number(header, tag) for header in headers]
            if None not in numbers:
                yield tag, [(int(number - 1) // len(set(places)),) for number in numbers]  # type: ignore[operator]


def _passes(times: Sequence[object], places: np.ndarray) -> list[Key] | None:
    """The number of the pass over the bed in which each slice was measured; None where passes mingle in time."""
    counts = np.bincount(places)
    if np.ptp(counts) != 0:
        return None
    order = sorted(range(len(times)), key=lambda one: (places[one], times[one]))
    passes: list[Key] = [()] * len(times)
    for rank, one in enumerate(order):
        passes[one] = (rank % int(counts[0]),)
    latest: object = None
    for number in range(int(counts[0])):
        inside = [times[one] for one in range(len(times)) if passes[one] == (number,)]
        if latest is not None and min(inside) <= latest:  # type: ignore[type-var,operator]
            return None
        latest = max(inside)  # type: ignore[type-var]
    return passes


def _groups(keys: Sequence[Key]) -> dict[Key, list[int]]:
    groups: dict[Key, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return groups


def _number(header: Dataset, keyword: str) -> float | None:
    value = header.get(keyword)
    return 0.0 if str(value) in ("0", "0.0") else positive(value)


def _indistinguishable(headers: Sequence[Dataset], places: np.ndarray, name: str) -> PETDiffusionError:
    found = f"{name} has {len(headers)} slices at {len(set(places))} positions"
    kind = series_kind(headers[0])
    if kind in SEVERAL_FRAMES:
        tags = ", ".join(tag_name(tag) for tag in ("FrameReferenceTime", "TriggerTime", "ImageIndex"))
        return PETDiffusionError(
            kind.lower(),
            f"{found} and is {kind} by its SeriesType, but no time, gate or index ({tags}) in its headers tells the "
            "frames apart. Export it again with these tags, or leave one frame in the folder.",
        )
    return PETDiffusionError(
        "duplicate-slices",
        f"One slice a position is expected, {found}, and no time or gate in their headers tells them apart: two "
        "reconstructions, or copies with other values. Leave the slices of all but one in another folder.",
    )


def _incomplete(
    headers: Sequence[Dataset], places: np.ndarray, groups: Sequence[Sequence[int]], name: str
) -> PETDiffusionError:
    """Frames of which some lack slices, or bed positions that overlap."""
    everywhere = set(places)
    lacking = [(number, everywhere - set(places[group])) for number, group in enumerate(groups, 1)]
    short = [(number, lost) for number, lost in lacking if lost]
    if len(short) == len(groups) and series_kind(headers[0]) not in SEVERAL_FRAMES:
        return PETDiffusionError(
            "overlapping-beds",
            f"One slice a position is expected, {name} has {len(headers)} slices at {len(everywhere)} positions: "
            f"{len(groups)} bed positions that overlap, each measured at its own time. "
            "Give the series that the scanner joined, or a folder with the slices of one bed position.",
        )
    number, lost = short[0]
    where = headers[int(np.flatnonzero(places == min(lost))[0])].get("ImagePositionPatient")
    return PETDiffusionError(
        "missing-slices",
        f"Every frame of {name} should have {len(everywhere)} slices; frame {number} of {len(groups)} lacks "
        f"{len(lost)} (the first at {', '.join(str(one) for one in where or ())} mm)"
        f"{f', and {len(short) - 1} more frames lack some' if len(short) > 1 else ''}. Export the whole series again.",
    )
