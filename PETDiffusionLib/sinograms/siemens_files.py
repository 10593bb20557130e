"""Which files Siemens' list mode consists of: a text header and words, apart or together in a DICOM file."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.interfile_header import InterfileHeader

DATA_ENDINGS = (".l", ".bf")  # as the console and the DICOM export name the words
DICOM_ENDINGS = (".dcm", ".IMA", ".ima")
DICOM_HEADERS, DICOM_DATA = ((0x0029, 0x1010), (0x0029, 0x1110)), (0x7FE1, 0x1010)  # Siemens' private elements
START_BYTES = 1 << 16
IS_LIST_MODE = re.compile(
    rb"^[ !%\t]*(sms-mi header name space[ \t]*:=[ \t]*petlink|data format[ \t]*:=[ \t]*\w*list"
    rb"|lm event and tag words format)",
    re.IGNORECASE | re.MULTILINE,
)


class Words(NamedTuple):
    """Where the 32-bit words are: `size` bytes from `offset` on, to the end of the file where it is None."""

    path: Path
    offset: int = 0
    size: int | None = None


def list_mode_files(path: Path) -> tuple[InterfileHeader, Words] | None:
    """The header and the words of list mode, whichever of its files is given; None for what is no list mode.

    Raises PETDiffusionError "missing-file" for one without the other.
    """
    start = _start(path)
    if start[128:132] == b"DICM":
        return _in_dicom(path)
    if b"interfile" in start[:1024].lower():
        if not IS_LIST_MODE.search(start):
            return None
        header = InterfileHeader(path)
        return header, _words_of(header)
    for beside in _headers_beside(path):
        if beside.suffix in DICOM_ENDINGS:
            found = _in_dicom(beside)
            if found is not None:
                return found[0], Words(path)
        elif IS_LIST_MODE.search(_start(beside)):
            return InterfileHeader(beside), Words(path)
    if path.suffix.lower() in DATA_ENDINGS:
        raise PETDiffusionError(
            "missing-file",
            f"'{path.name}' needs its header, which says of which scanner it is: put '{path.name}.hdr' (or the DICOM "
            "file that it came with) beside it.",
        )
    return None


def _start(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(START_BYTES)


def _words_of(header: InterfileHeader) -> Words:
    """The data that a header names, or those beside it under its own name."""
    stem = header.path.name.removesuffix(".hdr").removesuffix(".HDR")
    named = header.text("name of data file", "")
    names = [named, Path(named.replace("\\", "/")).name, stem, f"{stem}.l", f"{stem.removesuffix('.l')}.bf"]
    for name in filter(None, names):
        data = header.path.parent / name
        if data.is_file() and data != header.path:
            return Words(data, int(header.number("data offset in bytes", 0)))
    raise PETDiffusionError(
        "missing-file",
        f"'{header.path}' has its data in '{named or f'{stem}.l'}', which is not beside it. Copy it there.",
    )


def _headers_beside(path: Path) -> Iterator[Path]:
    """Headers that may belong to data: by their names, then those that name the data."""
    stems = (path.name, path.stem)
    likely = [path.with_name(f"{stem}{end}") for stem in stems for end in (".hdr", ".l.hdr", *DICOM_ENDINGS)]
    yield from (one for one in dict.fromkeys(likely) if one.is_file() and one != path)
    named = re.compile(
        rb"^[ !]*name of data file[ \t]*:=[ \t]*" + re.escape(os.fsencode(path.name)) + rb"[ \t\r]*$", re.I | re.M
    )
    for one in sorted(path.parent.glob("*.hdr")):
        if one not in likely and one.is_file() and named.search(_start(one)):
            yield one


def _in_dicom(path: Path) -> tuple[InterfileHeader, Words] | None:
    """The header and the words in Siemens' private elements; the words may lie in a .bf file beside."""
    import pydicom

    try:
        data_set = pydicom.dcmread(path, defer_size=1 << 20)
    except (pydicom.errors.InvalidDicomError, OSError, ValueError, EOFError):
        return None
    text = next(
        (bytes(data_set[tag].value) for tag in DICOM_HEADERS if tag in data_set and _is_text(data_set[tag])), b""
    )
    if not IS_LIST_MODE.search(text):
        return None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(text[: text.rfind(b"\n") + 1].replace(b"\0", b""))
        header = InterfileHeader(copy)
    header.path = path
    if DICOM_DATA in data_set:
        element = data_set.get_item(DICOM_DATA)
        size, offset = getattr(element, "length", 0), getattr(element, "value_tell", 0)
        if offset and 0 < size < 0xFFFFFFFF:
            return header, Words(path, offset, size)
    beside = path.with_suffix(".bf")
    if not beside.is_file():
        raise PETDiffusionError(
            "missing-file",
            f"'{path.name}' has its list mode in '{beside.name}', which is not beside it. Copy it there.",
        )
    return header, Words(beside)


def _is_text(element: object) -> bool:
    value = getattr(element, "value", None)
    return isinstance(value, bytes) and b"interfile" in value[:1024].lower()
