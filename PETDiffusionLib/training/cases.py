"""Simulated training cases: a random phantom on a random scanner at random doses, kept as one small file each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from PETDiffusionLib.simulation.acquisition import scan
from PETDiffusionLib.simulation.bodies import BODY_LENGTH_MM, Folds, procedural_body
from PETDiffusionLib.simulation.draws import log_uniform
from PETDiffusionLib.simulation.mosaics import random_mosaic
from PETDiffusionLib.simulation.phantom import Phantom, add_lesions
from PETDiffusionLib.simulation.scanners import random_scanner
from PETDiffusionLib.simulation.shapes import random_shapes
from PETDiffusionLib.simulation.spots import random_spots
from PETDiffusionLib.training.case_files import ensure_files, in_plane_box, save_arrays

DOSES_PER_CASE = 6
MIXTURE = 3  # in the files' names: another number for another mixture, so that older files are not taken for it
SHOWER_DIAMETERS_MM = (4.0, 20.0)
AIR = 0.05  # of the mean of a reconstruction
# Seeds of the three uses never meet: cases for tuning and testing count from elsewhere (see Testing/benchmarks).
TRAINING_SEED, VALIDATION_SEED = 10_000, 900_000


@dataclass(frozen=True)
class Case:
    """One phantom: its noise-free reconstruction and noisy ones, [z, y, x] in SUV, voxel size (z, y, x) in mm."""

    reference: np.ndarray
    low_dose: list[np.ndarray]
    voxel_size_mm: tuple[float, ...]


def make_case(seed: int, length_mm: float = 130.0, device: str | torch.device = "cpu") -> Case:
    """Simulate the case of `seed`, its projections on `device`.

    The same seed gives the same phantom on any machine, and the same noise but for a few counts that rounding moves.
    """
    rng = np.random.default_rng([seed, 3])
    phantom = _random_phantom(seed, length_mm, rng)
    doses = [_random_dose(rng) for _ in range(DOSES_PER_CASE)]
    result = scan(phantom, random_scanner(rng), doses, rng, device)
    box = in_plane_box(result.reference > AIR * result.reference.mean(), margin=4)
    return Case(result.reference[box], [volume[box] for volume in result.low_dose], result.voxel_size_mm)


def _random_dose(rng: np.random.Generator) -> float:
    """A share of the full dose's counts: 1/130 to 0.3, and one time in nine up to 1.2, where there is less to learn."""
    lowest, highest = (0.3, 1.2) if rng.random() < 1 / 9 else (1 / 130, 0.3)
    return float(log_uniform(rng, lowest, highest))


def _random_phantom(seed: int, length_mm: float, rng: np.random.Generator) -> Phantom:
    """A piece of a trunk (7 in 20), a head (4), a mosaic (4), spots (4) or random shapes (1), in a random tracer.

    The denoiser will meet anatomies that nobody drew for it: mosaics and heads of every folding stand for them. One in
    three of the first three has a shower of small lesions besides its own, spots have many more: a lesion so small
    that one in ten thousand voxels belongs to it must not be taken for noise because it is rare.
    """
    kind, tracer = rng.random(), str(rng.choice(["fdg", "dotatate", "amyloid-negative", "any"], p=[0.5, 0.1, 0.1, 0.3]))
    if kind < 0.05:
        return random_shapes(seed, length_mm)
    if kind < 0.25:
        return random_spots(seed, length_mm)
    if kind < 0.45:
        phantom = random_mosaic(seed, length_mm)
    else:
        head = kind < 0.65
        top_mm = 0.0 if head else float(rng.uniform(150, BODY_LENGTH_MM - length_mm))
        folds = Folds.random(rng) if rng.random() < 0.75 else Folds()
        phantom = procedural_body(seed, tracer, top_mm, length_mm, lesions=int(rng.integers(0, 16)), folds=folds)
    if rng.random() < 1 / 3:
        add_lesions(phantom, int(rng.integers(10, 60)), rng, SHOWER_DIAMETERS_MM)
    return phantom


def save_case(case: Case, path: Path) -> None:
    """Write a case in half precision (0.05 % of a value); the file appears whole or not at all."""
    save_arrays(
        path,
        reference=case.reference.astype(np.float16),
        low_dose=np.stack(case.low_dose).astype(np.float16),
        voxel_size_mm=np.asarray(case.voxel_size_mm),
    )


def load_case(path: Path) -> Case:
    """Read what `save_case` wrote."""
    with np.load(path) as data:
        low_dose = [volume.astype(np.float32) for volume in data["low_dose"]]
        return Case(data["reference"].astype(np.float32), low_dose, tuple(float(v) for v in data["voxel_size_mm"]))


def ensure_cases(folder: Path, seeds: range, workers: int = 1, device: str | torch.device = "cpu") -> list[Path]:
    """Make the cases of `seeds` that `folder` lacks, in `workers` processes, with projections on `device`.

    Returns all their paths in order.
    """
    paths = [folder / f"case_{MIXTURE}_{seed:06d}.npz" for seed in seeds]
    return ensure_files(paths, seeds, partial(_make_and_save, device=device), workers)


def _make_and_save(seed: int, path: Path, device: str | torch.device) -> None:
    save_case(make_case(seed, device=device), path)
