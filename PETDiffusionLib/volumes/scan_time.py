"""The moment that the activity of a DICOM PT series refers to, and the minutes from injection to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from PETDiffusionLib.volumes.headers import common_value, tag_name
from PETDiffusionLib.volumes.injection import DAY, Scan, find_injection
from PETDiffusionLib.volumes.nuclides import HOUR
from PETDiffusionLib.volumes.radiopharmacy import GE_CREATOR, Administration, positive
from PETDiffusionLib.volumes.times import combine, parse_datetime, shown

GE_SCAN_DATETIME = (0x0009, 0x100D)
GE_SCAN_NAME = "GE scan date and time (0009,100D)"

# All slices of a series must agree on the moment that their frame times count from to within this.
FRAME_ORIGIN_WITHIN_S = 5.0
SAME_MOMENT_HALF_LIVES = 0.0144  # times that differ by less change SUV by less than 1 %


@dataclass(frozen=True)
class ImageTime:
    """Injection, the moment that the activity refers to, and the minutes between in which the dose decays.

    The minutes are negative where the scan was started before the injection: the dose is decayed backwards.
    slice_decay: with DecayCorrection NONE, the factor that brings each slice (in the order of the headers) to the
    reference time; None where it is not needed (START, ADMIN) or cannot be known.
    """

    injection: datetime | None
    injection_source: str | None
    reference: datetime | None
    reference_source: str | None
    minutes: float | None
    slice_decay: tuple[float, ...] | None = None
    warnings: tuple[str, ...] = ()
    injection_problem: str | None = None


@dataclass(frozen=True)
class _Start:
    """The start of a scan and the tag that it is from."""

    moment: datetime | None
    source: str | None
    warnings: tuple[str, ...] = ()


def image_time(headers: Sequence[Dataset], decay_correction: str | None, given: Administration) -> ImageTime:
    """The times of a series for its kind of decay correction."""
    acquisitions = [acquired(header) for header in headers]
    slice_decay = None
    if decay_correction == "NONE":
        start = _Start(*_earliest(acquisitions))
        slice_decay = _slice_decay(headers, acquisitions, start.moment, given.half_life_s)
    else:
        start = _decay_start(headers, acquisitions, given.half_life_s)
    ends = [
        one + timedelta(seconds=_frame_duration_s(header) or 0.0)
        for header, one in zip(headers, acquisitions, strict=True)
        if one is not None
    ]
    scan = Scan(start.moment, max(ends, default=None), given.half_life_s)
    found = find_injection(headers, given, scan)
    if decay_correction == "ADMIN":
        return ImageTime(found.moment, found.source, found.moment, "DecayCorrection ADMIN: the injection", 0.0)
    minutes, warnings = None, [*start.warnings, *found.warnings]
    if found.moment is not None and start.moment is not None:
        minutes = (start.moment - found.moment).total_seconds() / 60
        if minutes < 0 and scan.may_follow(found.moment):
            warnings.append(
                f"The injection came {-minutes:.1f} minutes after the scan's start, so the dose is decayed backwards."
            )
    return ImageTime(
        found.moment,
        found.source,
        start.moment,
        start.source,
        minutes,
        slice_decay,
        tuple(warnings),
        found.problem,
    )


def acquired(header: Dataset) -> datetime | None:
    """When the acquisition of a slice started; its date may be empty (Type 2), and the series' own serves then."""
    moment = combine(header.get("AcquisitionDate"), header.get("AcquisitionTime")) or parse_datetime(
        header.get("AcquisitionDateTime"), header.get("TimezoneOffsetFromUTC")
    )
    if moment is not None:
        return moment
    dates = (header.get(keyword) for keyword in ("SeriesDate", "ContentDate", "StudyDate"))
    moment = next((one for date in dates if (one := combine(date, header.get("AcquisitionTime")))), None)
    series = combine(header.get("SeriesDate"), header.get("SeriesTime"))
    if moment is not None and series is not None and series - moment > timedelta(hours=12):
        return moment + DAY  # the scan went on over midnight
    return moment


