"""The denoising method as a function on images: what it keeps, what it promises, what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

import PETDiffusionLib.methods.denoise as method
import PETDiffusionLib.networks.precision as precision
from PETDiffusionLib.errors import Cancelled, PETDiffusionError
from PETDiffusionLib.methods.denoise import denoise, load_network
from PETDiffusionLib.models import find_model
from PETDiffusionLib.projection.attenuation import WATER_MU_PER_MM
from PETDiffusionLib.simulation.acquisition import scan
from PETDiffusionLib.simulation.phantom import empty_phantom
from PETDiffusionLib.simulation.scanners import SCANNERS

SHAPE = (22, 30, 34)


def pet(scale=1.0, shape=SHAPE, spacing=(4.0, 4.1, 3.2)):
    """A warm body with a hot spot and noise as wide as a reconstruction's, on a turned and shifted grid."""
    z, y, x = (np.linspace(-1, 1, n) for n in shape)
    radius = np.sqrt(z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2)
    array = np.where(radius < 0.85, 2.0, 0.0)
    array[shape[0] // 2 : shape[0] // 2 + 3, 12:15, 14:18] = 9.0
    array *= np.random.default_rng(0).gamma(1, 1, shape)
    array = ndimage.gaussian_filter(array, 0.9)
    image = sitk.GetImageFromArray((scale * array).astype(np.float32))
    image.SetSpacing(spacing)
    image.SetOrigin((-71.25, 13.0, 402.125))
    image.SetDirection((0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    return image


def values(image):
    return sitk.GetArrayFromImage(image)


def geometry(image):
    return image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


@pytest.fixture(scope="module")
def result():
    return denoise(pet(), preset="fast")


def test_the_output_lies_on_the_inputs_grid_bit_for_bit(result) -> None:
    assert geometry(result.image) == geometry(pet())
    assert geometry(result.uncertainty) == geometry(pet())


def test_values_are_never_negative_and_the_total_activity_is_kept(result) -> None:
    assert values(result.image).min() >= 0
    assert values(result.uncertainty).min() >= 0
    assert values(result.image).sum() == pytest.approx(values(pet()).sum(), rel=1e-4)


def test_the_noise_of_a_low_dose_goes_and_a_hot_sphere_stays() -> None:
    phantom = empty_phantom((30, 80, 80), (3.0, 3.0, 3.0))
    z, y, x = (np.arange(n) - (n - 1) / 2 for n in (30, 80, 80))
    across = np.hypot(y[:, None], x[None, :])
    phantom.paint(np.broadcast_to(across < 35, (30, 80, 80)), "water", 1.0, WATER_MU_PER_MM)
    sphere = z[:, None, None] ** 2 + y[None, :, None] ** 2 + (x[None, None, :] - 15) ** 2 < 36
    phantom.paint(sphere, "sphere", 6.0)
    study = scan(phantom, SCANNERS["whole-body-4.7"], [1 / 20], np.random.default_rng(0))
    image = sitk.GetImageFromArray(study.low_dose[0])
    image.SetSpacing(study.voxel_size_mm[::-1])
    after = values(denoise(image, preset="fast").image)

    water = ndimage.binary_erosion(study.labels == 1, iterations=3)
    errors = [(volume - study.reference)[water].std() for volume in (study.low_dose[0], after)]
    assert errors[1] < 0.5 * errors[0]
    assert after[water].mean() == pytest.approx(study.reference[water].mean(), rel=0.03)
    hot = study.labels == 2
    assert after[hot].mean() == pytest.approx(study.reference[hot].mean(), rel=0.1)
    assert after[hot].max() > 0.8 * study.reference[hot].max()


def test_the_cards_share_of_the_low_doses_local_mean_is_put_back() -> None:
    card = find_model("petdiffusion-denoiser")
    network, _ = load_network(card, "cpu")
    y = torch.from_numpy(values(pet()))[None, None]

    def restored(share):
        told = replace(card, architecture={**card.architecture, "local_mean_share": share})
        return method.restore(y, 2.5, network, told, 1, 1, 0, lambda done: None)[0]

    nothing, half = restored(0.0).numpy(), restored(0.5).numpy()
    local = ndimage.gaussian_filter(values(pet()) - nothing, 2.0, mode="nearest")  # about 11 mm FWHM
    put_back = (half - nothing)[half > 0]
    assert np.corrcoef(put_back, local[half > 0])[0, 1] > 0.9
    assert np.polyfit(local[half > 0], put_back, 1)[0] == pytest.approx(0.5, abs=0.05)


def test_the_result_is_linear_in_activity_to_the_bit_for_a_power_of_two(result) -> None:
    assert_proportional(result, denoise(pet(scale=16.0), preset="fast"), 16.0, relative=1e-5)


def test_the_result_is_linear_in_activity(monkeypatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)  # whose rounding is no law of the method
    first, scaled = (denoise(pet(scale=scale), preset="fast") for scale in (1.0, 20.0))
    assert_proportional(first, scaled, 20.0, relative=1e-4)


def assert_proportional(first, scaled, factor, relative) -> None:
    for image, expected in ((scaled.image, first.image), (scaled.uncertainty, first.uncertainty)):
        assert np.abs(values(image) - factor * values(expected)).max() <= relative * factor * values(expected).max()


def test_a_seed_repeats_and_another_differs() -> None:
    first, again, other = (values(denoise(pet(), preset="fast", steps=2, samples=1, seed=s).image) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_more_samples_are_nearer_to_each_other() -> None:
    few = [values(denoise(pet(), preset="fast", steps=2, samples=1, seed=s).image) for s in (1, 2)]
    many = [values(denoise(pet(), preset="fast", steps=2, samples=4, seed=s).image) for s in (1, 2)]
    assert np.abs(many[0] - many[1]).mean() < 0.8 * np.abs(few[0] - few[1]).mean()


def test_the_windows_do_not_change_the_result(monkeypatch, result) -> None:
    monkeypatch.setattr(method, "WINDOW", (48, 56, 64))
    windowed = values(denoise(pet(), preset="fast").image)
    whole = values(result.image)
    assert np.abs(windowed - whole).mean() < 0.01 * whole.mean()
    assert np.abs(windowed - whole).max() < 0.1 * whole.max()


@pytest.mark.parametrize("grid", ["input", "model"])
def test_the_order_in_which_a_file_keeps_its_axes_does_not_matter(grid) -> None:
    """A body stored with its planes along another axis, and seen in a mirror, is the same body."""
    stored = sitk.DICOMOrient(pet(), "SRA")
    assert stored.GetSize() != pet().GetSize()
    usual, other = denoise(pet(), preset="fast", grid=grid).image, denoise(stored, preset="fast", grid=grid).image
    if grid == "input":
        assert geometry(other) == geometry(stored)
    assert np.array_equal(*(values(sitk.DICOMOrient(image, "LPS")) for image in (usual, other)))


@pytest.mark.parametrize("steps", [1, 2])
def test_more_steps_make_draws_by_the_seed(steps) -> None:
    first, second = (values(denoise(pet(), preset="fast", steps=steps, seed=seed).image) for seed in (0, 1))
    assert np.array_equal(first, second) == (steps == 1)


def test_more_samples_than_mirrors_are_not_made_of_one_step() -> None:
    said = []
    result = denoise(pet(), preset="fast", samples=9, warn=lambda code, sentence: said.append(code))
    assert said == ["few-mirrors"] and result.facts["samples"] == 8


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda array: np.where(array == array.max(), np.nan, array), "not-finite"),
        (lambda array: 0 * array, "empty"),
        (lambda array: array - 1000, "no-activity"),
    ],
)
def test_what_is_no_pet_is_refused(change, code) -> None:
    image = sitk.GetImageFromArray(change(values(pet())).astype(np.float32))
    with pytest.raises(PETDiffusionError) as refusal:
        denoise(image, preset="fast")
    assert refusal.value.code == code


@pytest.mark.parametrize("shape", [(2, 3, 2), (5, 40, 7)])
def test_volumes_smaller_than_a_window_work(shape) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(0).random(shape).astype(np.float32))
    image.SetSpacing((2.0, 2.0, 5.0))
    assert geometry(denoise(image, preset="fast").image) == geometry(image)


