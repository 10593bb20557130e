"""Training cases of the prior: FDG-like activity at PET resolution, and an anatomical image of the same body."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from PETDiffusionLib.diffusion.activity_scale import activity_scale
from PETDiffusionLib.simulation.anatomy import anatomical_image
from PETDiffusionLib.simulation.bodies import BODY_LENGTH_MM, procedural_body
from PETDiffusionLib.simulation.phantom import add_lesions
from PETDiffusionLib.sinograms.scanners import FWHM_TO_SIGMA
from PETDiffusionLib.training.case_files import ensure_files, in_plane_box, save_arrays
from PETDiffusionLib.volumes.resampling import downsampled

# Seeds of their own, apart from those of the denoiser's cases and of every benchmark.
TRAINING_SEED, VALIDATION_SEED = 2_000_000, 2_900_000
HEAD_SHARE, HEAD_LENGTH_MM, TRUNK_LENGTH_MM = 0.6, 210.0, 160.0
VOXEL_RANGE_MM = (2.0, 4.2)
RESOLUTION_RANGE_MM = (3.5, 6.5)  # FWHM of the PET resolution
HOTTEST = 12.0  # of the mean: a lesion of a procedural body can be hotter than any tumour
PET_ONLY_SHARE = 0.5  # of the bodies' lesions that the anatomy does not show


@dataclass(frozen=True)
class PriorCase:
    """Activity and anatomy [z, y, x], each with a mean of one where there is any; voxel size (z, y, x) in mm."""

    activity: np.ndarray
    anatomy: np.ndarray
    voxel_size_mm: tuple[float, float, float]


def make_prior_case(seed: int) -> PriorCase:
    """The head or the piece of a trunk that `seed` draws: the same on any machine."""
    rng = np.random.default_rng([seed, 7])
    head = rng.random() < HEAD_SHARE
    top_mm = 0.0 if head else float(rng.uniform(200, BODY_LENGTH_MM - TRUNK_LENGTH_MM))
    fine_mm = 2.0 if head else 2.5
    phantom = procedural_body(seed, "fdg", top_mm, HEAD_LENGTH_MM if head else TRUNK_LENGTH_MM, fine_mm, lesions=0)
    healthy = phantom.labels.copy()
    add_lesions(phantom, int(rng.integers(0, 4 if head else 10)), rng)
    seen = healthy if rng.random() < PET_ONLY_SHARE else phantom.labels
    anatomy = anatomical_image(seen, phantom.voxel_size_mm, rng)

    in_plane_mm = float(rng.uniform(fine_mm, 3.2 if head else VOXEL_RANGE_MM[1]))
    voxel_size = (float(rng.uniform(fine_mm, 3.4)), in_plane_mm, in_plane_mm)
    sigma = float(rng.uniform(*RESOLUTION_RANGE_MM)) * FWHM_TO_SIGMA / fine_mm
    shape = tuple(round(n * fine_mm / size) for n, size in zip(phantom.activity.shape, voxel_size, strict=True))
    activity, anatomy = (
        np.maximum(downsampled(volume, phantom.voxel_size_mm, shape, voxel_size), 0)
        for volume in (gaussian_filter(phantom.activity, sigma), anatomy)
    )
    activity = np.minimum(activity / activity_scale(activity), HOTTEST)
    box = in_plane_box(activity > 0.02, margin=8)
    return PriorCase(activity[box], anatomy[box], voxel_size)


def save_prior_case(case: PriorCase, path: Path) -> None:
    """Write a case in half precision; the file appears whole or not at all."""
    save_arrays(
        path,
        activity=case.activity.astype(np.float16),
        anatomy=case.anatomy.astype(np.float16),
        voxel_size_mm=np.asarray(case.voxel_size_mm),
    )


def load_prior_case(path: Path) -> PriorCase:
    """Read what `save_prior_case` wrote; the arrays stay in half precision."""
    with np.load(path) as data:
        z, y, x = (float(size) for size in data["voxel_size_mm"])
        return PriorCase(data["activity"], data["anatomy"], (z, y, x))


def ensure_prior_cases(folder: Path, seeds: range, workers: int = 1) -> list[Path]:
    """Make the cases of `seeds` that `folder` lacks, in `workers` processes; returns all their paths in order."""
    paths = [folder / f"prior_{seed:07d}.npz" for seed in seeds]
    return ensure_files(paths, seeds, _make_and_save, workers)


def _make_and_save(seed: int, path: Path) -> None:
    save_prior_case(make_prior_case(seed), path)
