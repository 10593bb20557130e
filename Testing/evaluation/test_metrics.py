"""The figures of merit against scikit-image, against known answers, and against the laws they must obey."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.evaluation import metrics

VOXEL_MM = (2.0, 2.5, 3.0)  # x, y, z


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    reference = ndimage.gaussian_filter(rng.random((20, 24, 28)), 2).astype(np.float32) * 8
    return reference, (reference + rng.normal(0, 0.3, reference.shape)).astype(np.float32)


def ball(shape: tuple[int, int, int], radius_mm: float, voxel_size_mm: tuple[float, float, float]) -> np.ndarray:
    """Distance from the array's centre at most a radius: boolean [z, y, x]."""
    axes = [
        (np.arange(count) - (count - 1) / 2) * size for count, size in zip(shape, reversed(voxel_size_mm), strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return z**2 + y**2 + x**2 <= radius_mm**2


# ---- the body


def test_body_holds_tissue_and_cold_lungs_and_leaves_the_air_and_the_bed() -> None:
    image = np.zeros((30, 60, 60), dtype=np.float32)
    image[:, 15:45, 10:50] = 0.8
    image[:, 22:38, 15:27] = 0.02  # a lung that both ends of the volume cut open
    image[:, 54:57, 5:55] = 0.5  # the bed, apart from the patient
    body = metrics.body_mask(image, (4.0, 4.0, 4.0))
    assert body[:, 17:43, 12:48].all()
    assert not body[:, 52:].any()
    assert not body[:, :12].any()


def test_body_does_not_follow_noise_in_the_air() -> None:
    rng = np.random.default_rng(0)
    truth = ball((40, 40, 40), 50.0, (4.0, 4.0, 4.0))
    noisy = truth + rng.normal(0, 0.2, truth.shape)
    body = metrics.body_mask(noisy, (4.0, 4.0, 4.0))
    shell = ball(truth.shape, 62.0, (4.0, 4.0, 4.0))
    assert not body[~shell].any()
    assert body[truth].all()


def test_an_image_without_a_body_is_refused() -> None:
    with pytest.raises(PETDiffusionError, match=r"0\.15 SUV") as caught:
        metrics.body_mask(np.full((8, 8, 8), 0.01, dtype=np.float32), VOXEL_MM)
    assert caught.value.code == "no-body"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_body_is_the_same_in_a_flipped_volume(pair, axis) -> None:
    reference = pair[0] - 3.8
    flipped = metrics.body_mask(np.flip(reference, axis), VOXEL_MM)
    assert np.array_equal(np.flip(flipped, axis), metrics.body_mask(reference, VOXEL_MM))


# ---- whole-image figures


def test_psnr_and_nrmse_in_a_mask_are_those_of_scikit_image_on_its_voxels(pair) -> None:
    reference, image = pair
    mask = reference > 4
    expected = peak_signal_noise_ratio(reference[mask], image[mask], data_range=10.0)
    assert metrics.psnr(reference, image, mask) == pytest.approx(expected, rel=1e-5)
    assert metrics.nrmse(reference, image, mask) == pytest.approx(
        normalized_root_mse(reference[mask], image[mask]), rel=1e-5
    )


def test_psnr_of_a_known_error() -> None:
    reference = np.full((8, 8, 8), 2.0, dtype=np.float32)
    everywhere = np.ones(reference.shape, dtype=bool)
    assert metrics.psnr(reference, reference + 0.1, everywhere) == pytest.approx(40.0, abs=1e-4)  # (10 / 0.1)^2
    assert metrics.nrmse(reference, reference + 0.1, everywhere) == pytest.approx(0.05, rel=1e-5)
    assert metrics.psnr(reference, reference, everywhere) == math.inf


def test_errors_outside_the_mask_do_not_count(pair) -> None:
    reference, image = pair
    mask = np.zeros(reference.shape, dtype=bool)
    mask[8:12, 8:16, 8:16] = True
    worse = image.copy()
    worse[~ndimage.binary_dilation(mask, iterations=4, structure=np.ones((3, 3, 3)))] += 5
    assert metrics.psnr(reference, worse, mask) == metrics.psnr(reference, image, mask)
    assert metrics.nrmse(reference, worse, mask) == metrics.nrmse(reference, image, mask)
    assert metrics.ssim(reference, worse, mask) == pytest.approx(metrics.ssim(reference, image, mask), abs=1e-5)


def test_ssim_is_the_mean_of_scikit_images_map_in_the_mask(pair) -> None:
    reference, image = pair
    interior = np.zeros(reference.shape, dtype=bool)
    interior[3:-3, 3:-3, 3:-3] = True  # the part that scikit-image averages
    expected = structural_similarity(reference, image, data_range=10.0)
    assert metrics.ssim(reference, image, interior) == pytest.approx(expected, abs=1e-6)
    corner = np.zeros(reference.shape, dtype=bool)
    corner[:3, :2, :2] = True
    _, similarity = structural_similarity(reference, image, data_range=10.0, full=True)
    assert metrics.ssim(reference, image, corner) == pytest.approx(float(similarity[corner].mean()), abs=1e-5)


def test_ssim_refuses_a_volume_thinner_than_its_window() -> None:
    thin = np.ones((4, 20, 20), dtype=np.float32)
    with pytest.raises(PETDiffusionError, match="20 x 20 x 4") as caught:
        metrics.ssim(thin, thin, thin > 0)
    assert caught.value.code == "too-small"


def test_the_authors_convention_clips_at_16_and_takes_the_unclipped_peak() -> None:
    reference = np.zeros((10, 10, 10), dtype=np.float32)
    reference[5, 5, 5] = 32.0
    image = reference.copy()
    image[5, 5, 5] = 20.0  # clipped to the same 16: no error
    image[0] = -3.0  # zeroed: no error
    assert metrics.ddpm3d_psnr(reference, image) == 100.0
    image[5, 5, 5] = 14.0
    assert metrics.ddpm3d_psnr(reference, image) == pytest.approx(10 * math.log10(32.0**2 / (4.0 / 1000)), rel=1e-6)
    clipped, estimate = np.minimum(reference, 16), np.clip(image, 0, 16)
    expected = structural_similarity(clipped, estimate, data_range=16)
    assert metrics.ddpm3d_ssim(reference, image) == pytest.approx(expected, abs=1e-7)
    assert expected < 1


@settings(max_examples=10, deadline=None)
@given(axes=st.sets(st.integers(0, 2)), seed=st.integers(0, 1000))
def test_no_figure_depends_on_the_direction_of_an_axis(axes, seed) -> None:
    rng = np.random.default_rng(seed)
    reference = rng.random((9, 11, 13)).astype(np.float32) * 5
    image = reference + rng.normal(0, 0.2, reference.shape).astype(np.float32)
    mask = rng.random(reference.shape) > 0.3
    sd = rng.random(reference.shape).astype(np.float32)

    def figures(*arrays: np.ndarray) -> list[float]:
        a, b, inside, deviation = arrays
        return [
            metrics.psnr(a, b, inside),
            metrics.ssim(a, b, inside),
            metrics.nrmse(a, b, inside),
            metrics.ddpm3d_psnr(a, b),
            metrics.ddpm3d_ssim(a, b),
            metrics.suv_peak(b, inside, VOXEL_MM),
            metrics.coverage(a, b, deviation, inside),
            metrics.error_correlation(a, b, deviation, inside),
        ]

    arrays = (reference, image, mask, sd)
    flipped = [np.flip(array, tuple(axes)) for array in arrays]
    assert figures(*flipped) == pytest.approx(figures(*arrays), rel=1e-5)


# ---- regions


@pytest.mark.parametrize("voxel_size_mm", [(1.0, 1.0, 1.0), (1.65, 1.65, 1.65), (4.7, 4.7, 3.27), (12.0, 13.0, 30.0)])
def test_the_sphere_of_suvpeak_has_its_volume_on_any_voxel_size(voxel_size_mm) -> None:
    weights = metrics.sphere_weights(voxel_size_mm)
    assert weights.sum() == pytest.approx(1.0)
    assert all(count % 2 == 1 for count in weights.shape)
    assert np.allclose(weights, weights[::-1, ::-1, ::-1])
    if max(voxel_size_mm) < 6:  # the centre voxel is all inside: its weight is its volume over the sphere's
        centre = weights[tuple(count // 2 for count in weights.shape)]
        assert centre == pytest.approx(math.prod(voxel_size_mm) / (math.pi / 6 * 12.0**3), rel=0.01)


@pytest.mark.parametrize("voxel_size_mm", [(0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (1.65, 1.65, 1.65)])
def test_suvpeak_of_a_quadratic_hill_is_its_analytic_mean(voxel_size_mm) -> None:
    # Over a ball of radius R the mean of r^2 is 3/5 R^2, so the mean of 10 - 0.05 r^2 is 10 - 0.03 R^2.
    shape = (41, 43, 45)
    axes = [(np.arange(n) - n // 2) * size for n, size in zip(shape, reversed(voxel_size_mm), strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    hill = 10.0 - 0.05 * (z**2 + y**2 + x**2)
    around = (z**2 + y**2 + x**2) < 10.0**2
    measured = metrics.suv_peak(hill, around, voxel_size_mm)
    assert measured == pytest.approx(10.0 - 0.03 * 6.0**2, abs=0.03)
    assert metrics.suv_max(hill, around) == 10.0


def test_suvpeak_of_a_large_uniform_sphere_is_its_uptake_and_a_small_one_is_diluted() -> None:
    voxel = (2.0, 2.0, 2.0)
    large = 7.0 * ball((31, 31, 31), 25.0, voxel)
    assert metrics.suv_peak(large, large > 0, voxel) == pytest.approx(7.0, rel=1e-9)
    fine = (1.0, 1.0, 1.0)
    small = 8.0 * ball((31, 31, 31), 3.0, fine)  # an eighth of the 12 mm sphere's volume
    share = np.count_nonzero(small) / (math.pi / 6 * 12.0**3)
    assert metrics.suv_peak(small, small > 0, fine) == pytest.approx(8.0 * share, rel=0.01)


def test_suvpeak_centres_stay_in_the_region_and_uniform_borders_are_not_darkened() -> None:
    image = np.ones((20, 20, 20), dtype=np.float32)
    image[10:, 10:, 10:] = 9.0
    corner = np.zeros(image.shape, dtype=bool)
    corner[0, 0, 0] = True
    assert metrics.suv_peak(image, corner, (2.0, 2.0, 2.0)) == pytest.approx(1.0)


def test_a_regions_bias_is_what_was_added_to_it() -> None:
    rng = np.random.default_rng(3)
    reference = 4.0 + rng.random((12, 12, 12))
    region = np.zeros(reference.shape, dtype=bool)
    region[3:9, 3:9, 3:9] = True
    image = np.where(region, reference * 1.07, reference * 0.2)
    bias = metrics.bias_percent(metrics.suv_mean(reference, region), metrics.suv_mean(image, region))
    assert bias == pytest.approx(7.0)
    assert metrics.recovery(reference, image, region) == pytest.approx(1.07)
    assert math.isnan(metrics.bias_percent(0.0, 1.0))


def test_contrast_recovery_of_hot_and_cold_spheres() -> None:
    image = np.full((10, 10, 10), 2.0)
    hot, cold, background = (np.zeros(image.shape, dtype=bool) for _ in range(3))
    hot[1, 1, 1:4] = cold[8, 8, 5:8] = background[4:6] = True
    image[hot], image[cold] = 5.0, 0.5
    assert metrics.contrast_recovery(image, hot, background, 4.0) == pytest.approx(0.5)  # (2.5 - 1) / (4 - 1)
    assert metrics.contrast_recovery(image, cold, background, 0.0) == pytest.approx(0.75)  # 1 - 0.25
    with pytest.raises(ValueError, match="other than 1"):
        metrics.contrast_recovery(image, hot, background, 1.0)


def test_background_variability_is_the_coefficient_of_variation() -> None:
    rng = np.random.default_rng(4)
    image = rng.normal(3.0, 0.45, (40, 40, 40))
    assert metrics.background_variability(image, np.ones(image.shape, dtype=bool)) == pytest.approx(0.15, rel=0.02)


# ---- uncertainty


@pytest.mark.parametrize(("scale", "share"), [(1.0, 0.95), (0.5, 0.673), (2.0, 0.99991)])
def test_gaussian_errors_are_covered_as_their_stated_deviation_says(scale, share) -> None:
    rng = np.random.default_rng(5)
    deviation = rng.uniform(0.1, 1.0, (50, 60, 70))
    mean = rng.random(deviation.shape)
    truth = mean + deviation * rng.standard_normal(deviation.shape)
    mask = rng.random(deviation.shape) > 0.5
    assert metrics.coverage(truth, mean, scale * deviation, mask) == pytest.approx(share, abs=0.003)


def test_correlation_sees_whether_the_deviation_follows_the_error() -> None:
    rng = np.random.default_rng(6)
    deviation = rng.uniform(0.1, 1.0, (40, 40, 40))
    mean = np.zeros(deviation.shape)
    everywhere = np.ones(deviation.shape, dtype=bool)
    exact = deviation * rng.choice([-1.0, 1.0], deviation.shape)
    assert metrics.error_correlation(exact, mean, deviation, everywhere) == pytest.approx(1.0)
    unrelated = rng.standard_normal(deviation.shape)
    assert abs(metrics.error_correlation(unrelated, mean, deviation, everywhere)) < 0.02
    assert math.isnan(metrics.error_correlation(exact, mean, np.ones_like(deviation), everywhere))
