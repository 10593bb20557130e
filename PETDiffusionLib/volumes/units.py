"""Units of PET values as other programs write them, and as this one records its own."""

from __future__ import annotations

import re

from PETDiffusionLib.volumes.volume import UNITS, Unit

# Where a written volume keeps its unit: a header field in NRRD and MetaImage, the description in NIfTI, a key in JSON.
UNIT_KEY = "PETDiffusion_unit"

BECQUEREL_PER_CURIE = 3.7e10
# Small m is no prefix here: it is written for mega as often as for milli.
_PREFIXES = {"": 1.0, "n": 1e-9, "u": 1e-6, "\u00b5": 1e-6, "\u03bc": 1e-6, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_ML = {"ml": 1.0, "cc": 1.0, "cm3": 1.0, "cm^3": 1.0, "l": 1000.0, "mm3": 1e-3, "mm^3": 1e-3}
_CONCENTRATION = re.compile(r"(.?)(bq|ci)(?:/|per)?(ml|cc|cm\^?3|l|mm\^?3)", re.I)
# SUV by body weight said without doubt: UCUM of DICOM (CID 85), DICOM's GML, names of programs. "SUV" and "g/ml" alone
# may be another variant.
_SUV_BY_WEIGHT = ("suvbw", "suv_bw", "suv-bw", "suv(bw)", "{suvbw}g/ml", "suvbodyweight", "suvbwg/ml", "gml")


def recorded_unit(text: str) -> Unit:
    """The unit that this program left in a text, "unknown" where there is none."""
    found = re.search(rf"{UNIT_KEY}=(\w+)", text)
    return next((unit for unit in UNITS if found and unit == found.group(1)), "unknown")


def parse_unit(text: str) -> tuple[Unit, float]:
    """The unit that a text of another program means, and what its values are multiplied by to be in it.

    Bq/mL, kBq/cc, MBq/ml, nCi/cc, BQML ... are "bqml" with their factor; SUVbw, {SUVbw}g/ml and GML "suvbw". All else,
    "SUV" without its variant too, is "unknown".
    """
    words = re.sub(r"[\s\[\]]", "", text)
    if words.lower() in _SUV_BY_WEIGHT:
        return "suvbw", 1.0
    if words.lower() in ("counts", "count", "cnts"):
        return "counts", 1.0
    found = _CONCENTRATION.fullmatch(words)
    prefix = found[1] if found else None
    if not found or prefix not in _PREFIXES:
        return "unknown", 1.0
    bequerels = _PREFIXES[prefix] * (BECQUEREL_PER_CURIE if found[2].lower() == "ci" else 1.0)
    return "bqml", float(f"{bequerels / _ML[found[3].lower()]:.12g}")


def activity_mbq(value: float, unit: str) -> float | None:
    """An activity in MBq from a value and its unit (Bq, kBq, MBq, GBq, uCi, mCi ...); None for another unit."""
    found = re.fullmatch(r"(.?)(bq|ci)", unit.strip(), re.I)
    prefixes = _PREFIXES | ({"m": 1e-3} if found and found[2].lower() == "ci" else {})
    if not found or found[1] not in prefixes:
        return None
    becquerels = value * prefixes[found[1]] * (BECQUEREL_PER_CURIE if found[2].lower() == "ci" else 1.0)
    return float(f"{becquerels / 1e6:.12g}")
