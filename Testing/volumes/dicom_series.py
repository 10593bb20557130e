"""Small DICOM PET slices that nothing is wrong with, for tests to bend one tag of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

ROWS, COLUMNS = 6, 8

# 60 minutes of a half-life of 60 minutes, 70 kg and 140 MBq: SUVbw is Bq/ml divided by 1000, by mental arithmetic.
WEIGHT_KG, DOSE_BQ, HALF_LIFE_S = 70.0, 140e6, 3600.0
SUV_PER_BQML = 1e-3


def stored_values(index: int) -> np.ndarray:
    """Stored values of slice `index` in order of position, int16 [y, x]; no two voxels of a series are alike."""
    return (np.arange(ROWS * COLUMNS, dtype=np.int16) + 100 * (index + 1)).reshape(ROWS, COLUMNS)


def pet_slice(index: int, series_uid: str) -> FileDataset:
    """Slice `index` of a series that nothing is wrong with: Bq/ml, decay correction START."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    slice_ = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=True)
    slice_.SOPClassUID, slice_.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    slice_.PatientName, slice_.PatientID = "Secret^Name", "secret-id"
    slice_.Modality, slice_.SeriesInstanceUID = "PT", series_uid
    slice_.SeriesDescription, slice_.SeriesType = "AC", ["WHOLE BODY", "IMAGE"]
    slice_.SeriesDate = slice_.AcquisitionDate = "20240105"
    slice_.SeriesTime = slice_.AcquisitionTime = "110000"
    slice_.ImagePositionPatient = [-10, -20, 30 + 4 * index]
    slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    slice_.PixelSpacing = [3, 2]
    slice_.Rows, slice_.Columns = ROWS, COLUMNS
    slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
    slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 1
    slice_.RescaleSlope, slice_.RescaleIntercept = 1, 0
    slice_.PixelData = stored_values(index).tobytes()
    slice_.Units, slice_.DecayCorrection = "BQML", "START"
    slice_.CorrectedImage = ["ATTN", "DECY", "SCAT"]
    slice_.PatientWeight = WEIGHT_KG
    tracer = Dataset()
    tracer.Radiopharmaceutical = "Test"
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = DOSE_BQ, HALF_LIFE_S
    tracer.RadiopharmaceuticalStartDateTime = "20240105100000"
    slice_.RadiopharmaceuticalInformationSequence = [tracer]
    return slice_


def tracer_of(dataset: Dataset) -> Dataset:
    """The administration in a slice."""
    return dataset.RadiopharmaceuticalInformationSequence[0]


def write_dynamic(folder: Path, frames: np.ndarray) -> Path:
    """A dynamic DICOM series of `frames` [frame, z, y, x] in whole Bq/ml, 60 s each."""
    folder.mkdir()
    uid = generate_uid()
    for number, frame in enumerate(frames):
        for z, plane in enumerate(frame):
            slice_ = pet_slice(z, uid)
            slice_.SeriesType = ["DYNAMIC", "IMAGE"]
            slice_.Rows, slice_.Columns = plane.shape
            slice_.PixelData = plane.astype(np.int16).tobytes()
            slice_.NumberOfSlices, slice_.ImageIndex = len(frame), number * len(frame) + z + 1
            slice_.AcquisitionTime = f"11{number:02}00"
            slice_.ActualFrameDuration, slice_.FrameReferenceTime = 60000, 60000 * number + 29913
            slice_.save_as(folder / f"{number:03}-{z:03}.dcm")
    return folder
