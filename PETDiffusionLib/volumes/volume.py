"""The volume contract: a 3D SimpleITK image, the unit of its values and what is known about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError

Unit = Literal["suvbw", "suvlbm", "suvlbmjanma", "suvbsa", "suvibw", "bqml", "counts", "unknown"]
UNITS: tuple[Unit, ...] = get_args(Unit)

UNIT_NAMES: dict[Unit, str] = {
    "suvbw": "SUVbw",
    "suvlbm": "SUVlbm (James)",
    "suvlbmjanma": "SUVlbm (Janmahasatian)",
    "suvbsa": "SUVbsa",
    "suvibw": "SUVibw",
    "bqml": "Bq/ml",
    "counts": "counts",
    "unknown": "an unknown unit",
}


@dataclass(frozen=True)
class Volume:
    """A PET volume.

    image: 3D float32 SimpleITK image that carries the geometry (millimetres, patient LPS).
    unit:  what one unit of voxel value means; never guessed.
    facts: JSON-able facts about the origin of the values (source, modality, weight_kg, suv_factor, warnings ...).
    """

    image: sitk.Image
    unit: Unit
    facts: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise PETDiffusionError("bad-unit", f"A unit is one of {', '.join(UNITS)}; found '{self.unit}'.")
        check_geometry(self.image, str(self.facts.get("source", "The volume")))
        if self.image.GetPixelID() != sitk.sitkFloat32:
            raise PETDiffusionError("bad-file", f"A volume holds float32; found {self.image.GetPixelIDTypeAsString()}.")

    @property
    def array(self) -> np.ndarray:
        """The values as a copy, float32 [z, y, x], in `unit`."""
        return sitk.GetArrayFromImage(self.image)

    @property
    def voxel_size_mm(self) -> tuple[float, float, float]:
        """Voxel size (x, y, z) in millimetres."""
        x, y, z = self.image.GetSpacing()
        return (x, y, z)

    @property
    def warnings(self) -> list[str]:
        """Sentences about what is unusual in the values or their origin."""
        return list(self.facts.get("warnings", []))  # type: ignore[call-overload]

    def with_array(self, array: np.ndarray, unit: Unit | None = None) -> Volume:
        """A volume of other values [z, y, x] on bit-identical geometry; `unit` where it differs from this one's."""
        expected = self.image.GetSize()[::-1]
        if array.shape != expected:
            raise ValueError(f"an array of shape {expected} is expected, found {array.shape}")
        image = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=np.float32))
        image.CopyInformation(self.image)
        return Volume(image, unit or self.unit, dict(self.facts))


def check_geometry(image: sitk.Image, name: str) -> None:
    """Refuse an image that is not a 3D volume of single values with a usable voxel size; `name` is for the sentence."""
    size = image.GetSize()
    if len(size) != 3:
        advice = "Give one frame of it" if len(size) > 3 else "Give the whole stack of slices"
        raise PETDiffusionError(
            "not-3d", f"A 3D volume is expected, {name} has {len(size)} dimensions {size}. {advice} as a 3D volume."
        )
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise PETDiffusionError(
            "not-scalar",
            f"One real value per voxel is expected, {name} holds {image.GetPixelIDTypeAsString()} "
            f"with {image.GetNumberOfComponentsPerPixel()} component(s) per voxel. Give a single-channel PET volume.",
        )
    if min(size) == 0:
        raise PETDiffusionError("empty", f"Voxels are expected, {name} holds none (size {size}). Export it again.")
    if min(size) == 1:
        raise PETDiffusionError(
            "not-3d",
            f"A 3D volume is expected, {name} is a single slice (size {size}). Give the whole stack.",
        )
    spacing = np.array(image.GetSpacing())
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise PETDiffusionError(
            "bad-geometry", f"Voxel sizes above zero are expected, {name} has {tuple(spacing)} mm. Repair its header."
        )


def check_values(array: np.ndarray, name: str, one_of_many: bool = False) -> list[str]:
    """Refuse values [z, y, x] that are not finite or all zero; returns warnings about values unusual in PET.

    Of the frames of a series (`one_of_many`) some may be all zero: a dynamic scan begins before the injection.
    """
    check_finite(array, name)
    if not array.any() and not one_of_many:
        raise PETDiffusionError("empty", f"Activity is expected, {name} holds only zeros. Choose another volume.")
    minimum = float(array.min())
    if minimum >= 0:
        return []
    negative = int(np.count_nonzero(array < 0))
    return [f"{negative} of {array.size} voxels are negative (down to {minimum:.4g})."]


def check_finite(array: np.ndarray, name: str) -> None:
    """Refuse an array with NaN or infinite values, and count them."""
    broken = array.size - int(np.count_nonzero(np.isfinite(array)))
    if broken:
        raise not_finite(name, broken, array.size)


def not_finite(name: str, broken: int, voxels: int) -> PETDiffusionError:
    """The refusal of a volume with `broken` voxels that are NaN or infinite."""
    return PETDiffusionError(
        "not-finite",
        f"Finite values are expected, {name} holds {broken} voxels (of {voxels}) that are NaN or infinite. "
        "Replace those voxels (with 0 outside the field of view) or export again.",
    )
