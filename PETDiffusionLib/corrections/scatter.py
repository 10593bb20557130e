"""Single scatter simulation: how many scattered coincidences a given activity and mu-map send into every bin.

Watson 2000 (IEEE TNS 47, 1587). With photon pairs of a line from a detector A to a scatter point S, one of which is
scattered there towards a detector B, the expectation of a pair of detectors over that of unscattered photons with a
line integral of one is

    sum_S mu(S) dV p(theta) |AB|^2 cos_AS cos_BS / (|AS|^2 |BS|^2 cos_AB^2)
          * [ L_AS e(E) exp(-M_AS - c(E) M_BS) + L_BS e(E) exp(-M_BS - c(E) M_AS) ] / e(511)

where L and M are line integrals of activity and mu, p is the Klein-Nishina share per steradian, E the energy after
scattering by theta, c the cross-section at E over that at 511 keV, e the share that the energy window accepts, and cos
the cosines of incidence on a cylinder of crystals thick enough to stop what enters. Scatter is smooth: it is computed
for few detectors and few points, and interpolated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import map_coordinates, spline_filter1d
from torch.nn.functional import grid_sample

from PETDiffusionLib.corrections.compton import (
    EnergyWindow,
    relative_cross_section,
    scattered_energy,
    share_per_steradian,
)
from PETDiffusionLib.sinograms.geometry import ScannerGeometry
from PETDiffusionLib.sinograms.grid import ImageGrid

LEAST_MU_PER_MM = 0.002  # below it nothing scatters that counts: air and foam
STEP_MM = 8.0  # along the lines from a scatter point to a detector
COSINES = 1024  # of the table of angles


@dataclass(frozen=True)
class Sampling:
    """How finely scatter is computed: the side of a cell with one scatter point, and detectors around and along."""

    point_mm: float = 25.0
    around: int = 40
    along: int = 8


def single_scatter(
    activity: np.ndarray,
    mu_per_mm: np.ndarray,
    grid: ImageGrid,
    geometry: ScannerGeometry,
    window: EnergyWindow | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Scatter as a line integral: what the bins of a sinogram would have to see of activity to count as many.

    Times the efficiencies (without attenuation) it is in counts. `activity` and `mu_per_mm` are [z, y, x] on `grid`;
    the result is float32 [plane, view, tangential] in units of activity times mm. `seed` places the scatter points.
    """
    window, sampling = window or EnergyWindow(), sampling or Sampling()
    detectors = _Detectors(geometry, sampling)
    points, weights = _scatter_points(mu_per_mm, grid, sampling.point_mm, seed)
    pairs = np.zeros((len(detectors.places), len(detectors.places)), np.float32)
    images = torch.from_numpy(np.stack([activity, mu_per_mm]).astype(np.float32))[None]  # [1, 2, z, y, x]
    table = _Table(window)
    for number, (point, weight) in enumerate(zip(points, weights, strict=True)):
        if progress is not None and number % 16 == 0:
            progress(number / len(points))
        lines = _line_integrals(images, grid, point, detectors.places)
        pairs += _scattered(point, weight, lines, detectors, table)
    return detectors.to_bins(pairs * detectors.unscattered())