def test_the_models_grid_has_cubic_voxels_and_the_same_centre() -> None:
    result = denoise(pet(), preset="fast", grid="model")
    assert result.image.GetSpacing() == tuple(find_model("petdiffusion-denoiser").input["voxel_size_mm"])
    assert len(set(result.image.GetSpacing())) == 1

    def centre(image):
        return image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])

    assert centre(result.image) == pytest.approx(centre(pet()), abs=1e-6)


def test_the_facts_say_what_was_done(result) -> None:
    assert result.facts["preset"] == "fast"
    assert result.facts["steps"] == 1
    assert len(result.facts["model_sha256"]) == 64


def test_progress_rises_to_one_and_can_cancel() -> None:
    seen = []
    denoise(pet(), preset="fast", progress=lambda stage, fraction: seen.append((stage, fraction)))
    denoising = [fraction for stage, fraction in seen if stage == "Denoising"]
    assert denoising == sorted(denoising)
    assert denoising[-1] == 1

    def cancel(stage, fraction) -> None:
        if stage == "Denoising":
            raise Cancelled

    with pytest.raises(Cancelled):
        denoise(pet(), progress=cancel)


def test_a_volume_far_from_the_training_is_said_to_be() -> None:
    warnings = []
    coarse = pet(spacing=(9.0, 9.0, 9.0))
    denoise(coarse, preset="fast", warn=lambda code, message: warnings.append(code))
    assert "voxel-size" in warnings


@pytest.mark.parametrize(
    ("options", "code"),
    [({"preset": "x"}, "no-preset"), ({"model": "x"}, "no-model"), ({"device": "x"}, "no-device")],
)
def test_what_is_not_there_is_refused(options, code) -> None:
    with pytest.raises(PETDiffusionError) as caught:
        denoise(pet(), **options)
    assert caught.value.code == code


def test_a_denoiser_of_another_version_is_refused() -> None:
    card = find_model("petdiffusion-denoiser")
    older = {**card.architecture, "arguments": {"widths": [48, 80, 96]}}
    with pytest.raises(PETDiffusionError, match="Train it again"):
        load_network(replace(card, architecture=older))
