"""The benchmark's classical denoisers: what they know of the noise is right, and they are tuned to their best."""

import importlib
from types import ModuleType

import numpy as np
import pytest
from scipy import ndimage

from PETDiffusionLib.evaluation import metrics

VOXEL_MM = (4.0, 4.0, 3.0)
NOISE_SIGMA_VOXELS = (1.0, 0.7, 0.7)


@pytest.fixture(scope="module")
def baselines() -> ModuleType:
    pytest.importorskip("bm4d", reason="bm4d is only needed for benchmarks")
    return importlib.import_module("Testing.benchmarks.baselines")


def correlated_noise(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), NOISE_SIGMA_VOXELS, mode="wrap")
    return noise / noise.std()


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A body with an organ and a lesion, and the same with correlated noise that grows with the square root."""
    reference = np.zeros((36, 48, 48))
    reference[:, 6:42, 6:42] = 1.0
    reference[8:28, 12:30, 10:26] = 2.5
    reference[14:20, 32:38, 32:38] = 6.0
    reference = ndimage.gaussian_filter(reference, 1.0)
    noise = 0.3 * np.sqrt(reference) * correlated_noise(reference.shape, 1)
    return np.maximum(reference + noise, 0).astype(np.float32), reference.astype(np.float32)


def test_the_noise_is_found_in_the_volume_itself(baselines, pair) -> None:
    low, reference = pair
    scaled = low / np.sqrt(np.maximum(reference, 0.05))
    noise = baselines.noise_in_flat_parts(scaled, low, VOXEL_MM)
    assert noise.sigma == pytest.approx(0.3, rel=0.12)  # the slowest waves are taken for anatomy
    middle = tuple(count // 2 for count in noise.correlation.shape)
    for axis, width in enumerate(NOISE_SIGMA_VOXELS):
        neighbour = tuple(index + (other == axis) for other, index in enumerate(middle))
        # White noise under a Gaussian of `width` is correlated as a Gaussian of sqrt(2) times that width.
        assert noise.correlation[neighbour] == pytest.approx(np.exp(-1 / (4 * width**2)), abs=0.1)


def test_the_power_spectrum_is_that_of_the_noise(baselines) -> None:
    lags = np.arange(-4, 5)
    profiles = [np.exp(-(lags**2) / (4 * width**2)) for width in NOISE_SIGMA_VOXELS]
    correlation = profiles[0][:, None, None] * profiles[1][None, :, None] * profiles[2][None, None, :]
    shape = (20, 24, 30)
    spectrum = baselines.Noise(0.4, correlation).power_spectrum(shape)
    realisations = [0.4 * correlated_noise(shape, seed) for seed in range(60)]
    measured = np.mean([np.abs(np.fft.fftn(noise)) ** 2 for noise in realisations], axis=0)
    assert spectrum.mean() / spectrum.size == pytest.approx(0.16)
    assert np.corrcoef(spectrum.ravel(), measured.ravel())[0, 1] > 0.97


def test_the_square_root_and_back_change_nothing_by_themselves_and_keep_the_mean(baselines, pair) -> None:
    low, reference = pair
    np.testing.assert_allclose(baselines.in_square_root(low, VOXEL_MM, lambda volume, noise: volume), low, atol=1e-5)
    smooth = baselines.in_square_root(low, VOXEL_MM, lambda volume, noise: ndimage.gaussian_filter(volume, 1.2))
    assert smooth.mean() == pytest.approx(low.mean(), rel=0.01)
    root = ndimage.gaussian_filter(np.sqrt(low), 1.2)
    assert (root**2).mean() < 0.98 * low.mean()  # what the plain inverse would lose


def test_the_tuned_gaussian_is_the_best_of_its_values(baselines, pair) -> None:
    low, reference = (array[6:30, 8:40, 8:40] for array in pair)
    scores = {
        width: baselines.mean_psnr("gaussian", width, [(low, reference, VOXEL_MM)])
        for width in baselines.BASELINES["gaussian"].values
    }
    tuned = baselines.tuned_parameters([(low, reference, VOXEL_MM)], ["gaussian"])["gaussian"]
    assert scores[tuned] == max(scores.values())
    body = metrics.body_mask(reference, VOXEL_MM)
    assert scores[tuned] > metrics.psnr(reference, low, body) + 2


def test_climbing_finds_the_top_from_either_side_without_trying_all(baselines) -> None:
    values = [float(value) for value in range(21)]
    for top in (0.0, 3.0, 10.0, 20.0):
        tried: list[float] = []

        def score(value: float, top: float = top, tried: list[float] = tried) -> float:
            tried.append(value)
            return -abs(value - top)

        assert baselines.climb(values, score) == top
        assert len(tried) == len(set(tried)) <= abs(top - 10) + 3


def test_non_local_means_takes_away_noise(baselines, pair) -> None:
    low, reference = (array[10:22, 10:26, 10:26] for array in pair)
    denoised = baselines.apply("nlm", low, VOXEL_MM, 0.6)
    assert denoised.shape == low.shape and denoised.dtype == np.float32
    everywhere = np.ones(low.shape, dtype=bool)
    assert metrics.psnr(reference, denoised, everywhere) > metrics.psnr(reference, low, everywhere) + 2
