"""The regions of an image in which uptake is compared: of a label volume, an RTSTRUCT or a SEG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.evaluation.grids import patient_array

RTSTRUCT, SEG = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.66.4"
LABELMAP_SEG = "1.2.840.10008.5.1.4.1.1.66.7"


@dataclass(frozen=True)
class Region:
    """A region of an image in the patient's order of axes: where `mask`, boolean, fills the `box` of it, [z, y, x].

    Without a box it has no voxel; `notes` say why, and what else is unusual.
    """

    number: int
    name: str
    box: tuple[slice, ...] | None
    mask: np.ndarray
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, number: int, name: str, mask: np.ndarray, notes: list[str]) -> Region:
        """The region of a mask [z, y, x] of the whole image."""
        boxes = ndimage.find_objects(mask.view(np.uint8)) if mask.any() else [None]
        return cls(number, name, boxes[0], mask[boxes[0]] if boxes[0] else mask[:0], tuple(notes))


def label_regions(labels: sitk.Image, names: Mapping[int, str]) -> Iterator[Region]:
    """The regions of a label volume, one for each of its values above 0."""
    array = patient_array(labels, "labels").astype(np.int32)
    # Only the surroundings of a label are touched: a whole body has many labels and many more voxels.
    for value, box in enumerate(ndimage.find_objects(array), start=1):
        if box is not None:
            yield Region(value, names.get(value, f"label {value}"), box, array[box] == value)


def is_dicom_regions(path: Path) -> bool:
    """Whether a file is a DICOM RTSTRUCT or SEG, or a folder's only DICOM file is one."""
    return _sop_class(path) in (RTSTRUCT, SEG, LABELMAP_SEG)


def dicom_regions(path: Path, image: sitk.Image, frame_of_reference: str | None) -> Iterator[Region]:
    """The regions of an RTSTRUCT or SEG on the grid of `image`, one at a time.

    `frame_of_reference` is the UID of the image's, None where its file has none. Raises PETDiffusionError
    ("bad-file", "no-regions", "other-frame", "missing-package").
    """
    file = _the_file(path)
    if _sop_class(file) == RTSTRUCT:
        from PETDiffusionLib.evaluation.structure_set import structure_set_regions

        return structure_set_regions(file, image, frame_of_reference)
    from PETDiffusionLib.evaluation.segmentation import segmentation_regions

    return segmentation_regions(file, image, frame_of_reference)


def unique_names(names: Mapping[int, str], what: str) -> tuple[dict[int, str], dict[int, str]]:
    """A name of its own for each number, and a note for those whose name is another's too; `what` numbers them."""
    given = list(names.values())
    twice = {number for number, name in names.items() if given.count(name) > 1}
    unique = {number: f"{name} ({what} {number})" if number in twice else name for number, name in names.items()}
    notes = dict.fromkeys(twice, f"shares its name with another {what}")
    return unique, notes


def same_room(path: Path, theirs: str | None, ours: str | None) -> list[str]:
    """What to say where it cannot be known that both frames of reference are one. Raises where they are not."""
    if theirs and ours and theirs != ours:
        raise PETDiffusionError(
            "other-frame",
            f"'{path.name}' lies in the frame of reference {theirs} and the image in {ours}: they share no place. "
            "Give the regions that were drawn on this scan, or bring them to it by a registration first.",
        )
    if theirs and ours:
        return []
    return ["was placed by its coordinates alone: a frame of reference to compare is missing from one of the files"]


def _the_file(path: Path) -> Path:
    """A folder's only DICOM file; other paths as they are."""
    files = [file for file in path.iterdir() if file.is_file()] if path.is_dir() else []
    return files[0] if len(files) == 1 else path


def _sop_class(path: Path) -> str | None:
    from PETDiffusionLib.volumes.dicom_files import is_dicom_file, read_header

    file = _the_file(path)
    if not file.is_file() or not is_dicom_file(file):
        return None
    return str(read_header(file).get("SOPClassUID", ""))
