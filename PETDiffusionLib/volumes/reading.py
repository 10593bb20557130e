"""Read a PET volume from NIfTI, NRRD, MetaImage, Interfile or a DICOM series."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.dicom import open_dicom_frames, the_only_frame
from PETDiffusionLib.volumes.dicom_files import is_dicom_file
from PETDiffusionLib.volumes.frames import FrameSelection, FrameSeries
from PETDiffusionLib.volumes.nifti import check_nifti
from PETDiffusionLib.volumes.suv import NO_UNITS
from PETDiffusionLib.volumes.units import UNIT_KEY
from PETDiffusionLib.volumes.volume import UNIT_NAMES, UNITS, Unit, Volume, check_geometry, check_values

FORMATS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
INTERFILE = (".hv", ".h33", ".hdr", ".hs", ".v", ".i", ".img", ".i33")  # headers, and data that have one beside them

NOTES_KEY = "ITK_FileNotes"


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
    if path.is_dir() or is_dicom_file(path):
        series = open_dicom_frames(path)
    else:
        series = FrameSeries(str(path), "static", (None,), lambda _: _read_file(path))
    if unit is None:
        return series
    return replace(series, read=lambda frame: _with_stated_unit(series.read(frame), unit))


def format_of(path: str | os.PathLike[str]) -> str | None:
    """The extension of `path` that names a known volume format, None when it names none."""
    name = Path(path).name.lower()
    return next((extension for extension in FORMATS if name.endswith(extension)), None)


def _read_file(path: Path) -> Volume:
    if path.name.lower().endswith(INTERFILE) and format_of(path) is None:
        from PETDiffusionLib.sinograms.interfile_image import interfile_header_of, read_interfile_volume

        if header := interfile_header_of(path):
            return read_interfile_volume(header)
    if format_of(path) is None:
        raise PETDiffusionError(
            "bad-format",
            f"'{path}' is neither DICOM nor Interfile nor one of {', '.join(FORMATS)}. Convert it to one of these.",
        )
    if path.stat().st_size == 0:
        raise PETDiffusionError("bad-file", f"'{path}' is empty (0 bytes). Copy or export it again.")
    try:
        if format_of(path) in (".nii", ".nii.gz"):
            check_nifti(path)
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise PETDiffusionError(
            "bad-file",
            f"'{path}' cannot be read: it is damaged, truncated or not what its name says ({_reason(error)}).",
        ) from error
    image = _single_frame(image)
    check_geometry(image, f"'{path}'")
    unit = _recorded_unit(image)
    image = _plain_float_image(image)
    warnings = check_values(sitk.GetArrayViewFromImage(image), f"'{path}'")
    facts: dict[str, object] = {"source": str(path), "format": format_of(path), "warnings": warnings}
    return Volume(image, unit, facts)


def _reason(error: RuntimeError) -> str:
    """The last line of an ITK message that says something, without its address and source lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "Reason:" not in line]
    return re.sub(r"ITK ERROR:|\(0x[0-9a-f]+\)", "", lines[-1]).strip() if lines else "no reason given"


def _single_frame(image: sitk.Image) -> sitk.Image:
    """A 4D image that holds one frame, as 3D; every other image as it is."""
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        return image[:, :, :, 0]
    return image


def _recorded_unit(image: sitk.Image) -> Unit:
    """The unit that `write_volume` left in the header; "unknown" when there is none."""
    keys = image.GetMetaDataKeys()
    recorded = image.GetMetaData(UNIT_KEY).strip() if UNIT_KEY in keys else ""
    if not recorded and NOTES_KEY in keys:
        found = re.search(rf"{UNIT_KEY}=(\w+)", image.GetMetaData(NOTES_KEY))
        recorded = found.group(1) if found else ""
    return next((unit for unit in UNITS if unit == recorded), "unknown")


def _plain_float_image(image: sitk.Image) -> sitk.Image:
    """The image as float32 with its geometry and without the metadata of its file."""
    plain = image if image.GetPixelID() == sitk.sitkFloat32 else sitk.Cast(image, sitk.sitkFloat32)
    for key in plain.GetMetaDataKeys():
        plain.EraseMetaData(key)
    return plain


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
