"""Which tracer was given, and how much: what the header says, and what can be believed of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.headers import tag_name
from PETDiffusionLib.volumes.nuclides import (
    NUCLIDES,
    Nuclide,
    nuclide_named,
    nuclide_of_code,
    nuclides_with_half_life,
)
from PETDiffusionLib.volumes.plausibility import is_plausible_dose

GE_ADMINISTERED = (0x0009, 0x103B)
GE_CREATOR = (0x0009, 0x0010)

# A RadionuclideTotalDose from this up is in Bq; below it, it may be in any of these units (in MBq).
SMALLEST_DOSE_BQ = 1e6
DOSE_UNITS_MBQ = {"Bq": 1e-6, "kBq": 1e-3, "MBq": 1.0, "GBq": 1e3, "uCi": 0.037, "mCi": 37.0}

# What makes seconds of a half-life that was written in another unit.
HALF_LIFE_UNITS_S = {"minutes": 60.0, "hours": 3600.0, "days": 86400.0, "milliseconds": 1e-3}


@dataclass(frozen=True)
class Administration:
    """What RadiopharmaceuticalInformationSequence says; None where it does not (or says zero), or cannot be believed.

    `dose_problem`, `half_life_problem` and `start_problem` say why a value that is written is not taken.
    """

    tracer: str | None = None
    nuclide: str | None = None
    dose_mbq: float | None = None
    dose_tag_in_mbq: bool = False
    half_life_s: float | None = None
    start_datetime: object = None
    start_datetime_source: str = ""
    start_time: object = None
    warnings: tuple[str, ...] = ()
    dose_problem: str | None = None
    half_life_problem: str | None = None
    start_problem: str | None = None


def positive(value: object) -> float | None:
    """A number above zero, None for everything else."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def administration(headers: Sequence[Dataset], weight_kg: float | None = None) -> Administration:
    """The one administration of a series; the weight helps to tell in which unit its dose is.

    One that is listed several times is one. What several differ in is None, and why is said.
    Raises PETDiffusionError "inconsistent-series" where slices disagree.
    """
    first = headers[0].get("RadiopharmaceuticalInformationSequence")
    if not first:
        return Administration()
    tracer = next((text for item in first if (text := _text(item.get("Radiopharmaceutical")))), None)
    nuclide = next((text for item in first if (text := _code(item, "CodeMeaning"))), None)
    dose_tag, dose_problem = _the_one(headers, "RadionuclideTotalDose")
    half_life_tag, half_life_problem = _the_one(headers, "RadionuclideHalfLife")
    start_datetime, start_problem = _the_one(headers, "RadiopharmaceuticalStartDateTime")
    start_time, time_problem = _the_one(headers, "RadiopharmaceuticalStartTime")
    witnesses = _witnesses(first)
    half_life_s, half_life_warnings, doubt = believed_half_life(positive(half_life_tag), witnesses)
    half_life_problem = half_life_problem or doubt
    dose_mbq, unit, doubt = believed_dose(positive(dose_tag), weight_kg, half_life_s)
    warnings = list(half_life_warnings)
    if unit != "Bq" and dose_mbq is not None:
        warnings.append(
            f"The dose tag holds {positive(dose_tag):g}, which was read as {unit} ({dose_mbq:g} MBq): in Bq it would "
            "be no dose. Check it, or state --dose-mbq."
        )
    source = tag_name("RadiopharmaceuticalStartDateTime")
    if not start_datetime and not start_problem and (given := _ge_administered(headers[0])):
        start_datetime, source = given, "GE administered date and time (0009,103B)"
    return Administration(
        tracer=tracer,
        nuclide=nuclide,
        dose_mbq=dose_mbq,
        dose_tag_in_mbq=unit == "MBq" and dose_mbq is not None,
        half_life_s=None if half_life_problem else half_life_s,
        start_datetime=start_datetime,
        start_datetime_source=source,
        start_time=start_time,
        warnings=tuple(warnings),
        dose_problem=dose_problem or doubt,
        half_life_problem=half_life_problem,
        start_problem=start_problem or time_problem,
    )


def believed_dose(
    tag_value: float | None, weight_kg: float | None, half_life_s: float | None
) -> tuple[float | None, str, str | None]:
    """The dose in MBq of a number that should be in Bq, the unit that it is in, and what is unclear about it.

    A number below a million is read in the one unit that makes a plausible activity per kilogram of it.
    """
    if tag_value is None or tag_value >= SMALLEST_DOSE_BQ:
        return (None if tag_value is None else tag_value / 1e6), "Bq", None
    possible = {
        unit: tag_value * mbq
        for unit, mbq in DOSE_UNITS_MBQ.items()
        if is_plausible_dose(tag_value * mbq, weight_kg, half_life_s)
    }
    if "Bq" in possible or (not possible and tag_value >= 1e4):
        return tag_value / 1e6, "Bq", None
    if len(possible) == 1:
        ((unit, dose_mbq),) = possible.items()
        return dose_mbq, unit, None
    units = " or ".join(possible) or "any unit"
    doubt = "may be" if possible else "is no dose in"
    return None, "", f"{tag_name('RadionuclideTotalDose')} {tag_value:g} is no dose in Bq and {doubt} {units}"


