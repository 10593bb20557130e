"""Which tracer was given, how much and when, and the moment that the activity of a DICOM PT series refers to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.headers import common_value, tag_name
from PETDiffusionLib.volumes.times import combine, parse_datetime

GE_SCAN_DATETIME = (0x0009, 0x100D)
GE_CREATOR = (0x0009, 0x0010)

# A RadionuclideTotalDose below this is in MBq: in Bq it would be a hundredth of the smallest mouse dose.
SMALLEST_DOSE_BQ = 1e4

# All slices of a series must agree on the moment that their frame times count from to within this.
FRAME_ORIGIN_WITHIN_S = 5.0


@dataclass(frozen=True)
class Administration:
    """What RadiopharmaceuticalInformationSequence says; None where it does not (or says zero)."""

    tracer: str | None = None
    nuclide: str | None = None
    dose_mbq: float | None = None
    dose_tag_in_mbq: bool = False
    half_life_s: float | None = None
    start_datetime: object = None
    start_time: object = None


@dataclass(frozen=True)
class ImageTime:
    """Injection, the moment that the activity refers to, and the minutes between in which the dose decays.

    slice_decay: with DecayCorrection NONE, the factor that brings each slice (in the order of the headers) to the
    reference time; None where it is not needed (START, ADMIN) or cannot be known.
    """

    injection: datetime | None
    injection_source: str | None
    reference: datetime | None
    reference_source: str | None
    minutes: float | None
    slice_decay: tuple[float, ...] | None = None


def positive(value: object) -> float | None:
    """A number above zero, None for everything else."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def administration(headers: Sequence[Dataset]) -> Administration:
    """The one administration of a series. Raises PETDiffusionError where there are several or slices disagree."""
    sequence = headers[0].get("RadiopharmaceuticalInformationSequence")
    if not sequence:
        return Administration()
    if len(sequence) > 1:
        raise PETDiffusionError(
            "several-tracers", f"SUV is for one administration, {len(sequence)} are listed. Export them one by one."
        )
    items = [(header.get("RadiopharmaceuticalInformationSequence") or [Dataset()])[0] for header in headers]
    tag_value = positive(common_value(items, "RadionuclideTotalDose"))
    in_mbq = tag_value is not None and tag_value < SMALLEST_DOSE_BQ
    dose_mbq = tag_value if tag_value is None or in_mbq else tag_value / 1e6
    return Administration(
        tracer=_text(items[0].get("Radiopharmaceutical")),
        nuclide=_code_meaning(items[0], "RadionuclideCodeSequence"),
        dose_mbq=dose_mbq,
        dose_tag_in_mbq=in_mbq,
        half_life_s=positive(common_value(items, "RadionuclideHalfLife")),
        start_datetime=common_value(items, "RadiopharmaceuticalStartDateTime"),
        start_time=common_value(items, "RadiopharmaceuticalStartTime"),
    )


def image_time(headers: Sequence[Dataset], decay_correction: str | None, given: Administration) -> ImageTime:
    """The times of a series for its kind of decay correction."""
    acquisitions = [combine(header.get("AcquisitionDate"), header.get("AcquisitionTime")) for header in headers]
    slice_decay = None
    if decay_correction == "NONE":
        reference, source = _earliest(acquisitions)
        slice_decay = _slice_decay(headers, acquisitions, reference, given.half_life_s)
    else:
        reference, source = _decay_start(headers, acquisitions, given.half_life_s)
    injection, injection_source = _injection(headers, given, reference)
    if decay_correction == "ADMIN":
        return ImageTime(injection, injection_source, injection, "DecayCorrection ADMIN: the injection", 0.0)
    minutes = None
    if injection is not None and reference is not None:
        minutes = (reference - injection).total_seconds() / 60
    return ImageTime(injection, injection_source, reference, source, minutes, slice_decay)


def _decay_start(
    headers: Sequence[Dataset], acquisitions: list[datetime | None], half_life_s: float | None
) -> tuple[datetime | None, str | None]:
    """The moment that DecayCorrection START refers to, and the tag that it is from.

    In this order: the moment that Enhanced PET names, the series time (unless an acquisition came before it, for then
    the series was made again later), GE's scan time, the time that the frames count from, and the first acquisition
    that is there.
    """
    stated = parse_datetime(common_value(headers, "DecayCorrectionDateTime"), headers[0].get("TimezoneOffsetFromUTC"))
    if stated is not None:
        return stated, tag_name("DecayCorrectionDateTime")
    earliest, source = _earliest(acquisitions)
    series = combine(common_value(headers, "SeriesDate"), common_value(headers, "SeriesTime"))
    if series is not None and earliest is not None and series <= earliest:
        return series, tag_name("SeriesTime")
    scan = _ge_scan_time(headers[0])
    if scan is not None:
        return scan, "GE scan date and time (0009,100D)"
    frames_count_from = _frame_origin(headers, acquisitions, half_life_s)
    if frames_count_from is not None:
        return frames_count_from, f"{tag_name('AcquisitionTime')} and {tag_name('FrameReferenceTime')}"
    return earliest, source


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
    creator = _text(header[GE_CREATOR].value) if GE_CREATOR in header else None
    if GE_SCAN_DATETIME not in header or (creator is not None and not creator.startswith("GEMS")):
        return None
    return parse_datetime(header[GE_SCAN_DATETIME].value, header.get("TimezoneOffsetFromUTC"))


def _injection(
    headers: Sequence[Dataset], given: Administration, reference: datetime | None
) -> tuple[datetime | None, str | None]:
    """Injection by its full date, else by its time on the day of the scan, or the day before if that is after it."""
    full = parse_datetime(given.start_datetime, headers[0].get("TimezoneOffsetFromUTC"))
    if full is not None:
        return full, tag_name("RadiopharmaceuticalStartDateTime")
    day = reference.strftime("%Y%m%d") if reference is not None else headers[0].get("SeriesDate")
    moment = combine(day, given.start_time)
    if moment is None:
        return None, None
    source = tag_name("RadiopharmaceuticalStartTime")
    if reference is not None and moment > reference:
        return moment - timedelta(days=1), f"{source} on the day before the scan"
    return moment, f"{source} on the day of the scan"


def _code_meaning(item: Dataset, keyword: str) -> str | None:
    codes = item.get(keyword)
    return _text(codes[0].get("CodeMeaning")) if codes else None


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="ignore")
    return str(value).strip("\0 ") or None if value is not None else None
