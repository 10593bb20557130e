"""The JSON that dcm2niix writes for PET, in the keys of BIDS PET.

Its keys are names of DICOM's attributes, in DICOM's units (RadionuclideTotalDose in Bq, PatientWeight in kg).
"""

from __future__ import annotations

from collections.abc import Mapping

from PETDiffusionLib.volumes.units import activity_mbq

DOSE_IN_MBQ_BELOW = 1e4  # 0.01 MBq
NAMES = {"Radiopharmaceutical": "TracerName", "Radionuclide": "TracerRadionuclide"}
NAMES |= {"IsotopeHalfLife": "RadionuclideHalfLife", "ManufacturerModelName": "ManufacturersModelName"}
CORRECTED = {"START": True, "ADMIN": True, "NONE": False}
TRUTH = {"true": True, "false": False}


def in_bids_keys(document: Mapping[str, object], who: str, sentences: list[str]) -> dict[str, object]:
    """The document with what dcm2niix's own keys say said in BIDS's, which come first where both are there."""
    found = dict(document)
    for theirs, ours in NAMES.items():
        if document.get(theirs) not in (None, ""):
            found.setdefault(ours, document[theirs])
    dose = document.get("RadionuclideTotalDose")
    if isinstance(dose, (int, float)) and not isinstance(dose, bool) and dose > 0:
        _take_dose(found, float(dose), who, sentences)
    corrected = document.get("ImageDecayCorrected")
    if isinstance(corrected, str) and corrected.strip().lower() in TRUTH:
        found["ImageDecayCorrected"] = TRUTH[corrected.strip().lower()]
    stated = str(document.get("DecayCorrection", "")).strip().upper()
    if stated in CORRECTED:
        found["DecayCorrection"] = stated
        if found.setdefault("ImageDecayCorrected", CORRECTED[stated]) is not CORRECTED[stated]:
            sentences.append(
                f"{who} says DecayCorrection {stated} and ImageDecayCorrected {found['ImageDecayCorrected']}; the "
                "latter was taken. Check it."
            )
            del found["DecayCorrection"]
    return found


def _take_dose(found: dict[str, object], dose: float, who: str, sentences: list[str]) -> None:
    """RadionuclideTotalDose in becquerels, or in MBq where a small number can be nothing else, which is said."""
    mbq = dose if dose < DOSE_IN_MBQ_BELOW else dose / 1e6
    if "InjectedRadioactivity" in found:
        stated = activity_mbq(float(str(found["InjectedRadioactivity"])), str(found.get("InjectedRadioactivityUnits")))
        if stated is not None and abs(stated / mbq - 1) > 0.01:
            sentences.append(
                f"{who} says InjectedRadioactivity {stated:g} MBq, which was taken, and RadionuclideTotalDose "
                f"{mbq:g} MBq."
            )
        return
    if mbq == dose:
        sentences.append(f"{who} says RadionuclideTotalDose {dose:g}, too little for Bq; MBq were taken.")
    found["InjectedRadioactivity"], found["InjectedRadioactivityUnits"] = mbq, "MBq"
