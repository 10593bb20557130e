"""Single scatter simulation against closed forms, and its scale against the counts beside a body."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from PETDiffusionLib.corrections.compton import (
    ELECTRON_KEV,
    EnergyWindow,
    relative_cross_section,
    scattered_energy,
    share_per_steradian,
)
from PETDiffusionLib.corrections.scatter import Sampling, single_scatter
from PETDiffusionLib.corrections.scatter_estimate import estimated_scatter
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.attenuation import WATER_MU_PER_MM, attenuation_factors
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, segments_of_span
from PETDiffusionLib.sinograms.grid import ImageGrid
from PETDiffusionLib.sinograms.sinogram import Sinogram

RADIUS = 300.0
# Thin air between a source and a scatterer, and a window that takes everything in which they differ by little.
OPEN = EnergyWindow(1.0, 5000.0)


def scanner(rings: int = 1, spacing_mm: float = 20.0) -> ScannerGeometry:
    segments = segments_of_span(rings, 1, rings - 1)
    return ScannerGeometry("test", RADIUS, rings, 96, spacing_mm, 48, 64, segments).with_patient("HFS")


def test_the_klein_nishina_share_is_one_over_the_sphere_and_known_at_its_ends() -> None:
    assert quad(lambda cosine: 2 * np.pi * share_per_steradian(cosine), -1, 1)[0] == pytest.approx(1, abs=1e-9)
    # At 511 keV P = 1 forwards and 1/3 backwards: (P + P^3) / 2 is 1 and 5/27.
    assert share_per_steradian(np.array(-1.0)) / share_per_steradian(np.array(1.0)) == pytest.approx(5 / 27)
    # Total cross-sections, barn an electron (Hubbell, NSRDS-NBS 29): 0.2866 at 511 keV, 0.3744 at 255.5.
    assert relative_cross_section(np.array(ELECTRON_KEV / 2)) == pytest.approx(0.3744 / 0.2866, rel=2e-3)
    assert scattered_energy(np.array([1.0, 0.0, -1.0])) == pytest.approx(ELECTRON_KEV / np.array([1, 2, 3]))


def test_an_energy_window_takes_half_of_what_lies_on_its_edge() -> None:
    window = EnergyWindow(430, 610, 0.145)
    assert window.accepted(np.array(430.0)) == pytest.approx(0.5, abs=1e-6)
    assert window.accepted(np.array(300.0)) < 1e-5
    assert window.accepted(np.array(511.0)) == pytest.approx(0.994, abs=2e-3)


def test_a_small_source_and_a_small_scatterer_give_the_closed_form() -> None:
    """One voxel of activity and one of matter on a diameter: only the detector behind the source gets the other photon.

    For the bin between that detector A and any B, with S the scatterer and the chord L through the source:
    mu dV p(theta) L |AB|^2 cos_AS cos_BS / (|AS|^2 |BS|^2 cos_A cos_B) by hand, attenuation being next to nothing.
    """
    geometry = scanner()
    voxel = 8.0
    grid = ImageGrid((1, 51, 51), (voxel, voxel, 20.0))
    activity, mu = (np.zeros(grid.shape, np.float32) for _ in range(2))
    activity[0, 25 - 10, 25] = 1.0  # 80 mm above the centre, towards the detector at -90 degrees
    mu[0, 25 + 5, 25] = 0.004  # 40 mm below it
    sampling = Sampling(point_mm=1000.0, around=96, along=1)
    found = single_scatter(activity, mu, grid, geometry, OPEN, sampling)[0]
    start, end = (ends[..., :2] for ends in geometry.in_plane_end_points_mm())
    up = np.array([0.0, -RADIUS])
    scatterer = np.array([0.0, 40.0])
    checked = 0
    for view in range(geometry.views):
        for bin_ in range(geometry.tangential_bins):
            ends = [start[view, bin_], end[view, bin_]]
            at_up = [np.linalg.norm(one - up) < 1e-6 for one in ends]
            if not any(at_up):
                continue
            a, b = ends if at_up[0] else ends[::-1]
            expected = by_hand(a, b, scatterer, 0.004 * voxel**2 * 20.0, voxel)
            assert found[view, bin_] == pytest.approx(expected, rel=0.06)
            checked += 1
    assert checked > 30


def by_hand(a: np.ndarray, b: np.ndarray, s: np.ndarray, mu_dv: float, chord: float) -> float:
    cosine = -np.dot(a - s, b - s) / (np.linalg.norm(a - s) * np.linalg.norm(b - s))

    def incidence(place: np.ndarray, other: np.ndarray) -> float:
        return float(np.dot(place - other, place) / (np.linalg.norm(place - other) * RADIUS))

    far = np.linalg.norm(a - b)
    solid = incidence(a, s) * incidence(b, s) / (np.dot(a - s, a - s) * np.dot(b - s, b - s))
    plain = incidence(a, b) * incidence(b, a) / far**2
    return float(mu_dv * share_per_steradian(np.array(cosine)) * chord * solid / plain)


def cylinder(grid: ImageGrid, radius_mm: float = 90.0) -> np.ndarray:
    y, x = ((np.arange(n) - (n - 1) / 2) * size for n, size in zip(grid.shape[1:], (8.0, 8.0), strict=True))
    disc = np.hypot(y[:, None], x[None, :]) < radius_mm
    return np.broadcast_to(disc, grid.shape).astype(np.float32)


def test_scatter_is_linear_in_activity_even_in_turns_and_settled_with_its_sampling() -> None:
    geometry = scanner(4, 40.0)
    grid = ImageGrid((7, 33, 33), (8.0, 8.0, 20.0))
    body = cylinder(grid)
    once, twice = (single_scatter(scale * body, WATER_MU_PER_MM * body, grid, geometry) for scale in (1.0, 2.0))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-4, atol=1e-5 * once.max())
    finer = single_scatter(body, WATER_MU_PER_MM * body, grid, geometry, sampling=Sampling(15.0, 64, 4), seed=3)
    assert np.abs(finer - once).max() < 0.05 * once.max()
    by_view = once.sum(axis=(0, 2))
    assert np.ptp(by_view) < 0.02 * by_view.mean()
    across = once.sum(axis=(0, 1))[1:]  # bin 32 is the middle
    np.testing.assert_allclose(across, across[::-1], rtol=0.02, atol=0.01 * across.max())
    assert across.argmax() == len(across) // 2


def scan(scatter_share: float, randoms: float = 0.0, counts: float = 2e6) -> tuple[Sinogram, np.ndarray, torch.Tensor]:
    """A cylinder scanned with `scatter_share` times its simulated single scatter; and its mu-map and that scatter."""
    geometry = scanner(4, 40.0)
    grid = ImageGrid((7, 65, 65), (8.0, 8.0, 20.0))
    body = cylinder(grid)
    projector = make_projector(geometry, grid.shape, grid.voxel_size_mm)
    attenuation = attenuation_factors(torch.from_numpy(WATER_MU_PER_MM * body), projector)
    efficiency = torch.from_numpy(np.random.default_rng(4).uniform(0.5, 1.5, attenuation.shape).astype(np.float32))
    trues = projector.forward(torch.from_numpy(body)) * attenuation * efficiency
    scale = counts / float(trues.sum())
    scatter = torch.from_numpy(single_scatter(body, WATER_MU_PER_MM * body, grid, geometry, seed=9))
    scatter = scatter_share * scatter * efficiency * scale
    background = torch.full_like(trues, randoms * counts / trues.numel())
    mean = scale * trues + scatter + background
    prompts = torch.from_numpy(np.random.default_rng(1).poisson(mean.numpy()).astype(np.float32))
    sinogram = Sinogram(geometry, prompts, attenuation * efficiency * scale, None, frozenset(("attenuation",)))
    sinogram = sinogram.with_factors(torch.ones_like(attenuation), "normalisation")
    if randoms:
        sinogram = sinogram.with_background(background, "randoms")
    return sinogram, WATER_MU_PER_MM * body, scatter


def on_its_grid(mu: np.ndarray):  # type: ignore[no-untyped-def]
    """The mu-map on whichever grid is asked for: the cylinder again."""
    return lambda grid: WATER_MU_PER_MM * (np.hypot(*_across(grid)) < 90.0).astype(np.float32)


def _across(grid: ImageGrid) -> tuple[np.ndarray, np.ndarray]:
    z, y, x = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(grid.shape, grid.voxel_size_mm[::-1], strict=True))
    return np.broadcast_to(y[None, :, None], grid.shape), np.broadcast_to(x[None, None, :], grid.shape)


@pytest.mark.parametrize("randoms", [0.0, 0.8])
@pytest.mark.parametrize("share", [1.0, 1.3])
def test_scatter_is_estimated_from_the_scan_itself(share: float, randoms: float) -> None:
    sinogram, mu, scatter = scan(share, randoms)
    found = estimated_scatter(sinogram, on_its_grid(mu))
    assert float(found.counts.sum()) == pytest.approx(float(scatter.sum()), rel=0.08 if randoms else 0.05)
    assert found.is_plausible
    assert found.scale == pytest.approx(share, rel=0.08)


def test_few_counts_beside_the_body_leave_the_scale_where_it_is_expected() -> None:
    sinogram, mu, _ = scan(1.0, counts=2000)
    assert 0.7 < estimated_scatter(sinogram, on_its_grid(mu)).scale < 1.5


def test_what_is_missing_for_an_estimate_is_named() -> None:
    sinogram, mu, scatter = scan(1.0)
    bare = Sinogram(sinogram.geometry, sinogram.prompts)
    with pytest.raises(PETDiffusionError, match="--attenuation"):
        estimated_scatter(bare, on_its_grid(mu))
    with pytest.raises(PETDiffusionError, match="given already"):
        estimated_scatter(sinogram.with_background(scatter, "scatter"), on_its_grid(mu))
