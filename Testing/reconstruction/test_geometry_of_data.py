"""Data fit the geometry that their header states, and no neighbouring one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from PETDiffusionLib.projection import make_projector
from PETDiffusionLib.reconstruction import osem
from PETDiffusionLib.simulation.phantom import empty_phantom
from PETDiffusionLib.simulation.sinogram import project_phantom
from PETDiffusionLib.sinograms import ScannerGeometry, Segment, Sinogram, default_grid
from PETDiffusionLib.sinograms.interfile import read_interfile, write_interfile

SCANNER = ScannerGeometry(
    "tilted", 150.0, 4, 96, 6.0, 24, 61, (Segment(-2, -1), Segment(0, 0), Segment(1, 2)), view_offset_deg=-7.0
)


@pytest.fixture(scope="module")
def demonstration(shared_data: Path) -> Sinogram:
    """Planes of STIR's demonstration sinogram, each second, without what is below zero."""
    torch.set_num_threads(1)
    whole = read_interfile(shared_data / "sim_small_sinogram_STIR" / "smalllong.hs")
    geometry = replace(whole.geometry, segments=(Segment(0, 0),))
    return Sinogram(geometry, whole.prompts[::2].clamp(min=0).contiguous())


def misfit(sinogram: Sinogram, prompts: torch.Tensor) -> tuple[float, np.ndarray]:
    """How far the reprojected OSEM image is from the data, relative; and the image."""
    grid = default_grid(sinogram.geometry)
    projector = make_projector(sinogram.geometry, grid.shape, grid.voxel_size_mm)
    image = osem(projector, replace(sinogram, prompts=prompts), iterations=6, subsets=8)
    return float((projector.forward(image) - prompts).norm() / prompts.norm()), image.numpy()


def test_stirs_sinogram_reconstructs_to_an_ellipse_that_neighbouring_geometries_fit_worse(
    demonstration: Sinogram,
) -> None:
    prompts = demonstration.prompts
    stated, image = misfit(demonstration, prompts)
    assert stated < 0.05
    assert misfit(demonstration, prompts.flip(1))[0] > 1.05 * stated  # views reversed
    assert misfit(demonstration, prompts.roll(1, 2))[0] > 1.5 * stated  # bins shifted by one
    assert misfit(demonstration, prompts.roll(-1, 2))[0] > 1.5 * stated
    body = image[4] > 0.5 * np.median(image[4][image[4] > 0.3 * image[4].max()])
    rows, columns = (np.flatnonzero(body.any(axis=axis)) for axis in (1, 0))
    assert 0.55 * body.shape[0] * body.shape[1] > body.sum() > 0.05 * body.size
    assert np.ptp(columns) > 1.15 * np.ptp(rows)  # wider than high


@pytest.mark.parametrize(
    ("x", "y", "plane"), [(60, 20, 5), (20, -60, 1), (-60, -20, 3), (-20, 60, 6), (60, -20, 2), (-60, 20, 0)]
)
def test_a_point_comes_back_to_its_place_through_a_file(x: float, y: float, plane: int, tmp_path: Path) -> None:
    """Neither mirrored nor turned, with tilted lines, an odd view offset and bins as the crystals lie."""
    torch.set_num_threads(1)
    grid = default_grid(SCANNER, voxel_mm=6.0)
    column, row = (round(v / 6.0 + (grid.shape[1] - 1) / 2) for v in (x, y))
    phantom = empty_phantom(grid.shape, grid.voxel_size_mm[::-1])
    phantom.activity[plane, row, column] = 1.0
    expected = project_phantom(phantom, SCANNER, grid, resolution_mm=1.0)
    write_interfile(expected.trues, SCANNER, tmp_path / "point.hs")
    read = read_interfile(tmp_path / "point.hs")
    projector = make_projector(read.geometry, grid.shape, grid.voxel_size_mm)
    image, mirrored = (
        sitk.GetArrayFromImage(grid.to_image(osem(projector, replace(read, prompts=prompts), 2, 4).numpy()))
        for prompts in (read.prompts, read.prompts.flip(1))
    )
    assert np.unravel_index(image.argmax(), image.shape) == (plane, row, column)
    assert np.unravel_index(mirrored.argmax(), image.shape) != (plane, row, column)
