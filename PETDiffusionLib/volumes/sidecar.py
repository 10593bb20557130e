"""The JSON file beside a written volume: units, times and facts in the terms of BIDS PET, as a derivative's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from PETDiffusionLib import __version__
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.frames import FrameTime
from PETDiffusionLib.volumes.units import UNIT_KEY
from PETDiffusionLib.volumes.volume import UNITS, Unit

PROGRAM = "PETDiffusion"
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img", ".v")
BIDS_UNITS: dict[Unit, str] = {
    **dict.fromkeys(UNITS, "g/mL"),  # every SUV; which one, UNIT_KEY says
    "suvbsa": "cm2/mL",
    "bqml": "Bq/mL",
    "counts": "counts",
    "unknown": "n/a",
}
# Facts that BIDS has a key for, with the unit that it is written in.
BIDS_KEYS = {
    "tracer": "TracerName",
    "nuclide": "TracerRadionuclide",
    "half_life_s": "RadionuclideHalfLife",
    "dose_mbq": "InjectedRadioactivity",
    "weight_kg": "BodyWeight",
    "manufacturer": "Manufacturer",
    "model": "ManufacturersModelName",
}


def sidecar_path(path: str | os.PathLike[str]) -> Path:
    """The JSON file that belongs to a volume by its name: scan.json beside scan.nii.gz."""
    path = Path(path)
    ending = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), path.suffix)
    return path.with_name(f"{path.name[: len(path.name) - len(ending)]}.json")


def check_sidecar(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Refuse a volume's name beside which stands a JSON file of another program ("exists"), unless `overwrite`."""
    place = sidecar_path(path)
    if place.exists() and not overwrite and not _is_ours(place):
        raise PETDiffusionError(
            "exists",
            f"'{place}' would be replaced by what belongs to '{Path(path).name}', and another program wrote it. "
            "Choose another name or allow overwriting (--overwrite).",
        )


def write_sidecar(
    path: Path, unit: Unit, facts: Mapping[str, object], times: Sequence[FrameTime | None] = (None,)
) -> None:
    """Write what is known of a volume or of frames as JSON; raises OSError."""
    text = json.dumps(sidecar_document(unit, facts, times), indent=2, ensure_ascii=False, allow_nan=False)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def sidecar_document(unit: Unit, facts: Mapping[str, object], times: Sequence[FrameTime | None]) -> dict[str, object]:
    """The document: BIDS keys where BIDS has them; no date, folder or name of a patient."""
    document: dict[str, object] = {
        "Description": "Written by PETDiffusion. For research use only.",
        "GeneratedBy": [{"Name": PROGRAM, "Version": __version__}],
        "Units": BIDS_UNITS[unit],
        UNIT_KEY: unit,
    }
    source = facts.get("source")
    if source is not None and facts.get("format") != "dicom":  # a folder of DICOM may bear the patient's name
        document["Sources"] = [Path(str(source)).name]
    document |= {key: facts[fact] for fact, key in BIDS_KEYS.items() if facts.get(fact) not in (None, "")}
    if "InjectedRadioactivity" in document:
        document["InjectedRadioactivityUnits"] = "MBq"
    if "BodyWeight" in document:
        document["BodyWeightUnits"] = "kg"
    document |= _timing(facts)
    known = [time for time in times if time is not None]
    if len(known) == len(times):
        document["FrameTimesStart"] = [time.start_s for time in known]
        document["FrameDuration"] = [time.duration_s for time in known]
    factors = document.get("DecayCorrectionFactor")
    if isinstance(factors, list) and len(factors) != len(times):
        del document["DecayCorrectionFactor"]  # of all frames, of which some were chosen
    if facts.get("gates"):
        document["Gates"] = facts["gates"]
    if facts.get("warnings"):
        document["Warnings"] = facts["warnings"]
    return document


def _timing(facts: Mapping[str, object]) -> dict[str, object]:
    """Time zero and what is counted from it: injection, and the moment that the activity is corrected to."""
    timing: dict[str, object] = {}
    zero = _moment(facts.get("time_zero") or facts.get("reference_time"))
    if zero is not None:
        timing["TimeZero"] = zero.strftime("%H:%M:%S")
    elif facts.get("time_zero"):
        timing["TimeZero"] = facts["time_zero"]
    corrected = facts.get("decay_corrected")
    if corrected is None and facts.get("decay_correction") in ("START", "ADMIN"):
        corrected = True
    if corrected is not None:
        timing["ImageDecayCorrected"] = corrected
    moments = {
        "InjectionStart": (facts.get("injection_time"), facts.get("injection_start_s")),
        "ImageDecayCorrectionTime": (
            facts.get("decay_corrected_to") or (corrected and facts.get("reference_time")),
            facts.get("decay_corrected_to_s"),
        ),
    }
    for key, (moment, seconds) in moments.items():
        when = _moment(moment)
        if seconds is not None:
            timing[key] = seconds
        elif zero is not None and when is not None:
            timing[key] = (when - zero).total_seconds()
    for key in ("ScanStart", "DecayCorrectionFactor", "ReconFilterType", "ReconFilterSize"):
        if facts.get(key) is not None:
            timing[key] = facts[key]
    return timing


def _moment(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None


def _is_ours(path: Path) -> bool:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return any(one.get("Name") == PROGRAM for one in document["GeneratedBy"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False
