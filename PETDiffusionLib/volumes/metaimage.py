"""Read MetaImage (.mha, .mhd): what the header says and where values lie.

Source: MetaIO's documentation of tags (ITK wiki, "MetaIO/Documentation").
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.stored import StoredVolume, StoredVoxels
from PETDiffusionLib.volumes.units import UNIT_KEY

HEADER_BYTES = 1 << 20
DATA_TYPES = {"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4"}
DATA_TYPES |= {"MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8"}
DATA_TYPES |= {"MET_FLOAT": "f4", "MET_DOUBLE": "f8"}


def read_metaimage_header(path: Path) -> StoredVolume:
    """What a MetaImage says. Raises PETDiffusionError ("bad-file", "not-3d", "not-scalar", "missing-file" ...)."""
    name = f"'{path}'"
    keys, data_starts = _keys(path, name)
    sizes = tuple(int(one) for one in _floats(keys, "DimSize", name))
    dimensions = len(sizes)
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    if not 3 <= len(sizes) <= 4 or min(sizes) < 1:
        raise PETDiffusionError(
            "not-3d",
            f"A 3D volume is expected, {name} has {len(sizes)} dimensions {sizes}. Give the whole stack of slices.",
        )
    channels = int(_floats(keys, "ElementNumberOfChannels", name, 1.0)[0])
    kind = keys.get("ElementType", "")
    if channels != 1 or kind.endswith("_ARRAY") or kind not in DATA_TYPES:
        raise PETDiffusionError(
            "not-scalar",
            f"One real value per voxel is expected, {name} holds {kind or 'an unnamed type'} with {channels} "
            "component(s) per voxel. Give a single-channel PET volume.",
        )
    big = _true(keys, "BinaryDataByteOrderMSB") or _true(keys, "ElementByteOrderMSB")
    dtype = np.dtype((">" if big else "<") + DATA_TYPES[kind])
    slope = _floats(keys, "ElementToIntensityFunctionSlope", name, 1.0)[0]
    intercept = _floats(keys, "ElementToIntensityFunctionOffset", name, 0.0)[0]
    parts, codec = _parts(path, keys, data_starts, sizes, dtype, name)
    frames = 3 if len(sizes) == 4 else None
    voxels = StoredVoxels(name, parts, codec, dtype, sizes, frames, slope, intercept)
    sentences = []
    if (slope, intercept) != (1.0, 0.0):
        sentences.append(
            f"Values of {name} were multiplied by its ElementToIntensityFunctionSlope {slope:g}, and "
            f"{intercept:g} was added."
        )
    affine, spacing, axes = _affine(keys, dimensions, name, sentences)
    direction = tuple(axes.ravel().tolist())
    unit = keys.get(UNIT_KEY)
    return StoredVolume(voxels, affine, f"{UNIT_KEY}={unit}" if unit else "", None, sentences, {}, spacing, direction)


def _keys(path: Path, name: str) -> tuple[dict[str, str], int]:
    """The header's keys, and the byte at which values of the same file begin. ElementDataFile is the last key."""
    with open(path, "rb") as file:
        start = file.read(HEADER_BYTES)
    keys: dict[str, str] = {}
    position = 0
    for line in start.splitlines(keepends=True):
        position += len(line)
        key, equals, value = line.decode("utf-8", "replace").partition("=")
        if not equals:
            break
        keys[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            for file_name in (
                start[position:].decode("utf-8", "replace").splitlines() if value.strip() == "LIST" else []
            ):
                keys["LIST"] = f"{keys.get('LIST', '')}\n{file_name.strip()}".strip()
            return keys, position
    raise PETDiffusionError("bad-file", f"{name} is damaged or no MetaImage, whatever its name says. Export it again.")


def _parts(
    path: Path, keys: dict[str, str], data_starts: int, sizes: tuple[int, ...], dtype: np.dtype, name: str
) -> tuple[tuple[tuple[Path, int], ...], str]:
    where = keys["ElementDataFile"]
    codec = "zlib" if _true(keys, "CompressedData") else "raw"
    if not _true(keys, "BinaryData", True):
        raise PETDiffusionError(
            "bad-file", f"{name} holds its values as text (BinaryData False), which is not read. Write it as binary."
        )
    skip = int(_floats(keys, "HeaderSize", name, 0.0)[0])
    if where.upper() == "LOCAL":
        return ((path, data_starts),), codec
    if "%" in where:
        raise PETDiffusionError(
            "bad-file", f"{name} names its data by a pattern ('{where}'), which is not read. Write it as one file."
        )
    names = keys.get("LIST", "").split("\n") if where == "LIST" else [where.strip('"')]
    files = [path.parent / one for one in names if one]
    for file in files:
        if not file.is_file():
            raise PETDiffusionError(
                "missing-file",
                f"The values of {name} are in '{file.name}', which is not there. Copy it beside the header.",
            )
    each = int(np.prod([float(size) for size in sizes])) * dtype.itemsize // max(len(files), 1)
    return tuple((file, file.stat().st_size - each if skip == -1 else skip) for file in files), codec


def _affine(
    keys: dict[str, str], dimensions: int, name: str, sentences: list[str]
) -> tuple[np.ndarray, tuple[float, ...], np.ndarray]:
    """TransformMatrix holds one axis a row, Offset the centre of the first voxel, both in LPS (as ITK reads them)."""
    spacing = _first(keys, ("ElementSpacing",), name)
    size = _first(keys, ("ElementSize",), name)
    if spacing is None and size is not None:
        sentences.append(f"{name} has an ElementSize and no ElementSpacing; the first was taken for the voxel size.")
    if spacing is None and size is None:
        sentences.append(f"{name} does not say its voxel size; 1 mm was taken.")
    used = spacing or size or [1.0] * dimensions
    origin = _first(keys, ("Offset", "Position", "Origin"), name) or [0.0] * dimensions
    matrix = _first(keys, ("TransformMatrix", "Rotation", "Orientation"), name)
    if len(used) < 3 or len(origin) < 3 or (matrix is not None and len(matrix) != dimensions**2):
        raise PETDiffusionError("bad-file", f"{name} is damaged: its geometry has too few numbers. Export it again.")
    axes = np.eye(3) if matrix is None else np.reshape(matrix, (dimensions, dimensions))[:3, :3].T
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(used[:3])
    affine[:3, 3] = origin[:3]
    said = _axes(axes)
    stated = keys.get("AnatomicalOrientation", "???").upper()
    if re.fullmatch("[RLAPSI]{3}", stated) and matrix is not None and said is not None and stated != said:
        sentences.append(
            f"{name} says AnatomicalOrientation {stated}, and its TransformMatrix is {said} in the same letters; the "
            "matrix was taken, as ITK does."
        )
    elif re.fullmatch("[RLAPSI]{3}", stated) and matrix is None and stated != "RAI":
        sentences.append(
            f"{name} says AnatomicalOrientation {stated} and has no TransformMatrix; axes of LPS were taken, as "
            "ITK does. Check left and right."
        )
    return affine, tuple(used[:3]), axes


def _axes(axes: np.ndarray) -> str | None:
    """The letters of the sides that the axes start from (MetaImage's way: RAI is LPS), None for no clear ones."""
    nearest = np.abs(axes).argmax(axis=0)
    if len(set(nearest.tolist())) < 3:
        return None
    return "".join(("RL", "AP", "IS")[row][int(axes[row, column] < 0)] for column, row in enumerate(nearest))


def _first(keys: dict[str, str], names: tuple[str, ...], name: str) -> list[float] | None:
    return next((_floats(keys, one, name) for one in names if one in keys), None)


def _floats(keys: dict[str, str], key: str, name: str, default: float | None = None) -> list[float]:
    if key not in keys and default is not None:
        return [default]
    try:
        values = [float(one) for one in keys[key].split()]
        if values:
            return values
    except (KeyError, ValueError):
        pass
    raise PETDiffusionError(
        "bad-file",
        f"{name} is damaged: numbers are expected after {key}, found '{keys.get(key, '')}'. Export it again.",
    )


def _true(keys: dict[str, str], key: str, default: bool = False) -> bool:
    return keys[key].lower() in ("true", "t", "1") if key in keys else default
