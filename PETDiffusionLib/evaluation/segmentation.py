"""The regions of a DICOM Segmentation: its segments, read by highdicom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.evaluation.grids import describe_grid, patient_image
from PETDiffusionLib.evaluation.regions import Region, same_room, unique_names
from PETDiffusionLib.volumes.regridding import Grid, regridded
from PETDiffusionLib.volumes.volume import Volume

ROUNDING = 1e-4  # a half, through sums in single precision


def segmentation_regions(path: Path, image: sitk.Image, frame_of_reference: str | None) -> Iterator[Region]:
    """Each segment of a SEG (BINARY, FRACTIONAL or LABELMAP; they may overlap) as a Region of `image`.

    Of a fractional one a voxel counts from one half up; a segment on another grid is brought to the image's, and there
    a voxel counts of which at least half is inside. Raises PETDiffusionError "bad-file", "other-frame" and
    "missing-package".
    """
    highdicom = _highdicom()
    try:
        read = highdicom.seg.segread(path)
        numbers = [number for number in read.segment_numbers if number > 0]  # 0 is a LABELMAP's background
        described = {number: read.get_segment_description(number) for number in numbers}
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise PETDiffusionError("bad-file", f"'{path}' is damaged or no DICOM Segmentation ({error}).") from error
    names, shared = unique_names(
        {number: item.segment_label or "unnamed" for number, item in described.items()}, "segment"
    )
    placed = same_room(path, str(read.get("FrameOfReferenceUID") or "") or None, frame_of_reference)
    return _regions(read, path, image, names, shared, placed)


def _regions(
    read: Any, path: Path, image: sitk.Image, names: dict[int, str], shared: dict[int, str], placed: list[str]
) -> Iterator[Region]:
    target = patient_image(image)
    for number, name in names.items():
        share = _share(read, number, path)
        notes = ([shared[number]] if number in shared else []) + placed
        mask, said = _on_grid(share, target)
        if read.SegmentationType == "FRACTIONAL":
            notes.append("is fractional; voxels count from one half up")
        yield Region.of(number, name, mask, notes + said)


def _share(read: Any, number: int, path: Path) -> sitk.Image:
    """How much of each voxel is in the segment, 0 to 1, on the file's own grid."""
    try:
        volume = read.get_volume(segment_numbers=[number], allow_missing_positions=True)
    except (RuntimeError, ValueError) as error:
        raise PETDiffusionError(
            "bad-file",
            f"The frames of '{path}' make no volume ({str(error).rstrip('.')}). Export the segmentation of evenly "
            "spaced slices.",
        ) from error
    array = np.asarray(volume.array, np.float32)
    array = array[..., 0] if array.ndim == 4 else array  # [frame, row, column]
    affine = np.asarray(volume.affine, float)[:, [2, 1, 0, 3]]  # of column, row and frame
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    return Grid(array.shape[::-1], tuple(spacing), tuple(affine[:3, 3]), tuple(axes.ravel())).image(array)


def _on_grid(share: sitk.Image, target: sitk.Image) -> tuple[np.ndarray, list[str]]:
    """The voxels [z, y, x] of the target that are in the segment, and what to say of them."""
    nowhere = np.zeros(target.GetSize()[::-1], bool)
    if not sitk.GetArrayViewFromImage(share).any():
        return nowhere, ["is empty"]
    given, wanted = Grid.of(patient_image(share)), Grid.of(target)
    notes = []
    if not given.shares_voxels_with(wanted):
        notes = [f"lies on another grid and was brought to the image's ({describe_grid(share)})"]
    try:
        there = regridded(Volume(_two_slices(share), "unknown"), wanted, blocks=True)
    except PETDiffusionError:
        return nowhere, [*notes, "lies outside the image"]
    mask = there.array > 0.5 - ROUNDING
    if not mask.any():
        voxel_ml = float(np.prod(target.GetSpacing())) / 1000
        notes.append(f"is smaller than a voxel of the image ({voxel_ml:.2g} ml), or outside it")
    elif any("activity" in sentence for sentence in there.warnings):
        notes.append("reaches beyond the image; only the part inside it counts")
    return mask, notes


def _two_slices(image: sitk.Image) -> sitk.Image:
    """The image, with an empty slice on both sides of an axis that has a single one."""
    single = [1 if count == 1 else 0 for count in image.GetSize()]
    return sitk.ConstantPad(image, single, single, 0.0)


def _highdicom() -> Any:
    try:
        import highdicom
    except ModuleNotFoundError as error:
        raise PETDiffusionError(
            "missing-package",
            "DICOM Segmentations are read by highdicom, which is not installed: pip install highdicom.",
        ) from error
    return highdicom
