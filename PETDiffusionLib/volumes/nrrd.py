"""Read NRRD (.nrrd, .nhdr): what the header says and where values lie.

Source: "Definition of NRRD File Format", teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.stored import StoredVolume, StoredVoxels
from PETDiffusionLib.volumes.units import UNIT_KEY

HEADER_BYTES = 1 << 20
DATA_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
CODECS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
LENGTH_MM = {"": 1.0, "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3}
LENGTH_MM |= {"\u00b5m": 1e-3, "\u03bcm": 1e-3, "micrometer": 1e-3, "micrometers": 1e-3, "microns": 1e-3}
SPACES = {"left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1)}
SPACES |= {"ras": (-1, -1, 1), "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1)}
FRAME_KINDS = ("list", "time", "none", "???", "", "domain", "space")  # of an axis that is not in space


def read_nrrd_header(path: Path) -> StoredVolume:
    """What an NRRD file says. Raises PETDiffusionError ("bad-file", "not-3d", "not-scalar", "bad-geometry" ...)."""
    name = f"'{path}'"
    fields, keys, lines, data_starts = _header(path, name)
    sizes = tuple(int(one) for one in fields.get("sizes", "").split() if one.isdigit())
    dimension = int(fields.get("dimension", "0")) if fields.get("dimension", "0").isdigit() else 0
    if dimension != len(sizes) or not sizes or min(sizes) < 1:
        raise _damaged(name, f"its sizes are '{fields.get('sizes', '')}'")
    kinds = fields.get("kinds", "").lower().split() or [""] * dimension
    directions = _directions(fields, dimension, name)
    frame_axis = _frame_axis(sizes, kinds, directions, name)
    kind, encoding = fields.get("type", "").lower(), fields.get("encoding", "").lower()
    if kind not in DATA_TYPES or encoding not in CODECS:
        raise PETDiffusionError(
            "bad-file",
            f"{name} holds '{kind}' in encoding '{encoding}', which is not read. Write it as float, raw or gzip.",
        )
    dtype = np.dtype((">" if fields.get("endian", "little").lower() == "big" else "<") + DATA_TYPES[kind])
    parts, codec, skip = _parts(path, fields, lines, data_starts, CODECS[encoding], sizes, dtype, name)
    voxels = StoredVoxels(name, parts, codec, dtype, sizes, frame_axis, skip=skip)
    sentences: list[str] = []
    affine = _affine(fields, directions, frame_axis, name, sentences)
    unit = keys.get(UNIT_KEY)
    return StoredVolume(
        voxels, affine, f"{UNIT_KEY}={unit}" if unit else "", fields.get("sampleunits", "").strip('"'), sentences
    )


def _header(path: Path, name: str) -> tuple[dict[str, str], dict[str, str], list[str], int]:
    """Fields, key/value pairs, the lines after a LIST of files, and the byte after the header's empty line."""
    with open(path, "rb") as file:
        start = file.read(HEADER_BYTES)
    if not start.startswith(b"NRRD"):
        raise _damaged(name, "it does not begin with NRRD")
    end = re.search(rb"\r?\n\r?\n", start)
    text = start[: end.start()] if end else start
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    lines: list[str] = []
    for line in text.decode("utf-8", "replace").splitlines()[1:]:
        key, value = re.split(r":=|: ?", line, maxsplit=1) if ":" in line else (line, "")
        if fields.get("datafile", "").upper().startswith("LIST") and line.strip():
            lines.append(line.strip())
        elif ":=" in line and line.index(":=") == line.index(":"):
            keys[key.strip()] = value.strip()
        elif not line.startswith("#"):
            fields[re.sub(r"[\s]", "", key.lower())] = value.strip()
    return fields, keys, lines, end.end() if end else len(start)


def _directions(fields: dict[str, str], dimension: int, name: str) -> list[np.ndarray | None] | None:
    """The direction in space of every axis, None for one that is not in space; None where the header has no space."""
    text = fields.get("spacedirections")
    if text is None:
        return None
    words = re.findall(r"\([^)]*\)|none", text)
    vectors = [None if word == "none" else _vector(word, name) for word in words]
    directions = [None if one is None or np.isnan(one).all() else one for one in vectors]  # (nan,nan,nan) of pynrrd 0.4
    if dimension == 4 and all(one is not None and len(one) == 4 for one in directions):
        directions[3] = None  # ITK's way: the fourth axis of a four-dimensional space
    if len(directions) != dimension:
        raise _damaged(name, f"its space directions are '{text}'")
    return directions


def _frame_axis(
    sizes: tuple[int, ...], kinds: list[str], directions: list[np.ndarray | None] | None, name: str
) -> int | None:
    outside = [axis for axis, one in enumerate(directions) if one is None] if directions else []
    if directions is None and len(sizes) > 3:
        outside = [axis for axis, kind in enumerate(kinds) if kind in ("list", "time")] or list(range(3, len(sizes)))
    if len(sizes) - len(outside) != 3 or len(outside) > 1:
        raise PETDiffusionError(
            "not-3d",
            f"A 3D volume is expected, {name} has {len(sizes)} dimensions {sizes}. Give the whole stack of slices.",
        )
    if not outside:
        return None
    kind = kinds[outside[0]] if len(kinds) == len(sizes) else ""
    if kind not in FRAME_KINDS and sizes[outside[0]] > 1:
        raise PETDiffusionError(
            "not-scalar",
            f"One real value per voxel is expected, {name} holds {sizes[outside[0]]} components of kind '{kind}' per "
            "voxel. Give a single-channel PET volume, or frames on an axis of kind 'list'.",
        )
    return outside[0]


