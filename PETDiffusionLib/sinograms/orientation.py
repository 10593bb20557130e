"""How a scanner's axes, the patient's position and LPS belong together: the one place that knows.

The scanner's axes are STIR's, and Siemens' sinograms have them too. As one stands at the bed and faces the scanner, x
points to the right, y down, and z out of the gantry towards oneself: ring 0 lies deepest, and a plane's number grows
along the bed (UCL/STIR, DiscretisedDensity.inl, swap_axes_based_on_orientation). They are a left-handed triple.

LPS are the patient's axes, to the left, to the back (posterior) and to the head (superior), a right-handed triple. By
hand, for a patient who goes in head first and lies on the back (HFS): the feet are nearest to the one who stands at the
bed, so z points to the feet (I); the back is below, so y points to it (P); and who looks from the feet to the head of
somebody on the back has that patient's left at his right, so x points there (L). In letters, x y z: LPI. The others are
that patient turned as a whole, so that no turn changes the handedness:

- prone: half a turn about z, x and y point the other way (L to R, P to A);
- feet first: half a turn about the vertical y, x and z point the other way;
- on the right side (DR): what is below is the right, so y is R, and x, the right-hand side of the one at the bed, is P
  with the head in and A with the feet in;
- on the left side (DL): y is L, and x is A with the head in and P with the feet in.

Names are DICOM's (PS3.3, C.7.3.1.1.2: HFS ... FFDL, "DR: right side down"). STIR's own table has the four without
decubitus, in the same letters; its Interfile writer knows no decubitus and writes "other" for it (interfile.cxx).

The origin, in both, is the scanner's centre: the middle of its rings on the axis. So a volume's coordinates are the
patient's axes through the point of the patient that lies there, and a mu-map, CT or MR has to be given in them. (STIR's
own images have their origin in the middle of ring 0 instead; `volume_of` takes the place of the first voxel.)

In plane nothing is turned: see geometry.py, whose view 0, bins, ring differences and ends of lines are those of STIR.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import SimpleITK as sitk
import torch

from PETDiffusionLib.errors import PETDiffusionError

# Where x, y and z of the scanner point in the patient: Left or Right, Posterior or Anterior, Superior or Inferior.
SCANNER_AXES = {
    "HFS": "LPI",
    "FFS": "RPS",
    "HFP": "RAI",
    "FFP": "LAS",
    "HFDR": "PRI",
    "HFDL": "ALI",
    "FFDR": "ARS",
    "FFDL": "PLS",
}
ASSUMED = "HFS"  # where nothing is stated, as STIR assumes it
LPS_AXIS = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}
AGAINST_LPS = "RAI"

ENTRIES = {"head": "HF", "feet": "FF"}
ROTATIONS = {"supine": "S", "prone": "P", "right": "DR", "left": "DL"}
# SNOMED CT, and the identifiers that DICOM used before 2017.
ENTRY_OF_CODE = {"102540008": "head", "F-10470": "head", "102541007": "feet", "F-10480": "feet"}
ROTATION_OF_CODE = {
    "40199007": "supine", "F-10340": "supine", "1240000": "prone", "F-10310": "prone",
    "102535000": "right", "F-10317": "right", "102536004": "left", "F-10319": "left",
}  # fmt: skip
OTHER = "other"  # Interfile's word for what has no other word

Values = TypeVar("Values", np.ndarray, torch.Tensor)
Size = TypeVar("Size", int, float)


@dataclass(frozen=True)
class PatientPosition:
    """What is stated about how the patient lies: of ENTRIES and of ROTATIONS, "other", or None for nothing."""

    entry: str | None = None
    rotation: str | None = None

    @property
    def code(self) -> str | None:
        """DICOM's name of the position, if it is wholly stated."""
        if self.entry not in ENTRIES or self.rotation not in ROTATIONS:
            return None
        return ENTRIES[self.entry] + ROTATIONS[self.rotation]

    @property
    def taken(self) -> str:
        """DICOM's name of the position that counts: head first and supine where it is not stated.

        Raises PETDiffusionError "patient-position" where what is stated has no such name.
        """
        if OTHER in (self.entry, self.rotation):
            raise PETDiffusionError(
                "patient-position",
                f"The sinogram says that the patient lay in a position that has no name ({self.entry or 'unknown'}, "
                f"{self.rotation or 'unknown'}). Give it by --patient-position ({', '.join(SCANNER_AXES)}).",
            )
        return ENTRIES[self.entry or "head"] + ROTATIONS[self.rotation or "supine"]

    def said(self, code: str) -> PatientPosition:
        """With what is said beside the data. Raises PETDiffusionError "patient-position" where these state another."""
        wanted = position(code)
        for own, other in ((self.entry, wanted.entry), (self.rotation, wanted.rotation)):
            if own not in (None, OTHER, other):
                raise PETDiffusionError(
                    "patient-position",
                    f"--patient-position is {code}, but the sinogram itself says {own}. Leave the option out, or "
                    "correct the patient orientation in the sinogram's header.",
                )
        return wanted


def position(code: str) -> PatientPosition:
    """The position of DICOM's name. Raises PETDiffusionError "patient-position" for another."""
    for entry, first in ENTRIES.items():
        for rotation, second in ROTATIONS.items():
            if code == first + second:
                return PatientPosition(entry, rotation)
    raise PETDiffusionError(
        "patient-position", f'A patient position is one of {", ".join(SCANNER_AXES)}; found "{code}".'
    )


