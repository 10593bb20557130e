"""The grid that the slices of a DICOM series lie on, and the regular grid that a volume needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.headers import common_value, tag_name

# Slices nearer than this are at one position; it is far below any slice distance and above rounding in the header.
SAME_POSITION_MM = 0.01
# Slices may lie this far off a regular grid (as a share of the slice distance) before they are resampled: below it the
# shift is far under the resolution of PET, and interpolation would change measured values for nothing.
REGULAR_WITHIN = 0.05
# A gap this many times the median is a missing slice: one lost slice makes it 2.
MISSING_GAP = 1.5
# In-plane drift over the stack above which it is sheared (a tilted gantry), in millimetres.
SHEAR_MM = 0.1


@dataclass(frozen=True)
class SliceStack:
    """Slices in order along their normal.

    order: index of the header of each slice; positions_mm: along the normal, ascending;
    origin, direction, pixel_mm (x, y): as SimpleITK wants them.
    """

    order: tuple[int, ...]
    positions_mm: np.ndarray
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    pixel_mm: tuple[float, float]

    @property
    def median_gap_mm(self) -> float:
        return float(np.median(np.diff(self.positions_mm)))

    @property
    def unevenness_mm(self) -> float:
        """How far a slice lies off the regular grid between the first and the last, at most."""
        regular = np.linspace(self.positions_mm[0], self.positions_mm[-1], len(self.positions_mm))
        return float(np.abs(self.positions_mm - regular).max())

    @property
    def is_regular(self) -> bool:
        """Whether the slices lie on a regular grid to within a twentieth of their distance."""
        return self.unevenness_mm <= REGULAR_WITHIN * self.median_gap_mm

    @property
    def spacing_mm(self) -> float:
        """Slice distance of the regular grid: the mean gap of a regular stack, the median gap of an uneven one."""
        if self.is_regular:
            return float((self.positions_mm[-1] - self.positions_mm[0]) / (len(self.positions_mm) - 1))
        return self.median_gap_mm


def stack_slices(headers: Sequence[Dataset], name: str) -> SliceStack:
    """Order the slices of one frame and check that they make a volume; `name` is for the sentences.

    Raises PETDiffusionError "not-3d", "inconsistent-series", "bad-geometry", "missing-slices", "missing-tag".
    """
    if len(headers) < 2:
        raise PETDiffusionError("not-3d", f"A 3D volume is expected, {name} has a single slice. Give the whole series.")
    rows, columns = _number(headers, "Rows"), _number(headers, "Columns")
    if rows < 2 or columns < 2:
        raise PETDiffusionError("not-3d", f"A 3D volume is expected, the slices of {name} are {columns} x {rows}.")
    row_mm, column_mm = _vectors(headers, "PixelSpacing", 2)[0]
    along_x, along_y, normal = _axes(headers)
    corners = _vectors(headers, "ImagePositionPatient", 3)  # [slice, xyz]
    positions = corners @ normal
    order = np.argsort(positions, kind="stable")
    positions, corners = positions[order], corners[order]
    _refuse_missing_slices(positions, name)
    _refuse_shear(corners, positions, normal, name)
    return SliceStack(
        order=tuple(int(index) for index in order),
        positions_mm=positions,
        origin=tuple(float(value) for value in corners[0]),  # type: ignore[arg-type]
        direction=tuple(float(value) for value in np.column_stack([along_x, along_y, normal]).ravel()),
        pixel_mm=(float(column_mm), float(row_mm)),
    )


def same_grid(one: SliceStack, other: SliceStack) -> bool:
    """Whether two stacks have their voxels at the same places."""
    return (
        one.positions_mm.shape == other.positions_mm.shape
        and bool(np.abs(one.positions_mm - other.positions_mm).max() <= SAME_POSITION_MM)
        and np.allclose(one.origin, other.origin, atol=SHEAR_MM)
        and np.allclose(one.direction, other.direction, atol=1e-4)
        and np.allclose(one.pixel_mm, other.pixel_mm, atol=1e-4)
    )


def slice_places(headers: Sequence[Dataset]) -> np.ndarray:
    """The number of the position along the normal, from 0, that each slice lies at, int [slice]."""
    normal = _axes(headers)[2]
    positions = _vectors(headers, "ImagePositionPatient", 3) @ normal
    order = np.argsort(positions, kind="stable")
    places = np.empty(len(positions), int)
    places[order] = np.concatenate([[0], np.cumsum(np.diff(positions[order]) > SAME_POSITION_MM)])
    return places


def on_regular_grid(array: np.ndarray, stack: SliceStack) -> np.ndarray:
    """The slices [z, y, x] of an uneven stack, linearly interpolated along z on to the grid of its median gap."""
    length = stack.positions_mm[-1] - stack.positions_mm[0]
    count = round(length / stack.spacing_mm) + 1
    wanted = np.minimum(np.arange(count) * stack.spacing_mm, length) + stack.positions_mm[0]
    place = np.interp(wanted, stack.positions_mm, np.arange(len(stack.positions_mm)))
    below = np.minimum(place.astype(int), len(array) - 2)
    weight = (place - below).astype(np.float32)[:, None, None]
    return (1 - weight) * array[below] + weight * array[below + 1]


def _number(headers: Sequence[Dataset], keyword: str) -> int:
    value = common_value(headers, keyword)
    if value is None:
        raise _missing(keyword, headers[0])
    return int(value)  # type: ignore[call-overload]


def _vectors(headers: Sequence[Dataset], keyword: str, length: int) -> np.ndarray:
    """A vector-valued tag of every slice, [slice, length]."""
    rows = []
    for header in headers:
        try:
            row = [float(one) for one in header[keyword].value]
        except (KeyError, TypeError, ValueError):
            row = []
        if len(row) != length:
            raise _missing(keyword, header)
        rows.append(row)
    vectors = np.array(rows)
    if keyword == "PixelSpacing" and np.ptp(vectors, axis=0).max() > 1e-4:
        raise PETDiffusionError("inconsistent-series", f"{tag_name(keyword)} differs between slices. Export again.")
    return vectors


def _missing(keyword: str, header: Dataset) -> PETDiffusionError:
    return PETDiffusionError(
        "missing-tag",
        f"{tag_name(keyword)} is needed and is missing or malformed in '{header.filename}'. Export again.",
    )


def _axes(headers: Sequence[Dataset]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along x and y of the slices, and their normal, in patient coordinates."""
    cosines = _vectors(headers, "ImageOrientationPatient", 6)
    if np.ptp(cosines, axis=0).max() > 1e-4:
        raise PETDiffusionError(
            "inconsistent-series",
            f"{tag_name('ImageOrientationPatient')} should be the same in all slices of a volume and differs. "
            "Leave localisers and projections out.",
        )
    along_x, along_y = cosines[0, :3], cosines[0, 3:]
    normal = np.cross(along_x, along_y)
    if not np.isclose(np.linalg.norm(normal), 1, atol=1e-2):
        raise PETDiffusionError("bad-geometry", f"{tag_name('ImageOrientationPatient')} is not two right-angled axes.")
    return along_x, along_y, normal / np.linalg.norm(normal)


def _refuse_missing_slices(positions: np.ndarray, name: str) -> None:
    gaps = np.diff(positions)
    median = float(np.median(gaps))
    holes = np.flatnonzero(gaps > MISSING_GAP * median)
    if len(holes):
        where = ", ".join(f"{positions[hole]:.2f} and {positions[hole + 1]:.2f} mm" for hole in holes[:3])
        raise PETDiffusionError(
            "missing-slices",
            f"A slice every {median:.2f} mm is expected, {name} has none between {where}"
            f"{' and elsewhere' if len(holes) > 3 else ''}. Export the whole series again.",
        )


def _refuse_shear(corners: np.ndarray, positions: np.ndarray, normal: np.ndarray, name: str) -> None:
    straight = corners[0] + np.outer(positions - positions[0], normal)
    drift = float(np.abs(corners - straight).max())
    if drift > SHEAR_MM:
        raise PETDiffusionError(
            "bad-geometry",
            f"Slices stacked along their normal are expected, those of {name} drift sideways by {drift:.2f} mm. "
            "Resample the series to a straight stack first.",
        )
