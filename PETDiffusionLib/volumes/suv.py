"""SUV by body weight from DICOM: every fact that it rests on, the factor, or the reason why there is none.

After the vendor-neutral rules for SUV (BQML, Philips CNTS, GML, CM2ML; decay correction START, ADMIN, NONE). What a
header does not say is never guessed: it is named in `missing` (can be stated by hand) or in `refusal` (cannot).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from pydicom.dataset import Dataset

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.headers import common_value, tag_name
from PETDiffusionLib.volumes.injection import LATEST_AFTER_START_S, MOST_HALF_LIVES
from PETDiffusionLib.volumes.plausibility import believed_height, believed_weight, implausible_patient
from PETDiffusionLib.volumes.radiopharmacy import Administration, administration, positive
from PETDiffusionLib.volumes.scan_time import ImageTime, image_time
from PETDiffusionLib.volumes.series import pet_series
from PETDiffusionLib.volumes.suv_report import SuvFacts, refusal_sentence
from PETDiffusionLib.volumes.variants import UNIT_OF_SUV_TYPE, VARIANTS, SuvUnit, per_suvbw
from PETDiffusionLib.volumes.volume import UNIT_NAMES, Unit

PHILIPS_SUV_FACTOR = (0x7053, 0x1000)
PHILIPS_ACTIVITY_FACTOR = (0x7053, 0x1009)
SAME_FACTOR = 0.05

EXPORT_ADVICE = "Export the series in Bq/ml."
NO_UNITS = f"SUV needs Units BQML, GML or Philips CNTS, the series has no {tag_name('Units')}. {EXPORT_ADVICE}"


@dataclass(frozen=True)
class PixelMeaning:
    """What the rescaled pixel values of a series are, from Units, SUVType and the Philips factors."""

    source_unit: str
    suv_type: str | None
    philips_suv_factor: float | None
    philips_activity_factor: float | None

    @property
    def stored_unit(self) -> SuvUnit | None:
        """The kind of SUV that the values are already in."""
        if self.source_unit == "CM2ML":
            return "suvbsa"
        return UNIT_OF_SUV_TYPE.get(self.suv_type or "BW") if self.source_unit == "GML" else None

    @property
    def suv_per_value(self) -> float | None:
        """What makes SUVbw of the values without dose and weight."""
        if self.stored_unit == "suvbw":
            return 1.0
        return self.philips_suv_factor if self.source_unit == "CNTS" else None

    @property
    def bqml_per_value(self) -> float | None:
        """What makes Bq/ml of the values."""
        if self.source_unit == "BQML":
            return 1.0
        return self.philips_activity_factor if self.source_unit == "CNTS" else None

    @property
    def refusal(self) -> str | None:
        """Why the values cannot become SUVbw at all."""
        if self.suv_per_value is not None or self.bqml_per_value is not None or self.stored_unit is not None:
            return None
        if self.source_unit == "GML":
            return f"SUVbw is expected, the values are SUV of type {self.suv_type}, which is unknown. {EXPORT_ADVICE}"
        if self.source_unit == "CNTS":
            return f"Counts (CNTS) need a Philips factor, (7053,1000) or (7053,1009); both are missing. {EXPORT_ADVICE}"
        if not self.source_unit:
            return NO_UNITS
        shown = f"{tag_name('Units')} {self.source_unit}"
        return f"SUV needs Units BQML, GML or Philips CNTS, the series has {shown}. {EXPORT_ADVICE}"


def suv_facts(source: str | os.PathLike[str] | Sequence[Dataset]) -> SuvFacts:
    """The facts of a DICOM PET series (folder, one of its files, or its headers) from which SUVbw can be had.

    Raises PETDiffusionError "no-suv" with what is missing named, and all that `pet_series` raises.
    """
    headers = pet_series(source) if isinstance(source, (str, os.PathLike)) else source
    return require_suv(gather_suv_facts(headers))


def require_suv(facts: SuvFacts) -> SuvFacts:
    """The facts, if SUVbw can be had from them. Raises PETDiffusionError "no-suv" with what is missing named."""
    if facts.suv_factor is None:
        raise PETDiffusionError("no-suv", refusal_sentence(facts))
    return facts


def gather_suv_facts(headers: Sequence[Dataset]) -> SuvFacts:
    """Everything that the headers of one PET series say about SUV; where there is no SUV, it says why."""
    decay_correction = (_optional_text(headers, "DecayCorrection") or "").upper() or None
    meaning, warnings = _pixel_meaning(headers, decay_correction)
    corrected = tuple(one.upper() for one in _texts(common_value(headers, "CorrectedImage")))
    weight_kg, weight_problem = believed_weight(positive(common_value(headers, "PatientWeight")))
    height_m, sex = believed_height(positive(common_value(headers, "PatientSize"))), _sex(headers)
    given = administration(headers, weight_kg)
    time = image_time(headers, decay_correction, given)
    untimed = _no_single_time(decay_correction, time)
    missing = _missing(weight_kg, weight_problem, given, time, decay_correction)
    uncorrected = _uncorrected(corrected, decay_correction)
    refusal = meaning.refusal or uncorrected
    if refusal == NO_UNITS:
        refusal = uncorrected or NO_UNITS  # the unit can be stated, which leaves the other
    if meaning.suv_per_value is None:
        refusal = refusal or untimed
    # What a header leaves empty can be stated; what it denies cannot.
    denies = uncorrected is not None and bool(corrected) and not _omits_decay(corrected, decay_correction)
    is_silent = not denies and decay_correction in (None, "START", "ADMIN", "NONE")
    answered_by = "--corrected" if refusal in (uncorrected, untimed) and refusal and is_silent else None
    if decay_correction == "NONE" and untimed:
        answered_by = None
    suv_per_value, body_refusal = _suv_per_stored_value(meaning, weight_kg, height_m, sex)
    refusal = refusal or body_refusal
    dose_at_reference = suv_per_bqml = None
    if weight_kg is not None and not missing and (not untimed or answered_by):
        dose_at_reference = _decayed(given, time)
        suv_per_bqml = weight_kg * 1000 / (dose_at_reference * 1e6)
    warnings += _contradictions(meaning, suv_per_bqml, corrected, decay_correction)
    if suv_per_value is None:
        warnings += [*given.warnings, *time.warnings]
        minutes = None if decay_correction == "ADMIN" else time.minutes
        warnings += implausible_patient(weight_kg, given.dose_mbq, given.half_life_s, height_m, minutes)
    return SuvFacts(
        series_uid=str(headers[0].SeriesInstanceUID),
        slices=len(headers),
        manufacturer=str(headers[0].get("Manufacturer", "")),
        model=str(headers[0].get("ManufacturerModelName", "")),
        **asdict(meaning),
        suv_variant=(UNIT_NAMES[meaning.stored_unit] if meaning.stored_unit else None) if refusal else "SUVbw",
        corrected_image=corrected,
        decay_correction=decay_correction,
        tracer=given.tracer,
        nuclide=given.nuclide,
        weight_kg=weight_kg,
        dose_mbq=given.dose_mbq,
        dose_tag_in_mbq=given.dose_tag_in_mbq,
        half_life_s=given.half_life_s,
        injection_time=time.injection.isoformat() if time.injection else None,
        injection_source=time.injection_source,
        reference_time=time.reference.isoformat() if time.reference else None,
        reference_source=time.reference_source,
        minutes=_believed_minutes(given, time),
        dose_at_reference_mbq=dose_at_reference,
        suv_per_bqml=suv_per_bqml,
        suv_factor=None if refusal else _suv_factor(meaning, suv_per_value, suv_per_bqml),
        missing=() if refusal or suv_per_value is not None else missing,
        refusal=refusal,
        height_m=height_m,
        sex=sex,
        answered_by=answered_by,
        warnings=tuple(warnings),
    )


def in_variant(facts: SuvFacts, variant: str) -> SuvFacts:
    """The facts of a series that has SUVbw, with factors for another kind of SUV (one of `variants.VARIANTS`)."""
    unit = VARIANTS[variant]
    ratio = per_suvbw(unit, {**facts.to_dict(), "source": "the series"})
    per_bqml, factor = facts.suv_per_bqml, facts.suv_factor
    return replace(
        facts,
        suv_variant=UNIT_NAMES[unit],
        suv_factor=None if factor is None else factor * ratio,
        suv_per_bqml=None if per_bqml is None else per_bqml * ratio,
    )


def _pixel_meaning(headers: Sequence[Dataset], decay_correction: str | None) -> tuple[PixelMeaning, list[str]]:
    """What the values are, and what must be said of values without decay correction."""
    units = (_optional_text(headers, "Units") or "").upper().replace("/", "")
    meaning = PixelMeaning(
        source_unit=units,
        suv_type=_optional_text(headers, "SUVType"),
        philips_suv_factor=positive(_private(headers, PHILIPS_SUV_FACTOR)),
        philips_activity_factor=positive(_private(headers, PHILIPS_ACTIVITY_FACTOR)),
    )
    warnings = []
    if meaning.stored_unit == "suvlbm" and meaning.suv_type == "LBM":
        warnings.append("SUVType LBM does not say by which formula; James's (1.10 W - 128 W2/H2 for men) was taken.")
    if decay_correction != "NONE":
        return meaning, warnings
    if meaning.stored_unit is not None:
        warnings.append(
            "The series says DecayCorrection NONE; its SUV was taken as it stands, and whether the decay of each slice "
            "is in it cannot be known."
        )
    if meaning.source_unit == "CNTS" and meaning.philips_suv_factor is not None:
        warnings.append(
            "The Philips SUV factor (7053,1000) is for decay-corrected slices, and the series says DecayCorrection "
            "NONE: it was not used."
        )
        meaning = replace(meaning, philips_suv_factor=None)
    if meaning.bqml_per_value is not None:
        warnings.append("The series has no decay correction; its slices were brought to the earliest acquisition.")
    return meaning, warnings


def _contradictions(
    meaning: PixelMeaning, suv_per_bqml: float | None, corrected: tuple[str, ...], decay_correction: str | None
) -> list[str]:
    """Sentences where Philips' two factors, or the two tags on decay correction, do not agree."""
    sentences = []
    if meaning.source_unit == "CNTS" and meaning.philips_suv_factor and meaning.philips_activity_factor:
        through_dose = meaning.philips_activity_factor * (suv_per_bqml or 0.0)
        if through_dose and not math.isclose(meaning.philips_suv_factor, through_dose, rel_tol=SAME_FACTOR):
            sentences.append(
                f"The Philips SUV factor (7053,1000) is {meaning.philips_suv_factor:.4g}, but the activity factor "
                f"(7053,1009), dose and weight give {through_dose:.4g}; the first was taken. Check dose and weight."
            )
    if decay_correction == "NONE" and "DECY" in corrected:
        sentences.append(
            f"{tag_name('CorrectedImage')} says that decay was corrected (DECY), {tag_name('DecayCorrection')} says "
            "NONE; the latter was taken. Check it."
        )
    return sentences


