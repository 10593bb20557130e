"""Between Bq/ml and SUV by body weight, with the facts of the series or facts stated by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.injection import MOST_HALF_LIVES
from PETDiffusionLib.volumes.nuclides import NUCLIDES, nuclide_named
from PETDiffusionLib.volumes.plausibility import implausible_patient, implausible_suv
from PETDiffusionLib.volumes.variants import VARIANTS, per_suvbw
from PETDiffusionLib.volumes.volume import UNIT_NAMES, Unit, Volume

FLUORINE_18_HALF_LIFE_S = NUCLIDES["F-18"].half_life_s


@dataclass(frozen=True)
class _Stated:
    """Facts stated by hand; None where nothing was stated."""

    weight_kg: float | None
    dose_mbq: float | None
    minutes: float | None
    half_life_s: float | None

    @property
    def anything(self) -> bool:
        return any(value is not None for value in (self.weight_kg, self.dose_mbq, self.minutes, self.half_life_s))


def to_suv(
    volume: Volume,
    weight_kg: float | None = None,
    dose_mbq: float | None = None,
    minutes: float | None = None,
    half_life_s: float | None = None,
    corrected: bool = False,
) -> Volume:
    """The volume in SUV by body weight (g/ml): Bq/ml * weight / dose, the dose decayed over `minutes`.

    What is not stated comes from the volume's facts; what is stated replaces them. `corrected` states that the values
    are corrected for attenuation and decay, where a series leaves that empty. A volume that is no DICOM series and
    names no nuclide has no half-life: fluorine-18 is taken, and a warning says so. SUVbw passes through. Values that
    can hardly be SUV are warned about.
    Raises PETDiffusionError "no-unit", "no-suv" (what is missing is named with its option), "bad-value".
    """
    volume = _answered(volume, corrected)
    if volume.unit == "suvbw":
        return _judged(volume)
    if volume.unit in VARIANTS.values():
        factor = 1 / per_suvbw(volume.unit, _body(volume, weight_kg))
        return _judged(_scaled(volume, factor, "suvbw", {**volume.facts, "suv_variant": "SUVbw"}))
    _require_activity(volume, "suvbw")
    factor, facts = _suv_per_bqml(volume, _Stated(weight_kg, dose_mbq, minutes, half_life_s))
    return _judged(_scaled(volume, factor, "suvbw", facts))


def to_bqml(
    volume: Volume,
    weight_kg: float | None = None,
    dose_mbq: float | None = None,
    minutes: float | None = None,
    half_life_s: float | None = None,
    corrected: bool = False,
) -> Volume:
    """The volume in Bq/ml, the inverse of `to_suv` with the same facts and errors. Bq/ml passes through."""
    if volume.unit == "bqml":
        return volume
    volume = _answered(volume, corrected)
    if volume.unit in VARIANTS.values() and volume.unit != "suvbw":
        volume = to_suv(volume, weight_kg)
    _require_activity(volume, "bqml")
    factor, facts = _suv_per_bqml(volume, _Stated(weight_kg, dose_mbq, minutes, half_life_s))
    return _scaled(volume, 1 / factor, "bqml", facts)


def to_suv_variant(volume: Volume, unit: Unit, weight_kg: float | None = None, **stated: Any) -> Volume:
    """The volume in another kind of SUV (one of `variants.VARIANTS`), by way of SUVbw; facts and errors of `to_suv`."""
    suv = to_suv(volume, weight_kg, **stated)
    if unit == "suvbw":
        return suv
    facts = {**suv.facts, "suv_variant": UNIT_NAMES[unit]}
    return _scaled(suv, per_suvbw(unit, _body(suv, weight_kg)), unit, facts)


def _scaled(volume: Volume, factor: float, unit: Unit, facts: dict[str, object]) -> Volume:
    return Volume(volume.with_array(volume.array * factor, unit).image, unit, facts)


def _body(volume: Volume, weight_kg: float | None) -> dict[str, object]:
    return volume.facts if weight_kg is None else {**volume.facts, "weight_kg": weight_kg}


def _answered(volume: Volume, corrected: bool) -> Volume:
    """The volume, where its series cannot be SUV only because it leaves out what was stated now."""
    refusal = volume.facts.get("refusal")
    if refusal and corrected and volume.facts.get("answered_by") == "--corrected":
        said = "The header does not say that the values are corrected for attenuation and decay; it was stated."
        facts = {**volume.facts, "refusal": None, "warnings": [*volume.warnings, said]}
        return Volume(volume.image, volume.unit, facts)
    if refusal and volume.unit in VARIANTS.values():
        raise PETDiffusionError("no-suv", str(refusal))
    return volume


def _judged(volume: Volume) -> Volume:
    """The volume in SUVbw, with a warning where its values can hardly be that."""
    voxel_ml = math.prod(volume.voxel_size_mm) / 1000
    view, is_frame = sitk.GetArrayViewFromImage(volume.image), "frame" in volume.facts
    found = implausible_suv(view, voxel_ml, _known(volume, "weight_kg"), is_frame)
    said = [one for one in found if one not in volume.warnings]
    if not said:
        return volume
    return Volume(volume.image, volume.unit, {**volume.facts, "warnings": [*volume.warnings, *said]})


def _require_activity(volume: Volume, wanted: Unit) -> None:
    """Refuse what cannot become `wanted` by a single factor between Bq/ml and SUVbw."""
    if volume.unit in ("suvbw", "bqml"):
        return
    source = volume.facts.get("source", "the volume")
    refusal = volume.facts.get("refusal")
    if refusal:
        raise PETDiffusionError("no-suv", str(refusal))
    advice = "State it: --unit suv or --unit bqml." if volume.unit == "unknown" else "Export it in Bq/ml."
    raise PETDiffusionError(
        "no-unit", f"{UNIT_NAMES[wanted]} is wanted, and '{source}' is in {UNIT_NAMES[volume.unit]}. {advice}"
    )


def _suv_per_bqml(volume: Volume, stated: _Stated) -> tuple[float, dict[str, object]]:
    """SUVbw per Bq/ml, and the facts with what it was made of."""
    if volume.facts.get("refusal"):
        raise PETDiffusionError("no-suv", str(volume.facts["refusal"]))
    known = volume.facts.get("suv_per_bqml")
    if known is not None and not stated.anything:
        return float(known), dict(volume.facts)  # type: ignore[arg-type]
    used, warnings = _complete(volume, stated)
    assert used.weight_kg is not None and used.dose_mbq is not None and used.minutes is not None
    decay = 1.0
    if used.minutes != 0:
        assert used.half_life_s is not None
        decay = math.pow(2.0, -used.minutes * 60 / used.half_life_s)
    factor = used.weight_kg * 1000 / (used.dose_mbq * 1e6 * decay)
    facts = {**volume.facts, "suv_per_bqml": factor, "suv_variant": "SUVbw", **used.__dict__}
    facts["stated"] = {key: value for key, value in stated.__dict__.items() if value is not None}
    warnings += implausible_patient(used.weight_kg, used.dose_mbq, used.half_life_s, None, used.minutes)
    facts["warnings"] = list(dict.fromkeys(volume.warnings + _replaced(volume, stated) + warnings))
    return factor, facts


def _replaced(volume: Volume, stated: _Stated) -> list[str]:
    """A sentence for each fact of the file that was stated otherwise."""
    sentences = []
    for key, value in stated.__dict__.items():
        known = _known(volume, key)
        if value is not None and known is not None and not math.isclose(value, known, rel_tol=0.01):
            sentences.append(f"The file says {key} {known:g}; {value:g} was stated, and taken.")
    return sentences


def _complete(volume: Volume, stated: _Stated) -> tuple[_Stated, list[str]]:
    """What was stated, completed from the volume's facts; names everything that is still missing."""
    known = {key: _known(volume, key) if value is None else value for key, value in stated.__dict__.items()}
    options = {"weight_kg": "--weight-kg", "dose_mbq": "--dose-mbq", "minutes": "--minutes (injection to scan)"}
    missing = [option for key, option in options.items() if known[key] is None]
    if missing:
        source = volume.facts.get("source", "the volume")
        reasons = [str(one) for one in volume.facts.get("missing") or []]  # type: ignore[attr-defined]
        reasons = [one for one in reasons if not any(_answers(key, one) for key in options if known[key] is not None)]
        unexplained = [one for one in missing if not any(one.split()[0] in reason for reason in reasons)]
        raise PETDiffusionError(
            "no-suv",
            f"Between Bq/ml and SUV, '{source}' needs {'; '.join([*unexplained, *reasons])}. "
            "State what it does not say.",
        )
    _check_stated(stated.__dict__)
    warnings = []
    if known["half_life_s"] is None and known["minutes"] and (doubt := volume.facts.get("half_life_doubt")):
        raise PETDiffusionError("no-suv", f"Between Bq/ml and SUV: {doubt}. State --half-life-minutes.")
    if known["half_life_s"] is None and known["minutes"] and volume.facts.get("modality") != "PT":
        named = nuclide_named(volume.facts.get("nuclide")) or nuclide_named(volume.facts.get("tracer"))
        if named is not None:
            known["half_life_s"] = named.half_life_s
            warnings.append(
                f"The half-life is not in the file; that of {named.name} ({named.half_life_s:g} s) was taken."
            )
    if known["half_life_s"] is None and known["minutes"]:
        if volume.facts.get("modality") == "PT":
            raise PETDiffusionError(
                "no-suv",
                f"Between Bq/ml and SUV, the series needs {_lacking_half_life(volume)}. State it, or export the series "
                "again.",
            )
        known["half_life_s"] = FLUORINE_18_HALF_LIFE_S
        warnings.append(
            f"The half-life is not in the file; fluorine-18 ({FLUORINE_18_HALF_LIFE_S:g} s) was taken for the decay."
        )
    minutes, half_life_s = known["minutes"], known["half_life_s"]
    if minutes and half_life_s and minutes * 60 > MOST_HALF_LIVES * half_life_s:
        raise PETDiffusionError(
            "no-suv",
            f"From injection to scan are {minutes:.1f} minutes, more than {MOST_HALF_LIVES} half-lives. Correct the "
            "dates, or state --minutes.",
        )
    return _Stated(**known), warnings


def _answers(key: str, reason: str) -> bool:
    """Whether a fact stated by hand answers what a header lacks."""
    return f"--{key.replace('_', '-')}" in reason


def _lacking_half_life(volume: Volume) -> str:
    """What the header says of a half-life that is not there or not believed."""
    reasons = [str(one) for one in volume.facts.get("missing") or []]  # type: ignore[attr-defined]
    found = [one for one in reasons if "--half-life-minutes" in one]
    return found[0] if found else "a half-life, --half-life-minutes (RadionuclideHalfLife (0018,1075) is missing)"


def _known(volume: Volume, key: str) -> float | None:
    value = volume.facts.get(key)
    return None if value is None else float(value)  # type: ignore[arg-type]


def _check_stated(values: dict[str, float | None]) -> None:
    for key, value in values.items():
        lowest_allowed = value is None or (value >= 0 if key == "minutes" else value > 0)
        if not lowest_allowed or (value is not None and not math.isfinite(value)):
            limit = "zero or more" if key == "minutes" else "above zero"
            raise PETDiffusionError("bad-value", f"{key} must be {limit}, found {value:g}. Check the number.")
