"""Scanner-like settings: voxels, resolution, counts, and how the site reconstructs.

The named ones resemble systems in use in the figures that shape the noise; they are not models of those products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from PETDiffusionLib.simulation.draws import log_uniform


@dataclass(frozen=True)
class Scanner:
    """What turns activity into an image. Lengths in mm; FWHM for widths."""

    name: str
    voxel_mm: float  # transaxial, square
    slice_mm: float
    resolution_mm: float  # intrinsic, FWHM
    iterations: int
    subsets: int
    post_filter_mm: float  # isotropic Gaussian, FWHM; 0 for none
    axial_filter: tuple[float, float, float]  # weights of the neighbouring planes, summing to one
    models_resolution: bool  # point-spread function inside the reconstruction
    trues_per_mm: float  # trues per mm of axial length at full dose
    scatter_fraction: float
    randoms_fraction: float
    bed_mm: float  # axial period of the bed positions; sensitivity falls to half at their borders; 0 for flat


NONE, LIGHT, STANDARD = (0.0, 1.0, 0.0), (1 / 8, 6 / 8, 1 / 8), (1 / 4, 2 / 4, 1 / 4)
SCANNERS = {
    scanner.name: scanner
    for scanner in (
        Scanner("whole-body-4.7", 4.6875, 3.27, 6.2, 2, 20, 6.0, STANDARD, False, 1.5e5, 0.35, 0.5, 150.0),
        Scanner("whole-body-4.1", 4.07, 3.0, 5.5, 3, 21, 4.0, LIGHT, True, 2.0e5, 0.33, 0.4, 160.0),
        Scanner("digital-2.7", 2.73, 2.79, 4.6, 3, 16, 5.0, STANDARD, False, 2.5e5, 0.33, 0.4, 170.0),
        Scanner("head-2.1", 2.09, 2.03, 4.3, 3, 21, 4.0, NONE, False, 2.5e5, 0.35, 0.3, 0.0),
        Scanner("long-3.3", 3.3, 3.3, 4.8, 2, 12, 5.0, LIGHT, False, 2.0e5, 0.35, 0.4, 0.0),
    )
}


def random_scanner(rng: np.random.Generator) -> Scanner:
    """A scanner drawn at random, wide enough to hold most sites' protocols."""
    axial = (NONE, LIGHT, STANDARD)[rng.integers(3)]
    return Scanner(
        name="random",
        voxel_mm=float(rng.choice([2.1, 2.73, 3.3, 3.65, 4.07, 4.69, 5.3], p=[0.05, 0.15, 0.2, 0.15, 0.2, 0.2, 0.05])),
        slice_mm=float(rng.choice([2.03, 2.79, 3.0, 3.27, 4.0])),
        resolution_mm=float(rng.uniform(4.0, 7.0)),
        iterations=int(rng.integers(2, 5)),
        subsets=int(rng.choice([10, 12, 15, 20])),
        post_filter_mm=float(rng.choice([0.0, rng.uniform(2, 8)], p=[0.1, 0.9])),
        axial_filter=axial,
        models_resolution=bool(rng.random() < 0.25),
        trues_per_mm=float(log_uniform(rng, 0.8e5, 4e5)),
        scatter_fraction=float(rng.uniform(0.2, 0.45)),
        randoms_fraction=float(rng.uniform(0.1, 0.8)),
        bed_mm=float(rng.choice([0.0, rng.uniform(100, 250)])),
    )
