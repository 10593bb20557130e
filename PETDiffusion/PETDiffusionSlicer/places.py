"""Where the engine and the resources lie: beside the module when installed, one level up in the source tree."""

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
