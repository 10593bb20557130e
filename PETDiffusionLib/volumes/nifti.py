"""What ITK's NIfTI reader hides: data that stop early (it fills up with zeros) and NaN (it makes it zero)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.volume import not_finite

_CHUNK_BYTES = 1 << 22
_FLOAT_TYPES = {16: "f4", 64: "f8"}


@dataclass(frozen=True)
class _Header:
    """Where the voxels of a NIfTI file are and what they are."""

    data_offset: int
    voxels: int
    bytes_per_voxel: int
    float_type: np.dtype | None


def check_nifti(path: Path) -> None:
    """Refuse a NIfTI file (.nii, .nii.gz) whose data are not all there ("bad-file") or not finite ("not-finite").

    Reads the data once, in pieces.
    """
    try:
        with _opened(path) as stream:
            header = _header(stream.read(540))
        if header is None:
            return  # no NIfTI header: ITK knows what to say
        with _opened(path) as stream:
            stream.seek(header.data_offset)
            found, broken = _survey(stream, header)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _truncated(path, "its compressed data stop early or are damaged") from error
    expected = header.voxels * header.bytes_per_voxel
    if found < expected:
        raise _truncated(path, f"{expected} bytes of voxels are expected and {found} are there")
    if broken:
        raise not_finite(f"'{path}'", broken, header.voxels)


def _opened(path: Path) -> BinaryIO:
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else open(path, "rb")  # type: ignore[return-value]


def _header(start: bytes) -> _Header | None:
    """The header of NIfTI-1 (348 bytes) or NIfTI-2 (540 bytes) in either byte order."""
    for order in "<>":
        if len(start) >= 348 and struct.unpack_from(f"{order}i", start)[0] == 348:
            dimensions = struct.unpack_from(f"{order}8h", start, 40)
            datatype, bits = struct.unpack_from(f"{order}2h", start, 70)
            offset = int(struct.unpack_from(f"{order}f", start, 108)[0])
        elif len(start) >= 540 and struct.unpack_from(f"{order}i", start)[0] == 540:
            datatype, bits = struct.unpack_from(f"{order}2h", start, 12)
            dimensions = struct.unpack_from(f"{order}8q", start, 16)
            (offset,) = struct.unpack_from(f"{order}q", start, 168)
        else:
            continue
        voxels = math.prod(dimensions[1 : 1 + dimensions[0]])
        float_type = np.dtype(order + _FLOAT_TYPES[datatype]) if datatype in _FLOAT_TYPES else None
        return _Header(offset, voxels, bits // 8, float_type)
    return None


def _survey(stream: BinaryIO, header: _Header) -> tuple[int, int]:
    """Bytes of voxels that are there, and how many of the voxels are not finite."""
    found = broken = 0
    wanted = header.voxels * header.bytes_per_voxel
    while found < wanted and (chunk := stream.read(min(_CHUNK_BYTES, wanted - found))):
        found += len(chunk)
        if header.float_type is not None:
            whole = len(chunk) - len(chunk) % header.float_type.itemsize
            values = np.frombuffer(chunk[:whole], header.float_type)
            broken += len(values) - int(np.count_nonzero(np.isfinite(values)))
    return found, broken


def _truncated(path: Path, reason: str) -> PETDiffusionError:
    return PETDiffusionError("bad-file", f"'{path}' is truncated: {reason}. Copy or export it again.")