def believed_half_life(
    stated_s: float | None, witnesses: Sequence[Nuclide], field: str = tag_name("RadionuclideHalfLife")
) -> tuple[float | None, list[str], str | None]:
    """The half-life in seconds, warnings, and what is unclear, from `field` and the nuclides that the header names.

    A half-life is believed that is the named nuclide's. Where they contradict each other, the majority counts, and a
    half-life that is no nuclide's (one in minutes, say) counts for nothing; where there is none, nothing is taken.
    """
    votes = Counter(nuclide.symbol for nuclide in witnesses)
    if stated_s is None:
        if len(votes) != 1:
            return None, [], None
        only = NUCLIDES[next(iter(votes))]
        said = f"{field} is missing; that of {only.name}, which the header names, was taken"
        return only.half_life_s, [f"{said} ({only.half_life_s:g} s)."], None
    owners = {nuclide.symbol for nuclide in nuclides_with_half_life(stated_s)}
    own = next((symbol for symbol in votes if symbol in owners), next(iter(owners), None))
    if own is not None:
        votes[own] += 1
    tag = f"{field} {stated_s:g} s"
    if not votes:
        return _half_life_of_nothing(stated_s, tag)
    (symbol, most), *others = votes.most_common()
    if not others and own is not None:
        return stated_s, [], None
    best = NUCLIDES[symbol]
    named = ", ".join(f"{NUCLIDES[one].name} ({NUCLIDES[one].half_life_s:g} s)" for one in votes if one != own)
    whose = f"that of {NUCLIDES[own].name}" if own else f"no PET nuclide's{_other_unit(stated_s, best)}"
    contradiction = f"{tag} is {whose}, but the header names {named}"
    if others and others[0][1] == most:
        return None, [], contradiction
    if symbol == own:
        return stated_s, [f"{contradiction}; the half-life was taken as it stands. Check the nuclide."], None
    taken = f"{contradiction}; {best.half_life_s:g} s was taken. Check it, or state --half-life-minutes."
    return best.half_life_s, [taken], None


def _half_life_of_nothing(stated_s: float, tag: str) -> tuple[float | None, list[str], str | None]:
    """A half-life of no nuclide, in a header that names none."""
    for unit, seconds in HALF_LIFE_UNITS_S.items():
        if likely := nuclides_with_half_life(stated_s * seconds):
            return None, [], f"{tag} is no PET nuclide's (in {unit} it would be that of {likely[0].name})"
    return stated_s, [f"{tag} is no PET nuclide's. Check it, or state --half-life-minutes."], None


def _other_unit(stated_s: float, nuclide: Nuclide) -> str:
    unit = next((u for u, seconds in HALF_LIFE_UNITS_S.items() if nuclide.has_half_life(stated_s * seconds)), None)
    return f" (it is that of {nuclide.name} in {unit})" if unit else ""


def _witnesses(items: Sequence[Dataset]) -> list[Nuclide]:
    """The nuclides that the code, its meaning (where that is another one) and the tracer's name stand for."""
    coded = {nuclide_of_code(_code(item, "CodeValue")) for item in items}
    coded |= {nuclide_named(_code(item, "CodeMeaning")) for item in items}
    tracers = {nuclide_named(item.get("Radiopharmaceutical")) for item in items}
    tracers |= {
        nuclide_named(code.get("CodeMeaning"))
        for item in items
        for code in item.get("RadiopharmaceuticalCodeSequence") or []
    }
    found = [*coded, *tracers]
    return sorted((one for one in found if one is not None), key=lambda one: one.symbol)


def _the_one(headers: Sequence[Dataset], keyword: str) -> tuple[object | None, str | None]:
    """The value that all administrations of all slices share, or why there is none."""
    stated = []
    for header in headers:
        items = header.get("RadiopharmaceuticalInformationSequence") or []
        values = [value for item in items if (value := item.get(keyword)) not in (None, "")]
        stated.append([value for index, value in enumerate(values) if value not in values[:index]])
    if any(values != stated[0] for values in stated):
        found = ", ".join(sorted({str(value) for values in stated for value in values or ["nothing"]})[:4])
        raise PETDiffusionError(
            "inconsistent-series",
            f"{tag_name(keyword)} should be the same in all slices of a series, found {found}. Export it again.",
        )
    if len(stated[0]) > 1:
        found = " and ".join(str(value) for value in stated[0])
        return None, f"several administrations are listed, with {tag_name(keyword)} {found}"
    return (stated[0][0] if stated[0] else None), None


def _ge_administered(header: Dataset) -> object | None:
    """GE's private date and time of the injection."""
    creator = _text(header[GE_CREATOR].value) if GE_CREATOR in header else None
    if GE_ADMINISTERED not in header or not (creator or "").startswith("GEMS_PETD"):
        return None
    return header[GE_ADMINISTERED].value or None


def _code(item: Dataset, keyword: str) -> str | None:
    codes = item.get("RadionuclideCodeSequence")
    return _text(codes[0].get(keyword)) if codes else None


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="ignore")
    return str(value).strip("\0 ") or None if value is not None else None