def _suv_per_stored_value(
    meaning: PixelMeaning, weight_kg: float | None, height_m: float | None, sex: str | None
) -> tuple[float | None, str | None]:
    """What makes SUVbw of the values without a dose; why another kind of SUV cannot become it."""
    if meaning.stored_unit in (None, "suvbw"):
        return meaning.suv_per_value, None
    try:
        body = {"weight_kg": weight_kg, "height_m": height_m, "sex": sex, "source": "the series"}
        return 1 / per_suvbw(meaning.stored_unit, body), None
    except PETDiffusionError as error:
        return None, error.sentence


def _suv_factor(meaning: PixelMeaning, suv_per_value: float | None, suv_per_bqml: float | None) -> float | None:
    """SUVbw per rescaled pixel value: directly where the series says it, otherwise through Bq/ml."""
    if suv_per_value is not None or suv_per_bqml is None or meaning.bqml_per_value is None:
        return suv_per_value
    return meaning.bqml_per_value * suv_per_bqml


def pixel_unit(facts: SuvFacts) -> tuple[Unit, float]:
    """The unit that a series is read in, and what its rescaled pixel values are multiplied by to be in it."""
    meaning = PixelMeaning(facts.source_unit, facts.suv_type, facts.philips_suv_factor, facts.philips_activity_factor)
    if meaning.stored_unit not in (None, "suvbw"):
        return meaning.stored_unit, 1.0
    if meaning.suv_per_value is not None and (facts.refusal is None or facts.answered_by):
        return "suvbw", meaning.suv_per_value
    if meaning.bqml_per_value is not None:
        return "bqml", meaning.bqml_per_value
    return ("counts" if facts.source_unit == "CNTS" else "unknown"), 1.0


