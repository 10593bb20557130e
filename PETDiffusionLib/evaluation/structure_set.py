"""The regions of a DICOM RT Structure Set: its ROIs, drawn as contours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.evaluation.contours import Contour, enclosed
from PETDiffusionLib.evaluation.grids import patient_image
from PETDiffusionLib.evaluation.regions import Region, same_room, unique_names
from PETDiffusionLib.volumes.regridding import Grid

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
FAR_OFF = 0.2  # how far the voxels of a region may be from the volume of its contours unsaid, relative


def structure_set_regions(path: Path, image: sitk.Image, frame_of_reference: str | None) -> Iterator[Region]:
    """Each ROI of the file as a Region of `image` (see `contours.enclosed` for what is taken to be inside).

    Those in another frame of reference, outside the image or without closed contours have no voxel and say so.
    Raises PETDiffusionError "bad-file", "no-regions", or "other-frame" where none is in the image's frame.
    """
    try:
        dataset = pydicom.dcmread(path)
        rois = {int(roi.ROINumber): roi for roi in dataset.get("StructureSetROISequence") or []}
        drawn = {int(item.ReferencedROINumber): item for item in dataset.get("ROIContourSequence") or []}
    except (OSError, ValueError, AttributeError, pydicom.errors.InvalidDicomError) as error:
        raise PETDiffusionError("bad-file", f"'{path}' is damaged or no RT Structure Set ({error}).") from error
    if not rois:
        raise PETDiffusionError("no-regions", f"'{path}' holds no ROI. Give a structure set with regions.")
    names, shared = unique_names(
        {number: str(roi.get("ROIName") or "") or "unnamed" for number, roi in rois.items()}, "ROI"
    )
    frames = {number: _frame(roi, dataset) for number, roi in rois.items()}
    if frame_of_reference and all(frame not in (None, frame_of_reference) for frame in frames.values()):
        same_room(path, next(iter(frames.values())), frame_of_reference)
    return _regions(path, image, frame_of_reference, names, shared, frames, drawn)


def _regions(
    path: Path,
    image: sitk.Image,
    frame_of_reference: str | None,
    names: dict[int, str],
    shared: dict[int, str],
    frames: dict[int, str | None],
    drawn: dict[int, Dataset],
) -> Iterator[Region]:
    grid = Grid.of(patient_image(image))
    for number, name in names.items():
        notes = [shared[number]] if number in shared else []
        try:
            notes += same_room(path, frames[number], frame_of_reference)
            items = (drawn[number].get("ContourSequence") or []) if number in drawn else []
            mask, said = _mask(items, grid)
        except PETDiffusionError as error:
            mask, said = np.zeros(grid.size[::-1], bool), [f"was left out: {error.sentence.rstrip('.')}"]
        yield Region.of(number, name, mask, notes + said)


def _frame(roi: Dataset, dataset: Dataset) -> str | None:
    """The frame of reference of an ROI; where it names none, the only one of the file."""
    own = str(roi.get("ReferencedFrameOfReferenceUID") or "")
    of_file = {str(item.FrameOfReferenceUID) for item in dataset.get("ReferencedFrameOfReferenceSequence") or []}
    return own or (of_file.pop() if len(of_file) == 1 else str(dataset.get("FrameOfReferenceUID") or "") or None)


def _mask(items: Sequence[Dataset], grid: Grid) -> tuple[np.ndarray, list[str]]:
    """The voxels [z, y, x] of an ROI's contours, and what to say of them."""
    contours, other = [], 0
    for item in items:
        points = np.array(item.get("ContourData") or [], float).reshape(-1, 3)
        if item.get("ContourGeometricType") in CLOSED and len(points) >= 3:
            contours.append(Contour(points, item.ContourGeometricType == "CLOSEDPLANAR_XOR"))
        else:
            other += 1
    notes = [f"has {other} points, open or two-point contours, which enclose nothing"] if other else []
    if not contours:
        raise PETDiffusionError("bad-region", "it has no closed contour")
    slabs = [float(item.ContourSlabThickness) for item in items if item.get("ContourSlabThickness")]
    inside = enclosed(contours, grid, min(slabs) if slabs else max(grid.spacing_mm[2], 0.0))
    notes += inside.notes
    reaches = _reach(contours, grid)
    if reaches == "outside":
        notes.append("lies outside the image")
    elif reaches == "beyond":
        notes.append("reaches beyond the image; only the part inside it counts")
    voxel_ml = float(np.prod(grid.spacing_mm)) / 1000
    voxels = int(np.count_nonzero(inside.mask))
    if inside.contour_ml < voxel_ml:
        notes.append(f"is smaller than a voxel: {inside.contour_ml:.2g} ml in voxels of {voxel_ml:.2g} ml")
    elif reaches == "inside" and abs(voxels * voxel_ml / inside.contour_ml - 1) > FAR_OFF:
        notes.append(
            f"encloses {inside.contour_ml:.3g} ml by its contours and {voxels * voxel_ml:.3g} ml in {voxels} voxels"
        )
    return inside.mask, notes


def _reach(contours: Sequence[Contour], grid: Grid) -> str:
    """Whether contours lie "inside" the grid's field, reach "beyond" it, or lie "outside"."""
    points = np.concatenate([contour.points for contour in contours])
    index = (points - grid.origin_mm) @ grid.axes / grid.spacing_mm
    size = np.array(grid.size)
    if (index.max(axis=0) < -0.5).any() or (index.min(axis=0) > size - 0.5).any():
        return "outside"
    return "inside" if (index > -0.51).all() and (index < size - 0.49).all() else "beyond"
