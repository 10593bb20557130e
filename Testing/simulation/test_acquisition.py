"""Simulated scans: the right totals, noise that grows as the dose falls and is correlated, and repeatable."""

from dataclasses import replace

import numpy as np
import pytest

from PETDiffusionLib.projection.attenuation import WATER_MU_PER_MM
from PETDiffusionLib.simulation.acquisition import scan
from PETDiffusionLib.simulation.phantom import empty_phantom
from PETDiffusionLib.simulation.scanners import SCANNERS

SCANNER = replace(SCANNERS["whole-body-4.7"], bed_mm=0.0)


def cylinder():
    phantom = empty_phantom((24, 90, 90), (3.0, 3.0, 3.0))
    y, x = np.indices((90, 90)) - 44.5
    phantom.paint(np.broadcast_to(np.hypot(y, x) < 35, (24, 90, 90)), "water", 2.0, WATER_MU_PER_MM)
    return phantom


@pytest.fixture(scope="module")
def result():
    return scan(cylinder(), SCANNER, [1.0, 0.25, 0.25, 0.05], np.random.default_rng(0))


def inner(volume):
    """A block well inside the cylinder."""
    middle = volume.shape[1] // 2
    return volume[3:-3, middle - 14 : middle + 14, middle - 14 : middle + 14]


def test_known_activity_comes_back(result) -> None:
    assert inner(result.reference).mean() == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("dose", range(4))
def test_total_activity_is_that_of_the_phantom_at_every_dose(result, dose) -> None:
    assert result.low_dose[dose].sum() == pytest.approx(result.truth.sum(), rel=0.02)


def test_noise_grows_as_the_square_root_of_the_dose_reduction(result) -> None:
    deviations = [(inner(volume) - inner(result.reference)).std() for volume in result.low_dose]
    assert 1.7 < deviations[1] / deviations[0] < 2.3  # four times the dose
    assert 1.9 < deviations[3] / deviations[1] < 2.6  # five times


def test_noise_is_correlated_between_neighbours_as_reconstructed_noise_is(result) -> None:
    noise = inner(result.low_dose[1]) - inner(result.reference)
    for axis in range(3):
        ahead, behind = np.delete(noise, 0, axis), np.delete(noise, -1, axis)
        assert np.corrcoef(ahead.ravel(), behind.ravel())[0, 1] > 0.3


def test_two_realisations_differ_and_share_no_noise(result) -> None:
    first, second = (inner(result.low_dose[k]) - inner(result.reference) for k in (1, 2))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1


def test_the_same_generator_gives_the_same_scan(result) -> None:
    again = scan(cylinder(), SCANNER, [1.0, 0.25, 0.25, 0.05], np.random.default_rng(0))
    assert np.array_equal(again.low_dose[3], result.low_dose[3])


def test_without_attenuation_in_the_model_the_centre_would_be_dark() -> None:
    clear = cylinder()
    clear.mu[:] = 0
    assert scan(clear, SCANNER, [], np.random.default_rng(0)).reference.sum() == pytest.approx(
        scan(cylinder(), SCANNER, [], np.random.default_rng(0)).reference.sum(), rel=0.02
    )
