"""Where the engine and the resources lie: beside the module when installed, one level up in the source tree."""

import importlib
import sys
from pathlib import Path

MODULE_FOLDER = Path(__file__).resolve().parent.parent


def home() -> Path:
    """The folder that holds PETDiffusionLib and Resources. Raises FileNotFoundError."""
    for folder in (MODULE_FOLDER, MODULE_FOLDER.parent):
        if (folder / "PETDiffusionLib" / "__init__.py").is_file():
            return folder
    raise FileNotFoundError(f"PETDiffusionLib is neither in {MODULE_FOLDER} nor beside it. Install PETDiffusion again.")


def resource(name: str) -> str:
    """The path of a file in Resources."""
    return str(home() / "Resources" / name)


def engineRoom(name: str):
    """A part of the engine ("volumes", "methods.catalogue") that needs only what Slicer bundles, imported here."""
    if str(home()) not in sys.path:
        sys.path.append(str(home()))
    return importlib.import_module(f"PETDiffusionLib.{name}")
