"""Planar contours in space turned into the voxels that they enclose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.regridding import Grid

FLAT_MM = 0.2  # how far a contour's points may lie from their plane: positions are written with two digits
ONE_PLANE_MM = 0.05
NEXT_PLANE = 1.5  # of the usual distance: contours farther apart have a plane left out between them
HOLE_SHARE = 0.5  # of an inner contour that lies in an outer one: from here on it is a hole in it
TILTED = 0.01  # of a voxel, over the whole grid: planes that lie truer count as the grid's own
FINER = 4  # samples a voxel where contours are tilted against the grid
TO_ONE_SIDE = 1e-3  # of a voxel: where slabs end in the middle of slices, all of these go to the same side
ON_THE_EDGE = 1e-6  # of a voxel: a centre so near to a contour is enclosed


@dataclass(frozen=True)
class Contour:
    """A closed contour: points [n, 3] in mm, and whether it combines with the others of its plane by exclusive or."""

    points: np.ndarray
    exclusive: bool = False


@dataclass(frozen=True)
class Enclosed:
    """The voxels that contours enclose, boolean [z, y, x] of a grid; the volume in ml by the contours; what to say."""

    mask: np.ndarray
    contour_ml: float
    notes: list[str]


def enclosed(contours: Sequence[Contour], grid: Grid, slab_mm: float) -> Enclosed:
    """The voxels of `grid` whose centres the contours enclose (DICOM PS3.3 C.8.8.6, the even-odd rule).

    A contour stands for a slab that reaches half way to the next plane; `slab_mm` is its thickness where there is no
    other. Where slabs are thinner than voxels, a voxel is enclosed if most of its depth is. Of the contours of a plane,
    an inner one is a hole in the outer one and those apart are united (DICOM leaves that open for CLOSED_PLANAR);
    the same contour again counts once. Raises PETDiffusionError "bad-region" for contours that are not parallel planes.
    """
    normal = _normal(max(contours, key=lambda contour: _area(contour.points)).points)
    for contour in contours:
        heights = contour.points @ normal
        if np.ptp(heights) > 2 * FLAT_MM:
            raise PETDiffusionError("bad-region", "its contours do not lie in parallel planes")
    cosines = np.abs(normal @ grid.axes)
    axis = int(cosines.argmax())
    tilt = np.sqrt(max(0.0, 1 - cosines[axis] ** 2)) * max(grid.extent_mm) / min(grid.spacing_mm)
    lattice = grid if tilt < TILTED else _tilted_lattice(contours, normal, grid)
    axis = axis if lattice is grid else 2
    stack = _Stack.of(contours, lattice, axis, slab_mm)
    mask, contour_ml, notes = stack.filled()
    if lattice is not grid:
        mask = _seen_from(mask, lattice, grid)
    return Enclosed(mask, contour_ml, notes)


@dataclass(frozen=True)
class _Stack:
    """Contours in the indices of a lattice: planes along one axis, [n, 2] points across it."""

    lattice: Grid
    axis: int
    across: tuple[int, int]
    planes: list[tuple[float, list[tuple[np.ndarray, bool]]]]
    slabs: list[tuple[float, float]]
    left_out: int

    @classmethod
    def of(cls, contours: Sequence[Contour], lattice: Grid, axis: int, slab_mm: float) -> _Stack:
        across = tuple(other for other in range(3) if other != axis)
        placed = []
        for contour in contours:
            index = (contour.points - lattice.origin_mm) @ lattice.axes / lattice.spacing_mm
            placed.append((float(index[:, axis].mean()), (index[:, across], contour.exclusive)))
        placed.sort(key=lambda item: item[0])
        near = ONE_PLANE_MM / lattice.spacing_mm[axis]
        planes: list[tuple[float, list[tuple[np.ndarray, bool]]]] = []
        for height, contour_2d in placed:
            if not planes or height - planes[-1][0] > near:
                planes.append((height, []))
            planes[-1][1].append(contour_2d)
        slabs, left_out = _slabs([height for height, _ in planes], slab_mm / lattice.spacing_mm[axis])
        return cls(lattice, axis, (across[0], across[1]), planes, slabs, left_out)

    def filled(self) -> tuple[np.ndarray, float, list[str]]:
        """The mask [z, y, x] of the lattice, the volume by the contours in ml, and what to say of them."""
        notes: dict[str, None] = {}
        shape = tuple(self.lattice.size[axis] for axis in self.across[::-1])
        stacked = np.zeros((self.lattice.size[self.axis], *shape), bool)
        masks: dict[int, np.ndarray] = {}
        volume = 0.0
        for (_, contours), (low, high) in zip(self.planes, self.slabs, strict=True):
            distinct = _distinct(contours)
            if len(distinct) < len(contours):
                notes["holds the same contour more than once, which counts once"] = None
            volume += (high - low) * _plane_area(distinct)
        for index, plane in enumerate(self._planes_of_slices()):
            votes = np.zeros(shape, np.int16)
            for number in plane:
                if number >= 0:
                    if number not in masks:
                        masks[number], crossing = _combined(_distinct(self.planes[number][1]), shape)
                        if crossing:
                            notes["has contours that cross; where they do, it was taken to be all that is in one"] = (
                                None
                            )
                    votes += masks[number]
            stacked[index] = 2 * votes > len(plane)
            for number in [known for known in masks if known < max(plane)]:
                del masks[number]
        if self.left_out:
            notes[f"has no contours on {self.left_out} planes between others; nothing was filled in there"] = None
        ml = volume * float(np.prod(self.lattice.spacing_mm)) / 1000
        return np.moveaxis(stacked, 0, 2 - self.axis), ml, list(notes)

    def _planes_of_slices(self) -> Iterator[list[int]]:
        """For each slice of the lattice the planes met at so many depths in it (-1: none), its middle among them."""
        thinnest = min(high - low for low, high in self.slabs)
        depths = 1 if thinnest > 0.75 else 2 * int(np.ceil(1 / thinnest)) + 1
        offsets = (np.arange(depths) + 0.5) / depths - 0.5 + TO_ONE_SIDE
        lows, highs = np.array(self.slabs).T
        for index in range(self.lattice.size[self.axis]):
            met = (lows <= index + offsets[:, None]) & (index + offsets[:, None] < highs)
            yield [int(row.argmax()) if row.any() else -1 for row in met]


def _slabs(heights: Sequence[float], alone: float) -> tuple[list[tuple[float, float]], int]:
    """From where to where each plane counts, and how many planes seem to be left out between them."""
    gaps = np.diff(heights)
    usual = float(np.median(gaps[gaps < NEXT_PLANE * gaps.min()])) if len(gaps) else alone
    next_one = gaps < NEXT_PLANE * usual
    left_out = int(np.round(gaps[~next_one] / usual - 1).sum())
    half = np.where(next_one, gaps / 2, usual / 2)
    below, above = np.append(usual / 2, half), np.append(half, usual / 2)
    return [(h - b, h + a) for h, b, a in zip(heights, below, above, strict=True)], left_out


def _normal(points: np.ndarray) -> np.ndarray:
    """The unit normal of a polygon, by Newell's sum."""
    total = np.cross(points - points[0], np.roll(points, -1, axis=0) - points[0]).sum(axis=0)
    length = np.linalg.norm(total)
    if length == 0:
        raise PETDiffusionError("bad-region", "its contours enclose no area")
    return total / length


