"""Small RT Structure Sets and Segmentations for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

ROOM = "1.2.826.0.1.3680043.8.498.1"  # the frame of reference


def circle(radius_mm: float, z_mm: float, centre=(0.0, 0.0), points: int = 90) -> np.ndarray:
    """A circle across the z axis, [points, 3] in mm."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    x, y = centre[0] + radius_mm * np.cos(angle), centre[1] + radius_mm * np.sin(angle)
    return np.stack([x, y, np.full(points, z_mm)], axis=1)


def box(low, high, z_mm: float) -> np.ndarray:
    """A rectangle across the z axis from corner to corner, [4, 3] in mm."""
    (x0, y0), (x1, y1) = low, high
    return np.array([[x0, y0, z_mm], [x1, y0, z_mm], [x1, y1, z_mm], [x0, y1, z_mm]], float)


def write_structure_set(
    path: Path,
    rois: Iterable[tuple[str, Sequence[np.ndarray]]],
    room: str | None = ROOM,
    kind: str = "CLOSED_PLANAR",
) -> Path:
    """An RTSTRUCT of named ROIs, each a list of contours [n, 3] in mm."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    dataset.Modality, dataset.StructureSetLabel = "RTSTRUCT", "test"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois, start=1):
        roi = Dataset()
        roi.ROINumber, roi.ROIName = number, name
        if room is not None:
            roi.ReferencedFrameOfReferenceUID = room
        dataset.StructureSetROISequence.append(roi)
        drawn = Dataset()
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType = kind
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{value:.4f}" for value in np.ravel(points)]
            drawn.ContourSequence.append(contour)
        dataset.ROIContourSequence.append(drawn)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path
