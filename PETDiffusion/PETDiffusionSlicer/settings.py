"""Settings of this computer, not of the scene: the engine's Python, the folder of models, the threads."""

from pathlib import Path

import qt
import slicer

from .engine import Engine

PREFIX = "PETDiffusion"


def load():
    """python ("" is Slicer's), modelsFolder ("" is the engine's), threads (0 is all)."""
    return {
        "python": slicer.util.settingsValue(f"{PREFIX}/python", ""),
        "modelsFolder": slicer.util.settingsValue(f"{PREFIX}/modelsFolder", ""),
        "threads": slicer.util.settingsValue(f"{PREFIX}/threads", 0, converter=int),
    }


def save(**values) -> None:
    for name, value in values.items():
        qt.QSettings().setValue(f"{PREFIX}/{name}", value)


def engine():
    """The engine that these settings mean."""
    return Engine(load()["python"], load()["modelsFolder"])


def modelsFolder(info):
    """Where the user's own models lie; the bundled ones are part of the extension."""
    return load()["modelsFolder"] or (info or {}).get("models_folder", "")


def modelFiles(info):
    """The weights in the user's folder and their cards; what else lies there is none of ours."""
    folder = modelsFolder(info)
    weights = sorted(Path(folder).glob("*.safetensors")) if folder else []
    return [path for one in weights for path in (one, one.with_suffix(".json")) if path.is_file()]
