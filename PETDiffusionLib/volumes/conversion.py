"""Between Bq/ml and SUV by body weight, with the facts of the series or facts stated by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.volume import UNIT_NAMES, Unit, Volume

FLUORINE_18_HALF_LIFE_S = 6586.2
MOST_HALF_LIVES = 10  # from injection to scan: more is a mistake in a date


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
) -> Volume:
    """The volume in SUV by body weight (g/ml): Bq/ml * weight / dose, the dose decayed over `minutes`.

    What is not stated comes from the volume's facts; what is stated replaces them. A volume that is no DICOM series
    knows no half-life: fluorine-18 is taken, and a warning in its facts says so. SUVbw passes through.
    Raises PETDiffusionError "no-unit", "no-suv" (what is missing is named with its option), "bad-value".
    """
    if volume.unit == "suvbw":
        return volume
    _require_activity(volume, "suvbw")
    factor, facts = _suv_per_bqml(volume, _Stated(weight_kg, dose_mbq, minutes, half_life_s))
    converted = volume.with_array(volume.array * factor, "suvbw")
    return Volume(converted.image, "suvbw", facts)


def to_bqml(
    volume: Volume,
    weight_kg: float | None = None,
    dose_mbq: float | None = None,
    minutes: float | None = None,
    half_life_s: float | None = None,
) -> Volume:
    """The volume in Bq/ml, the inverse of `to_suv` with the same facts and errors. Bq/ml passes through."""
    if volume.unit == "bqml":
        return volume
    _require_activity(volume, "bqml")
    factor, facts = _suv_per_bqml(volume, _Stated(weight_kg, dose_mbq, minutes, half_life_s))
    converted = volume.with_array(volume.array / factor, "bqml")
    return Volume(converted.image, "bqml", facts)


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
    if used.minutes > 0:
        assert used.half_life_s is not None
        decay = math.pow(2.0, -used.minutes * 60 / used.half_life_s)
    factor = used.weight_kg * 1000 / (used.dose_mbq * 1e6 * decay)
    facts = {**volume.facts, "suv_per_bqml": factor, "suv_variant": "SUVbw", **used.__dict__}
    facts["stated"] = {key: value for key, value in stated.__dict__.items() if value is not None}
    facts["warnings"] = volume.warnings + _replaced(volume, stated) + warnings
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
        raise PETDiffusionError(
            "no-suv", f"Between Bq/ml and SUV, '{source}' needs {', '.join(missing)}. State what it does not say."
        )
    _check_stated(known)
    warnings = []
    if known["half_life_s"] is None and known["minutes"]:
        if volume.facts.get("modality") == "PT":
            raise PETDiffusionError(
                "no-suv",
                "The series has no half-life, RadionuclideHalfLife (0018,1075). Export it with that "
                "tag, or state it: --half-life-minutes.",
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


def _known(volume: Volume, key: str) -> float | None:
    value = volume.facts.get(key)
    return None if value is None else float(value)  # type: ignore[arg-type]


def _check_stated(values: dict[str, float | None]) -> None:
    for key, value in values.items():
        lowest_allowed = value is None or (value >= 0 if key == "minutes" else value > 0)
        if not lowest_allowed or (value is not None and not math.isfinite(value)):
            limit = "zero or more" if key == "minutes" else "above zero"
            raise PETDiffusionError("bad-value", f"{key} must be {limit}, found {value:g}. Check the number.")
