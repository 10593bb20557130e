"""Sample data for trying the module: a simulated low-dose study made by the engine, and a public patient by address."""

import slicer
from slicer.i18n import tr as _

from . import settings
from .engine import EngineError
from .job import TemporaryFolder
from .packages import ensurePackages
from .places import resource
from .results import code, showPet

CATEGORY = "PETDiffusion"
SIMULATED = "SimulatedLowDosePET"
PATIENT = "SarcomaFdgPET"
PATIENT_FILE = {
    "uris": "https://raw.githubusercontent.com/theibsi/data_sets/6da96021bc91faf4c0cb7fd7fa56a4225d2064a8/"
    "ibsi_validation/nifti/STS_001/PET_image.nii.gz",
    "fileNames": f"{PATIENT}.nii.gz",
    "nodeNames": PATIENT,
    "checksums": "SHA256:358300bb60fb5a21e914e833afdda4d16072bd25cbd0c0f9e38a7a64726af31a",
}
PATIENT_LICENCE = "CC BY 3.0, IBSI / TCIA Soft-tissue-Sarcoma (doi:10.7937/K9/TCIA.2015.7GO2GSKS)"


def registerSampleData() -> None:
    """Add the data sets to the Sample Data module; nothing is downloaded or computed until one is chosen."""
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # Slicer 5.13
        logic.registerCustomSampleDataCategory(CATEGORY, title=_("PETDiffusion"))
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=_("Low-dose PET (simulated on this computer)"),
        uris="",  # what has no address must say so
        thumbnailFileName=resource("Icons/SimulatedLowDosePET.png"),
        customDownloader=lambda _source=None: [simulatedVolume()],
    )
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=_("FDG-PET of a sarcoma ({licence})").format(licence=PATIENT_LICENCE),
        thumbnailFileName=resource("Icons/SarcomaFdgPET.png"),
        customDownloader=lambda _source=None: [publicPatient()],
        **PATIENT_FILE,
    )


def publicPatient():
    """The patient as a volume node in SUVbw, downloaded (or from Slicer's cache) and checked by its SHA-256."""
    import SampleData

    nodes = SampleData.downloadFromURL(**PATIENT_FILE)
    if not nodes:
        sentence = _("The sample could not be downloaded from {address}, or it is not the file that was expected.")
        raise EngineError("no-sample", sentence.format(address=PATIENT_FILE["uris"]))
    return _shownInSuv(nodes[0])


def simulatedVolume(phantom="chest", doseReduction=20, seed=1):
    """A low-dose PET simulated by the engine, as a volume node in SUVbw; the application stays responsive meanwhile."""
    ensurePackages()
    with TemporaryFolder() as folder:
        options = ["--phantom", phantom, "--drf", str(doseReduction), "--seed", str(seed)]
        process = settings.engine().start(["simulate", str(folder / "study"), *options])
        while not process.finished:
            slicer.app.processEvents()
            process.wait(50)
        process.result()
        node = slicer.util.loadVolume(str(folder / "study" / "low_dose.nii.gz"), {"name": SIMULATED, "show": False})
    return _shownInSuv(node)


def _shownInSuv(node):
    code(node, "suvbw")
    showPet(node)
    return node
