"""A DICOM PET series as a volume, or as the frames of a dynamic or gated one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.frame_groups import FrameGroups, acquisition, group_frames
from PETDiffusionLib.volumes.frame_times import frame_times, timing_facts
from PETDiffusionLib.volumes.frames import FrameSeries, FrameTime
from PETDiffusionLib.volumes.headers import tag_name
from PETDiffusionLib.volumes.pixels import slice_values
from PETDiffusionLib.volumes.radiopharmacy import administration
from PETDiffusionLib.volumes.scan_time import image_time
from PETDiffusionLib.volumes.series import find_pet_series
from PETDiffusionLib.volumes.slices import SAME_POSITION_MM, SliceStack, on_regular_grid, same_grid, stack_slices
from PETDiffusionLib.volumes.suv import gather_suv_facts, pixel_unit
from PETDiffusionLib.volumes.suv_report import SuvFacts
from PETDiffusionLib.volumes.volume import Unit, Volume, check_values


def read_dicom_volume(path: str | os.PathLike[str]) -> Volume:
    """The one static PET series of a folder (or the series of one file) as a volume in the unit that it states.

    Raises PETDiffusionError "dynamic" or "gated" for several frames, and what `open_dicom_frames` raises.
    """
    return the_only_frame(open_dicom_frames(path))


def the_only_frame(series: FrameSeries) -> Volume:
    """The volume of a static acquisition. Raises PETDiffusionError "dynamic" or "gated" with what chooses a frame."""
    if len(series) == 1:
        return series.read(0)
    what = {"dynamic": "time frames", "gated": "gates (phases of the breath or heart)"}.get(series.kind, "frames")
    raise PETDiffusionError(
        series.kind if series.kind in ("dynamic", "gated") else "several-frames",
        f"One volume is expected, '{series.source}' has {len(series)} {what}. "
        "Choose one with --frames 3, several with --frames 3-7, or their mean with --frames mean.",
    )


def open_dicom_frames(path: str | os.PathLike[str]) -> FrameSeries:
    """The frames of the one PET series of a folder (or of the series of one file); a static one has one.

    BQML and Philips counts with an activity factor become "bqml", GML by body weight and Philips counts with an SUV
    factor "suvbw", other counts "counts", all else "unknown". Uneven slices are put on a regular grid; slices without
    decay correction are brought to the earliest acquisition of all frames. The facts say both.
    Headers are read once, pixels whenever a frame is read. Raises PETDiffusionError for a series that makes no volume.
    """
    name = f"the series in '{path}'"
    series = find_pet_series(path)
    groups = group_frames(series.headers, name)
    stacks = [stack_slices(frame, _frame_name(groups, number, name)) for number, frame in enumerate(groups.frames)]
    for number, stack in enumerate(stacks[1:], 2):
        if not same_grid(stack, stacks[0]):
            raise PETDiffusionError(
                "frames-differ",
                f"All frames on one grid are expected, frame {number} of {name} lies elsewhere than frame 1. "
                "Leave its files out, or read it alone.",
            )
    frames = [[frame[one] for one in stack.order] for frame, stack in zip(groups.frames, stacks, strict=True)]
    headers = [header for frame in frames for header in frame]
    suv = gather_suv_facts(headers)
    unit, multiplier = pixel_unit(suv)
    multipliers = np.full(len(headers), multiplier)
    if unit == "bqml" and suv.decay_correction == "NONE":
        _refuse_one_time_for_all_frames(groups, name)
        multipliers *= image_time(headers, "NONE", administration(headers, suv.weight_kg)).slice_decay or 1.0
    reader = _FrameReader(
        source=str(path),
        name=name,
        frames=frames,
        stacks=stacks,
        multipliers=multipliers.reshape(len(frames), -1),
        unit=unit,
        suv=suv,
        times=frame_times(frames, suv),
        warnings=[*series.warnings, *_warnings(frames), *suv.warnings],
    )
    facts = {**reader.facts(0), **timing_facts(groups, suv)}
    return FrameSeries(str(path), groups.kind, reader.times, reader.read, facts)


def _refuse_one_time_for_all_frames(groups: FrameGroups, name: str) -> None:
    """Without decay correction every frame needs a time of its own; some vendors write the start of the scan in all."""
    starts = {acquisition(header) for frame in groups.frames for header in frame}
    if groups.kind == "dynamic" and len(starts) < len(groups.frames):
        raise PETDiffusionError(
            "bad-times",
            f"The frames of {name} are not corrected for decay (DecayCorrection NONE), and their "
            f"{tag_name('AcquisitionTime')} is not their own: {len(starts)} times for {len(groups.frames)} frames, so "
            "they cannot be brought to one moment. Export the series with decay correction.",
        )


def _frame_name(groups: FrameGroups, number: int, name: str) -> str:
    return name if len(groups.frames) == 1 else f"frame {number + 1} of {name}"


@dataclass(frozen=True)
class _FrameReader:
    """What it takes to read any one frame: its headers in order, its place, and what its values are multiplied by."""

    source: str
    name: str
    frames: list[list[Dataset]]
    stacks: list[SliceStack]
    multipliers: np.ndarray  # [frame, slice]
    unit: Unit
    suv: SuvFacts
    times: tuple[FrameTime | None, ...]
    warnings: list[str]

    def read(self, frame: int) -> Volume:
        stack = self.stacks[frame]
        headers = self.frames[frame]
        image, array = _empty_image((len(headers), int(headers[0].Rows), int(headers[0].Columns)), self.stacks[0])
        padded = _fill(array, headers, self.multipliers[frame])
        name = self.name if len(self.frames) == 1 else f"frame {frame + 1} of {self.name}"
        warnings = check_values(array, name, len(self.frames) > 1) + self.warnings
        if padded:
            warnings.append(f"{padded} voxels are marked as without data (PixelPaddingValue) and were read as 0.")
        if not stack.is_regular:
            regular = on_regular_grid(array, stack)
            image, array = _empty_image(regular.shape, self.stacks[0])
            array[:] = regular
            warnings.append(slice_distances(stack))
        return Volume(image, self.unit, {**self.facts(frame), "warnings": warnings})

    def facts(self, frame: int) -> dict[str, object]:
        facts: dict[str, object] = {
            "source": self.source,
            "format": "dicom",
            "modality": "PT",
            "slice_distances": slice_distances(self.stacks[frame]),
            "regridded": not self.stacks[frame].is_regular,
            **self.suv.to_dict(),
            "warnings": self.warnings,
            "slices": len(self.frames[frame]),
        }
        if len(self.frames) > 1:
            facts["frame"] = {"number": frame + 1, "of": len(self.frames)}
        return facts


def _fill(array: np.ndarray, headers: Sequence[Dataset], multipliers: np.ndarray) -> int:
    """Fill [z, y, x] with the values of the slices; returns how many voxels are padding."""
    padded = 0
    for index, header in enumerate(headers):
        values, without_data = slice_values(header)
        array[index] = values if multipliers[index] == 1 else values * np.float32(multipliers[index])
        padded += without_data
    return padded


class _Writable:
    """A view of an image's memory that numpy may write to; SimpleITK's own views are read-only.

    Safe while the image is new and nobody else holds it. It saves a copy of the whole volume.
    """

    def __init__(self, image: sitk.Image) -> None:
        self.view = sitk.GetArrayViewFromImage(image)
        address, _ = self.view.__array_interface__["data"]
        self.__array_interface__ = {**self.view.__array_interface__, "data": (address, False)}


def _empty_image(shape: tuple[int, ...], stack: SliceStack) -> tuple[sitk.Image, np.ndarray]:
    """A float32 image of zeros where the slices lie, and its memory [z, y, x] to be filled."""
    image = sitk.Image(shape[::-1], sitk.sitkFloat32)
    image.SetSpacing((*stack.pixel_mm, stack.spacing_mm))
    image.SetOrigin(stack.origin)
    image.SetDirection(stack.direction)
    return image, np.asarray(_Writable(image))


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


def _warnings(frames: Sequence[Sequence[Dataset]]) -> list[str]:
    warnings = []
    headers = [header for frame in frames for header in frame]
    slices = len(frames[0])
    if (whole := _declared(headers, "NumberOfSlices")) > slices:
        warnings.append(f"The series should have {whole} slices and {slices} are there: an end of it is missing.")
    if (whole := _declared(headers, "NumberOfTimeSlices")) > len(frames) > 1:
        warnings.append(f"The series should have {whole} time frames and {len(frames)} are there.")
    return warnings


def _declared(headers: Sequence[Dataset], keyword: str) -> int:
    """A number that all slices state; 0 where they do not, or not the same."""
    declared = {int(header.get(keyword) or 0) for header in headers}
    return declared.pop() if len(declared) == 1 else 0
