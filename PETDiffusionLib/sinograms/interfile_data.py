"""The data beside an Interfile header: where they are, of which type, and what a stored value means."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.interfile_header import InterfileHeader

NUMPY_TYPES = {
    "float": {2: "f2", 4: "f4", 8: "f8"},
    "short float": {4: "f4"},
    "long float": {8: "f8"},
    "signed integer": {1: "i1", 2: "i2", 4: "i4", 8: "i8"},
    "unsigned integer": {1: "u1", 2: "u2", 4: "u4", 8: "u8"},
}
BYTE_ORDERS = ("imagedata byte order", "image data byte order")
BLOCK = 2048  # bytes: Interfile 3.3's data start at a block of so many
LARGEST_FILE = 1e15  # bytes


@dataclass(frozen=True)
class Scale:
    """A value is `slope` times what is stored plus `intercept`; of a volume every plane may have its own slope."""

    slopes: tuple[float, ...]
    intercept: float
    unit: str  # as "quantification units" states it, "" where it does not

    def one_slope(self, header: InterfileHeader) -> float:
        """The slope where all data have the same. Raises PETDiffusionError "bad-header" where they have not."""
        if len(set(self.slopes)) != 1:
            raise header.error(f'"image scaling factor" should be the same for all data, but is {set(self.slopes)}')
        return self.slopes[0]


def stored_type(header: InterfileHeader) -> np.dtype:
    """The type of a stored value, in its byte order: big-endian where none is stated (Interfile's default)."""
    kind = header.word("number format") or header.text("number format")
    size = header.whole("number of bytes per pixel")
    sizes = NUMPY_TYPES.get(kind)
    if sizes is None or size not in sizes:
        raise header.error(f'"number format" {kind} of {size} bytes is not one that is read here')
    orders = {header.text(key).upper().replace(" ", "") for key in BYTE_ORDERS if key in header} or {"BIGENDIAN"}
    if len(orders) > 1 or not orders <= {"BIGENDIAN", "LITTLEENDIAN"}:
        raise header.error(
            f'"imagedata byte order" should be BIGENDIAN or LITTLEENDIAN, but is {" and ".join(sorted(orders))}'
        )
    if not any(key in header for key in BYTE_ORDERS) and size > 1:
        header.warnings.append(
            f"'{header.path.name}' does not state \"imagedata byte order\": BIGENDIAN is taken, Interfile's default."
        )
    return np.dtype((">" if orders == {"BIGENDIAN"} else "<") + sizes[size])


def data_path(header: InterfileHeader) -> Path:
    """The file that the header names: where it says, beside the header, or there with .gz at the end."""
    name = header.text("name of data file")
    bare = re.split(r"[/\\]", name)[-1]
    places = [header.path.parent / one for stem in (name, bare) for one in (stem, stem + ".gz")]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise PETDiffusionError(
            "missing-file", f"'{header.path}' has its data in '{bare}', which is not beside it. Copy it there."
        )
    return found


def data_offset(header: InterfileHeader, dataset: int = 1) -> int | None:
    """Where the data of a data set begin in the file; None where the header does not say it."""
    keys = [f"data offset in bytes[{dataset}]", *(["data offset in bytes"] if dataset == 1 else [])]
    stated = {key: header.whole(key, 0, LARGEST_FILE) for key in keys if key in header}
    if dataset == 1 and (block := header.indexed("data starting block")):
        stated[block] = header.whole(block, 0) * BLOCK
    if len(set(stated.values())) > 1:
        said = " and ".join(f'"{key}" {value}' for key, value in stated.items())
        raise header.error(f"it says twice where its data begin, and not the same: {said} bytes")
    return next(iter(stated.values()), None)


def read_values(
    header: InterfileHeader, kind: np.dtype, count: int, offset: int, more_follow: bool = False
) -> np.ndarray:
    """`count` stored values from `offset` bytes, mapped from the disk or unpacked.

    Raises PETDiffusionError "bad-file" where the file holds fewer, or more than `more_follow` allows.
    """
    path = data_path(header)
    own = path.samefile(header.path)
    if own and offset == 0:
        raise header.error(
            '"name of data file" is the header itself: it is a template without data, or "data offset in bytes" or '
            '"data starting block" is missing'
        )
    expected, found = offset + count * kind.itemsize, path.stat().st_size
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b" and (path.suffix.lower() == ".gz" or found != expected)
    if packed:
        return np.frombuffer(_unpacked(path, header, expected, more_follow), kind, count, offset)
    if found < expected or (found > expected and not more_follow):
        raise _wrong_size(path, header, expected, str(found))
    return np.memmap(path, kind, "r", offset, (count,))


def scaled(stored: np.ndarray, scale: float, intercept: float, path: Path) -> np.ndarray:
    """The float32 values of stored ones, which may be changed in place. Raises PETDiffusionError "not-finite"."""
    values = stored.astype(np.float32, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        if scale != 1:
            values *= np.float32(scale)
        if intercept:
            values += np.float32(intercept)
        finite = np.isfinite(values.sum(dtype=np.float64))
    if not finite:
        raise PETDiffusionError("not-finite", f"'{path}' holds values that are NaN or infinite. Export it again.")
    return values


def read_scale(header: InterfileHeader) -> Scale:
    """What a stored value is to be multiplied by, as "image scaling factor", "rescale slope" or units say it.

    The rule where a number is given as "quantification units" is STIR's (InterfileHeader.cxx): it is the factor where
    no other is stated, and has to be the same as one that is.
    """
    units = header.indexed("quantification units")
    unit = header.text(units) if units else ""
    slopes = {
        key: header.numbers(key) for name in ("image scaling factor", "rescale slope") if (key := header.indexed(name))
    }
    try:
        by_unit = [float(unit)]
    except ValueError:
        by_unit = []
    unit = "" if by_unit else unit
    if by_unit and by_unit != [1.0]:
        slopes["quantification units"] = by_unit
    differing = [(key, value) for key, value in slopes.items() if set(value) != {1.0}]
    if any(set(value) != set(differing[0][1]) for _, value in differing):
        said = " and ".join(f'"{key}" {", ".join(f"{v:g}" for v in value[:3])}' for key, value in differing)
        raise header.error(f"it states two factors for its values: {said}")
    chosen = max((value for _, value in differing), key=len, default=[1.0])
    if not all(value > 0 for value in chosen):
        raise header.error(f"the factor of its values should be above zero, but is {min(chosen):g}")
    intercept = header.number(key) if (key := header.indexed("rescale intercept")) else 0.0
    return Scale(tuple(chosen), intercept, unit)


def _unpacked(path: Path, header: InterfileHeader, expected: int, more_follow: bool) -> bytes:
    try:
        with gzip.open(path) as stream:
            content = stream.read(expected)
            more = bool(stream.read(1))
    except (OSError, EOFError, zlib.error) as error:
        raise PETDiffusionError("bad-file", f"'{path}' cannot be unpacked ({error}). Copy it again.") from error
    if len(content) < expected or (more and not more_follow):
        raise _wrong_size(path, header, expected, "more" if more else str(len(content)))
    return content


def _wrong_size(path: Path, header: InterfileHeader, expected: int, found: str) -> PETDiffusionError:
    return PETDiffusionError(
        "bad-file",
        f"'{path}' should hold {expected} bytes as '{header.path.name}' describes it, but holds {found}. "
        "Copy or export both again.",
    )
