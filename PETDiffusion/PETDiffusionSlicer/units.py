"""What the voxels of a PET volume node mean, and by what they are multiplied to be SUV by body weight.

Three sources, in this order: the unit coded in the node, the DICOM series that the node was loaded from (its header is
read by the engine), and what the user states. Nothing is guessed.
"""

import slicer
from slicer.i18n import tr as _

from .engine import EngineError
from .places import engineRoom

SUVBW_CODE = "{SUVbw}g/ml"


def isCodedSuv(volumeNode):
    """Whether the node's voxel units are coded as SUVbw."""
    units = volumeNode.GetVoxelValueUnits()
    return units is not None and units.GetCodeValue() == SUVBW_CODE


def dicomFile(volumeNode):
    """A file of the DICOM series that the node was loaded from, or "" where it is not known."""
    instanceUIDs = (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()
    return slicer.dicomDatabase.fileForInstance(instanceUIDs[0]) if instanceUIDs else ""


def factorOfSeries(facts):
    """The factor to SUVbw that the engine found for a series. Raises EngineError where no single factor holds."""
    if facts["decay_correction"] == "NONE":
        sentence = _("This series is not decay-corrected, so every slice has a factor of its own. "
                     "Convert the series with 'petdiffusion convert --unit suv' and load the result.")  # fmt: skip
        raise EngineError("no-suv", sentence)
    return facts["suv_factor"]


def wordsForSeries(facts):
    """ "SUVbw from DICOM: 71 kg, 389 MBq, 45 min"."""
    amounts = {"weight_kg": _("{:.0f} kg"), "dose_mbq": _("{:.0f} MBq"), "minutes": _("{:.0f} min")}
    known = [words.format(facts[name]) for name, words in amounts.items() if facts[name] is not None]
    return _("SUVbw from DICOM: {facts}").format(facts=", ".join(known) or facts["source_unit"])


def statedFactor(request):
    """The factor to SUVbw that the user's statement means, by the engine's rules. Raises EngineError."""
    if request.unit == "suvbw":
        return 1.0
    if request.unit != "bqml":
        sentence = _("The unit of this volume is not known. State under Inputs whether its voxels are SUVbw or Bq/ml.")
        raise EngineError("no-unit", sentence)
    if not request.weightKg or not request.doseMBq:
        sentence = _("For SUV from Bq/ml state the weight, the injected dose and the minutes from injection to scan.")
        raise EngineError("no-suv", sentence)
    import SimpleITK as sitk  # Slicer bundles it, but it takes a moment to import

    volumes, rules = engineRoom("volumes"), engineRoom("methods.catalogue.rules")
    oneBqPerMl = volumes.Volume(sitk.Image(2, 2, 2, sitk.sitkFloat32) + 1.0, "bqml")
    stated = {
        "weight_kg": request.weightKg,
        "dose_mbq": request.doseMBq,
        "minutes": request.minutes,
        "half_life_minutes": request.halfLifeMinutes or None,
    }
    return float(volumes.to_suv(oneBqPerMl, **rules.stated_suv(stated)).array[0, 0, 0])
