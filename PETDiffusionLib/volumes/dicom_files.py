"""DICOM files known by their content, and their headers, read once and without their pixels."""

from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset

from PETDiffusionLib.errors import PETDiffusionError

# Values longer than this are pixels and private blobs; a header does without them.
DEFERRED_BYTES = 2048
PREAMBLE = b"\0" * 128 + b"DICM"
# Where the elements start in files whose preamble or magic word was lost: whole, only the word left, word lost.
_OTHER_STARTS = (0, 4, 128)
# The first element of a file is of the file's meta information or identifies the object, and is short.
_FIRST_GROUPS = (0x0002, 0x0008)
_LONGEST_FIRST_VALUE = 256


def is_dicom_file(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a DICOM file by its content; the name does not matter, nor a lost preamble or magic word."""
    return os.path.isfile(path) and elements_start(path) is not None


def elements_start(path: str | os.PathLike[str]) -> int | None:
    """The byte at which the elements of a DICOM file start: 132 after preamble and magic word; None for other files."""
    with open(path, "rb") as file:
        head = file.read(len(PREAMBLE) + 8)
    if head[128:132] == b"DICM":
        return len(PREAMBLE)
    return next((start for start in _OTHER_STARTS if _is_first_element(head[start : start + 8])), None)


def _is_first_element(head: bytes) -> bool:
    """Whether eight bytes are the start of an element of the dictionary, explicit (either endian) or implicit."""
    if len(head) < 8:
        return False
    for endian in "<>":
        group, element, length = struct.unpack(f"{endian}HHI", head)
        tag = group << 16 | element
        if group not in _FIRST_GROUPS or not (element == 0 or dictionary_has_tag(tag)):
            continue
        known = "UL" if element == 0 else dictionary_VR(tag)
        if head[4:6] == known.encode():
            return True
        if endian == "<" and length <= _LONGEST_FIRST_VALUE and length % 2 == 0:
            return True
    return False


def read_header(path: str | os.PathLike[str], pixels: bool = False) -> Dataset:
    """The data set of one DICOM file, pixel data left on the disk unless `pixels`; refuses a damaged file by name."""
    try:
        with warnings.catch_warnings():
            # Files in the wild bend value representations everywhere; what is used is checked where it is used.
            warnings.simplefilter("ignore")
            start = elements_start(path)
            if start is None or start in (0, len(PREAMBLE)):
                return pydicom.dcmread(path, defer_size=None if pixels else DEFERRED_BYTES, force=start == 0)
            dataset = pydicom.dcmread(io.BytesIO(PREAMBLE + Path(path).read_bytes()[start:]))
            dataset.filename = str(path)
            return dataset
    except Exception as error:
        raise PETDiffusionError(
            "bad-file", f"'{path}' is truncated or damaged DICOM ({type(error).__name__}: {error}). Copy it again."
        ) from error


def frame_of_reference(path: str | os.PathLike[str]) -> str | None:
    """The UID of the frame of reference of a DICOM image or a folder of one; None where there is none."""
    files = sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]
    image = next((file for file in files if file.is_file() and is_dicom_file(file)), None)
    return None if image is None else str(read_header(image).get("FrameOfReferenceUID") or "") or None
