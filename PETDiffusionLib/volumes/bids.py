"""The JSON file of BIDS PET beside a volume: unit, tracer, dose, weight and times; what it contradicts is said.

Source: Brain Imaging Data Structure 1.9, modality-specific files, Positron Emission Tomography; inheritance principle.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.dcm2niix import in_bids_keys
from PETDiffusionLib.volumes.decay import decay_factor
from PETDiffusionLib.volumes.frames import FrameTime
from PETDiffusionLib.volumes.nuclides import nuclide_named
from PETDiffusionLib.volumes.radiopharmacy import believed_half_life, positive
from PETDiffusionLib.volumes.sidecar import sidecar_path
from PETDiffusionLib.volumes.units import UNIT_KEY, activity_mbq, parse_unit
from PETDiffusionLib.volumes.volume import UNITS, Unit

# The file itself, then folders above it up to the data set's root, or this many.
MOST_LEVELS = 4
TEXTS = {"TracerName": "tracer", "Manufacturer": "manufacturer", "ManufacturersModelName": "model"}
KILOGRAMS = {"kg": 1.0, "kilogram": 1.0, "kilograms": 1.0, "g": 1e-3, "gram": 1e-3, "grams": 1e-3}
KILOGRAMS |= {"lb": 0.45359237, "lbs": 0.45359237, "pound": 0.45359237, "pounds": 0.45359237}
SAME_WITHIN, SAME_TIME_S = 0.01, 0.1
LATEST_INJECTION_S = 3600.0  # after the moment that the activity refers to
KEPT = ("ScanStart", "DecayCorrectionFactor", "ReconFilterType", "ReconFilterSize")


@dataclass(frozen=True)
class Sidecar:
    """What the JSON files that apply to a volume say; `files` is empty where there are none.

    unit and factor: as `parse_unit` gives them, None where Units is not there; times: one a frame or none;
    decay: what each frame is multiplied by, where they were not corrected for decay and can be.
    """

    files: tuple[Path, ...] = ()
    unit: Unit | None = None
    factor: float = 1.0
    times: tuple[FrameTime | None, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    decay: tuple[float, ...] = ()


def read_sidecar(path: Path, frames: int, header: Mapping[str, object] | None = None) -> Sidecar:
    """What is known of the volume file `path` of so many frames from JSON beside it and, of BIDS names, above it.

    `header` is what the volume's own header says in the same keys; JSON has the last word, and a contradiction is said.
    Raises PETDiffusionError "bad-sidecar" for JSON beside the volume that cannot be read, "unit-conflict".
    """
    files = _files(path)
    document: dict[str, object] = {}
    for file in reversed(files):  # the nearest file has the last word
        document |= _read(file)
    if not document and not header:
        return Sidecar()
    sentences: list[str] = []
    who = " with ".join(f"'{one.name}'" for one in ([path] if header else []) + files[:1])
    document = in_bids_keys(document, who, sentences)
    unit, factor = _unit({**(header or {}), **document}, who, sentences)
    if header:
        document = _joined(header, document, path, files, sentences)
    times = _times(document, frames, who, sentences)
    facts = _facts(document, path, who, sentences)
    decay = _brought_to_zero(document, facts, times, frames, who, sentences)
    if any(path.parent.glob("*_blood.tsv")):
        sentences.append("Blood data (_blood.tsv) lie beside the volume; they are not used.")
    return Sidecar(tuple(files), unit, factor, times, facts, sentences, decay)


def _files(path: Path) -> list[Path]:
    """JSON that applies to a volume: its own, and by the inheritance principle those above with its entities."""
    own = sidecar_path(path)
    found = [own] if own.is_file() else []
    entities = own.stem.split("_")
    if not re.match(r"sub-[^_]+.*_pet$", own.stem):
        return found
    folder = path.parent
    for _ in range(MOST_LEVELS):
        inherited = [
            file
            for file in folder.glob("*pet.json")
            if file != own and file.stem.split("_")[-1] == "pet" and set(file.stem.split("_")) <= set(entities)
        ]
        found += sorted(inherited, key=lambda file: -len(file.stem))
        if (folder / "dataset_description.json").is_file() or folder == folder.parent:
            break
        folder = folder.parent
    return found


def _read(file: Path) -> dict[str, object]:
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise PETDiffusionError(
            "bad-sidecar",
            f"'{file}', which says what the volume is, cannot be read as JSON ({error}). Correct it or move it away.",
        ) from error
    return document if isinstance(document, dict) else {}


def _joined(
    header: Mapping[str, object], document: dict[str, object], path: Path, files: list[Path], sentences: list[str]
) -> dict[str, object]:
    """What header and JSON say together. Raises "unit-conflict"; other contradictions are said with both values."""
    if "Units" in header and "Units" in document:
        ours, theirs = parse_unit(str(header["Units"])), parse_unit(str(document["Units"]))
        if "unknown" not in (ours[0], theirs[0]) and ours != theirs:
            raise PETDiffusionError(
                "unit-conflict",
                f"The header of '{path}' says that its values are in {header['Units']}, and '{files[0].name}' says "
                f"{document['Units']}. Correct or remove that JSON file.",
            )
    for key, stated in document.items():
        known = header.get(key)
        if known is not None and key not in (*TEXTS, "Units") and not _alike(known, stated):
            sentences.append(f"'{path.name}' says {key} {known}, and '{files[0].name}' {stated}, which was taken.")
    return {**header, **document}


def _alike(one: object, other: object) -> bool:
    """Whether two values of a key mean the same, within what is rounded away."""
    first, second = _numbers(one), _numbers(other)
    if first and second:
        near = (math.isclose(a, b, rel_tol=SAME_WITHIN, abs_tol=1e-3) for a, b in zip(first, second, strict=False))
        return len(first) == len(second) and all(near)
    nuclides = nuclide_named(one), nuclide_named(other)
    return (nuclides[0] is not None and nuclides[0] == nuclides[1]) or str(one).lower() == str(other).lower()


def _unit(document: Mapping[str, object], who: str, sentences: list[str]) -> tuple[Unit | None, float]:
    own = document.get(UNIT_KEY)
    for unit in UNITS:
        if unit == own:
            return unit, 1.0
    text = document.get("Units")
    if not isinstance(text, str) or text.strip().lower() in ("", "n/a"):
        return None, 1.0
    unit, factor = parse_unit(text)
    if unit == "unknown":
        sentences.append(f"{who} says Units '{text}', which is no unit that is known without doubt.")
        return None, 1.0
    if factor != 1:
        sentences.append(f"{who} says Units '{text}'; the values were multiplied by {factor:g} to be in Bq/ml.")
    return unit, factor


def _times(document: Mapping[str, object], frames: int, who: str, sentences: list[str]) -> tuple[FrameTime | None, ...]:
    starts, lengths = (_numbers(document.get(key)) for key in ("FrameTimesStart", "FrameDuration"))
    if not starts and not lengths:
        return ()
    if len(starts) != frames or len(lengths) != frames or any(length <= 0 for length in lengths):
        sentences.append(
            f"{who} lists {len(starts)} starts and {len(lengths)} lengths of frames, and the volume "
            f"has {frames} frame(s); its frame times were not taken."
        )
        return ()
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    for number, (end, following) in enumerate(zip(ends, starts[1:], strict=False), start=1):
        if following < end - max(SAME_TIME_S, SAME_WITHIN * lengths[number - 1]):
            sentences.append(
                f"{who} lets frame {number} end at {end:g} s and the next begin at {following:g} s; its frame times "
                "were not taken. Check that both are seconds."
            )
            return ()
    return tuple(FrameTime(start, length) for start, length in zip(starts, lengths, strict=True))


def _facts(document: Mapping[str, object], path: Path, who: str, sentences: list[str]) -> dict[str, object]:
    facts: dict[str, object] = {fact: document[key] for key, fact in TEXTS.items() if document.get(key)}
    facts |= {key: document[key] for key in KEPT if document.get(key) is not None}
    facts |= _tracer(document, who, sentences)
    weight = _weight(document, path, who, sentences)
    if weight is not None:
        facts["weight_kg"] = weight
    zero = document.get("TimeZero")
    if isinstance(zero, str) and re.fullmatch(r"\d{1,2}:\d{2}:\d{2}(\.\d+)?", zero):
        facts["time_zero"] = zero
    corrected = document.get("ImageDecayCorrected")
    if isinstance(corrected, bool):
        facts["decay_corrected"] = corrected
    injection, moment = (_number(document.get(key)) for key in ("InjectionStart", "ImageDecayCorrectionTime"))
    if injection is not None:
        facts["injection_start_s"] = injection
    if corrected is True and document.get("DecayCorrection") == "ADMIN":
        facts["minutes"] = 0.0  # corrected to the injection
    elif corrected is True and moment is not None:
        facts["decay_corrected_to_s"] = moment
        _count_minutes(facts, moment, who, sentences)
    return facts


def _count_minutes(facts: dict[str, object], moment: float, who: str, sentences: list[str]) -> None:
    """The minutes from injection to the moment that the activity refers to, where both are known and can be."""
    injection = facts.get("injection_start_s")
    if not isinstance(injection, float):
        return
    if moment - injection < -LATEST_INJECTION_S:
        sentences.append(
            f"{who} lets the injection be at {injection:g} s, {(injection - moment) / 60:.4g} minutes after the moment "
            f"that its activity refers to ({moment:g} s); these times were not taken. State --minutes."
        )
        return
    facts["minutes"] = (moment - injection) / 60


def _brought_to_zero(
    document: Mapping[str, object],
    facts: dict[str, object],
    times: Sequence[FrameTime | None],
    frames: int,
    who: str,
    sentences: list[str],
) -> tuple[float, ...]:
    """Factors that bring frames that are not corrected for decay to time zero; what then holds goes into `facts`.

    Where their times or the half-life are not known, the facts hold why there is no SUV.
    """
    if document.get("ImageDecayCorrected") is not False:
        return ()
    half_life = facts.get("half_life_s")
    lacking = [] if isinstance(half_life, float) else ["RadionuclideHalfLife"]
    lacking += [] if len(times) == frames else ["FrameTimesStart and FrameDuration"]
    if lacking:
        facts["refusal"] = (
            f"SUV needs values that are corrected for decay, and {who} says that they are not (ImageDecayCorrected "
            f"false); they can be brought to one time with {' and '.join(lacking)} in the JSON file. Add that."
        )
        return ()
    assert isinstance(half_life, float)
    factors = tuple(decay_factor(time.start_s, time.duration_s, half_life) for time in times if time is not None)
    facts |= {"decay_corrected": True, "decay_corrected_to_s": 0.0, "DecayCorrectionFactor": list(factors)}
    _count_minutes(facts, 0.0, who, sentences)
    sentences.append(
        f"{who} says that the values are not corrected for decay; each frame was brought to time zero with a half-life "
        f"of {half_life:g} s (times {factors[0]:.4g}{f' to {factors[-1]:.4g}' if frames > 1 else ''})."
    )
    return factors


def _tracer(document: Mapping[str, object], who: str, sentences: list[str]) -> dict[str, object]:
    """Nuclide, half-life (by the rule for DICOM, `believed_half_life`) and dose."""
    facts: dict[str, object] = {}
    stated = document.get("TracerRadionuclide")
    nuclide = nuclide_named(stated)
    if isinstance(stated, str) and stated.strip():
        facts["nuclide"] = nuclide.symbol if nuclide else stated
    witnesses = [one for one in (nuclide, nuclide_named(document.get("TracerName"))) if one is not None]
    half_life, said, doubt = believed_half_life(
        positive(_number(document.get("RadionuclideHalfLife"))), witnesses, "RadionuclideHalfLife"
    )
    sentences += [f"{who}: {one}" for one in said]
    if doubt is not None:
        facts["half_life_doubt"] = doubt
        sentences.append(f"{who}: {doubt}; no half-life was taken. State --half-life-minutes.")
    elif half_life is not None:
        facts["half_life_s"] = half_life
    dose, unit = _number(document.get("InjectedRadioactivity")), document.get("InjectedRadioactivityUnits")
    if dose is not None and dose > 0:
        mbq = activity_mbq(dose, unit) if isinstance(unit, str) else None
        if mbq is None:
            sentences.append(
                f"{who} says InjectedRadioactivity {dose:g} in '{unit}', which is no unit of activity; "
                "it was not taken."
            )
        else:
            facts["dose_mbq"] = mbq
    return facts


def _weight(document: Mapping[str, object], path: Path, who: str, sentences: list[str]) -> float | None:
    """BodyWeight or PatientWeight of the JSON, else participants.tsv where its column says kilograms; in kg."""
    listed = _participant_weight(path, sentences)
    for key in ("BodyWeight", "PatientWeight"):
        weight, unit = _number(document.get(key)), document.get(f"{key}Units")
        if weight is None or weight <= 0:
            continue
        if str(unit or "kg").strip().lower() not in KILOGRAMS:
            sentences.append(f"{who} says {key} {weight:g} in '{unit}', which is no unit of weight; it was not taken.")
            continue
        if unit is None and key == "BodyWeight":
            sentences.append(f"{who} says BodyWeight {weight:g} without a unit; kilograms were taken.")
        weight = float(f"{weight * KILOGRAMS[str(unit or 'kg').strip().lower()]:.12g}")
        if listed is not None and not math.isclose(weight, listed, rel_tol=SAME_WITHIN):
            sentences.append(
                f"{who} says a weight of {weight:g} kg, which was taken, and participants.tsv {listed:g} kg."
            )
        return weight
    return listed


def _participant_weight(path: Path, sentences: list[str]) -> float | None:
    subject = re.match(r"(sub-[^_]+)_", path.name)
    table = next(
        (one / "participants.tsv" for one in path.parents[:MOST_LEVELS] if (one / "participants.tsv").is_file()), None
    )
    if subject is None or table is None:
        return None
    with open(table, encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row.get("participant_id") == subject[1]]
    described = table.with_suffix(".json")
    columns = _read(described) if described.is_file() else {}
    for column in ("weight_kg", "weight", "body_weight", "bodyweight"):
        weight = _number(rows[0].get(column)) if len(rows) == 1 else None
        if weight is None or weight <= 0:
            continue
        about = columns.get(column)
        unit = "kg" if column == "weight_kg" else str(about.get("Units", "")) if isinstance(about, dict) else ""
        if unit.lower() in ("kg", "kilogram", "kilograms"):
            return weight
        sentences.append(
            f"participants.tsv says {column} {weight:g} without a unit of kg in participants.json; it was not taken. "
            "State it: --weight-kg."
        )
    return None


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if abs(number) < float("inf") and not isinstance(value, bool) else None


def _numbers(value: object) -> list[float]:
    values = value if isinstance(value, list) else [value]
    numbers = [number for one in values if (number := _number(one)) is not None]
    return numbers if len(numbers) == len(values) else []