def _uncorrected(corrected: tuple[str, ...], decay_correction: str | None) -> str | None:
    """Why uncorrected values are not SUV. DECY is not asked of a series that says DecayCorrection NONE."""
    needed = ("ATTN",) if decay_correction == "NONE" else ("ATTN", "DECY")
    absent = [name for name in needed if name not in corrected]
    if not absent:
        return None
    if not corrected:
        return (
            f"SUV needs {' and '.join(needed)} in {tag_name('CorrectedImage')}, which is empty. If the values are "
            "corrected for attenuation and decay, state it with --corrected; otherwise choose the corrected series."
        )
    if _omits_decay(corrected, decay_correction):
        return (
            f"{tag_name('DecayCorrection')} is {decay_correction}, but DECY is missing in "
            f"{tag_name('CorrectedImage')}, found {', '.join(corrected)}. If the values are corrected for decay, state "
            "it with --corrected."
        )
    return (
        f"SUV needs {' and '.join(needed)} in {tag_name('CorrectedImage')}; {' and '.join(absent)} missing, found "
        f"{', '.join(corrected)}. Choose the attenuation- and decay-corrected series."
    )


def _omits_decay(corrected: tuple[str, ...], decay_correction: str | None) -> bool:
    """Whether DECY alone is left out of CorrectedImage, while DecayCorrection says that decay was corrected."""
    return "ATTN" in corrected and "DECY" not in corrected and decay_correction in ("START", "ADMIN")


