"""Between Bq/ml and SUV: laws, facts stated by hand, and what is asked for when something is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import Unit, Volume, read_volume, to_bqml, to_suv
from Testing.volumes.dicom_series import tracer_of

HALF_LIFE_S = 6586.2
activities = arrays(np.float32, (3, 4, 5), elements=st.floats(0, 2**20, width=32))


def volume_of(array: np.ndarray, unit: Unit = "bqml", **facts: object) -> Volume:
    return Volume(sitk.GetImageFromArray(array.astype(np.float32)), unit, {"source": "test.nii", **facts})


@settings(deadline=None, max_examples=30)
@given(activities, st.integers(-6, 6))
def test_suv_is_linear_in_activity(array: np.ndarray, power: int) -> None:
    once = to_suv(volume_of(array), weight_kg=70, dose_mbq=370, minutes=60)
    scaled = to_suv(volume_of(array * np.float32(2.0**power)), weight_kg=70, dose_mbq=370, minutes=60)
    np.testing.assert_allclose(scaled.array, once.array * 2.0**power, rtol=1e-6, atol=1e-30)


@settings(deadline=None, max_examples=30)
@given(activities, activities)
def test_suv_of_a_sum_is_the_sum_of_suvs(first: np.ndarray, second: np.ndarray) -> None:
    def suv(array: np.ndarray) -> np.ndarray:
        return to_suv(volume_of(array), weight_kg=70, dose_mbq=370, minutes=60).array

    np.testing.assert_allclose(suv(first + second), suv(first) + suv(second), rtol=1e-5, atol=1e-9)


def test_more_minutes_than_any_tracer_lasts_are_refused() -> None:
    for known in ({}, {"half_life_s": 6586.2, "suv_per_bqml": None, "minutes": 2940.0}):
        volume = volume_of(np.ones((2, 2, 2)), **known)
        minutes = None if known else 1e7
        with pytest.raises(PETDiffusionError, match="10 half-lives"):
            to_suv(volume, weight_kg=70, dose_mbq=370, minutes=minutes)


@settings(deadline=None, max_examples=30)
@given(activities, st.floats(1, 200), st.floats(1, 1000), st.floats(0, 300))
def test_bqml_and_back_is_the_same_volume(array: np.ndarray, weight: float, dose: float, minutes: float) -> None:
    stated = {"weight_kg": weight, "dose_mbq": dose, "minutes": minutes}
    there = to_suv(volume_of(array), **stated)
    np.testing.assert_allclose(to_bqml(there).array, array, rtol=1e-6, atol=1e-30)


def test_the_dose_spread_evenly_over_the_body_is_suv_one() -> None:
    """370 MBq decayed over two half-lives in 50 kg is 1850 Bq/ml."""
    even = volume_of(np.full((2, 2, 2), 370e6 / 4 / 50e3))
    suv = to_suv(even, weight_kg=50, dose_mbq=370, minutes=2 * HALF_LIFE_S / 60)
    np.testing.assert_allclose(suv.array, 1, rtol=1e-6)
    assert suv.unit == "suvbw" and suv.facts["suv_variant"] == "SUVbw"


def test_suv_passes_through_untouched() -> None:
    volume = volume_of(np.ones((2, 2, 2)), "suvbw")
    assert to_suv(volume) is volume


def test_a_file_without_half_life_is_taken_for_fluorine_18_and_says_so() -> None:
    suv = to_suv(volume_of(np.ones((2, 2, 2))), weight_kg=70, dose_mbq=370, minutes=60)
    assert any("fluorine-18" in warning for warning in suv.warnings)
    assert to_suv(volume_of(np.full((2, 2, 2), 5e3)), weight_kg=70, dose_mbq=370, minutes=0).warnings == []


def test_a_stated_half_life_is_used() -> None:
    suv = to_suv(volume_of(np.full((2, 2, 2), 1e3)), weight_kg=70, dose_mbq=140, minutes=60, half_life_s=3600)
    np.testing.assert_allclose(suv.array, 1, rtol=1e-6)
    assert suv.warnings == []


def test_an_unknown_unit_is_asked_for() -> None:
    with pytest.raises(PETDiffusionError, match="--unit") as caught:
        to_suv(volume_of(np.ones((2, 2, 2)), "unknown"), weight_kg=70, dose_mbq=370, minutes=60)
    assert caught.value.code == "no-unit"


@pytest.mark.parametrize(
    ("stated", "asked"),
    [
        ({}, ["--weight-kg", "--dose-mbq", "--minutes"]),
        ({"weight_kg": 70}, ["--dose-mbq", "--minutes"]),
        ({"weight_kg": 70, "dose_mbq": 370}, ["--minutes"]),
    ],
)
def test_everything_that_is_missing_is_named_with_its_option(stated: dict[str, float], asked: list[str]) -> None:
    with pytest.raises(PETDiffusionError) as caught:
        to_suv(volume_of(np.ones((2, 2, 2))), **stated)
    assert caught.value.code == "no-suv"
    assert [word for word in ("--weight-kg", "--dose-mbq", "--minutes") if word in str(caught.value)] == asked


@pytest.mark.parametrize(
    "wrong", [{"dose_mbq": 0}, {"weight_kg": -70}, {"minutes": -1}, {"dose_mbq": float("nan")}, {"half_life_s": 0}]
)
def test_a_stated_value_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PETDiffusionError, match=next(iter(wrong))) as caught:
        to_suv(volume_of(np.ones((2, 2, 2))), **{"weight_kg": 70, "dose_mbq": 370, "minutes": 60, **wrong})
    assert caught.value.code == "bad-value"


def test_a_stated_weight_completes_a_series_that_lacks_it(make_series: Callable[..., Path]) -> None:
    volume = read_volume(make_series(lambda dataset, _: delattr(dataset, "PatientWeight")))
    with pytest.raises(PETDiffusionError, match="--weight-kg"):
        to_suv(volume)
    suv = to_suv(volume, weight_kg=70)
    np.testing.assert_allclose(suv.array, volume.array * 1e-3, rtol=1e-6)
    assert suv.facts["stated"] == {"weight_kg": 70} and suv.facts["minutes"] == 60


def test_what_is_stated_against_the_file_is_said(make_series: Callable[..., Path]) -> None:
    volume = read_volume(make_series())
    known = volume.facts["weight_kg"]
    assert not to_suv(volume, weight_kg=known).warnings
    assert to_suv(volume, weight_kg=2 * known).warnings == [
        f"The file says weight_kg {known:g}; {2 * known:g} was stated, and taken."
    ]


def test_a_series_without_half_life_is_not_taken_for_fluorine(make_series: Callable[..., Path]) -> None:
    volume = read_volume(make_series(lambda dataset, _: delattr(tracer_of(dataset), "RadionuclideHalfLife")))
    with pytest.raises(PETDiffusionError, match="RadionuclideHalfLife"):
        to_suv(volume, weight_kg=70, dose_mbq=370, minutes=60)


def test_an_uncorrected_series_stays_refused_whatever_is_stated(make_series: Callable[..., Path]) -> None:
    volume = read_volume(make_series(lambda dataset, _: setattr(dataset, "CorrectedImage", ["DECY"])))
    with pytest.raises(PETDiffusionError, match="ATTN"):
        to_suv(volume, weight_kg=70, dose_mbq=370, minutes=60)
