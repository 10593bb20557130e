"""NIfTI-1 files written one frame at a time: float32, millimetres and seconds, one frame in memory."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.affines import Placement, farthest_corner, place
from PETDiffusionLib.volumes.frames import FrameTime
from PETDiffusionLib.volumes.nifti_header import (
    DATA_STARTS,
    MILLIMETRES,
    NIFTI1,
    SECONDS,
    Orientation,
    orientation_of,
)
from PETDiffusionLib.volumes.units import UNIT_KEY
from PETDiffusionLib.volumes.volume import Volume

# Where a volume read from NIfTI keeps its header's orientation, so that a result on its grid can carry the same one.
ORIENTATION_FACT = "nifti_orientation"
SAME_GRID_MM = 1e-4
SAME_TIME_S = 1e-3
FLOAT32_CODE, LARGEST_DIMENSION = 16, 32767
GZIP_LEVEL = 6


class NiftiStream:
    """A context in which frames on the grid of `like` are appended to one .nii or .nii.gz file.

    times: one entry a frame; where all frames follow each other at one distance, pixdim[4] and toffset say it.
    A volume that was read from NIfTI and still lies where it lay keeps the qform and sform of its file, codes and all.
    """

    def __init__(self, path: Path, like: Volume, times: Sequence[FrameTime | None]) -> None:
        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115 (this object is the context)
        # Neither a name nor a time in the compressed file: the same volume gives the same bytes.
        self._stream: BinaryIO = (
            gzip.GzipFile("", "wb", GZIP_LEVEL, self._file, mtime=0)  # type: ignore[assignment]
            if path.name.lower().endswith(".gz")
            else self._file
        )
        try:
            self._stream.write(_header(like, times).tobytes() + bytes(DATA_STARTS - NIFTI1.itemsize))
        except BaseException:
            self._file.close()
            raise

    def append(self, volume: Volume) -> None:
        values = np.ascontiguousarray(sitk.GetArrayViewFromImage(volume.image), "<f4")
        self._stream.write(values.data.cast("B"))

    def __enter__(self) -> NiftiStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._stream is not self._file:
                self._stream.close()
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()


def _header(like: Volume, times: Sequence[FrameTime | None]) -> np.ndarray:
    size = like.image.GetSize()
    if max(*size, len(times)) > LARGEST_DIMENSION:
        raise PETDiffusionError(
            "bad-format",
            f"NIfTI-1 holds up to {LARGEST_DIMENSION} voxels or frames a dimension, the volume has {size}. "
            "Write it as .nrrd.",
        )
    orientation = _orientation(like)
    header = np.zeros((), NIFTI1.newbyteorder("<"))
    header["sizeof_hdr"], header["magic"], header["vox_offset"] = NIFTI1.itemsize, b"n+1", DATA_STARTS
    header["dim"] = (4 if len(times) > 1 else 3, *size, len(times), 1, 1, 1)
    header["datatype"], header["bitpix"] = FLOAT32_CODE, 32
    header["scl_slope"] = 1
    start_s, step_s = _regular(times)
    header["pixdim"] = (orientation.qfac, *orientation.pixdim, step_s, 1, 1, 1)
    header["toffset"] = start_s
    header["xyzt_units"] = MILLIMETRES | SECONDS
    header["descrip"] = f"{UNIT_KEY}={like.unit}".encode("ascii")
    header["qform_code"], header["sform_code"] = orientation.qform_code, orientation.sform_code
    header["quatern"], header["qoffset"], header["srow"] = orientation.quatern, orientation.qoffset, orientation.srow
    return header


def _orientation(like: Volume) -> Orientation:
    """The one of the file that `like` was read from, where it still places the voxels there; otherwise a new one."""
    size = like.image.GetSize()
    affine = Placement.of(like.image).affine
    kept = like.facts.get(ORIENTATION_FACT)
    if isinstance(kept, dict):
        of_file = Orientation(**kept)
        placement, _ = place(of_file.affine, size, "the volume")
        if farthest_corner(placement.affine, affine, size) < SAME_GRID_MM:
            return of_file
    return orientation_of(affine)


def _regular(times: Sequence[FrameTime | None]) -> tuple[float, float]:
    """Start and step in seconds of frames that follow each other evenly; zeros where they do not."""
    known = [time for time in times if time is not None]
    if len(known) < len(times) or len(known) < 2:
        return 0.0, 0.0
    starts = np.array([time.start_s for time in known])
    steps = np.append(np.diff(starts), [time.duration_s for time in known])
    return (float(starts[0]), float(steps[0])) if np.ptp(steps) < SAME_TIME_S else (0.0, 0.0)
