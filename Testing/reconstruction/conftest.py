"""A small scanner with a simulated scan of a warm cylinder with a hot and a cold rod, shared by the tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from PETDiffusionLib.projection.attenuation import WATER_MU_PER_MM
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.simulation.phantom import Phantom, empty_phantom
from PETDiffusionLib.simulation.sinogram import ExpectedSinogram, project_phantom
from PETDiffusionLib.sinograms import ScannerGeometry, segments_of_span
from PETDiffusionLib.sinograms.grid import ImageGrid, default_grid

SCANNER = ScannerGeometry("small", 200.0, 3, 96, 8.0, 48, 49, segments_of_span(3, 3, 1), bin_mm=5.0)


@dataclass(frozen=True)
class Scan:
    grid: ImageGrid
    projector: Projector
    expected: ExpectedSinogram


def rods() -> Phantom:
    """A cylinder of 160 mm at SUV 1 with rods of 45 mm, at SUV 4 to the left and 0 to the right."""
    phantom = empty_phantom((12, 110, 110), (2.5, 2.5, 2.5))
    y, x = (np.indices((110, 110)) - 54.5) * 2.5
    everywhere = np.ones((12, 1, 1), bool)
    phantom.paint(everywhere & (np.hypot(x, y) < 80), "background", 1.0, WATER_MU_PER_MM)
    phantom.paint(everywhere & (np.hypot(x + 35, y) < 22.5), "hot", 4.0)
    phantom.paint(everywhere & (np.hypot(x - 35, y) < 22.5), "cold", 0.0)
    return phantom


@pytest.fixture(scope="session")
def scan() -> Scan:
    torch.set_num_threads(1)
    grid = default_grid(SCANNER)
    projector = make_projector(SCANNER, grid.shape, grid.voxel_size_mm)
    return Scan(grid, projector, project_phantom(rods(), SCANNER, grid, projector, trues_per_mm=2e5))
