"""What an input is read from beside the path that is given: data that a header names, parts of a sinogram folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

HEADERS, HEADER_BYTES = (".mhd", ".nhdr", ".hs", ".hdr"), 1 << 16
VOLUMES = (".nii.gz", ".nii", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd")
PAIRS = {".hdr": ".img", ".img": ".hdr"}
NAMES_DATA = re.compile(rb"^[ !]*(?:ElementDataFile *=|data ?file *:|name of data file *:=)([^\r\n]+)", re.I | re.M)
# A sinogram folder's files, as sinograms.files reads them; here without importing torch, and a test compares them.
SINOGRAM_PARTS = ("prompts.hs", "attenuation.hs", "normalisation.hs", "additive.hs")
ESTIMATED_PARTS = ("delayed.hs", "randoms.hs")  # of list mode


def with_data(path: Path) -> list[Path]:
    """An input's path, and after it what no output may replace: see the module. What is not there may be among it."""
    if path.is_dir():
        return [path, *(file for name in (*SINOGRAM_PARTS, *ESTIMATED_PARTS) for file in with_data(path / name))]
    beside = _beside(path)
    if path.suffix.lower() not in HEADERS or not path.is_file():
        return [path, *beside]
    with path.open("rb") as file:
        named = NAMES_DATA.search(file.read(HEADER_BYTES))
    data = path.parent / os.fsdecode(named[1].strip()) if named else path
    return [path, *([data] if data.is_file() and data != path and data not in beside else []), *beside]


def _beside(path: Path) -> list[Path]:
    """The other file of a NIfTI pair, and the JSON that says what a volume is."""
    ending = next((ending for ending in VOLUMES if path.name.lower().endswith(ending)), None)
    if ending is None:
        return []
    stem = path.name[: -len(ending)]
    names = [f"{stem}.json"] + [f"{stem}{other}" for one, other in PAIRS.items() if path.name.endswith(one)]
    return [file for name in names if (file := path.with_name(name)).is_file()]
