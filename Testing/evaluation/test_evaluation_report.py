"""The report on SimpleITK images: what it says, what it refuses, and that files' axes do not change it."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.evaluation import evaluate, format_report
from PETDiffusionLib.evaluation.metrics import body_mask

SPACING = (2.0, 2.5, 3.0)


def on_grid(array: np.ndarray, spacing=SPACING, origin=(5.0, -7.0, 11.0)) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    return image


@pytest.fixture
def truth() -> np.ndarray:
    body = np.zeros((24, 30, 36), dtype=np.float32)
    body[2:22, 5:25, 6:30] = 1.0
    body[6:12, 8:14, 9:15] = 4.0
    body[14:18, 16:20, 20:26] = 7.0
    return ndimage.gaussian_filter(body, 0.8)


@pytest.fixture
def labels() -> np.ndarray:
    regions = np.zeros((24, 30, 36), dtype=np.uint16)
    regions[7:11, 9:13, 10:14] = 3
    regions[14:18, 16:20, 20:26] = 2035
    return regions


def test_equal_images_have_no_error_and_no_bias(truth, labels) -> None:
    report = evaluate(on_grid(truth), on_grid(truth), labels=on_grid(labels))
    assert report["body"]["psnr_db"] is None  # infinite
    assert report["body"]["ssim"] == pytest.approx(1.0)
    assert report["body"]["nrmse"] == 0
    assert [row["suvmean"]["bias_percent"] for row in report["labels"]] == [0, 0]


def test_each_label_reports_its_own_bias(truth, labels) -> None:
    image = truth.copy()
    image[labels == 3] *= 1.10
    image[12:] *= 0.95
    report = evaluate(on_grid(truth), on_grid(image), labels=on_grid(labels), label_names={3: "Liver"})
    liver, lesion = report["labels"]
    assert (liver["label"], liver["name"]) == (3, "Liver")
    assert (lesion["label"], lesion["name"]) == (2035, "label 2035")
    assert liver["volume_ml"] == pytest.approx(64 * 15 / 1000)
    assert liver["suvmean"]["bias_percent"] == pytest.approx(10.0, abs=1e-3)
    assert liver["suvmax"]["reference"] == pytest.approx(float(truth[labels == 3].max()))
    assert [lesion[figure]["bias_percent"] for figure in ("suvmean", "suvmax", "suvpeak")] == pytest.approx(
        [-5.0] * 3, abs=1e-3
    )


def test_a_labels_suvpeak_may_reach_out_of_the_label(truth) -> None:
    image = np.ones_like(truth)
    image[10:14, 10:16, 10:16] = 6.0
    one_voxel = np.zeros(truth.shape, dtype=np.uint8)
    one_voxel[12, 13, 13] = 1
    report = evaluate(on_grid(image), on_grid(image), labels=on_grid(one_voxel))
    assert 4.0 < report["labels"][0]["suvpeak"]["image"] < 6.0


def test_the_body_is_taken_from_the_reference_and_a_given_mask_replaces_it(truth) -> None:
    rng = np.random.default_rng(0)
    image = truth + rng.normal(0, 0.1, truth.shape).astype(np.float32)
    automatic = evaluate(on_grid(truth), on_grid(image))
    body = body_mask(truth, SPACING)
    given = evaluate(on_grid(truth), on_grid(image), mask=on_grid(body.astype(np.uint8)))
    assert (automatic["mask"], given["mask"]) == ("body", "given")
    assert given["body"] == automatic["body"]
    assert automatic["body"]["psnr_db"] == pytest.approx(40.0, abs=0.3)
    assert automatic["body"]["volume_ml"] == pytest.approx(np.count_nonzero(body) * 15 / 1000)


def test_a_calibrated_uncertainty_covers_95_percent(truth) -> None:
    rng = np.random.default_rng(1)
    deviation = (0.1 + 0.1 * truth).astype(np.float32)
    image = (truth + deviation * rng.standard_normal(truth.shape)).astype(np.float32)
    figures = evaluate(on_grid(truth), on_grid(image), uncertainty=on_grid(deviation))["uncertainty"]
    assert figures["coverage_95"] == pytest.approx(0.95, abs=0.01)
    assert figures["error_correlation"] > 0.3
    assert figures["mean_absolute_error_suv"] / figures["mean_deviation_suv"] == pytest.approx(0.798, abs=0.02)


@pytest.mark.parametrize("orientation", ["RAS", "ASL", "SPR"])
def test_the_order_and_direction_of_a_files_axes_do_not_change_the_report(truth, labels, orientation) -> None:
    rng = np.random.default_rng(2)
    image = truth + rng.normal(0, 0.2, truth.shape).astype(np.float32)
    deviation = np.abs(image - truth) + 0.05
    upright = [on_grid(array) for array in (truth, image, labels, deviation)]
    turned = [sitk.DICOMOrient(volume, orientation) for volume in upright]

    def report(reference, judged, regions, uncertainty):
        return evaluate(reference, judged, labels=regions, uncertainty=uncertainty)

    expected, found = report(*upright), report(*turned)
    assert found["grid"] != expected["grid"] or orientation == "RAS"
    for part in ("body", "ddpm3d", "labels", "uncertainty"):
        assert found[part] == expected[part]


@pytest.mark.parametrize("part", ["image", "mask", "labels", "uncertainty"])
def test_another_grid_is_refused_with_both_geometries(truth, part) -> None:
    volumes = {"image": on_grid(truth), part: on_grid(truth, origin=(5.0, -7.0, 12.0))}
    with pytest.raises(PETDiffusionError) as caught:
        evaluate(on_grid(truth), **volumes)
    assert caught.value.code == "grid-mismatch"
    assert f"the {part} has" in str(caught.value)
    assert "origin (5, -7, 11) mm" in str(caught.value)
    assert "origin (5, -7, 12) mm" in str(caught.value)


def test_other_sizes_spacings_and_directions_are_refused_but_rounding_is_not(truth) -> None:
    reference = on_grid(truth)
    turned = on_grid(truth)
    turned.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    for other in (on_grid(truth[:-1]), on_grid(truth, spacing=(2.0, 2.5, 3.02)), turned):
        with pytest.raises(PETDiffusionError) as caught:
            evaluate(reference, other)
        assert caught.value.code == "grid-mismatch"
    evaluate(reference, on_grid(truth, spacing=(2.0, 2.5, 3.0 + 1e-5)))


def test_what_cannot_be_judged_is_refused_in_a_sentence(truth) -> None:
    reference = on_grid(truth)
    broken = truth.copy()
    broken[3, 4, 5] = np.nan
    flat = sitk.GetImageFromArray(truth[0])
    cases = {
        "not-finite": lambda: evaluate(reference, on_grid(broken)),
        "not-3d": lambda: evaluate(reference, flat),
        "empty-mask": lambda: evaluate(reference, reference, mask=on_grid(np.zeros_like(truth))),
        "no-body": lambda: evaluate(on_grid(truth * 1e-3), reference),
        "too-small": lambda: evaluate(on_grid(truth[4:9]), on_grid(truth[4:9])),
    }
    for code, case in cases.items():
        with pytest.raises(PETDiffusionError) as caught:
            case()
        assert caught.value.code == code
        assert str(caught.value).endswith(".")


def test_the_report_is_strict_json_and_the_table_shows_its_figures(truth, labels) -> None:
    rng = np.random.default_rng(3)
    image = on_grid(truth + rng.normal(0, 0.1, truth.shape).astype(np.float32))
    constant = on_grid(np.full_like(truth, 0.1))
    report = evaluate(on_grid(truth), image, labels=on_grid(labels), uncertainty=constant, label_names={3: "Liver"})
    assert report["uncertainty"]["error_correlation"] is None  # a constant deviation correlates with nothing
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    table = format_report(report)
    assert f"{report['body']['psnr_db']:.2f}" in table
    assert f"{report['ddpm3d']['psnr_db']:.2f}" in table
    assert f"{report['labels'][0]['suvpeak']['image']:.3f}" in table
    assert "Liver" in table and "research use only" in table


def test_measured_crops_have_a_body_around_the_tumour(shared_data) -> None:
    for patient in ("STS_001", "STS_004"):
        folder = shared_data / "ibsi_sts_suv_crops" / patient
        pet = sitk.ReadImage(str(folder / "PET_image.nii.gz"), sitk.sitkFloat32)
        tumour = sitk.ReadImage(str(folder / "PET_mask.nii.gz"))
        suv = sitk.GetArrayFromImage(pet)
        body = body_mask(suv, pet.GetSpacing())
        inside = sitk.GetArrayFromImage(tumour) > 0
        assert body[inside].mean() > 0.99
        assert np.median(suv[~body]) < 0.1
        row = evaluate(pet, pet * 1.02, labels=sitk.Cast(tumour, sitk.sitkUInt8))["labels"][0]
        assert row["suvmean"]["bias_percent"] == pytest.approx(2.0, abs=1e-3)
        assert row["suvmean"]["reference"] < row["suvpeak"]["reference"] < row["suvmax"]["reference"]
