"""The values of one DICOM slice or frame, whatever its transfer syntax."""

from __future__ import annotations

import functools
import math
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import DeflatedExplicitVRLittleEndian

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.dicom_files import read_header
from PETDiffusionLib.volumes.headers import tag_name

# What a decoder needs to know of an image; everything else stays out of the copy that is handed to GDCM.
_PIXEL_TAGS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
# Pixel data may be longer than its pixels by what makes its length even.
_PADDING_BYTES = 1


def slice_values(header: Dataset) -> tuple[np.ndarray, int]:
    """The rescaled values of a slice (or of one frame of an enhanced file), float32 [y, x], in the series' own unit.

    And how many pixels held no data (PixelPaddingValue, PS3.3 C.7.5.1.1.2) although rescaling would make activity of
    it; they are 0. The photometric interpretation says how to display an image and changes nothing here: a MONOCHROME1
    slice holds the same activity as a MONOCHROME2 one.
    """
    stored = stored_values(header)
    slope, intercept = _rescale(header)
    values = (stored * slope + intercept).astype(np.float32)
    lowest, highest = _padding_range(header, stored.dtype)
    padded = (stored >= lowest) & (stored <= highest) & (values != 0) if lowest <= highest else None
    if padded is None or not padded.any():
        return values, 0
    values[padded] = 0
    return values, int(np.count_nonzero(padded))


def stored_values(header: Dataset) -> np.ndarray:
    """Stored values [y, x] of a slice or frame, before rescaling. Raises PETDiffusionError "bad-file"."""
    whole, frame = getattr(header, "whole", header), getattr(header, "frame", 0)
    path = Path(header.filename)
    try:
        syntax = whole.file_meta.get("TransferSyntaxUID")
        if syntax is not None and syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
            return _decompressed(path, frame)
        if syntax == DeflatedExplicitVRLittleEndian:
            whole = _with_pixels(path)
        return _native(whole, frame, path)
    except PETDiffusionError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise _unreadable(path, reason) from error


def _unreadable(path: Path, reason: str) -> PETDiffusionError:
    return PETDiffusionError(
        "bad-file", f"The image in '{path}' is truncated, damaged or cannot be decoded ({reason}). Copy it again."
    )


def _native(whole: Dataset, frame: int, path: Path) -> np.ndarray:
    """Stored values [y, x] of uncompressed pixel data, read from where they lie in the file."""
    rows, columns, frames = int(whole.Rows), int(whole.Columns), int(whole.get("NumberOfFrames") or 1)
    bits = int(whole.BitsAllocated)
    signed, little = int(whole.PixelRepresentation) == 1, whole.original_encoding[1] is not False
    if bits not in (8, 16, 32):
        raise _unreadable(path, f"{bits} bits a pixel; 8, 16 or 32 are known")
    kind = np.dtype(f"{'<' if little else '>'}{'i' if signed else 'u'}{bits // 8}")
    size = rows * columns * kind.itemsize
    element = whole.get_item("PixelData", keep_deferred=True)
    held = len(element.value) if element.value is not None else element.length
    if not 0 <= held - size * frames <= _PADDING_BYTES:
        raise _unreadable(
            path,
            f"{frames} frame(s) of {columns} columns and {rows} rows of {bits} bits need {size * frames} bytes, "
            f"its pixel data has {held}",
        )
    if element.value is not None:
        stored = np.frombuffer(element.value, kind, rows * columns, frame * size)
    else:
        with open(path, "rb") as file:
            file.seek(element.value_tell + frame * size)
            stored = np.fromfile(file, kind, rows * columns)
        if stored.size < rows * columns:
            raise _unreadable(path, "the file ends before its pixel data does")
    return _within_stored_bits(stored.reshape(rows, columns), whole, bits)


def _within_stored_bits(stored: np.ndarray, whole: Dataset, allocated: int) -> np.ndarray:
    """The values of the bits that are stored; others may hold anything, old overlays for example."""
    bits = int(whole.get("BitsStored") or allocated)
    high = int(whole.get("HighBit", bits - 1))
    above, unused = allocated - 1 - high, allocated - bits
    return stored if unused == 0 else (stored << above) >> unused


@functools.lru_cache(maxsize=1)
def _with_pixels(path: Path) -> Dataset:
    """The last file that was read as a whole, for the next of its frames."""
    return read_header(path, pixels=True)


def _decompressed(path: Path, frame: int) -> np.ndarray:
    """Stored values [y, x] through pydicom or, where it has no codec for them, through GDCM."""
    dataset = _with_pixels(path)
    frames = int(dataset.get("NumberOfFrames") or 1)
    one = _one_frame(dataset, get_frame(dataset.PixelData, frame, number_of_frames=frames))
    try:
        return np.asarray(one.pixel_array)
    except (RuntimeError, NotImplementedError):
        return _decompressed_by_gdcm(one)


def _one_frame(dataset: Dataset, data: bytes) -> FileDataset:
    """A slice of its own of one compressed frame, without rescale and as MONOCHROME2.

    GDCM's reader would apply the one and invert the other.
    """
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # asks for its computation
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    copy = FileDataset("", {}, preamble=b"\0" * 128, file_meta=meta, is_implicit_VR=False, is_little_endian=True)
    for keyword in _PIXEL_TAGS:
        copy[keyword] = dataset[keyword]
    copy.SamplesPerPixel, copy.PhotometricInterpretation = 1, "MONOCHROME2"
    copy.SOPClassUID, copy.SOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    copy.PixelData = encapsulate([data])
    copy["PixelData"].is_undefined_length = True
    return copy


def _decompressed_by_gdcm(copy: FileDataset) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "slice.dcm"
        copy.save_as(file)
        return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))[0]


def _rescale(header: Dataset) -> tuple[float, float]:
    """Slope and intercept of this slice; the PET standard demands a slope and fixes the intercept at zero."""
    return _number(header, "RescaleSlope"), _number(header, "RescaleIntercept", absent=0.0)


def _padding_range(header: Dataset, kind: np.dtype) -> tuple[int, int]:
    """The stored values that mean no data, from lowest to highest; (1, 0), which is none, where nothing says so.

    The value may be written in the other signedness than the pixels (32768 for -32768): its bits count.
    """
    value, limit = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
    if value in (None, ""):
        return 1, 0
    bits = 8 * kind.itemsize
    whole = [int(one) % (1 << bits) for one in (value, value if limit in (None, "") else limit)]
    if kind.kind == "i":
        whole = [one - (1 << bits) if one >= 1 << (bits - 1) else one for one in whole]
    return min(whole), max(whole)


def _number(header: Dataset, keyword: str, absent: float = math.nan) -> float:
    """The finite number of a tag, or `absent`."""
    try:
        value = header.get(keyword)
        number = absent if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise PETDiffusionError(
            "missing-tag",
            f"{tag_name(keyword)} is needed and is missing or malformed in '{header.filename}'. "
            "Export the series again.",
        )
    return number
