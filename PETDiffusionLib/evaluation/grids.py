"""From SimpleITK images to comparable arrays: the same grid is demanded, and the patient's axes are put in order."""

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError

# Two headers that went through different file formats differ by rounding; a hundredth of a voxel moves no number.
GRID_TOLERANCE_VOXELS = 0.01


def describe_grid(image: sitk.Image) -> str:
    """Size, voxel size, origin and direction of an image in one readable phrase."""

    def numbers(values: tuple[float, ...]) -> str:
        return ", ".join(f"{value:.6g}" for value in values)

    size = " x ".join(str(count) for count in image.GetSize())
    return (
        f"{size} voxels of {numbers(image.GetSpacing())} mm, origin ({numbers(image.GetOrigin())}) mm, "
        f"direction ({numbers(image.GetDirection())})"
    )


def require_same_grid(first: sitk.Image, first_name: str, second: sitk.Image, second_name: str) -> None:
    """Raise PETDiffusionError "grid-mismatch", with both geometries, unless the two 3D images share a grid."""
    for image, name in ((first, first_name), (second, second_name)):
        if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
            raise PETDiffusionError(
                "not-3d",
                f"The {name} must be a three-dimensional image with one value a voxel; it has "
                f"{image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} values a voxel.",
            )
    if not _same_grid(first, second):
        raise PETDiffusionError(
            "grid-mismatch",
            f"The {second_name} must lie on the grid of the {first_name}. The {first_name} has {describe_grid(first)}; "
            f"the {second_name} has {describe_grid(second)}. Resample one on to the other first.",
        )


def _same_grid(first: sitk.Image, second: sitk.Image) -> bool:
    if first.GetSize() != second.GetSize():
        return False
    # Where the far corners and the origin agree, spacing and direction do as well.
    tolerance_mm = GRID_TOLERANCE_VOXELS * min(first.GetSpacing())
    nx, ny, nz = (count - 1 for count in first.GetSize())
    corners = [(0, 0, 0), (nx, 0, 0), (0, ny, 0), (0, 0, nz)]
    gaps = [
        np.subtract(first.TransformIndexToPhysicalPoint(corner), second.TransformIndexToPhysicalPoint(corner))
        for corner in corners
    ]
    directions_agree = np.allclose(first.GetDirection(), second.GetDirection(), atol=1e-4)
    return directions_agree and float(np.abs(gaps).max()) <= tolerance_mm


def patient_image(image: sitk.Image) -> sitk.Image:
    """The image with its axes permuted and flipped to left, posterior, superior; no voxel is interpolated."""
    return sitk.DICOMOrient(image, "LPS")


def patient_array(image: sitk.Image, name: str) -> np.ndarray:
    """Values as float32 [z, y, x] with z to superior, y to posterior, x to the patient's left.

    Raises PETDiffusionError "not-finite" where a value is NaN or infinite.
    """
    array = sitk.GetArrayFromImage(patient_image(image)).astype(np.float32, copy=False)
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise PETDiffusionError(
            "not-finite", f"The {name} must hold finite values; {bad} of its {array.size} voxels are NaN or infinite."
        )
    return array