def _area(points: np.ndarray) -> float:
    """The area of a flat polygon in space, or in the plane [n, 2]."""
    shifted = points - points[0]
    products = np.cross(shifted, np.roll(shifted, -1, axis=0)) if points.shape[1] == 3 else _cross_2d(shifted)
    return float(np.linalg.norm(np.atleast_2d(products.sum(axis=0)))) / 2


def _cross_2d(points: np.ndarray) -> np.ndarray:
    following = np.roll(points, -1, axis=0)
    return points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]


def _distinct(contours: Sequence[tuple[np.ndarray, bool]]) -> list[tuple[np.ndarray, bool]]:
    """The contours of a plane, largest first, without those that repeat another (from wherever they begin)."""
    kept: dict[tuple, tuple[np.ndarray, bool]] = {}
    for points, exclusive in sorted(contours, key=lambda contour: -_area(contour[0])):
        outline = np.round(np.concatenate([points.min(axis=0), points.max(axis=0), points.mean(axis=0)]), 3)
        again = (len(kept) if exclusive else -1, len(points), round(_area(points), 3), *outline)
        kept.setdefault(again, (points, exclusive))
    return list(kept.values())


def _plane_area(contours: Sequence[tuple[np.ndarray, bool]]) -> float:
    """The area that a plane's contours enclose in voxels, those inside others counted as holes in turn."""
    total = 0.0
    for number, (points, _) in enumerate(contours):
        outer = sum(_contains(other, points) for other, _ in contours[:number])
        total += _area(points) * (1 - 2 * (outer % 2))
    return total