def _no_single_time(decay_correction: str | None, time: ImageTime) -> str | None:
    if decay_correction == "NONE" and time.slice_decay is None:
        return (
            "DecayCorrection NONE needs the half-life and the acquisition time of every slice "
            f"({tag_name('RadionuclideHalfLife')}, {tag_name('AcquisitionTime')}), and some are missing."
        )
    if decay_correction is None:
        return (
            f"{tag_name('DecayCorrection')} START, ADMIN or NONE is needed, found nothing. If the values are corrected "
            "for decay to the start of the scan, state it with --corrected."
        )
    if decay_correction not in ("START", "ADMIN", "NONE"):
        return (
            f"{tag_name('DecayCorrection')} START, ADMIN or NONE is needed, found {decay_correction}. {EXPORT_ADVICE}"
        )
    return None


def _missing(
    weight_kg: float | None,
    weight_problem: str | None,
    given: Administration,
    time: ImageTime,
    decay_correction: str | None,
) -> tuple[str, ...]:
    """What the factor from Bq/ml still needs, tag by tag, with the option that states it."""
    missing = []
    if weight_kg is None:
        wanted = "a weight in kg" if weight_problem else "a weight above zero"
        missing.append(f"{wanted}, --weight-kg ({weight_problem or _not_there('PatientWeight')})")
    if given.dose_mbq is None:
        wanted = "the dose" if given.dose_problem else "a dose above zero"
        missing.append(f"{wanted}, --dose-mbq ({given.dose_problem or _not_there('RadionuclideTotalDose')})")
    if decay_correction == "ADMIN":
        return tuple(missing)
    if given.half_life_s is None:
        wanted = "the half-life" if given.half_life_problem else "a half-life above zero"
        why = given.half_life_problem or _not_there("RadionuclideHalfLife")
        missing.append(f"{wanted}, --half-life-minutes ({why})")
    if time.injection is None:
        why = time.injection_problem or f"{tag_name('RadiopharmaceuticalStartDateTime')} is missing"
        missing.append(f"the time of injection, --minutes from injection to scan ({why})")
    if time.reference is None:
        why = f"{tag_name('SeriesTime')} and {tag_name('AcquisitionTime')} are missing"
        missing.append(f"the time of the scan, --minutes from injection to scan ({why})")
    if time.minutes is not None and _believed_minutes(given, time) is None:
        missing.append(
            f"a plausible time from injection to scan, --minutes (the header says {time.minutes:.1f} minutes, from "
            f"{time.injection} to {time.reference})"
        )
    return tuple(missing)


def _not_there(keyword: str) -> str:
    return f"{tag_name(keyword)} is missing or zero"


def _believed_minutes(given: Administration, time: ImageTime) -> float | None:
    """From injection to scan, None where that cannot be."""
    if time.minutes is None or time.minutes * 60 < -LATEST_AFTER_START_S:
        return None
    longest_s = math.inf if given.half_life_s is None else MOST_HALF_LIVES * given.half_life_s
    return time.minutes if time.minutes * 60 <= longest_s else None


def _decayed(given: Administration, time: ImageTime) -> float:
    """The dose in MBq at the time that the image's activity refers to."""
    assert given.dose_mbq is not None and time.minutes is not None
    if time.minutes == 0:
        return given.dose_mbq
    assert given.half_life_s is not None
    return given.dose_mbq * math.pow(2.0, -time.minutes * 60 / given.half_life_s)


def _sex(headers: Sequence[Dataset]) -> str | None:
    sex = (_optional_text(headers, "PatientSex") or "").upper()
    return sex if sex in ("M", "F") else None


def _private(headers: Sequence[Dataset], tag: tuple[int, int]) -> object | None:
    """The one value of a private tag; bytes where the file is implicit and the tag unknown."""
    values = {str(_decoded(header[tag].value)) for header in headers if tag in header}
    if len(values) > 1 or (values and any(tag not in header for header in headers)):
        raise PETDiffusionError(
            "inconsistent-series", f"The private tag ({tag[0]:04x},{tag[1]:04x}) differs between slices. Export again."
        )
    return values.pop() if values else None


def _decoded(value: object) -> object:
    return value.decode("ascii", errors="ignore").strip("\0 ") if isinstance(value, bytes) else value


def _optional_text(headers: Sequence[Dataset], keyword: str) -> str | None:
    value = common_value(headers, keyword)
    return None if value is None else str(value).strip() or None


def _texts(value: object | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(one) for one in value)  # type: ignore[attr-defined]
