"""Expected randoms from delayed coincidences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PETDiffusionLib.corrections.crystals import CrystalPairs
from PETDiffusionLib.corrections.randoms import estimated_randoms
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.binning import EventBinner
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, TimeOfFlight, segments_of_span

GAP = 9  # the last of so many crystals is none


def scanner(span: int = 1, views: int = 36, rings: int = 5) -> ScannerGeometry:
    return ScannerGeometry("small", 200.0, rings, 72, 5.0, views, 41, segments_of_span(rings, span, rings - 1))


def singles(geometry: ScannerGeometry, seed: int = 0) -> np.ndarray:
    """Rates of crystals that differ by 20 %, with gaps, [rings, crystals]."""
    rates = np.random.default_rng(seed).gamma(25, 1 / 25, (geometry.rings, geometry.crystals))
    rates[:, ::GAP] = 0
    return rates


@given(span=st.sampled_from([1, 3, 5]), mashing=st.sampled_from([1, 2, 3]), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_pairs_of_crystals_are_those_that_events_are_binned_by(span: int, mashing: int, seed: int) -> None:
    geometry = scanner(span, 36 // mashing)
    rates = singles(geometry, seed)
    ring, crystal = (part.ravel() for part in np.indices(rates.shape))
    first, second = np.triu_indices(ring.size, 1)  # every pair of crystals once, as events come
    binner = EventBinner(geometry)
    bins = binner.bins((crystal[first], crystal[second]), (ring[first], ring[second]), np.zeros(len(first)))
    weights = rates.ravel()[first] * rates.ravel()[second]
    expected = np.bincount(bins, weights, binner.size + 1)[: binner.size].reshape(geometry.data_shape)
    pairs = CrystalPairs(geometry)
    np.testing.assert_allclose(pairs.products(rates), expected, rtol=1e-4, atol=1e-5)
    everything = pairs.products(rates)
    assert everything.sum() == pytest.approx((rates * pairs.partner_totals(rates)).sum() / 2, rel=1e-5)
    np.testing.assert_allclose(
        pairs.partner_sums(np.ones(geometry.data_shape), rates), pairs.partner_totals(rates), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("span", "views", "of_noise"), [(1, 36, 0.15), (3, 36, 0.15), (1, 18, 0.2), (5, 12, 0.8)])
def test_randoms_are_found_from_their_noisy_delayeds(span: int, views: int, of_noise: float) -> None:
    geometry = scanner(span, views)
    mean = CrystalPairs(geometry).products(singles(geometry))
    mean *= 2e6 / mean.sum()
    delayed = torch.from_numpy(np.random.default_rng(1).poisson(mean).astype(np.float32))
    found = estimated_randoms(delayed, geometry).numpy()
    seen = mean > 0
    assert found.sum() == pytest.approx(float(delayed.sum()), rel=1e-5)
    assert found[~seen].max(initial=0) < 0.05 * mean.mean()  # where gaps are
    error, noise = (np.sqrt(np.mean((v[seen] / mean[seen] - 1) ** 2)) for v in (found, delayed.numpy()))
    assert error < of_noise * noise
    assert error < 0.04


def test_few_delayeds_leave_no_bin_of_working_crystals_without_randoms() -> None:
    geometry = scanner(rings=8)
    mean = CrystalPairs(geometry).products(singles(geometry))
    mean *= 1000 / mean.sum()  # 4 for each crystal
    delayed = torch.from_numpy(np.random.default_rng(2).poisson(mean).astype(np.float32))
    found = estimated_randoms(delayed, geometry).numpy()
    seen = mean > 0
    assert (found[seen] > 0).all()
    assert np.sqrt(np.mean((found[seen] / mean[seen] - 1) ** 2)) < 0.5  # crystals differ by 20 %, so pairs by 28 %


def test_bins_of_time_of_flight_share_randoms_evenly() -> None:
    geometry = replace(scanner(), tof=TimeOfFlight(5, 60.0, 25.0))
    mean = CrystalPairs(geometry).products(singles(geometry))
    mean = np.repeat(mean[..., None], 5, axis=3) * (1e5 / mean.sum())
    delayed = torch.from_numpy(np.random.default_rng(1).poisson(mean).astype(np.float32))
    found = estimated_randoms(delayed, geometry)
    assert found.shape == delayed.shape
    assert (found == found[..., :1]).all()
    assert float(found.sum()) == pytest.approx(float(delayed.sum()), rel=1e-5)


def test_arc_corrected_bins_and_empty_delayeds_are_refused() -> None:
    geometry = scanner()
    with pytest.raises(PETDiffusionError, match="arc-corrected"):
        estimated_randoms(torch.ones(geometry.data_shape), replace(geometry, bin_mm=4.0))
    for counts in (torch.zeros(geometry.data_shape), -torch.ones(geometry.data_shape)):
        with pytest.raises(PETDiffusionError, match="counts from 0 up"):
            estimated_randoms(counts, geometry)
