"""SUV by other measures of the body than its weight: lean body mass, body surface, ideal weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.volume import UNIT_NAMES, Unit

SuvUnit = Literal["suvbw", "suvlbm", "suvlbmjanma", "suvbsa", "suvibw"]

# As the command line names them; all are g/ml but body surface, which is cm2/ml.
VARIANTS: dict[str, SuvUnit] = {
    "bw": "suvbw",
    "lbm": "suvlbm",
    "lbm-janma": "suvlbmjanma",
    "bsa": "suvbsa",
    "ibw": "suvibw",
}

# SUVType (0054,1006) of Units GML, DICOM PS3.3 C.8.9.1; absent means body weight. CM2ML is body surface.
UNIT_OF_SUV_TYPE: dict[str, SuvUnit] = {
    "BW": "suvbw",
    "LBM": "suvlbm",
    "LBMJAMES128": "suvlbm",
    "LBMJANMA": "suvlbmjanma",
    "IBW": "suvibw",
    "BSA": "suvbsa",
}


def per_suvbw(unit: Unit, facts: Mapping[str, object]) -> float:
    """What SUVbw is multiplied by to be SUV in `unit`, by the weight_kg, height_m and sex of the facts.

    Raises PETDiffusionError "no-suv" with what is missing named.
    """
    if unit == "suvbw":
        return 1.0
    weight, height, sex = facts.get("weight_kg"), facts.get("height_m"), facts.get("sex")
    needed = {
        "the weight, PatientWeight (0010,1030)": weight,
        "the height, PatientSize (0010,1020)": height,
        "the sex (M or F), PatientSex (0010,0040)": unit == "suvbsa" or sex in ("M", "F") or None,
    }
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        raise PETDiffusionError(
            "no-suv",
            f"Between SUVbw and {UNIT_NAMES[unit]}, '{facts.get('source', 'the volume')}' needs "
            f"{' and '.join(missing)}. Read it from a DICOM series that has them.",
        )
    kg, metres = float(weight), float(height)  # type: ignore[arg-type]
    if unit == "suvbsa":
        return body_surface_m2(kg, metres) * 1e4 / (kg * 1e3)  # cm2 per g
    measure = {"suvlbm": lean_mass_james_kg, "suvlbmjanma": lean_mass_janmahasatian_kg, "suvibw": ideal_weight_kg}
    mass_kg = measure[unit](kg, metres, sex == "M")
    if mass_kg <= 0:
        raise PETDiffusionError(
            "no-suv",
            f"{UNIT_NAMES[unit]} is not defined for {kg:g} kg at {metres:g} m: its formula gives {mass_kg:.1f} kg. "
            "Use --suv lbm-janma or bw.",
        )
    return mass_kg / kg


def lean_mass_james_kg(weight_kg: float, height_m: float, is_male: bool) -> float:
    """James 1976, with 128 for men (Hallynck et al., Br J Clin Pharmacol 1981): 1.10 W - 128 (W / H[cm])^2."""
    ratio = weight_kg / (100 * height_m)
    return 1.10 * weight_kg - 128 * ratio**2 if is_male else 1.07 * weight_kg - 148 * ratio**2


def lean_mass_janmahasatian_kg(weight_kg: float, height_m: float, is_male: bool) -> float:
    """Janmahasatian et al., Clin Pharmacokinet 2005: 9270 W / (6680 + 216 BMI) for men."""
    bmi = weight_kg / height_m**2
    return 9270 * weight_kg / (6680 + 216 * bmi if is_male else 8780 + 244 * bmi)


def ideal_weight_kg(weight_kg: float, height_m: float, is_male: bool) -> float:
    """As the QIBA profile for FDG-PET/CT gives it: 48.0 + 1.06 (H[cm] - 152) for men, 45.5 + 0.91 (H - 152)."""
    above = 100 * height_m - 152
    return 48.0 + 1.06 * above if is_male else 45.5 + 0.91 * above


def body_surface_m2(weight_kg: float, height_m: float) -> float:
    """Du Bois and Du Bois, Arch Intern Med 1916: 0.007184 W^0.425 H[cm]^0.725."""
    return 0.007184 * weight_kg**0.425 * (100 * height_m) ** 0.725
