"""Where the voxels of a file lie: an affine matrix as voxel sizes, origin and directions, or why it is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError

# Two placements are one, and axes are at right angles, where no corner of the volume is farther off than this.
SAME_PLACE_VOXELS = 0.05
SLIGHT_SHEAR_VOXELS = 0.5
# Directions as exact as double precision makes them are kept to the bit.
EXACT = 1e-12
PLAUSIBLE_VOXEL_MM = (0.01, 100.0)
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Placement:
    """The grid of a volume in millimetres of patient LPS, as SimpleITK has it; columns of `direction` are the axes."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    def image(self, array: np.ndarray) -> sitk.Image:
        """An image of the values [z, y, x] on this grid."""
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image

    @classmethod
    def of(cls, image: sitk.Image) -> Placement:
        return cls(image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @property
    def affine(self) -> np.ndarray:
        """From voxel indices (x, y, z, 1) to millimetres of LPS, 4 x 4."""
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(self.direction, (3, 3)) * np.array(self.spacing)
        affine[:3, 3] = self.origin
        return affine


def place(
    affine: np.ndarray, size: Sequence[int], name: str, stated: Sequence[float] | None = None
) -> tuple[Placement, list[str]]:
    """The placement that `affine` (voxel indices to LPS, mm) gives a volume of `size`, and what to say of it.

    `stated` are the file's own voxel sizes where it keeps them apart from the directions, for exactness.
    Axes that are not at right angles become the nearest that are (polar decomposition), about the volume's centre:
    in silence where that moves no corner by SAME_PLACE_VOXELS, said up to SLIGHT_SHEAR_VOXELS, and refused beyond.
    Raises PETDiffusionError "bad-geometry".
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if stated is not None and np.allclose(spacing, stated, rtol=1e-9, atol=0):
        spacing = np.array(stated, float)
    check_voxel_size(spacing, name)
    axes = affine[:3, :3] / spacing
    if abs(np.linalg.det(axes)) < 1e-3:
        raise PETDiffusionError(
            "bad-geometry",
            f"Three axes in three directions are expected, those of {name} lie in one plane. Repair its header.",
        )
    if np.abs(axes.T @ axes - np.eye(3)).max() <= EXACT:
        return Placement(tuple(spacing.tolist()), tuple(affine[:3, 3].tolist()), tuple(axes.ravel().tolist())), []
    left, _, right = np.linalg.svd(axes)
    straight = left @ right
    middle = (np.array(size, float) - 1) / 2
    origin = affine[:3, :3] @ middle + affine[:3, 3] - (straight * spacing) @ middle
    placement = Placement(tuple(spacing.tolist()), tuple(origin.tolist()), tuple(straight.ravel().tolist()))
    off = farthest_corner(affine, placement.affine, size) / spacing.min()
    cosines = axes.T @ axes
    angle = float(np.degrees(np.arcsin(min(1.0, np.abs(cosines - np.diag(np.diag(cosines))).max()))))
    if off > SLIGHT_SHEAR_VOXELS:
        raise PETDiffusionError(
            "bad-geometry",
            f"The axes of {name} are sheared, {angle:.2g} degrees off right angles, and a volume here has axes at "
            "right angles. Resample it on to such a grid first (in 3D Slicer: Resample Scalar/Vector/DWI Volume).",
        )
    if off > SAME_PLACE_VOXELS:
        return placement, [
            f"The axes of {name} are {angle:.2g} degrees off right angles; the nearest right-angled ones were taken, "
            f"which moves no voxel by more than {off * spacing.min():.2g} mm."
        ]
    return placement, []


def check_voxel_size(spacing: np.ndarray, name: str) -> None:
    """Refuse voxel sizes (mm) that are zero, not finite, or no PET's: a wrong unit of length shows here."""
    shown = " x ".join(f"{size:.4g}" for size in spacing)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise PETDiffusionError(
            "bad-geometry", f"Voxel sizes above zero are expected, {name} has {shown} mm. Repair its header."
        )
    lowest, highest = PLAUSIBLE_VOXEL_MM
    if spacing.min() < lowest or spacing.max() > highest:
        raise PETDiffusionError(
            "bad-geometry",
            f"Voxels of {lowest:g} to {highest:g} mm are expected, {name} has {shown} mm. Correct the voxel sizes or "
            "their unit of length in its header.",
        )


def farthest_corner(one: np.ndarray, other: np.ndarray, size: Sequence[int]) -> float:
    """The largest distance in mm between the places that two affines give a corner of the volume."""
    ends = [(0, length - 1) for length in size]
    corners = np.array([[x, y, z, 1.0] for x in ends[0] for y in ends[1] for z in ends[2]]).T
    return float(np.linalg.norm(((one - other) @ corners)[:3], axis=0).max())