class _Table:
    """What depends on the angle of scattering alone, for whole steps of its cosine."""

    def __init__(self, window: EnergyWindow) -> None:
        cosines = np.linspace(-1, 1, COSINES)
        energy = scattered_energy(cosines)
        accepted = window.accepted(energy) / window.accepted(scattered_energy(np.ones(1)))
        self.share = torch.from_numpy((share_per_steradian(cosines) * accepted).astype(np.float32))
        self.cross_section = torch.from_numpy(relative_cross_section(energy).astype(np.float32))
        self.least_cosine = float(cosines[np.argmax(accepted > 1e-4)])

    def at(self, cosine: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        index = ((cosine + 1) * ((COSINES - 1) / 2)).round_().long().clamp_(0, COSINES - 1)
        return self.share[index], self.cross_section[index]


class _Detectors:
    """Places evenly around and along the cylinder, [along x around], and the way from their pairs to the bins."""

    def __init__(self, geometry: ScannerGeometry, sampling: Sampling) -> None:
        self.geometry = geometry
        self.along, self.around = min(sampling.along, geometry.rings), sampling.around
        half = (geometry.rings - 1) / 2 * geometry.ring_spacing_mm
        self.z_mm = np.linspace(-half, half, self.along) if self.along > 1 else np.zeros(1)
        angle = 2 * np.pi * np.arange(self.around) / self.around
        z, phi = (part.ravel() for part in np.meshgrid(self.z_mm, angle, indexing="ij"))
        outward = np.stack([np.cos(phi), np.sin(phi), 0 * phi], axis=-1)
        self.places = (outward * geometry.radius_mm + np.stack([0 * z, 0 * z, z], axis=-1)).astype(np.float32)
        self.outward = outward.astype(np.float32)

    def unscattered(self) -> np.ndarray:
        """|AB|^2 / (cos_AB of A times that of B) for every pair: what the geometry does to unscattered ones."""
        between = self.places[None, :, :] - self.places[:, None, :]
        squared = np.square(between).sum(axis=-1)
        towards = np.einsum("abi,bi->ab", between, self.outward)  # |AB| cos at B
        back = np.einsum("abi,ai->ab", -between, self.outward)
        return squared**2 / np.maximum(towards * back, 1e-3 * squared.max()).astype(np.float32)

    def to_bins(self, pairs: np.ndarray) -> np.ndarray:
        """Values of pairs of detectors, read at the ends of every bin's lines: [plane, view, tangential].

        Linear along, and cubic around, where the few detectors are periodic.
        """
        shape = (self.along, self.around, self.along, self.around)
        smooth = pairs.reshape(shape)
        for axis in (1, 3):
            smooth = spline_filter1d(smooth, 3, axis, mode="grid-wrap", output=np.float32)
        start, end = self.geometry.in_plane_end_points_mm()
        places = [np.arctan2(p[..., 1], p[..., 0]) * self.around / (2 * np.pi) for p in (start, end)]
        result = np.empty(self.geometry.data_shape[:3], np.float32)
        for plane, (a, b) in enumerate(zip(*self.geometry.plane_end_points_z_mm(), strict=True)):
            of_plane = np.einsum("z,zaxb,x->ab", self._weights(a), smooth, self._weights(b), optimize=True)
            result[plane] = map_coordinates(of_plane, places, order=3, mode="grid-wrap", prefilter=False)
        return np.maximum(result, 0)

    def _weights(self, z_mm: float) -> np.ndarray:
        """Of linear interpolation along z, [along]."""
        if self.along == 1:
            return np.ones(1, np.float32)
        return np.array(
            [np.interp(z_mm, self.z_mm, row) for row in np.eye(self.along)], np.float32
        )  # fmt: skip


def _scatter_points(mu_per_mm: np.ndarray, grid: ImageGrid, cell_mm: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One point a cell where matter is, drawn among its voxels: places (x, y, z) in mm, and the cell's mu dV."""
    dense = mu_per_mm > LEAST_MU_PER_MM
    where = np.argwhere(dense)  # [voxel, zyx]
    sizes = np.array(grid.voxel_size_mm[::-1])
    cells = np.floor(where * sizes / cell_mm).astype(np.int64)
    extent = cells.max(axis=0) + 1 if len(cells) else np.ones(3, np.int64)
    cell = np.ravel_multi_index(tuple(cells.T), tuple(extent))
    mass = np.bincount(cell, mu_per_mm[dense], minlength=int(np.prod(extent))) * np.prod(sizes)
    shuffled = np.random.default_rng(seed).permutation(len(where))
    found, first = np.unique(cell[shuffled], return_index=True)
    chosen = where[shuffled[first]]
    places = np.array(grid.origin_mm) + chosen[:, ::-1] * np.array(grid.voxel_size_mm)
    return places.astype(np.float32), mass[found].astype(np.float32)


def _line_integrals(images: torch.Tensor, grid: ImageGrid, point: np.ndarray, places: np.ndarray) -> torch.Tensor:
    """Integrals of activity and of mu from a point to every detector, [2, detector], as far as the images reach."""
    towards = places - point
    length = np.linalg.norm(towards, axis=1)
    reach = np.linalg.norm(np.array(grid.shape[::-1]) * grid.voxel_size_mm)
    steps = int(np.ceil(min(length.max(), reach) / STEP_MM))
    along = torch.arange(steps) * STEP_MM + STEP_MM / 2  # mm from the point
    direction = torch.from_numpy((towards / length[:, None]).astype(np.float32))
    at = torch.from_numpy(point) + along[None, :, None] * direction[:, None, :]  # [detector, step, xyz]
    counts = torch.tensor(grid.shape[::-1], dtype=torch.float32)
    origin, sizes = (torch.tensor(v, dtype=torch.float32) for v in (grid.origin_mm, grid.voxel_size_mm))
    relative = ((at - origin) / sizes + 0.5) * 2 / counts - 1  # -1 and 1 are the outer faces of the images
    values = grid_sample(images, relative[None, None], align_corners=False)[0, :, 0]  # [2, detector, step]
    return values.sum(dim=-1) * STEP_MM


def _scattered(
    point: np.ndarray, weight: float, lines: torch.Tensor, detectors: _Detectors, table: _Table
) -> np.ndarray:
    """What one scatter point sends into every pair of detectors, [detector, detector]."""
    towards = detectors.places - point
    length = np.linalg.norm(towards, axis=1)
    incidence = np.einsum("di,di->d", towards, detectors.outward) / length
    solid = torch.from_numpy((np.maximum(incidence, 0) / length**2).astype(np.float32))
    direction = torch.from_numpy((towards / length[:, None]).astype(np.float32))
    cosine = -(direction @ direction.T)  # of the scattering that turns the way back from A into the way to B
    share, cross_section = table.at(cosine)
    activity, mu = lines
    # [A, B]: the pair's unscattered photon in A, the scattered one in B.
    one_way = (activity * torch.exp(-mu) * solid)[:, None] * torch.exp(-cross_section * mu[None, :])
    one_way *= share * solid[None, :] * float(weight)
    return (one_way + one_way.T).numpy()
