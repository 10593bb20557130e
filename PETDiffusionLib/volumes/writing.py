"""Write a volume to NIfTI, NRRD, MetaImage or Interfile: completely or not at all."""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
from pathlib import Path

import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.nifti_writing import NiftiStream
from PETDiffusionLib.volumes.sidecar import check_sidecar, sidecar_path, write_sidecar
from PETDiffusionLib.volumes.units import UNIT_KEY
from PETDiffusionLib.volumes.volume import Volume, check_finite

WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".hv")
IN_GEOMETRY = {"patient_position"}  # facts that a NIfTI image says by its geometry, and no JSON beside it
ENDINGS = (*WRITABLE, ".nhdr", ".gz", ".img", ".hdr", ".v")  # of which a name has one: ITK would write another file


def write_volume(volume: Volume, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write `volume` in the format that the extension of `path` names, with its unit in the header.

    The file appears under its name only when it is complete (a `.mhd` after its `.raw`): it is written into a hidden
    folder beside it, checked, and moved. NRRD and MetaImage keep geometry bit for bit; NIfTI keeps it in float32.
    Beside NIfTI of a volume that has facts, they are written as JSON in the terms of BIDS (`scan.json`); one that
    another program wrote is replaced only with `overwrite`. A volume that was read from NIfTI and lies where it lay
    keeps the qform and sform of its file. Raises PETDiffusionError ("bad-format", "not-finite", "exists",
    "cannot-write", "disk-full").
    """
    path = Path(path)
    check_writable_name(path)
    check_finite(sitk.GetArrayViewFromImage(volume.image), f"The volume for '{path}'")
    has_sidecar = is_nifti(path) and bool(volume.facts.keys() - IN_GEOMETRY)
    if has_sidecar:
        check_sidecar(path, overwrite)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
            write_completely(volume, Path(scratch) / path.name)
            if has_sidecar:
                write_sidecar(sidecar_path(Path(scratch) / path.name), volume.unit, volume.facts)
            publish(Path(scratch), path)
    except (OSError, RuntimeError) as error:
        raise cannot_write(path, math.prod(volume.image.GetSize()), error) from error


def is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def publish(folder: Path, path: Path) -> None:
    """Move all files of `folder` beside `path`, the one of its own name last: once it is there, its parts are too."""
    for part in sorted(
        folder.iterdir(), key=lambda part: (part.name == path.name, part.suffix in (".mhd", ".hv"), part.name)
    ):
        os.replace(part, path.parent / part.name)


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


def write_completely(volume: Volume, target: Path) -> None:
    """Write and flush one volume; raises OSError or RuntimeError where that is not possible."""
    if is_nifti(target):
        with NiftiStream(target, volume, (None,)) as stream:
            stream.append(volume)
        return
    if target.name.lower().endswith(".hv"):
        from PETDiffusionLib.sinograms.interfile_image import write_interfile_volume

        write_interfile_volume(volume, target)
    else:
        image = sitk.Image(volume.image)
        for key in image.GetMetaDataKeys():
            image.EraseMetaData(key)
        image.SetMetaData(UNIT_KEY, volume.unit)
        sitk.WriteImage(image, str(target))
    for part in target.parent.iterdir():
        with open(part, "rb+") as file:
            os.fsync(file.fileno())


def cannot_write(path: Path, voxels: int, error: Exception) -> PETDiffusionError:
    """The refusal for a failure to write so many voxels to `path`."""
    if isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOENT):
        return PETDiffusionError(
            "cannot-write", f"'{path.parent}' cannot be written to ({error.strerror}). Choose another folder."
        )
    needed = 4 * voxels
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