def _contains(outer: np.ndarray, inner: np.ndarray) -> bool:
    """Whether more of the inner polygon's points lie in the outer one than do not."""
    x, y = inner[:, 0, None], inner[:, 1, None]
    (x0, y0), (x1, y1) = outer.T, np.roll(outer, -1, axis=0).T
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return bool((crossed.sum(axis=1) % 2).mean() > HOLE_SHARE)


def _combined(contours: Sequence[tuple[np.ndarray, bool]], shape: tuple[int, ...]) -> tuple[np.ndarray, bool]:
    """What the contours of a plane enclose together, boolean of `shape`, and whether some cross."""
    together, crossing = np.zeros(shape, bool), False
    for points, exclusive in contours:
        mask = polygon_mask(points, shape)
        if exclusive:
            together ^= mask
            continue
        voxels = int(np.count_nonzero(mask))
        inside = int(np.count_nonzero(together & mask)) / max(1, voxels)
        together = together & ~mask if inside > HOLE_SHARE else together | mask
        # Of a few voxels the edge is a large share.
        crossing = crossing or (0.1 < inside < 0.9 and voxels > 20)
    return together, crossing


def polygon_mask(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The samples [rows, columns] that a polygon of points [n, 2] (column, row) encloses or that lie on it.

    By the even-odd rule, along each row: a keyhole polygon has its hole.
    """
    following = np.roll(points, -1, axis=0)
    mask = np.zeros(shape, bool)
    for nudge in (-ON_THE_EDGE, ON_THE_EDGE):  # a row through a corner, or along an edge, is seen from both its sides
        low = np.minimum(points[:, 1], following[:, 1]) - nudge
        high = np.maximum(points[:, 1], following[:, 1]) - nudge
        first, stop = np.ceil(low).astype(int), np.ceil(high).astype(int)
        edges = np.repeat(np.arange(len(points)), stop - first)
        rows = np.arange(len(edges)) - np.repeat(np.cumsum(stop - first) - (stop - first), stop - first) + first[edges]
        start, step = points[edges], following[edges] - points[edges]
        columns = start[:, 0] + (rows + nudge - start[:, 1]) / step[:, 1] * step[:, 0]
        order = np.lexsort((columns, rows))
        rows, pairs = rows[order][::2], columns[order].reshape(-1, 2)
        seen = (rows >= 0) & (rows < shape[0])
        begin, end = np.ceil(pairs[seen, 0] - ON_THE_EDGE), np.floor(pairs[seen, 1] + ON_THE_EDGE) + 1
        change = np.zeros((shape[0], shape[1] + 1), np.int32)
        np.add.at(change, (rows[seen], np.clip(begin, 0, shape[1]).astype(int)), 1)
        np.add.at(change, (rows[seen], np.clip(end, 0, shape[1]).astype(int)), -1)
        mask |= np.cumsum(change, axis=1)[:, :-1] > 0
    return mask


def _tilted_lattice(contours: Sequence[Contour], normal: np.ndarray, grid: Grid) -> Grid:
    """A lattice along planes that lie across the grid's axes, finer than it, about the contours."""
    side = grid.axes[:, int(np.abs(normal @ grid.axes).argmin())]
    first = side - (side @ normal) * normal
    first /= np.linalg.norm(first)
    axes = np.stack([first, np.cross(normal, first), normal], axis=1)
    places = np.concatenate([contour.points for contour in contours]) @ axes
    spacing = min(grid.spacing_mm) / FINER
    margin = 2 * max(grid.spacing_mm)
    size = np.ceil((np.ptp(places, axis=0) + 2 * margin) / spacing).astype(int) + 1
    origin = axes @ (places.min(axis=0) - margin)
    return Grid(tuple(int(n) for n in size), (spacing,) * 3, tuple(origin), tuple(axes.ravel()))


def _seen_from(mask: np.ndarray, lattice: Grid, grid: Grid) -> np.ndarray:
    """The mask of a fine lattice at the centres of the grid."""
    image = sitk.Cast(lattice.image(mask), sitk.sitkUInt8)
    seen = sitk.Resample(
        image,
        grid.size,
        sitk.Transform(),
        sitk.sitkNearestNeighbor,
        grid.origin_mm,
        grid.spacing_mm,
        grid.direction,
        0.0,
    )
    return sitk.GetArrayFromImage(seen) > 0