def _decay_start(headers: Sequence[Dataset], acquisitions: list[datetime | None], half_life_s: float | None) -> _Start:
    """The moment that DecayCorrection START refers to.

    In this order: the moment that Enhanced PET names, the series time (unless an acquisition came before it, for then
    the series was made again later), GE's scan time, the time that the frames count from, and the first acquisition
    that is there. (The order of the QIBA profile for FDG-PET/CT, appendix on SUV.) A series time that GE's scan time,
    frame times and DecayFactor contradict with one voice gives way to them; a contradiction is always said.
    """
    stated = parse_datetime(common_value(headers, "DecayCorrectionDateTime"), headers[0].get("TimezoneOffsetFromUTC"))
    if stated is not None:
        return _Start(stated, tag_name("DecayCorrectionDateTime"))
    earliest, source = _earliest(acquisitions)
    series, warnings = _series_time(headers, earliest)
    witnesses = {
        GE_SCAN_NAME: _ge_scan_time(headers[0]),
        f"{tag_name('AcquisitionTime')} and {tag_name('FrameReferenceTime')}": _frame_origin(
            headers, acquisitions, half_life_s
        ),
        f"{tag_name('AcquisitionTime')} and {tag_name('DecayFactor')}": _decay_origin(
            headers, acquisitions, half_life_s
        ),
    }
    known = {name: moment for name, moment in witnesses.items() if moment is not None}
    if series is not None and earliest is None:
        warnings.append(
            f"{tag_name('AcquisitionTime')} is missing; {tag_name('SeriesTime')} {series} was taken for the start of "
            "the scan, which is wrong if the series was made again later. Check it, or state --minutes."
        )
        return _Start(series, tag_name("SeriesTime"), tuple(warnings))
    if series is not None and earliest is not None and series <= earliest:
        start = _most_agreed(series, known, half_life_s)
        return _Start(start.moment, start.source, (*warnings, *start.warnings))
    factor_apart = [name for name in known if "DecayFactor" not in name]
    if factor_apart:
        moment = known[factor_apart[0]]
        said = _contradictions(factor_apart[0], moment, known, half_life_s)
        return _Start(moment, factor_apart[0], (*warnings, *said))
    return _Start(earliest, source, tuple(warnings))


def _series_time(headers: Sequence[Dataset], earliest: datetime | None) -> tuple[datetime | None, list[str]]:
    """SeriesDate and SeriesTime; where the date is another day's than the acquisitions', with their date."""
    date, time = common_value(headers, "SeriesDate"), common_value(headers, "SeriesTime")
    series = combine(date, time)
    if series is None or earliest is None or earliest - series < timedelta(hours=20):
        return series, []
    moved = combine(earliest.strftime("%Y%m%d"), time)
    assert moved is not None
    if moved > earliest and moved - earliest > timedelta(hours=12):
        moved -= DAY
    sentence = (
        f"{tag_name('SeriesDate')} {date} and the acquisitions' date {earliest:%Y%m%d} disagree; the latter was taken."
    )
    return moved, [sentence]


def _most_agreed(series: datetime, known: dict[str, datetime], half_life_s: float | None) -> _Start:
    """The series time, or what contradicts it if more of the header's times agree on that."""
    name, votes = tag_name("SeriesTime"), {tag_name("SeriesTime"): series, **known}
    support = {one: sum(_same(moment, other, half_life_s) for other in votes.values()) for one, moment in votes.items()}
    best = max(support, key=lambda one: support[one])  # the first of equals, so the series time
    chosen = best if support[best] > support[name] else name
    return _Start(votes[chosen], chosen, tuple(_contradictions(chosen, votes[chosen], votes, half_life_s)))


def _contradictions(chosen: str, moment: datetime, votes: dict[str, datetime], half_life_s: float | None) -> list[str]:
    """A sentence where the header gives other starts of the scan than the chosen one."""
    others = [f"{one} {shown(other)}" for one, other in votes.items() if not _same(other, moment, half_life_s)]
    if not others:
        return []
    return [
        f"The header contradicts itself on the scan's start: {chosen} {shown(moment)}, but {' and '.join(others)}; the "
        "first was taken. Check it, or state --minutes."
    ]


def _same(one: datetime, other: datetime, half_life_s: float | None) -> bool:
    """Whether two moments give the same SUV, within 1 % (or two seconds, to which some times are rounded)."""
    within = 60.0 if half_life_s is None else max(2.0, SAME_MOMENT_HALF_LIVES * half_life_s)
    return abs((one - other).total_seconds()) <= min(within, HOUR)


