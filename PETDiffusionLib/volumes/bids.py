"""The JSON file of BIDS PET beside a volume: unit, tracer, dose, weight and times; what it contradicts is said.

Source: Brain Imaging Data Structure 1.9, modality-specific files, Positron Emission Tomography; inheritance principle.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.frames import FrameTime
from PETDiffusionLib.volumes.nuclides import nuclide_named
from PETDiffusionLib.volumes.sidecar import sidecar_path
from PETDiffusionLib.volumes.units import UNIT_KEY, activity_mbq, parse_unit
from PETDiffusionLib.volumes.volume import UNITS, Unit

# The file itself, then folders above it up to the data set's root, or this many.
MOST_LEVELS = 4
TEXTS = {"TracerName": "tracer", "Manufacturer": "manufacturer", "ManufacturersModelName": "model"}
KEPT = ("ScanStart", "DecayCorrectionFactor", "ReconFilterType", "ReconFilterSize")


@dataclass(frozen=True)
class Sidecar:
    """What the JSON files that apply to a volume say; `files` is empty where there are none.

    unit and factor: as `parse_unit` gives them, None where Units is not there; times: one a frame or none.
    """

    files: tuple[Path, ...] = ()
    unit: Unit | None = None
    factor: float = 1.0
    times: tuple[FrameTime | None, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)


def read_sidecar(path: Path, frames: int) -> Sidecar:
    """What is known of the volume file `path` of so many frames from JSON beside it and, of BIDS names, above it.

    Raises PETDiffusionError "bad-sidecar" for JSON beside the volume that cannot be read.
    """
    files = _files(path)
    document: dict[str, object] = {}
    for file in reversed(files):  # the nearest file has the last word
        document |= _read(file)
    if not document:
        return Sidecar()
    sentences: list[str] = []
    unit, factor = _unit(document, files[0], sentences)
    times = _times(document, frames, sentences)
    facts = _facts(document, path, frames, times, sentences)
    if any(path.parent.glob("*_blood.tsv")):
        sentences.append("Blood data (_blood.tsv) lie beside the volume; they are not used.")
    return Sidecar(tuple(files), unit, factor, times, facts, sentences)


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


def _unit(document: Mapping[str, object], file: Path, sentences: list[str]) -> tuple[Unit | None, float]:
    own = document.get(UNIT_KEY)
    for unit in UNITS:
        if unit == own:
            return unit, 1.0
    text = document.get("Units")
    if not isinstance(text, str) or text.strip().lower() in ("", "n/a"):
        return None, 1.0
    unit, factor = parse_unit(text)
    if unit == "unknown":
        sentences.append(f"'{file.name}' says Units '{text}', which is no unit that is known without doubt.")
        return None, 1.0
    if factor != 1:
        sentences.append(f"'{file.name}' says Units '{text}'; the values were multiplied by {factor:g} to be in Bq/ml.")
    return unit, factor


def _times(document: Mapping[str, object], frames: int, sentences: list[str]) -> tuple[FrameTime | None, ...]:
    starts, lengths = (_numbers(document.get(key)) for key in ("FrameTimesStart", "FrameDuration"))
    if not starts and not lengths:
        return ()
    if len(starts) != frames or len(lengths) != frames or any(length <= 0 for length in lengths):
        sentences.append(
            f"The JSON file lists {len(starts)} starts and {len(lengths)} lengths of frames, and the volume "
            f"has {frames} frame(s); its frame times were not taken."
        )
        return ()
    return tuple(FrameTime(start, length) for start, length in zip(starts, lengths, strict=True))


def _facts(
    document: Mapping[str, object], path: Path, frames: int, times: Sequence[FrameTime | None], sentences: list[str]
) -> dict[str, object]:
    facts: dict[str, object] = {fact: document[key] for key, fact in TEXTS.items() if document.get(key)}
    facts |= {key: document[key] for key in KEPT if document.get(key) is not None}
    facts |= _tracer(document, sentences)
    weight = _weight(document, path, sentences)
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
    if corrected is True and moment is not None:
        facts["decay_corrected_to_s"] = moment
        if injection is not None:
            facts["minutes"] = (moment - injection) / 60
    if corrected is False:
        facts["refusal"] = (
            "SUV needs values that are corrected for decay, and the JSON file beside the volume says "
            "ImageDecayCorrected false. Give the corrected image, or correct the file's JSON."
        )
    return facts


def _tracer(document: Mapping[str, object], sentences: list[str]) -> dict[str, object]:
    """Nuclide, half-life and dose. A half-life that is not the nuclide's is said; without one the nuclide's serves."""
    facts: dict[str, object] = {}
    stated = document.get("TracerRadionuclide")
    nuclide = nuclide_named(stated)
    if isinstance(stated, str) and stated.strip():
        facts["nuclide"] = nuclide.symbol if nuclide else stated
    half_life = _number(document.get("RadionuclideHalfLife"))
    if half_life is not None and half_life > 0:
        facts["half_life_s"] = half_life
        if nuclide is not None and not nuclide.has_half_life(half_life):
            sentences.append(
                f"The JSON file says TracerRadionuclide {stated}, whose half-life is {nuclide.half_life_s:g} s, and "
                f"RadionuclideHalfLife {half_life:g} s, which was taken. Check both."
            )
    elif nuclide is not None:
        facts["half_life_s"] = nuclide.half_life_s
    dose, unit = _number(document.get("InjectedRadioactivity")), document.get("InjectedRadioactivityUnits")
    if dose is not None and dose > 0:
        mbq = activity_mbq(dose, unit) if isinstance(unit, str) else None
        if mbq is None:
            sentences.append(
                f"The JSON file says InjectedRadioactivity {dose:g} in '{unit}', which is no unit of activity; "
                "it was not taken."
            )
        else:
            facts["dose_mbq"] = mbq
    return facts


def _weight(document: Mapping[str, object], path: Path, sentences: list[str]) -> float | None:
    """BodyWeight or PatientWeight (kg) of the JSON, else participants.tsv where its column says kilograms."""
    for key in ("BodyWeight", "PatientWeight"):
        weight, unit = _number(document.get(key)), document.get(f"{key}Units", "kg")
        if weight is not None and weight > 0:
            if str(unit).lower() in ("kg", "kilogram", "kilograms"):
                return weight
            sentences.append(f"The JSON file says {key} {weight:g} in '{unit}', not kilograms; it was not taken.")
    return _participant_weight(path, sentences)


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
