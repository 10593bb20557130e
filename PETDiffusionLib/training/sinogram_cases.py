"""Phantoms to make sinograms of: activity and attenuation on the planes of a parallel-beam scanner, one file each.

The files hold images, not sinograms: what a scanner counts is drawn on the fly (`sinogram_batches`), on a GPU if there
is one, at another dose and with another noise every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from PETDiffusionLib.simulation.bodies import BODY_LENGTH_MM, procedural_body
from PETDiffusionLib.simulation.phantom import Phantom
from PETDiffusionLib.simulation.regridding import regridded
from PETDiffusionLib.simulation.shapes import random_shapes
from PETDiffusionLib.training.case_files import ensure_files, save_arrays

LENGTH_MM = 90.0
# voxels across the field of view: voxel size in mm; the sinogram has as many bins of that size
GRIDS = {80: 5.2, 96: 4.3, 112: 3.7}
PLANES_MM, RESOLUTION_MM = (2.0, 4.0), (4.0, 7.0)  # ranges of the scanners' plane spacing and FWHM
TRACER_SHARES = {"fdg": 0.5, "dotatate": 0.1, "amyloid-negative": 0.1, "any": 0.3}


@dataclass(frozen=True)
class SinogramCase:
    """Activity (any unit; as the scanner's resolution blurs it) and attenuation in 1/mm: [plane, y, x] float32."""

    activity: np.ndarray
    mu: np.ndarray
    voxel_mm: float
    plane_mm: float


def make_case(seed: int, length_mm: float = LENGTH_MM) -> SinogramCase:
    """The case of `seed`: the same seed gives the same case on any machine."""
    rng = np.random.default_rng([seed, 6])
    phantom = _phantom(seed, length_mm, rng)
    size = int(rng.choice(list(GRIDS)))
    voxel_mm, plane_mm = GRIDS[size], float(rng.uniform(*PLANES_MM))
    sigma_mm = rng.uniform(*RESOLUTION_MM) / 2.3548
    blurred = gaussian_filter(phantom.activity, [sigma_mm / side for side in phantom.voxel_size_mm])
    shape = (int(length_mm / plane_mm), size, size)
    activity, mu = (
        regridded(array, phantom.voxel_size_mm, shape, (plane_mm, voxel_mm, voxel_mm))
        for array in (blurred, phantom.mu)
    )
    return SinogramCase(activity, mu, voxel_mm, plane_mm)


def _phantom(seed: int, length_mm: float, rng: np.random.Generator) -> Phantom:
    """A piece of a body (6 in 10), a head (2 in 10) or random shapes (2 in 10), in a random tracer."""
    kind, tracer = rng.random(), str(rng.choice(list(TRACER_SHARES), p=list(TRACER_SHARES.values())))
    if kind < 0.2:
        return random_shapes(seed, length_mm)
    top_mm = 0.0 if kind < 0.4 else float(rng.uniform(150, BODY_LENGTH_MM - length_mm))
    return procedural_body(seed, tracer, top_mm, length_mm, lesions=int(rng.integers(0, 16)))


def ensure_cases(folder: Path, seeds: Sequence[int], workers: int = 1) -> list[Path]:
    """Make the cases of `seeds` that `folder` lacks, in `workers` processes; returns all their paths in order."""
    paths = [folder / f"phantom_{seed:06d}.npz" for seed in seeds]
    return ensure_files(paths, seeds, _make_and_save, workers)


def _make_and_save(seed: int, path: Path) -> None:
    save_case(make_case(seed), path)


def save_case(case: SinogramCase, path: Path) -> None:
    """Write a case in half precision; the file appears whole or not at all."""
    save_arrays(
        path,
        activity=case.activity.astype(np.float16),
        mu=case.mu.astype(np.float16),
        size_mm=np.array([case.voxel_mm, case.plane_mm]),
    )


def load_case(path: Path) -> SinogramCase:
    """Read what `save_case` wrote."""
    with np.load(path) as data:
        voxel_mm, plane_mm = (float(size) for size in data["size_mm"])
        return SinogramCase(data["activity"].astype(np.float32), data["mu"].astype(np.float32), voxel_mm, plane_mm)