def _earliest(acquisitions: list[datetime | None]) -> tuple[datetime | None, str | None]:
    known = [moment for moment in acquisitions if moment is not None]
    if not known or len(known) < len(acquisitions):
        return None, None
    return min(known), f"the earliest {tag_name('AcquisitionTime')}"


def _frame_origin(
    headers: Sequence[Dataset], acquisitions: list[datetime | None], half_life_s: float | None
) -> datetime | None:
    """The moment that FrameReferenceTime counts from: acquisition + average time in the frame - FrameReferenceTime.

    It also holds for a part of a series, whose first acquisition came later. None unless all slices agree on it: some
    scanners write something else into these tags.
    """
    origins = []
    for header, acquisition in zip(headers, acquisitions, strict=True):
        reference_ms = positive(header.get("FrameReferenceTime"))  # zero is a tag that nobody filled
        duration_s = _frame_duration_s(header)
        if acquisition is None or reference_ms is None or duration_s is None or half_life_s is None:
            return None
        seconds = frame_average_s(duration_s, half_life_s) - float(reference_ms) / 1000
        origins.append(acquisition + timedelta(seconds=seconds))
    return _agreed(origins)


def _decay_origin(
    headers: Sequence[Dataset], acquisitions: list[datetime | None], half_life_s: float | None
) -> datetime | None:
    """The moment that DecayFactor corrects to: 2^(seconds to the frame's mean activity / half-life) (PS3.3 C.8.9.4.1).

    None where it is 1 (nobody filled it) or rounded so much that it says nothing.
    """
    origins = []
    for header, acquisition in zip(headers, acquisitions, strict=True):
        text, duration_s = str(header.get("DecayFactor") or ""), _frame_duration_s(header)
        factor = positive(text)
        if acquisition is None or factor is None or factor == 1 or duration_s is None or half_life_s is None:
            return None
        decimals = len(text.partition(".")[2]) if "e" not in text.lower() else 6
        if 10.0**-decimals / factor > SAME_MOMENT_HALF_LIVES:
            return None
        seconds = frame_average_s(duration_s, half_life_s) - math.log2(factor) * half_life_s
        origins.append(acquisition + timedelta(seconds=seconds))
    return _agreed(origins)


def _agreed(origins: list[datetime]) -> datetime | None:
    if (max(origins) - min(origins)).total_seconds() > FRAME_ORIGIN_WITHIN_S:
        return None
    return min(origins)


def _slice_decay(
    headers: Sequence[Dataset],
    acquisitions: list[datetime | None],
    reference: datetime | None,
    half_life_s: float | None,
) -> tuple[float, ...] | None:
    """What undoes each slice's decay since the reference time: 2^(seconds / half-life).

    An uncorrected slice is the mean activity of its frame, which is that of the frame's average time, not of its start.
    """
    if reference is None or half_life_s is None:
        return None
    factors = []
    for header, acquisition in zip(headers, acquisitions, strict=True):
        assert acquisition is not None  # the reference is their earliest, so all are known
        seconds = (acquisition - reference).total_seconds()
        seconds += frame_average_s(_frame_duration_s(header) or 0.0, half_life_s)
        factors.append(2.0 ** (seconds / half_life_s))
    return tuple(factors)


def frame_average_s(duration_s: float, half_life_s: float) -> float:
    """Seconds after the start of a frame at which the activity equals its mean over the frame."""
    decayed = duration_s * math.log(2) / half_life_s
    if decayed == 0:
        return 0.0
    return math.log(decayed / -math.expm1(-decayed)) * half_life_s / math.log(2)


def _frame_duration_s(header: Dataset) -> float | None:
    duration_ms = positive(header.get("ActualFrameDuration"))
    return None if duration_ms is None else duration_ms / 1000


def _ge_scan_time(header: Dataset) -> datetime | None:
    """GE's private scan time, unless group 9 belongs to another vendor."""
    creator = _decoded(header[GE_CREATOR].value) if GE_CREATOR in header else None
    if GE_SCAN_DATETIME not in header or (creator is not None and not creator.startswith("GEMS")):
        return None
    return parse_datetime(header[GE_SCAN_DATETIME].value, header.get("TimezoneOffsetFromUTC"))


def _decoded(value: object) -> str:
    return value.decode("ascii", errors="ignore") if isinstance(value, bytes) else str(value)