def _parts(
    path: Path,
    fields: dict[str, str],
    lines: list[str],
    data_starts: int,
    codec: str,
    sizes: tuple[int, ...],
    dtype: np.dtype,
    name: str,
) -> tuple[tuple[tuple[Path, int], ...], str, int]:
    where = fields.get("datafile")
    bytes_to_skip, lines_to_skip = (int(fields.get(key, "0") or 0) for key in ("byteskip", "lineskip"))
    if where is None:
        files, start = [path], data_starts
    else:
        pattern = re.fullmatch(r"(\S*%0?\d*d\S*) (-?\d+) (-?\d+) (-?\d+)(?: \d+)?", where)
        if pattern:
            first, last, step = (int(one) for one in pattern.groups()[1:])
            lines = [pattern[1] % number for number in range(first, last + (1 if step > 0 else -1), step)]
        names = lines if lines or where.upper().startswith("LIST") else [where]
        files, start = [path.parent / one for one in names], 0
    for file in files:
        if not file.is_file():
            raise PETDiffusionError(
                "missing-file",
                f"The values of {name} are in '{file.name}', which is not there. Copy it beside the header.",
            )
    if codec != "raw" and len(files) > 1:
        raise PETDiffusionError(
            "bad-file",
            f"The values of {name} are in several compressed files, which is not read. Write it as one file.",
        )
    each = int(np.prod([float(size) for size in sizes])) * dtype.itemsize // max(len(files), 1)
    starts = []
    for file in files:
        begins = _after_lines(file, start, lines_to_skip)
        if codec == "raw":
            begins = file.stat().st_size - each if bytes_to_skip == -1 else begins + bytes_to_skip
        starts.append((file, begins))
    return tuple(starts), codec, max(bytes_to_skip, 0) if codec != "raw" else 0


def _after_lines(file: Path, start: int, lines: int) -> int:
    if not lines:
        return start
    with open(file, "rb") as opened:
        opened.seek(start)
        for _ in range(lines):
            opened.readline()
        return opened.tell()


def _affine(
    fields: dict[str, str],
    directions: list[np.ndarray | None] | None,
    frame_axis: int | None,
    name: str,
    sentences: list[str],
) -> np.ndarray:
    affine = np.eye(4)
    if directions is None:
        words = fields.get("spacings", "").split()
        sizes = [_number(word) for axis, word in enumerate(words) if axis != frame_axis]
        units = [unit for axis, unit in enumerate(_quoted(fields.get("units", ""))) if axis != frame_axis]
        lengths = np.array([_millimetres(unit, name) for unit in units[:3]] or [1.0] * 3)
        if len(sizes) < 3:
            sentences.append(f"{name} does not say its voxel size; 1 mm was taken.")
            sizes = [1.0] * 3
        affine[:3, :3] = np.diag(np.array(sizes[:3]) * lengths)
        sentences.append(
            f"{name} has no space directions, so it does not say how it lies in the patient: left and right cannot be "
            "known, and axes of LPS from 0 were taken."
        )
        return affine
    columns = [one for one in directions if one is not None]
    origin = _vector(fields["spaceorigin"], name) if "spaceorigin" in fields else np.zeros(3)
    if any(len(one) < 3 for one in (*columns, origin)):
        raise _damaged(name, "its space has fewer than three dimensions")
    affine[:3, :3] = np.stack([one[:3] for one in columns], axis=1)
    affine[:3, 3] = origin[:3]
    in_space = [_millimetres(unit, name) for unit in _quoted(fields.get("spaceunits", ""))[:3]]
    if in_space and set(in_space) != {1.0}:
        affine[:3] *= np.array(in_space)[:, None]
        sentences.append(f"Lengths of {name} are in {fields['spaceunits']}, and became millimetres.")
    space = fields.get("space", "").lower().removesuffix("-time")
    space = space[:3] if space in ("lpst", "rast", "last") else space
    if space not in SPACES:
        sentences.append(
            f"{name} does not name its space by the patient's sides (it says '{fields.get('space', '')}'); LPS was "
            "taken."
        )
        return affine
    return np.diag([*SPACES[space], 1.0]) @ affine


def _quoted(text: str) -> list[str]:
    return re.findall(r'"([^"]*)"', text) or text.split()


def _millimetres(unit: str, name: str) -> float:
    if unit.lower() not in LENGTH_MM:
        raise PETDiffusionError(
            "bad-geometry", f"{name} has lengths in '{unit}', which is not read. Write it with lengths in mm."
        )
    return LENGTH_MM[unit.lower()]


def _vector(text: str, name: str) -> np.ndarray:
    try:
        return np.array([float(one) for one in text.strip("() ").split(",")])
    except ValueError:
        raise _damaged(name, f"'{text}' is no vector") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _damaged(name: str, reason: str) -> PETDiffusionError:
    return PETDiffusionError(
        "bad-file", f"{name} is damaged or no NRRD file, whatever its name says: {reason}. Export it again."
    )
