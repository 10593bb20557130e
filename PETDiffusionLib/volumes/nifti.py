"""Read NIfTI-1, NIfTI-2 (one file or a .hdr/.img pair) and Analyze 7.5: what the header says and where values lie."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.affines import SAME_PLACE_VOXELS, check_voxel_size
from PETDiffusionLib.volumes.nifti_header import (
    DATA_STARTS,
    HEADER_BYTES,
    LENGTH_MM,
    NIFTI1,
    NIFTI2,
    Orientation,
)
from PETDiffusionLib.volumes.nifti_writing import ORIENTATION_FACT
from PETDiffusionLib.volumes.stored import StoredVolume, StoredVoxels
from PETDiffusionLib.volumes.volume import check_finite

DATA_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
NOT_SCALAR = {32: "complex64", 128: "RGB", 1792: "complex128", 2048: "complex256", 2304: "RGBA"}
PIXDIM_WITHIN = 1e-3  # relative, of the sform's scale


def check_nifti(path: Path) -> None:
    """Refuse a NIfTI file whose data are not all there ("bad-file") or not finite ("not-finite")."""
    stored = read_nifti_header(path)
    for frame in range(stored.voxels.frames):
        check_finite(stored.voxels.frame(frame), f"'{path}'")


def read_nifti_header(path: Path) -> StoredVolume:
    """What a .nii, .nii.gz, .hdr or .img file says. Raises PETDiffusionError ("bad-file", "not-3d" ...)."""
    header_file, data_file = _pair(path)
    name = f"'{path}'"
    start = _beginning(header_file, name)
    header = _record(start)
    if header is None:
        raise PETDiffusionError(
            "bad-file", f"{name} is damaged or no NIfTI file, whatever its name says. Copy or export it again."
        )
    magic = bytes(header["magic"]).rstrip(b"\0\r\n\x1a")
    analyze = magic not in (b"n+1", b"n+2", b"ni1", b"ni2")
    if analyze and path.name.lower().endswith((".nii", ".nii.gz")):
        data_file = header_file  # a header without magic in one file: its offset says where data begin
    single = magic in (b"n+1", b"n+2")
    voxels_file = header_file if single else data_file
    if not voxels_file.is_file():
        raise PETDiffusionError(
            "missing-file",
            f"The voxels of {name} are in a file of their own, '{voxels_file.name}', which is not there.",
        )
    codec = "gzip" if _is_gzip(voxels_file) else "raw"
    voxels = _voxels(header, name, voxels_file, codec, _offset(header, single, name))
    sentences = _scale_sentences(header, name, analyze)
    orientation = Orientation.of(header)
    affine = orientation.affine
    facts: dict[str, object] = {ORIENTATION_FACT: asdict(orientation)}
    if analyze:
        # Radiological order, +x to the patient's left, is Analyze's own (nifti1.h says so, nibabel reads it so).
        check_voxel_size(np.abs(header["pixdim"][1:4]).astype(float), name)
        affine, facts = np.diag([*np.abs(header["pixdim"][1:4]).astype(float), 1.0]), {}
        affine[1, 1] *= -1
        sentences.append(
            f"{name} is Analyze 7.5, which does not say how it lies in the patient: left and right cannot be known, "
            "and axes to the patient's left, front and head were taken."
        )
        if (matrix := header_file.with_suffix(".mat")).is_file():
            sentences.append(f"'{matrix.name}' beside {name}, in which SPM keeps where it lies, is not read.")
    else:
        sentences += _placement_sentences(header, orientation, voxels.size, name)
    record = bytes(header["descrip"]).decode("latin-1").rstrip("\0 ")
    return StoredVolume(voxels, affine, record, None, sentences, facts)


def _pair(path: Path) -> tuple[Path, Path]:
    """The files of header and values: a pair's by its endings, else the one file for both."""
    for ending, other in ((".hdr", ".img"), (".img", ".hdr")):
        if path.suffix.lower() == ending:
            partner = path.with_suffix(other if path.suffix.islower() else other.upper())
            if ending == ".img" and not partner.is_file():
                raise PETDiffusionError(
                    "missing-file", f"The header of '{path}', '{partner.name}', is not there. Copy it beside the image."
                )
            return (path, partner) if ending == ".hdr" else (partner, path)
    return path, path


