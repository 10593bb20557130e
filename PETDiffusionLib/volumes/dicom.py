"""A DICOM PET series as a volume."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset

from PETDiffusionLib.volumes.headers import pet_series
from PETDiffusionLib.volumes.pixels import slice_values
from PETDiffusionLib.volumes.radiopharmacy import administration, image_time
from PETDiffusionLib.volumes.slices import SAME_POSITION_MM, SliceStack, on_regular_grid, stack_slices
from PETDiffusionLib.volumes.suv import gather_suv_facts, pixel_unit
from PETDiffusionLib.volumes.suv_report import SuvFacts
from PETDiffusionLib.volumes.volume import Volume, check_values


def read_dicom_volume(path: str | os.PathLike[str]) -> Volume:
    """The one PET series of a folder (or the series of one file) as a volume in the unit that it states.

    BQML and Philips counts with an activity factor become "bqml", GML by body weight and Philips counts with an SUV
    factor "suvbw", other counts "counts", all else "unknown". Uneven slices are put on a regular grid; slices without
    decay correction are brought to the earliest acquisition. The facts say both.
    Raises PETDiffusionError for every series that is not one static PET volume.
    """
    name = f"the series in '{path}'"
    headers = pet_series(path)
    stack = stack_slices(headers, name)
    headers = [headers[index] for index in stack.order]
    suv = gather_suv_facts(headers)
    unit, multiplier = pixel_unit(suv)
    multipliers = np.full(len(headers), multiplier)
    if unit == "bqml" and suv.decay_correction == "NONE":
        multipliers *= image_time(headers, "NONE", administration(headers)).slice_decay or 1.0
    array = _slices(headers, multipliers)
    warnings = check_values(array, name) + _warnings(headers, suv)
    if not stack.is_regular:
        array = on_regular_grid(array, stack)
        warnings.append(slice_distances(stack))
    facts: dict[str, object] = {
        "source": str(path),
        "format": "dicom",
        "modality": "PT",
        "slice_distances": slice_distances(stack),
        "regridded": not stack.is_regular,
    }
    return Volume(_image(array, stack), unit, {**facts, "warnings": warnings, **suv.to_dict()})


def _slices(headers: Sequence[Dataset], multipliers: np.ndarray) -> np.ndarray:
    """Values of all slices, float32 [z, y, x]."""
    array = np.empty((len(headers), int(headers[0].Rows), int(headers[0].Columns)), np.float32)
    for index, header in enumerate(headers):
        values = slice_values(header.filename)
        array[index] = values if multipliers[index] == 1 else values * np.float32(multipliers[index])
    return array


def _image(array: np.ndarray, stack: SliceStack) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((*stack.pixel_mm, stack.spacing_mm))
    image.SetOrigin(stack.origin)
    image.SetDirection(stack.direction)
    return image


def slice_distances(stack: SliceStack) -> str:
    """A sentence about the distances of the slices, and what was done about uneven ones."""
    gaps = np.diff(stack.positions_mm)
    if np.ptp(gaps) < SAME_POSITION_MM:
        return f"All slice distances are {stack.spacing_mm:.3f} mm."
    varying = f"Slice distances vary from {gaps.min():.3f} to {gaps.max():.3f} mm"
    if stack.is_regular:
        return (
            f"{varying}; the slices lie within {stack.unevenness_mm:.3f} mm of a regular grid "
            f"of {stack.spacing_mm:.3f} mm and were kept as they are."
        )
    return (
        f"{varying}; the slices were interpolated linearly along z on to a regular grid of {stack.spacing_mm:.3f} mm."
    )


def _warnings(headers: Sequence[Dataset], suv: SuvFacts) -> list[str]:
    warnings = []
    declared = {int(header.get("NumberOfSlices") or 0) for header in headers}
    if len(declared) == 1 and (whole := declared.pop()) > len(headers):
        warnings.append(f"The series should have {whole} slices and {len(headers)} are there: an end of it is missing.")
    if suv.decay_correction == "NONE" and suv.refusal is None:
        warnings.append("The series has no decay correction; its slices were brought to the earliest acquisition.")
    if suv.dose_tag_in_mbq:
        warnings.append(f"The dose tag holds {suv.dose_mbq:g}, which was read as MBq.")
    return warnings
