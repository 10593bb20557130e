"""Read ECAT7 volumes (.v of CTI and Siemens scanners): values by the subheaders, and what the headers say of them.

nibabel knows the layout of the headers and of the matrix list; values, order and orientation are worked out here, for
ECAT readers differ in them. Source: CTI PET Systems' ECAT 7 headers as in the public ecat library of OpenGATE
(matrix.h, show_header.c), and libtpcimgio of the Turku PET Centre.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.decay import decay_factor
from PETDiffusionLib.volumes.stored import StoredVolume, StoredVoxels
from PETDiffusionLib.volumes.volume import check_finite

BLOCK = 512
VOLUME_16 = 7
FILE_TYPES = {1: "a sinogram", 2: "an image of single planes", 3: "an attenuation map", 4: "a normalization"}
FILE_TYPES |= {5: "a polar map", 6: "a volume of bytes", 8: "projections", 9: "projections", 10: "an image of bytes"}
FILE_TYPES |= {11: "a 3D sinogram", 12: "a 3D sinogram", 13: "a 3D normalization", 14: "a 3D sinogram"}
# Code, and whether it is VAX's, whose order of bytes is the little one; IEEE's and Sun's are in the header's order.
DATA_TYPES = {2: ("i2", True), 3: ("i4", True), 5: ("f4", False), 6: ("i2", False), 7: ("i4", False)}
DECAY_CORRECTED = 1 << 9  # of corrections_applied
DELETED = 3  # status of a matrix
UNSET_TIME = 0xFFFFFFFF
SAME_FACTOR = 0.01
CALIBRATED, UNCALIBRATED = 1, 0
# The systems that wrote ECAT6, which has no magic word: its system_type in a little-endian header.
ECAT6_SYSTEMS = (831, 911, 921, 925, 931, 933, 951, 953, 961)

# By patient_orientation: the sides (+ in LPS) that columns, rows and planes run to. The file lies in the scanner, as a
# head-first supine patient's left, back and feet; a patient who lies otherwise turns about the bed or the height.
ORIENTATIONS: dict[int, tuple[str, tuple[int, int, int]]] = {
    0: ("feet first, prone", (1, -1, 1)),
    1: ("head first, prone", (-1, -1, -1)),
    2: ("feet first, supine", (-1, 1, 1)),
    3: ("head first, supine", (1, 1, -1)),
}
SUPINE = 3
ON_A_SIDE = {4: "feet first, on the right side", 5: "head first, on the right side"}
ON_A_SIDE |= {6: "feet first, on the left side", 7: "head first, on the left side"}


@dataclass(frozen=True)
class SeparateFrames:
    """Frames that lie apart in a file, each with a scale of its own; what `StoredVoxels` is to the reader."""

    each: tuple[StoredVoxels, ...]

    @property
    def frames(self) -> int:
        return len(self.each)

    @property
    def size(self) -> tuple[int, ...]:
        return self.each[0].size

    def frame(self, index: int) -> np.ndarray:
        """The values of a frame, float32 [z, y, x]. Raises PETDiffusionError "bad-file"."""
        values = self.each[index].frame(0)
        check_finite(values, f"frame {index + 1} of {self.each[index].name}")
        return values


def is_ecat(path: Path) -> bool:
    """Whether a file is ECAT7, by its content. Raises PETDiffusionError "bad-format" for ECAT6."""
    with open(path, "rb") as file:
        start = file.read(BLOCK)
    if start.startswith(b"MATRIX"):
        return True
    if len(start) == BLOCK:
        system, file_type = (int(one) for one in np.frombuffer(start, "<i2", 2, offset=52))
        if system in ECAT6_SYSTEMS and 1 <= file_type <= 5:
            raise PETDiffusionError(
                "bad-format",
                f"'{path}' is ECAT6, the format before ECAT7, which is not read. Convert it to ECAT7 (Turku's e63to7) "
                "or to NIfTI with a program that knows it.",
            )
    return False


def read_ecat_header(path: Path) -> StoredVolume:
    """What an ECAT7 volume says. Raises PETDiffusionError ("not-installed", "bad-file", "not-scalar" ...)."""
    try:
        from nibabel import ecat
    except ImportError as error:
        raise PETDiffusionError(
            "not-installed", "ECAT7 (.v) is read with nibabel, which is not installed: pip install nibabel."
        ) from error
    name = f"'{path}'"
    with open(path, "rb") as file:
        start = file.read(BLOCK)
        order = _order(start, ecat.hdr_dtype, name)
        header = np.frombuffer(start, ecat.hdr_dtype.newbyteorder(order), 1)[0]
        _check_kind(header, name)
        matrices = _matrices(file, order, ecat.read_mlist, name)
        subheaders = [_subheader(file, block, ecat.subhdr_dtype.newbyteorder(order), name) for _, block in matrices]
    sentences: list[str] = []
    gated = _is_gated([matrix for matrix, _ in matrices], name)
    calibration = _calibration(header, name, sentences)
    blocks = [block for _, block in matrices]
    each = tuple(_voxels(path, one, block, calibration, order) for one, block in zip(subheaders, blocks, strict=True))
    affine = _affine(header, subheaders, name, sentences)
    document = _document(header, subheaders, gated, name, sentences)
    facts: dict[str, object] = {"gates": [{} for _ in each]} if gated else {}
    return StoredVolume(SeparateFrames(each), affine, "", None, sentences, facts, document=document)


def _order(start: bytes, layout: np.dtype, name: str) -> Literal["<", ">"]:
    """The byte order of the headers: big but for few programs. System software has the versions 70 to 79."""
    orders: tuple[Literal["<", ">"], ...] = (">", "<")
    for order in orders:
        if len(start) == BLOCK and 70 <= np.frombuffer(start, layout.newbyteorder(order), 1)[0]["sw_version"] < 80:
            return order
    raise PETDiffusionError("bad-file", f"{name} is damaged: its ECAT header is none of version 7. Copy it again.")


def _check_kind(header: Any, name: str) -> None:
    kind = int(header["file_type"])
    if kind != VOLUME_16:
        raise PETDiffusionError(
            "not-scalar" if kind in FILE_TYPES else "bad-file",
            f"An ECAT7 volume (file_type 7) is expected, {name} holds {FILE_TYPES.get(kind, f'file_type {kind}')}. "
            "Give the reconstructed volume.",
        )


def _matrices(file: Any, order: str, read_list: Callable[..., Any], name: str) -> list[tuple[tuple[int, ...], int]]:
    """Bed, gate and frame of each matrix that was not deleted, in their order, and the block of its subheader."""
    found: dict[tuple[int, ...], int] = {}
    try:
        listed = read_list(file, order)
    except (TypeError, ValueError, IndexError):
        listed = []
    for number, block, _, status in np.asarray(listed, np.int64).reshape(-1, 4).tolist():
        if number == 0 or block < 3 or status == DELETED:
            continue
        which = (number >> 12 & 0xF, number >> 24 & 0x3F, number & 0x1FF)
        if which in found:
            raise PETDiffusionError(
                "not-scalar",
                f"{name} holds several matrices of frame {which[2]} (planes or kinds of data), not one volume a frame. "
                "Export it as a volume.",
            )
        found[which] = block
    if not found:
        raise PETDiffusionError("bad-file", f"{name} is damaged: its list of matrices holds none. Copy it again.")
    return sorted(found.items())


def _subheader(file: Any, block: int, layout: np.dtype, name: str) -> Any:
    file.seek((block - 1) * BLOCK)
    start = file.read(BLOCK)
    if len(start) < BLOCK:
        raise PETDiffusionError("bad-file", f"{name} is truncated: a frame's header is not there. Copy it again.")
    return np.frombuffer(start, layout, 1)[0]


def _is_gated(matrices: list[tuple[int, ...]], name: str) -> bool:
    beds, gates, frames = (len({matrix[axis] for matrix in matrices}) for axis in range(3))
    if beds > 1:
        raise PETDiffusionError(
            "multi-bed",
            f"{name} holds {beds} bed positions that were not joined into one volume. Give the assembled volume.",
        )
    if gates > 1 and frames > 1:
        raise PETDiffusionError(
            "gated", f"{name} holds {gates} gates of {frames} frames each. Give the gates of one frame, or the frames."
        )
    return gates > 1


def _calibration(header: Any, name: str, sentences: list[str]) -> float:
    """The calibration factor of the whole file, which all readers multiply by; 1 where there is none."""
    factor = float(header["ecat_calibration_factor"])
    if math.isfinite(factor) and factor > 0:
        return factor
    sentences.append(f"{name} has an ecat_calibration_factor of {factor:g}; its values were not multiplied by it.")
    return 1.0


def _voxels(path: Path, subheader: Any, block: int, calibration: float, order: str) -> StoredVoxels:
    kind, scale = int(subheader["data_type"]), float(subheader["scale_factor"])
    name = f"'{path}'"
    if kind not in DATA_TYPES:
        what = {1: "bytes, in whose sign programs differ", 4: "VAX floats"}.get(kind, f"data of type {kind}")
        raise PETDiffusionError("bad-file", f"{name} holds {what}, which is not read. Write it as 16-bit integers.")
    if not math.isfinite(scale) or scale <= 0:
        raise PETDiffusionError(
            "bad-file",
            f"{name} has a frame with a scale_factor of {scale:g}, so its values are not known. Export again.",
        )
    code, vax = DATA_TYPES[kind]
    dtype = np.dtype(("<" if vax else order) + code)
    sizes = tuple(int(subheader[key]) for key in ("x_dimension", "y_dimension", "z_dimension"))
    if min(sizes) < 1:
        raise PETDiffusionError("not-3d", f"A 3D volume is expected, {name} has frames of {sizes} voxels.")
    return StoredVoxels(name, ((path, block * BLOCK),), "raw", dtype, sizes, slope=scale * calibration)


def _affine(header: Any, subheaders: list[Any], name: str, sentences: list[str]) -> np.ndarray:
    """Voxel indices to LPS; the middle of the volume is the origin, for ECAT7 names no place in the patient."""
    grids = {
        tuple(float(one[f"{axis}_{what}"]) for axis in "xyz" for what in ("dimension", "pixel_size"))
        for one in subheaders
    }
    if len(grids) > 1:
        raise PETDiffusionError(
            "bad-geometry", f"{name} has frames of different sizes or voxel sizes. Give frames on one grid."
        )
    code = int(header["patient_orientation"])
    stated, sides = ORIENTATIONS.get(code, ("", ORIENTATIONS[SUPINE][1]))
    if code in ON_A_SIDE:
        raise PETDiffusionError(
            "bad-geometry",
            f"{name} says that the patient lay {ON_A_SIDE[code]} (patient_orientation {code}), and programs do not "
            "agree where left and right are then. Convert it with one that you trust.",
        )
    if not stated:
        sentences.append(
            f"{name} does not say how the patient lay (patient_orientation {code}): left and right cannot be known, "
            "and head first, supine was taken."
        )
    elif code != SUPINE:
        sentences.append(
            f"{name} says that the patient lay {stated} (patient_orientation {code}), and it was turned by that from "
            "the scanner's axes; some programs do not. Check left and right."
        )
    first = subheaders[0]
    size = np.array([float(first[f"{axis}_dimension"]) for axis in "xyz"])
    spacing = np.array([float(f"{first[f'{axis}_pixel_size']:.7g}") for axis in "xyz"]) * 10  # cm
    affine = np.diag([*(spacing * sides), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((size - 1) / 2)
    offsets = [float(first[f"{axis}_offset"]) for axis in "xyz"]
    if any(abs(one) > 1e-6 for one in offsets):
        shown = ", ".join(f"{one:g}" for one in offsets)
        sentences.append(f"{name} has an offset of {shown} cm from the scanner's middle, which was not used.")
    matrix = np.array([[float(first[f"mt_{row}_{column}"]) for column in (1, 2, 3)] for row in (1, 2, 3)])
    if matrix.any() and not np.allclose(matrix, np.eye(3), atol=1e-6):
        sentences.append(f"{name} keeps a matrix of another program's registration, which was not used.")
    return affine


def _document(header: Any, subheaders: list[Any], gated: bool, name: str, sentences: list[str]) -> dict[str, object]:
    """What the headers say, in the keys of BIDS PET, so that a JSON beside can be compared with them."""
    document: dict[str, object] = {"TracerName": _text(header["radiopharmaceutical"])}
    document["TracerRadionuclide"] = _text(header["isotope_name"])
    document["RadionuclideHalfLife"] = _positive(header["isotope_halflife"])
    document["BodyWeight"] = _positive(header["patient_weight"])
    document["BodyWeightUnits"] = "kg"
    document["Units"] = _units(header, name, sentences)
    spans = [(int(one["frame_start_time"]), int(one["frame_duration"])) for one in subheaders]
    timed = not gated and all(start != UNSET_TIME and 0 < length != UNSET_TIME for start, length in spans)
    if timed:
        document["FrameTimesStart"] = [start / 1000 for start, _ in spans]
        document["FrameDuration"] = [length / 1000 for _, length in spans]
    corrected = _decay_corrected(subheaders, document, timed, name, sentences)
    document["ImageDecayCorrected"] = corrected
    if corrected:
        document["ImageDecayCorrectionTime"] = 0.0
    start, injected = int(header["scan_start_time"]), int(header["dose_start_time"])
    if start not in (0, UNSET_TIME) and injected not in (0, UNSET_TIME):
        document["InjectionStart"] = float(injected - start)
    if dosage := _positive(header["dosage"]):
        sentences.append(f"{name} says dosage {dosage:g}, without a unit; it was not taken. State it: --dose-mbq.")
    return {key: value for key, value in document.items() if value not in (None, "")}


def _units(header: Any, name: str, sentences: list[str]) -> str:
    """data_units where the values are calibrated; calibration_units 0 says that they are not."""
    text = _text(header["data_units"])
    if int(header["calibration_unitS"]) != UNCALIBRATED:
        return text
    if text and "count" not in text.lower():
        sentences.append(
            f"{name} says data_units '{text}' and calibration_units 0, uncalibrated; the unit was not taken. "
            "State it if you know it: --unit."
        )
    return ""


def _decay_corrected(
    subheaders: list[Any], document: dict[str, object], timed: bool, name: str, sentences: list[str]
) -> bool | None:
    """Whether the frames are corrected for decay to the start of the scan; None where the headers do not agree."""
    flagged = [bool(int(one["corrections_applied"]) & DECAY_CORRECTED) for one in subheaders]
    factors = [float(one["decay_corr_fctr"]) for one in subheaders]
    trivial = [factor == 0 or abs(factor - 1) < 1e-6 for factor in factors]
    if not any(flagged) and all(trivial):
        return False
    half_life = document.get("RadionuclideHalfLife")
    if all(flagged) and timed and isinstance(half_life, float):
        spans = [(int(one["frame_start_time"]) / 1000, int(one["frame_duration"]) / 1000) for one in subheaders]
        expected = [decay_factor(start, length, half_life) for start, length in spans]
        if all(abs(one / two - 1) < SAME_FACTOR for one, two in zip(factors, expected, strict=True)):
            return True
        at = int(np.argmax([abs(one / two - 1) for one, two in zip(factors, expected, strict=True)]))
        sentences.append(
            f"{name} says decay_corr_fctr {factors[at]:.4g} of frame {at + 1}, and its times and half-life give "
            f"{expected[at]:.4g} from the start of the scan: to which moment its values are corrected is not known."
        )
        return None
    sentences.append(
        f"Whether {name} is corrected for decay, and to which moment, is not known: corrections_applied says "
        f"{'yes' if all(flagged) else 'no' if not any(flagged) else 'yes for some frames'}, decay_corr_fctr is "
        f"{factors[0]:.4g}."
    )
    return None


def _text(value: Any) -> str:
    return re.split(rb"[\0\r\n]", bytes(value))[0].decode("latin-1").strip()  # a carriage return ends some texts


def _positive(value: Any) -> float | None:
    number = float(value)
    return float(f"{number:.7g}") if math.isfinite(number) and number > 0 else None
