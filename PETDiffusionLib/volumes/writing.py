"""Write a volume to NIfTI, NRRD or MetaImage: completely or not at all."""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
from pathlib import Path

import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.nifti import check_nifti
from PETDiffusionLib.volumes.reading import FORMATS, NOTES_KEY, UNIT_KEY, format_of
from PETDiffusionLib.volumes.volume import Volume, check_finite

WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
ENDINGS = (*FORMATS, ".gz", ".img", ".hdr")  # of which a name has one: ITK would write another file


def write_volume(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Write `volume` in the format that the extension of `path` names, with its unit in the header.

    The file appears under its name only when it is complete (a `.mhd` after its `.raw`): it is written into a hidden
    folder beside it, checked, and moved. NRRD and MetaImage keep geometry bit for bit; NIfTI keeps it in float32.
    Raises PETDiffusionError ("bad-format", "not-finite", "cannot-write", "disk-full").
    """
    path = Path(path)
    check_writable_name(path)
    check_finite(sitk.GetArrayViewFromImage(volume.image), f"The volume for '{path}'")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
            _write_completely(volume, Path(scratch) / path.name)
            # The header of an .mhd comes last: once it is there, its data are too.
            for part in sorted(Path(scratch).iterdir(), key=lambda part: part.name == path.name):
                os.replace(part, path.parent / part.name)
    except (OSError, RuntimeError) as error:
        raise _cannot_write(path, volume, error) from error


def check_writable_name(path: str | os.PathLike[str], endings: tuple[str, ...] = WRITABLE) -> None:
    """Refuse a path whose extension is not a format that can be written, or whose folder does not exist."""
    path = Path(path)
    if not path.name.lower().endswith(endings):
        raise PETDiffusionError(
            "bad-format", f"'{path.name}' does not say its format. Give it one of the endings {', '.join(endings)}."
        )
    ending = max((end for end in endings if path.name.lower().endswith(end)), key=len)
    stem, written = path.name[: -len(ending)], path.name[-len(ending) :]
    if stem.lower().endswith(ENDINGS) or (ending.startswith(".nii") and written != ending):
        raise PETDiffusionError(
            "bad-format",
            f"'{path.name}' cannot be the name of a volume. Give it the ending {ending}, in small letters.",
        )
    if not path.parent.is_dir():
        raise PETDiffusionError("cannot-write", f"There is no folder '{path.parent}' to write into. Make it first.")
    if path.is_dir():
        raise PETDiffusionError("cannot-write", f"'{path}' is a folder. Give the name of a file.")


def _write_completely(volume: Volume, target: Path) -> None:
    """Write and flush; a short file (NIfTI's writer does not notice a full disk) raises."""
    image = sitk.Image(volume.image)
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    if format_of(target) in (".nii", ".nii.gz"):
        image.SetMetaData(NOTES_KEY, f"{UNIT_KEY}={volume.unit}")
    else:
        image.SetMetaData(UNIT_KEY, volume.unit)
    sitk.WriteImage(image, str(target), useCompression=target.name.lower().endswith(".gz"))
    for part in target.parent.iterdir():
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
    if format_of(target) in (".nii", ".nii.gz"):
        try:
            check_nifti(target)
        except PETDiffusionError as error:
            raise OSError("the file came out shorter than its data") from error


def _cannot_write(path: Path, volume: Volume, error: Exception) -> PETDiffusionError:
    if isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOENT):
        return PETDiffusionError(
            "cannot-write", f"'{path.parent}' cannot be written to ({error.strerror}). Choose another folder."
        )
    needed = 4 * math.prod(volume.image.GetSize())
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        return PETDiffusionError(
            "disk-full",
            f"The disk of '{path.parent}' is full: up to {needed / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB are "
            "free. Make room or choose another folder; nothing was written.",
        )
    reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return PETDiffusionError(
        "cannot-write", f"'{path}' could not be written completely ({reason}). Nothing was left behind."
    )
