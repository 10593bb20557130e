"""Reconstructions climb their objectives, agree with each other, and give the activity back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion

from PETDiffusionLib.errors import Cancelled, PETDiffusionError
from PETDiffusionLib.projection.attenuation import WATER_MU_PER_MM
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.reconstruction import (
    AcquisitionModel,
    BlurringProjector,
    Update,
    em_towards,
    fbp,
    map_em,
    mlem,
    osem,
    rdp,
)
from PETDiffusionLib.reconstruction.neighbours import Neighbourhood
from PETDiffusionLib.reconstruction.relative_difference import RelativeDifferencePrior
from PETDiffusionLib.simulation.phantom import Phantom, empty_phantom
from PETDiffusionLib.simulation.sinogram import project_phantom
from PETDiffusionLib.sinograms import Segment, Sinogram, TimeOfFlight, parallel_beam

from .conftest import Scan, rods

BEAM = parallel_beam(views=90, bins=64, bin_mm=4.0, planes=3, plane_mm=8.0)


def cylinder() -> Phantom:
    """Water of 80 mm radius at SUV 1."""
    phantom = empty_phantom((10, 110, 110), (2.5, 2.5, 2.5))
    y, x = (np.indices((110, 110)) - 54.5) * 2.5
    phantom.paint(np.ones((10, 1, 1), bool) & (np.hypot(x, y) < 80), "water", 1.0, WATER_MU_PER_MM)
    return phantom


def region(scan: Scan, name: str) -> np.ndarray:
    """The inner part of a labelled region, [z, y, x]."""
    label = next(key for key, known in scan.expected.label_names.items() if known == name)
    return np.stack([binary_erosion(plane == label, iterations=2) for plane in scan.expected.labels])


@pytest.mark.parametrize("reconstruct", [mlem, partial(map_em, beta=0.003)])
def test_every_iteration_raises_the_objective(scan: Scan, reconstruct: Callable) -> None:
    updates: list[Update] = []
    reconstruct(scan.projector, scan.expected.measured(), iterations=8, callback=updates.append)
    objectives = [update.objective for update in updates if update.iteration >= 0]
    assert len(objectives) == 8
    assert (np.diff(objectives) > 0).all()


def test_osem_gives_the_activity_back(scan: Scan) -> None:
    image = osem(scan.projector, scan.expected.measured(), iterations=6, subsets=8).numpy()
    assert image[region(scan, "background")].mean() == pytest.approx(1.0, rel=0.02)
    assert image[region(scan, "hot")].mean() == pytest.approx(4.0, rel=0.03)
    assert image[region(scan, "cold")].mean() < 0.2


def test_without_attenuation_the_middle_is_as_low_as_physics_says() -> None:
    """The middle of a cylinder of radius R reads mean over t of exp(-q cos t) (1 - q cos t), q = 2 mu R."""
    phantom = cylinder()
    expected = project_phantom(phantom, BEAM, resolution_mm=0.1)
    whole = expected.measured(seed=None)
    projector = make_projector(BEAM, expected.grid.shape, expected.grid.voxel_size_mm)
    images = {
        name: osem(projector, replace(whole, multiplicative=factors), 8, 9).numpy()[:, 29:35, 29:35].mean()
        for name, factors in (("with", whole.multiplicative), ("without", expected.normalisation))
    }
    q = 2 * WATER_MU_PER_MM * 80 * np.cos(np.linspace(0, np.pi / 2, 1001))
    assert images["with"] == pytest.approx(1.0, rel=0.02)
    assert images["without"] == pytest.approx(np.mean(np.exp(-q) * (1 - q)), rel=0.05)


def test_without_randoms_and_scatter_the_activity_reads_high(scan: Scan) -> None:
    sinogram = replace(scan.expected.measured(seed=None), additive=None)
    image = osem(scan.projector, sinogram, 4, 8).numpy()
    assert image[region(scan, "background")].mean() > 1.5
    assert image[region(scan, "cold")].mean() > 0.5


def test_time_of_flight_gives_the_same_activity() -> None:
    scanner = replace(BEAM, views=30, tof=TimeOfFlight(7, 60.0, 25.0))
    expected = project_phantom(cylinder(), scanner)
    projector = make_projector(scanner, expected.grid.shape, expected.grid.voxel_size_mm)
    image = osem(projector, expected.measured(seed=None), 3, 6).numpy()
    assert image[:, 24:40, 24:40].mean() == pytest.approx(1.0, rel=0.02)


def test_a_warm_start_continues(scan: Scan) -> None:
    sinogram = scan.expected.measured()
    halfway = mlem(scan.projector, sinogram, 3)
    torch.testing.assert_close(
        mlem(scan.projector, sinogram, 3, start=halfway), mlem(scan.projector, sinogram, 6), rtol=1e-4, atol=1e-5
    )


def test_a_callback_can_stop_it(scan: Scan) -> None:
    """While it prepares as well as while it iterates."""
    for last in (3, 12):
        seen: list[Update] = []

        def stop_at_last(update: Update, seen: list[Update] = seen, last: int = last) -> None:
            seen.append(update)
            if len(seen) == last:
                raise Cancelled

        with pytest.raises(Cancelled):
            osem(scan.projector, scan.expected.measured(), 4, 8, callback=stop_at_last)
        assert len(seen) == last and (seen[-1].iteration < 0) == (last == 3)


def test_negative_prompts_do_no_harm(scan: Scan) -> None:
    whole = scan.expected.measured()
    precorrected = replace(whole, prompts=whole.prompts - whole.additive, additive=None)
    assert (precorrected.prompts < 0).any()
    image = osem(scan.projector, precorrected, 6, 8)
    assert torch.isfinite(image).all() and image.max() < 20


@pytest.mark.parametrize("subsets", [0, 49])
def test_subsets_must_fit_the_views(scan: Scan, subsets: int) -> None:
    with pytest.raises(PETDiffusionError, match="subsets"):
        osem(scan.projector, scan.expected.measured(), 1, subsets)


def test_rdp_reaches_one_optimum_whatever_the_subsets(scan: Scan) -> None:
    sinogram = scan.expected.measured()
    few, many = (rdp(scan.projector, sinogram, 0.003, 30, subsets) for subsets in (6, 12))
    assert (few - many).norm() < 0.01 * many.norm()


def test_rdp_is_stationary_at_its_optimum(scan: Scan) -> None:
    """Where activity is above zero the slope of likelihood and prior cancel."""
    sinogram = scan.expected.measured()
    beta = 0.003
    image = rdp(scan.projector, sinogram, beta, 30, 8)
    model = AcquisitionModel(scan.projector, sinogram)
    prior = RelativeDifferencePrior(
        Neighbourhood(image.shape, (1.0, 1.0, 1.0), image.device), 1e-3 * model.uniform_activity()
    )
    ratio, _ = model.back_projected_ratio(0, image)
    scaled = beta * float(model.sensitivity[model.visible()].mean())
    slope = ratio - model.sensitivity - scaled * prior.value_and_gradient(image)[1]
    inside = image > 0.2
    assert (slope[inside].abs() / model.sensitivity[inside]).max() < 0.01


def test_smoothing_priors_reduce_noise_and_keep_the_mean(scan: Scan) -> None:
    sinogram = scan.expected.measured(drf=10, seed=1)
    inside = region(scan, "background")
    plain = osem(scan.projector, sinogram, 8, 8).numpy()[inside]
    for smooth in (
        rdp(scan.projector, sinogram, 0.003, 8, 8).numpy()[inside],
        map_em(scan.projector, sinogram, 0.001, 8, 8).numpy()[inside],
    ):
        assert smooth.std() < 0.6 * plain.std()
        assert smooth.mean() == pytest.approx(plain.mean(), rel=0.03)


def test_the_priors_gradient_and_curvature_are_its_derivatives() -> None:
    torch.manual_seed(0)
    image = torch.rand(3, 4, 5, dtype=torch.float64)
    prior = RelativeDifferencePrior(Neighbourhood(image.shape, (2.0, 2.0, 3.0), image.device), 0.01)
    value, gradient = prior.value_and_gradient(image)
    for place in ((0, 0, 0), (1, 2, 3), (2, 3, 4)):
        step = torch.zeros_like(image)
        step[place] = 1e-5
        (above, slope_above), (below, slope_below) = (prior.value_and_gradient(image + s) for s in (step, -step))
        assert float(gradient[place]) == pytest.approx((above - below) / 2e-5, rel=1e-4)
        curvature = float(slope_above[place] - slope_below[place]) / 2e-5
        assert float(prior.curvature(image)[place]) == pytest.approx(curvature, rel=1e-4)


@pytest.mark.parametrize(("e", "s", "z", "mu"), [(2.0, 1.0, 3.0, 0.5), (0.0, 1.0, 3.0, 2.0), (4.0, 0.1, 0.0, 1e-9)])
def test_the_closed_form_is_the_maximum(e: float, s: float, z: float, mu: float) -> None:
    best = float(em_towards(*(torch.tensor(value, dtype=torch.float64) for value in (e, s, z)), mu))
    x = best + np.linspace(-0.1, 0.1, 11) * max(best, 0.1)
    x = x[x > 0]
    surrogate = (e * np.log(x) if e else 0) - s * x - mu / 2 * (x - z) ** 2
    assert abs(x[np.argmax(surrogate)] - best) <= 1e-6 * max(best, 1)


def test_a_resolution_model_is_adjoint_and_keeps_activity(scan: Scan) -> None:
    projector = BlurringProjector(scan.projector, 12.0, scan.grid.voxel_size_mm)
    torch.manual_seed(1)
    image, data = torch.rand(projector.image_shape), torch.rand(projector.data_shape)
    forward = (projector.forward(image).double() * data).sum()
    assert float(forward) == pytest.approx(float((image.double() * projector.adjoint(data)).sum()), rel=1e-5)
    subset = projector.with_subsets(8).subset(3)
    torch.testing.assert_close(subset.forward(image), projector.forward(image)[:, 3::8])


def test_fbp_gives_the_activity_of_direct_planes_back() -> None:
    expected = project_phantom(rods(), BEAM)
    image = fbp(expected.measured(seed=None), expected.grid).numpy()
    assert image.shape == (3, 64, 64)
    inner = np.stack([binary_erosion(plane == 1, iterations=3) for plane in expected.labels])
    assert image[inner].mean() == pytest.approx(1.0, rel=0.02)
    assert image[:, 30:34, 20:24].mean() > 3.5 and abs(image[:, 30:34, 39:43].mean()) < 0.2


def test_fbp_refuses_what_it_cannot_invert(scan: Scan) -> None:
    tilted = replace(scan.expected.geometry, segments=(Segment(-1, -1), Segment(0, 0)))
    with pytest.raises(PETDiffusionError, match="direct planes"):
        fbp(Sinogram(tilted, torch.zeros(tilted.data_shape)), scan.grid)
