"""Resampling between an input's grid and the model's keeps what it should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from PETDiffusionLib.volumes.resampling import (
    average_matrix,
    centre_matrix,
    downsampled,
    isotropic_grid,
    spline_matrix,
)

SPACINGS = st.floats(0.8, 6.0)


def pet_like(shape, spacing_mm, seed=0):
    """Random activity blurred to 6 mm, as no PET is sharper; zero at the borders."""
    values = np.random.default_rng(seed).random(shape).astype(np.float32) ** 4
    values[[0, -1]] = values[:, [0, -1]] = values[:, :, [0, -1]] = 0
    return gaussian_filter(values, [6 / 2.355 / s for s in spacing_mm])


@given(st.tuples(SPACINGS, SPACINGS, SPACINGS))
@settings(max_examples=15, deadline=None)
def test_there_and_back_gives_the_input(spacing_mm) -> None:
    volume = pet_like((20, 24, 22), spacing_mm)
    pair = isotropic_grid(volume.shape, spacing_mm, 1.65)
    back = pair.to_input(pair.to_model(volume))
    assert back.shape == volume.shape
    assert np.abs(back - volume).max() < 0.03 * volume.max()


@given(st.tuples(SPACINGS, SPACINGS, SPACINGS))
@settings(max_examples=15, deadline=None)
def test_activity_is_kept(spacing_mm) -> None:
    volume = np.pad(pet_like((16, 18, 17), spacing_mm), 6)
    pair = isotropic_grid(volume.shape, spacing_mm, 1.65)
    model = pair.to_model(volume)
    before = volume.sum() * np.prod(pair.input_spacing_mm)
    assert model.sum() * np.prod(pair.model_spacing_mm) == pytest.approx(before, rel=5e-3)


@pytest.mark.parametrize("average", [True, False])
def test_a_volume_is_read_by_one_matrix_an_axis(average) -> None:
    pair = isotropic_grid((90, 41, 70), (1.1, 3.7, 1.65), 2.5)
    volume = np.random.default_rng(0).random(pair.input_shape).astype(np.float32)
    matrices = [
        (average_matrix if average and new > old else centre_matrix)(count, old, new_count, new)
        for count, old, new_count, new in zip(
            pair.input_shape, pair.input_spacing_mm, pair.model_shape, pair.model_spacing_mm, strict=True
        )
    ]
    whole = np.einsum("Zz,Yy,Xx,zyx->ZYX", *matrices, volume, optimize=True)
    assert pair.to_model(volume, average) == pytest.approx(whole, abs=2e-6)


def test_a_volume_already_on_the_models_voxels_is_not_touched() -> None:
    volume = pet_like((8, 9, 10), (1.65, 1.65, 1.65))
    pair = isotropic_grid(volume.shape, (1.65, 1.65, 1.65), 1.65)
    assert pair.to_model(volume) is volume


def test_a_straight_line_stays_straight_between_the_centres() -> None:
    matrix = spline_matrix(12, np.linspace(3, 8, 31))
    assert matrix @ np.arange(12.0) == pytest.approx(np.linspace(3, 8, 31), abs=0.02)


def test_rows_sum_to_one_so_a_constant_stays_constant() -> None:
    for make in (centre_matrix, average_matrix):
        assert make(30, 1.0, 11, 2.6).sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_larger_voxels_hold_the_mean_and_do_not_alias() -> None:
    checks = np.indices((24, 24, 24)).sum(axis=0) % 2 * 1.0
    coarse = downsampled(checks, (1, 1, 1), (8, 8, 8), (3, 3, 3))
    assert np.abs(coarse[2:-2, 2:-2, 2:-2] - 0.5).max() < 0.05


def test_another_shape_than_the_pairs_is_refused() -> None:
    pair = isotropic_grid((8, 8, 8), (2, 2, 2), 1.65)
    with pytest.raises(ValueError, match=r"expected an array of shape \(8, 8, 8\), found \(8, 8, 9\)"):
        pair.to_model(np.zeros((8, 8, 9), np.float32))


def test_a_small_lesion_on_fine_voxels_keeps_its_peak_where_nothing_is_averaged() -> None:
    """5 mm wide on voxels of 1.65 mm, through voxels of 2.5 mm and back."""
    volume = np.zeros((40, 40, 40), np.float32)
    volume[20, 20, 20] = 1
    volume = gaussian_filter(volume, 5 / 2.355 / 1.65)
    pair = isotropic_grid(volume.shape, (1.65,) * 3, 2.5)
    read, averaged = (pair.to_input(pair.to_model(volume, average)).max() / volume.max() for average in (False, True))
    assert read > 0.89 > 0.85 > averaged
