"""The values of one DICOM slice, whatever its transfer syntax."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.headers import read_header, tag_name

# What a decoder needs to know of an image; everything else stays out of the copy that is handed to GDCM.
_PIXEL_TAGS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData")


def slice_values(path: str | Path) -> np.ndarray:
    """The rescaled values of one slice, float32 [y, x], in the unit that its series states.

    The photometric interpretation says how to display an image and changes nothing here: a MONOCHROME1 slice holds the
    same activity as a MONOCHROME2 one.
    """
    dataset = read_header(Path(path), pixels=True)
    stored = _stored_values(dataset, Path(path))
    slope, intercept = _rescale(dataset, Path(path))
    return (stored * slope + intercept).astype(np.float32)


def _stored_values(dataset: Dataset, path: Path) -> np.ndarray:
    """Stored values [y, x], through pydicom or, for compressed data that it has no codec for, through GDCM."""
    try:
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            return _decompressed(dataset)
        return np.asarray(dataset.pixel_array)
    except Exception as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise PETDiffusionError(
            "bad-file", f"The image in '{path}' is truncated, damaged or cannot be decoded ({reason}). Copy it again."
        ) from error


def _decompressed(dataset: Dataset) -> np.ndarray:
    try:
        return np.asarray(dataset.pixel_array)
    except (RuntimeError, NotImplementedError):
        return _decompressed_by_gdcm(dataset)


def _decompressed_by_gdcm(dataset: Dataset) -> np.ndarray:
    """Stored values of a compressed slice.

    GDCM gets a copy without rescale and as MONOCHROME2, because its reader would apply the one and invert the other.
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
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "slice.dcm"
        copy.save_as(file)
        return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))[0]


def _rescale(dataset: Dataset, path: Path) -> tuple[float, float]:
    """Slope and intercept of this slice; the PET standard demands a slope and fixes the intercept at zero."""
    return _number(dataset, "RescaleSlope", path), _number(dataset, "RescaleIntercept", path, absent=0.0)


def _number(dataset: Dataset, keyword: str, path: Path, absent: float = math.nan) -> float:
    """The finite number of a tag, or `absent`."""
    try:
        value = dataset.get(keyword)
        number = absent if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise PETDiffusionError(
            "missing-tag",
            f"{tag_name(keyword)} is needed and is missing or malformed in '{path}'. Export the series again.",
        )
    return number
