"""What is measured of a volume's noise: its size and its correlation, whatever the unit, and crops as of the whole."""

import pytest
import torch

from PETDiffusionLib.diffusion.noise_level import LAGS, noise_scale, smoothed

VOXEL_SIZE_MM = 2.5


def noisy(sigma_voxels: float, size: float, seed: int = 0) -> torch.Tensor:
    """Two SUV everywhere with noise of a relative `size`, filtered by a Gaussian of `sigma_voxels`."""
    noise = torch.randn(1, 1, 48, 56, 64, generator=torch.Generator().manual_seed(seed))
    if sigma_voxels:
        noise = smoothed(noise, sigma_voxels)
    return 2 + 2 * size * noise / noise.std()


def test_level_and_scale_are_the_noise_that_was_put_in() -> None:
    noise = noise_scale(noisy(0, 0.2), VOXEL_SIZE_MM)
    assert float(noise.whole.level) == pytest.approx(0.2, rel=0.06)
    assert float(noise.scale.median()) == pytest.approx(0.4, rel=0.06)
    assert float(noise.whole.uptake) == pytest.approx(2.0, rel=0.01)


def test_white_noise_is_alike_nowhere() -> None:
    correlation = noise_scale(noisy(0, 0.2), VOXEL_SIZE_MM).whole.correlation
    assert correlation.shape == (1, 2 * len(LAGS))
    assert float(correlation.abs().max()) < 0.04


def test_filtered_noise_is_alike_as_far_as_the_filter_reaches() -> None:
    """Noise through a Gaussian of sigma s is correlated as exp(-lag^2 / 4 s^2), less what y - smooth takes away."""
    measured = {s: noise_scale(noisy(s, 0.2), VOXEL_SIZE_MM).whole.correlation[0] for s in (0.0, 1.0, 1.5)}
    for finer, coarser in ((0.0, 1.0), (1.0, 1.5)):
        assert (measured[coarser][[0, 1, 3, 4]] > measured[finer][[0, 1, 3, 4]] + 0.02).all()
    assert float(measured[1.5][0]) == pytest.approx(float(torch.exp(torch.tensor(-1 / 9))), abs=0.06)


def test_noise_that_is_coarse_along_the_axis_alone_is_told_apart() -> None:
    volume = noisy(0, 0.2)
    axial = (volume + volume.roll(1, 2) + volume.roll(-1, 2)) / 3
    along, across = noise_scale(axial, VOXEL_SIZE_MM).whole.correlation[0].split(len(LAGS))
    assert float(along[0]) > 0.5
    assert float(across[0].abs()) < 0.05


def test_another_unit_changes_the_uptake_alone() -> None:
    volume = noisy(1.0, 0.3)
    suv, bqml = (noise_scale(factor * volume, VOXEL_SIZE_MM).whole for factor in (1.0, 4000.0))
    assert float(bqml.uptake) == pytest.approx(4000 * float(suv.uptake), rel=1e-4)
    assert torch.allclose(suv.level, bqml.level, rtol=1e-4)
    assert torch.allclose(suv.correlation, bqml.correlation, atol=1e-3)


def test_a_crop_is_told_what_was_measured_in_the_whole() -> None:
    volume = noisy(1.0, 0.3)
    whole = noise_scale(volume, VOXEL_SIZE_MM).whole
    crop = noise_scale(volume[..., :16, :16, :16], VOXEL_SIZE_MM, whole)
    assert crop.whole is whole


def test_an_empty_volume_has_no_noise() -> None:
    whole = noise_scale(torch.zeros(1, 1, 16, 16, 16), VOXEL_SIZE_MM).whole
    assert torch.isfinite(whole.correlation).all() and torch.isfinite(whole.level).all()