def _is_gzip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _beginning(path: Path, name: str) -> bytes:
    try:
        with gzip.open(path, "rb") if _is_gzip(path) else open(path, "rb") as stream:
            return stream.read(HEADER_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise PETDiffusionError(
            "bad-file", f"{name} is truncated: its compressed data stop early or are damaged. Copy or export it again."
        ) from error


def _record(start: bytes) -> np.ndarray | None:
    """The header as a record in its own byte order, None where it is neither NIfTI's nor Analyze's."""
    for kind in (NIFTI1, NIFTI2):
        for order in ("<", ">"):
            if len(start) >= kind.itemsize:
                record = np.frombuffer(start, kind.newbyteorder(order), 1)[0]
                if record["sizeof_hdr"] == kind.itemsize and 1 <= record["dim"][0] <= 7:
                    return record
    return None


def _offset(header: np.ndarray, single: bool, name: str) -> int:
    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or offset < 0:
        raise PETDiffusionError("bad-file", f"{name} is damaged: its values begin at byte {offset:g}. Export it again.")
    return DATA_STARTS if single and offset == 0 else int(offset)


def _voxels(header: np.ndarray, name: str, path: Path, codec: str, offset: int) -> StoredVoxels:
    code = int(header["datatype"])
    sizes = tuple(int(length) for length in header["dim"][1 : 1 + int(header["dim"][0])])
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    if code in NOT_SCALAR or len(sizes) > 4:
        what = NOT_SCALAR.get(code, f"{len(sizes)} dimensions {sizes}")
        raise PETDiffusionError(
            "not-scalar",
            f"One real value per voxel is expected, {name} holds {what}. Give a single-channel PET volume.",
        )
    if code not in DATA_TYPES:
        raise PETDiffusionError(
            "bad-file", f"{name} holds numbers of NIfTI's type {code}, which is not read. Export it as float32."
        )
    if len(sizes) < 3 or min(sizes) < 1:
        raise PETDiffusionError(
            "not-3d",
            f"A 3D volume is expected, {name} has {len(sizes)} dimensions {sizes}. Give the whole stack of slices.",
        )
    slope, intercept = _scaling(header, name)
    order = ">" if header.dtype["sizeof_hdr"].byteorder == ">" else "<"
    frames = 3 if len(sizes) == 4 else None
    start, skip = (0, offset) if codec == "gzip" else (offset, 0)
    dtype = np.dtype(order + DATA_TYPES[code])
    return StoredVoxels(name, ((path, start),), codec, dtype, sizes, frames, slope, intercept, skip)


def _scaling(header: np.ndarray, name: str) -> tuple[float, float]:
    """scl_slope and scl_inter; a slope of 0 (or none) means that values are as stored (nifti1.h)."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise PETDiffusionError(
            "bad-file", f"{name} is damaged: scl_inter, which is added to its values, is {intercept}. Export it again."
        )
    return slope, intercept


def _scale_sentences(header: np.ndarray, name: str, analyze: bool) -> list[str]:
    slope = float(header["scl_slope"])
    if not math.isfinite(slope):
        return [f"{name} has a scl_slope of {slope}; its values were taken as they are stored."]
    if analyze and slope not in (0.0, 1.0):
        return [f"{name} has {slope:g} where SPM keeps the scale of an Analyze file; its values were multiplied by it."]
    return []


def _placement_sentences(header: np.ndarray, placed: Orientation, size: tuple[int, ...], name: str) -> list[str]:
    """What is contradictory or missing in a header's two ways to place its voxels, and which was taken."""
    if placed.sform_code <= 0:
        check_voxel_size(np.array(placed.pixdim), name)
    if placed.sform_code <= 0 and placed.qform_code <= 0:
        return [
            f"{name} does not say how it lies in the patient (its qform_code and sform_code are 0): left and right "
            "cannot be known, and axes to the patient's right, front and head (NIfTI's method 1) were taken."
        ]
    sentences = []
    unit = int(header["xyzt_units"]) & 7
    if LENGTH_MM.get(unit, 1.0) != 1.0:
        sentences.append(
            f"Lengths of {name} are in {'metres' if unit == 1 else 'micrometres'}, and became millimetres."
        )
    if placed.sform_code <= 0:
        return sentences
    scale = np.linalg.norm(placed.sform[:3, :3], axis=0)
    if not np.allclose(scale, placed.pixdim, rtol=PIXDIM_WITHIN, atol=0):
        sentences.append(
            f"Voxel sizes of {name} are {_sizes(scale)} mm by its sform, which was taken, and {_sizes(placed.pixdim)} "
            "mm by its pixdim."
        )
    apart = placed.apart_mm(size)
    if not apart <= SAME_PLACE_VOXELS * float(scale.min()):
        sentences.append(
            f"The sform (code {placed.sform_code}) and the qform (code {placed.qform_code}) of {name} place its voxels "
            f"up to {apart:.3g} mm apart; the sform was taken. A result on this grid written as NIfTI keeps both."
        )
    return sentences


def _sizes(sizes: object) -> str:
    return " x ".join(f"{size:.4g}" for size in np.asarray(sizes))
