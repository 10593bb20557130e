"""Enhanced (multi-frame) PET: each of its frames as the header of a classic slice, so that all else is read alike.

Enhanced PET (PS3.3 A.56, C.8.22) and Legacy Converted Enhanced PET (A.72) keep what differs between frames in
functional groups (C.7.6.16), shared or per frame: place, slope, time, gate. Merged into one flat data set, and with the
few facts that have other names here under the names that a classic series has, a frame is a slice.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import EnhancedPETImageStorage, LegacyConvertedEnhancedPETImageStorage

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.headers import tag_name
from PETDiffusionLib.volumes.radiopharmacy import positive
from PETDiffusionLib.volumes.times import parse_datetime

ENHANCED_CLASSES = (EnhancedPETImageStorage, LegacyConvertedEnhancedPETImageStorage)

# Elements of the file that are not of each frame.
_OF_THE_FILE = frozenset(
    Tag(keyword) for keyword in ("PixelData", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
)
# Functional groups that tell of other objects or of the display, and the one that is read by itself.
_LEFT_OUT = frozenset(
    Tag(keyword)
    for keyword in (
        "ReferencedImageSequence",
        "DerivationImageSequence",
        "ConversionSourceAttributesSequence",
        "FrameAnatomySequence",
        "FrameVOILUTSequence",
        "RealWorldValueMappingSequence",
    )
)
# Corrections as Enhanced PET states them (C.8.22.6) and as CorrectedImage lists them (C.8.9.1).
_CORRECTIONS = {
    "AttenuationCorrected": "ATTN",
    "DecayCorrected": "DECY",
    "ScatterCorrected": "SCAT",
    "DeadTimeCorrected": "DTIM",
    "PatientMotionCorrected": "MOTN",
    "CountLossNormalizationCorrected": "CLN",
    "RandomsCorrected": "RAN",
    "NonUniformRadialSamplingCorrected": "RADL",
    "SensitivityCalibrated": "DCAL",
    "DetectorNormalizationCorrection": "NORM",
}
# UCUM codes of CID 84 without their annotation, and what Units (0054,1001) calls them.
_UNITS = {
    "bq/ml": "BQML",
    "g/ml": "GML",
    "cm2/ml": "CM2ML",
    "{counts}": "CNTS",
    "{counts}/s": "CPS",
    "{propcounts}": "PROPCNTS",
    "{propcounts}/s": "PROPCPS",
}
_SUV_TYPES = {"bw": "BW", "lbm": "LBM", "lbm(james128)": "LBMJAMES128", "lbm(janma)": "LBMJANMA", "ibw": "IBW"}
_SUV_ANNOTATION = re.compile(r"\{suv([a-z0-9()]*)\}")
# Decay corrected to within this of the injection is corrected to the injection.
_AT_INJECTION = timedelta(seconds=1)


class FrameHeader(Dataset):
    """The header of one frame of an enhanced file, as a classic slice has it; its pixels are in `whole`."""

    filename: str
    whole: Dataset
    frame: int


def is_enhanced(header: Dataset) -> bool:
    """Whether a header is of an enhanced PET file."""
    return header.get("SOPClassUID") in ENHANCED_CLASSES


def frame_headers(whole: Dataset) -> list[Dataset]:
    """A header for each frame of an enhanced file. Raises PETDiffusionError "bad-file" where groups are missing."""
    with warnings.catch_warnings():
        # Files in the wild bend value representations everywhere; what is used is checked where it is used.
        warnings.simplefilter("ignore")
        return _frame_headers(whole)


def _frame_headers(whole: Dataset) -> list[Dataset]:
    per_frame = whole.get("PerFrameFunctionalGroupsSequence") or []
    frames = int(whole.get("NumberOfFrames") or 1)
    if len(per_frame) != frames:
        raise PETDiffusionError(
            "bad-file",
            f"'{whole.filename}' has {frames} frames and functional groups of {len(per_frame)} "
            f"({tag_name('PerFrameFunctionalGroupsSequence')}). Copy or export it again.",
        )
    shared_groups = (whole.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    of_all = {tag: whole[tag] for tag in _tags(whole) if tag not in _OF_THE_FILE}  # pixels stay on the disk
    shared = Dataset({**of_all, **_flattened(shared_groups)})
    _name_corrections(shared)
    common = {tag: shared[tag] for tag in _tags(shared)}
    return [_frame_header(whole, number, common, shared_groups, group) for number, group in enumerate(per_frame)]


def check_concatenation(files: Sequence[Dataset], name: str) -> None:
    """Refuse a file that was divided into several (a concatenation, C.7.6.16.2.2.3) of which some are missing."""
    parts: dict[str, dict[int, Dataset]] = {}
    for file in files:
        if uid := file.get("ConcatenationUID"):
            parts.setdefault(str(uid), {})[int(file.get("InConcatenationNumber") or 0)] = file
    for found in parts.values():
        whole = max([*found, *(int(file.get("InConcatenationTotalNumber") or 0) for file in found.values())])
        lost = [str(number) for number in range(1, whole + 1) if number not in found]
        if lost:
            raise PETDiffusionError(
                "missing-slices",
                f"{name} is an enhanced image in {whole} files (a concatenation), "
                f"part {' and '.join(lost)} is missing. Export the whole series again.",
            )


def _flattened(groups: Dataset) -> dict[BaseTag, object]:
    """The attributes in the functional groups of one item, without the groups around them."""
    flat: dict[BaseTag, object] = {}
    for tag in _tags(groups):
        if tag not in _LEFT_OUT and (group := groups[tag]).VR == "SQ" and len(group.value) > 0:
            flat |= _elements(group.value[0])
    return flat


def _elements(dataset: Dataset) -> dict[BaseTag, object]:
    """The elements of a data set as they lie in the file; each is decoded when it is asked for."""
    return {tag: dataset.get_item(tag) for tag in _tags(dataset)}


def _tags(dataset: Dataset) -> list[BaseTag]:
    """The tags of a data set; iterating over it would decode every element."""
    return list(dataset.keys())


def _frame_header(
    whole: Dataset, number: int, shared: Mapping[BaseTag, object], shared_groups: Dataset, groups: Dataset
) -> FrameHeader:
    header = FrameHeader({**shared, **_flattened(groups)})
    header.filename, header.whole, header.frame = whole.filename, whole, number
    _name_times(header)
    mappings = groups.get("RealWorldValueMappingSequence") or shared_groups.get("RealWorldValueMappingSequence")
    if not header.get("Units") and mappings:
        _name_unit(header, mappings)
    return header


def _name_times(header: Dataset) -> None:
    """AcquisitionDate, AcquisitionTime and ActualFrameDuration of a frame, where only its own names are there."""
    clock = header.get("TimezoneOffsetFromUTC")
    start = parse_datetime(header.get("FrameAcquisitionDateTime") or header.get("AcquisitionDateTime"), clock)
    if start is not None and not header.get("AcquisitionTime"):
        header.AcquisitionDate, header.AcquisitionTime = start.strftime("%Y%m%d"), start.strftime("%H%M%S.%f")
    duration_ms = positive(header.get("FrameAcquisitionDuration"))
    if duration_ms is not None and not header.get("ActualFrameDuration"):
        header.ActualFrameDuration = round(duration_ms)


def _name_corrections(header: Dataset) -> None:
    """CorrectedImage and DecayCorrection from the flags of Enhanced PET.

    What decay is corrected to is a moment there (DecayCorrectionDateTime): the injection is ADMIN, any other START.
    """
    if not header.get("CorrectedImage"):
        done = [name for keyword, name in _CORRECTIONS.items() if header.get(keyword) == "YES"]
        if done:
            header.CorrectedImage = done
    if header.get("DecayCorrection"):
        return
    moment = parse_datetime(header.get("DecayCorrectionDateTime"), header.get("TimezoneOffsetFromUTC"))
    if header.get("DecayCorrected") == "NO":
        header.DecayCorrection = "NONE"
    elif header.get("DecayCorrected") == "YES" and moment is not None:
        injection = _injection(header)
        at_injection = injection is not None and abs(moment - injection) <= _AT_INJECTION
        header.DecayCorrection = "ADMIN" if at_injection else "START"


def _injection(header: Dataset) -> datetime | None:
    given = header.get("RadiopharmaceuticalInformationSequence") or [Dataset()]
    return parse_datetime(given[0].get("RadiopharmaceuticalStartDateTime"), header.get("TimezoneOffsetFromUTC"))


def _name_unit(header: Dataset, mappings: Sequence[Dataset]) -> None:
    """Units, SUVType and the slope to that unit from the real world value mappings (C.7.6.16.2.11); Bq/ml first.

    A mapping by a table, or several for one unit (each for a part of the values), are left alone: the unit stays
    unknown.
    """
    known: dict[str, list[tuple[str | None, Dataset]]] = {}
    for mapping in mappings:
        unit, suv_type = _unit_of(mapping)
        if unit is not None and "RealWorldValueSlope" in mapping:
            known.setdefault(unit, []).append((suv_type, mapping))
    for unit in ("BQML", *known):
        if len(known.get(unit, ())) == 1:
            ((suv_type, mapping),) = known[unit]
            header.Units = unit
            header.RescaleSlope = float(mapping.RealWorldValueSlope)
            header.RescaleIntercept = float(mapping.get("RealWorldValueIntercept", 0.0))
            if suv_type is not None:
                header.SUVType = suv_type
            return


def _unit_of(mapping: Dataset) -> tuple[str | None, str | None]:
    """Units and SUVType of a mapping's UCUM code: Bq/ml, g/ml{SUVbw}, {SUVbw}g/ml, {counts} ..."""
    codes = mapping.get("MeasurementUnitsCodeSequence") or [Dataset()]
    code = str(codes[0].get("CodeValue") or "").strip().lower()
    annotation = _SUV_ANNOTATION.search(code)
    unit = _UNITS.get(_SUV_ANNOTATION.sub("", code))
    if unit != "GML" or annotation is None:
        return unit, None
    return unit, _SUV_TYPES.get(annotation.group(1), annotation.group(1).upper())
