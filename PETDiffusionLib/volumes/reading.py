"""Read a PET volume from NIfTI, NRRD, MetaImage, Interfile or a DICOM series."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.dicom import open_dicom_frames, the_only_frame
from PETDiffusionLib.volumes.dicom_files import is_dicom_file
from PETDiffusionLib.volumes.files import FORMATS, open_file
from PETDiffusionLib.volumes.frames import FrameSelection, FrameSeries
from PETDiffusionLib.volumes.suv import NO_UNITS
from PETDiffusionLib.volumes.volume import UNIT_NAMES, UNITS, Unit, Volume

__all__ = ["FORMATS", "open_frames", "read_volume"]


def read_volume(path: str | os.PathLike[str], unit: Unit | None = None, frames: str | None = None) -> Volume:
    """Read a volume file, a folder of DICOM PT slices, or the series that one DICOM file belongs to.

    `unit` states what the file does not say; it may not contradict what the file does say.
    `frames` chooses one frame of a dynamic or gated acquisition ("3"), or a mean ("mean", "mean:3-7").
    Raises PETDiffusionError ("missing-file", "bad-file", "not-3d", "not-pet", "not-finite", "unit-conflict", "dynamic",
    "gated", "bad-frames" ...).
    """
    series = open_frames(path, unit)
    return the_only_frame(series if frames is None else series.selected(FrameSelection.parse(frames)))


def open_frames(path: str | os.PathLike[str], unit: Unit | None = None) -> FrameSeries:
    """The frames of what `read_volume` reads, each read from the disk when it is asked for; a static file has one.

    Raises PETDiffusionError as `read_volume` does, here or when a frame is read.
    """
    path = Path(path)
    if unit is not None and unit not in UNITS:
        raise PETDiffusionError("bad-unit", f"A unit is one of {', '.join(UNITS)}; found '{unit}'.")
    if not path.exists():
        raise PETDiffusionError("missing-file", f"There is no file or folder '{path}'. Check the path.")
    series = open_dicom_frames(path) if path.is_dir() or is_dicom_file(path) else open_file(path)
    if unit is None:
        return series
    return replace(series, read=lambda frame: _with_stated_unit(series.read(frame), unit))


def _with_stated_unit(volume: Volume, unit: Unit) -> Volume:
    if volume.unit == unit:
        return volume
    if volume.unit != "unknown":
        raise PETDiffusionError(
            "unit-conflict",
            f"'{volume.facts['source']}' says that its unit is {volume.unit}, and {unit} was stated. "
            "Leave the unit out, or convert the volume with `petdiffusion convert`.",
        )
    if volume.facts.get("source_unit") and volume.facts.get("refusal"):
        raise PETDiffusionError(
            "unit-conflict",
            f"{UNIT_NAMES[unit]} was stated for '{volume.facts['source']}', but its header says: "
            f"{volume.facts['refusal']}",
        )
    answered = {"refusal": None} if volume.facts.get("refusal") == NO_UNITS else {}
    return Volume(volume.image, unit, {**volume.facts, **answered, "unit_stated": True})