def position_in_words(orientation: str, rotation: str = "") -> PatientPosition:
    """The position of a header's words: head_in and supine (STIR), HFS (Siemens), "Head First Supine", "" for nothing.

    Raises ValueError for words that mean none.
    """
    first, second = (re.sub(r"[^a-z]", "", words.lower()) for words in (orientation, rotation))
    if first.upper() in SCANNER_AXES:
        whole = position(first.upper())
        entry, first = whole.entry, whole.rotation or ""
    else:
        entry, first = _word(first, {"head": r"head(first|in)?|hf", "feet": r"(feet|foot)(first|in)?|ff"}, orientation)
    turned = _rotation(first, orientation)
    also = _rotation(second, rotation)
    if turned and also and turned != also:
        raise ValueError(f'"{orientation}" and "{rotation}" contradict each other')
    return PatientPosition(entry, turned or also)


def position_in_codes(gantry: str, modifier: str) -> PatientPosition:
    """The position of DICOM's codes: how the patient entered (PS3.16, CID 21) and which side is down (CID 20)."""
    entry = ENTRY_OF_CODE.get(gantry, OTHER if gantry else None)
    return PatientPosition(entry, ROTATION_OF_CODE.get(modifier, OTHER if modifier else None))


def _rotation(text: str, said: str) -> str | None:
    side = {one: rf"(lateral)?(decubitus)?{one}(in|down|side|lateral)*(decubitus)?" for one in ("right", "left")}
    found, rest = _word(text, {"supine": "supine", "prone": "prone", **side}, said)
    if rest:
        raise ValueError(f'"{said}" is no position')
    return found


def _word(text: str, patterns: dict[str, str], said: str) -> tuple[str | None, str]:
    """Which of the patterns the text begins with, and the rest of it."""
    for word, pattern in {**patterns, OTHER: OTHER}.items():
        found = re.match(pattern, text)
        if found:
            return word, text[found.end() :]
    if text in ("", "unknown", "none"):
        return None, ""
    raise ValueError(f'"{said}" is no position')


def words_of(stated: PatientPosition) -> dict[str, str]:
    """The Interfile keys and words of what is stated, as STIR reads them."""
    entry = None if stated.entry is None else stated.entry.replace("head", "head_in").replace("feet", "feet_in")
    words = {"patient orientation": entry, "patient rotation": stated.rotation}
    return {key: word for key, word in words.items() if word is not None}


def axes_in_lps(code: str) -> np.ndarray:
    """[3, 3]: from (x, y, z) of the scanner to those of LPS; the columns are the scanner's axes."""
    matrix = np.zeros((3, 3))
    for axis, letter in enumerate(SCANNER_AXES[code]):
        matrix[LPS_AXIS[letter], axis] = -1.0 if letter in AGAINST_LPS else 1.0
    return matrix


def in_patient_order(values: Values, code: str) -> Values:
    """Values [..., z, y, x] along the scanner's axes, in the order left, posterior, superior of the patient."""
    order, turned = _array_axes(code)
    return _flipped(_permuted(values, order), turned)


def in_scanner_order(values: Values, code: str) -> Values:
    """The way back: from the patient's order of axes to the scanner's."""
    order, turned = _array_axes(code)
    return _permuted(_flipped(values, turned), [order.index(axis) for axis in range(3)])


def sizes_in_scanner_order(sizes: Sequence[Size], code: str) -> tuple[Size, Size, Size]:
    """What belongs to the axes (z, y, x) of the patient, lengths or counts, for those of the scanner, or back."""
    order, _ = _array_axes(code)
    z, y, x = (sizes[order.index(axis)] for axis in range(3))
    return z, y, x


def _array_axes(code: str) -> tuple[list[int], list[int]]:
    """For each axis (z, y, x) of the patient's array, the one of the scanner's that lies there; and those to flip."""
    letters = SCANNER_AXES[code][::-1]  # of z, y, x
    order = [next(axis for axis in range(3) if LPS_AXIS[letters[axis]] == lps) for lps in (2, 1, 0)]
    return order, [place for place in range(3) if letters[order[place]] in AGAINST_LPS]


def _permuted(values: Values, order: Sequence[int]) -> Values:
    """With the last three axes in another order."""
    axes = [*range(values.ndim - 3), *(values.ndim - 3 + axis for axis in order)]
    return values.permute(axes) if isinstance(values, torch.Tensor) else np.transpose(values, axes)


def _flipped(values: Values, axes: Sequence[int]) -> Values:
    """With some of the last three axes the other way round."""
    places = tuple(values.ndim - 3 + axis for axis in axes)
    return values.flip(places) if isinstance(values, torch.Tensor) else np.flip(values, places)


def scanner_image(
    array: np.ndarray, voxel_size_mm: Sequence[float], first_voxel_mm: Sequence[float], code: str
) -> sitk.Image:
    """Values [z, y, x] along the scanner's axes as an image in LPS whose direction cosines are these axes.

    Sizes and the middle of the first voxel are (x, y, z) of the scanner.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing([float(size) for size in voxel_size_mm])
    image.SetDirection(axes_in_lps(code).ravel())
    image.SetOrigin(axes_in_lps(code) @ np.asarray(first_voxel_mm, float))
    return image


def volume_of(
    array: np.ndarray, voxel_size_mm: Sequence[float], first_voxel_mm: Sequence[float], code: str
) -> sitk.Image:
    """The same with its voxels in the order left, posterior, superior: what every reader shows the right way round.

    The scanner's axes are left-handed, which DICOM cannot say and many programs do not expect.
    """
    return sitk.DICOMOrient(scanner_image(array, voxel_size_mm, first_voxel_mm, code), "LPS")
