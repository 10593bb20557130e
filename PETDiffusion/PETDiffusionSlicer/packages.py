"""The Python packages that the engine needs beside what Slicer bundles: installed when a job starts, never before."""

import importlib.util

from slicer.i18n import tr as _

from . import settings
from .engine import EngineError
from .places import resource


def ensurePackages() -> None:
    """Install what is missing in Slicer's Python, after asking. Raises EngineError where the user declines or it fails.

    Where the engine has another Python nothing is installed. PyTorch comes through the PyTorch extension, which knows
    the build that fits the graphics card.
    """
    if not settings.engine().isSlicerPython:
        return
    import slicer.packaging  # Slicer 5.11 and later

    try:
        requirements = slicer.packaging.load_requirements(resource("requirements.txt"))
        slicer.packaging.pip_ensure(requirements, requester="PETDiffusion")
        _ensureTorch()
    except EngineError:
        raise
    except Exception as error:
        sentence = _("The Python packages that PETDiffusion needs could not be installed: {reason}")
        raise EngineError("packages", sentence.format(reason=error)) from error


def _ensureTorch() -> None:
    if importlib.util.find_spec("torch"):
        return
    if not importlib.util.find_spec("PyTorchUtils"):
        sentence = _("PyTorch is not installed. Install the PyTorch extension from the Extensions Manager and restart "
                     "Slicer, or choose under Advanced a Python that has PyTorch.")  # fmt: skip
        raise EngineError("no-torch", sentence)
    import PyTorchUtils

    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True) is None:
        raise EngineError("no-torch", _("PyTorch was not installed, and nothing can be computed without it."))
