"""Real and reference PET: a whole-body scan, an independent conversion of it, and objects whose SUV is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import Volume, read_volume, suv_facts, to_suv
from PETDiffusionLib.volumes.dicom_files import read_header
from PETDiffusionLib.volumes.pixels import slice_values


@pytest.fixture(scope="module")
def whole_body(shared_data: Path) -> Volume:
    """The soft-tissue sarcoma patient STS_001 in Bq/ml: GE Discovery ST, a slope for each slice, uneven gaps."""
    return read_volume(shared_data / "wb_fdg_ge_STS_001" / "PT")


def test_the_whole_body_is_read_where_it_was_measured(whole_body: Volume) -> None:
    assert whole_body.unit == "bqml"
    assert whole_body.image.GetSize() == (128, 128, 267)
    assert whole_body.voxel_size_mm == pytest.approx((4.6875, 4.6875, 3.27), abs=1e-6)
    assert whole_body.image.GetOrigin() == pytest.approx((-297.65625, -297.65625, -881.3), abs=1e-6)
    assert "from 3.190 to 3.290 mm" in str(whole_body.facts["slice_distances"])


def test_the_suv_factor_of_the_whole_body_is_the_known_one(whole_body: Volume, shared_data: Path) -> None:
    facts = suv_facts(shared_data / "wb_fdg_ge_STS_001")
    assert facts.suv_factor == pytest.approx(2.42903e-4, rel=1e-6)
    assert facts.weight_kg == 71 and facts.dose_mbq == pytest.approx(388.777, abs=1e-3)
    assert facts.minutes == pytest.approx(45.18, abs=0.01)
    assert whole_body.facts["suv_factor"] == facts.suv_factor


def test_the_suv_of_the_whole_body_equals_an_independent_conversion(whole_body: Volume, shared_data: Path) -> None:
    crop = sitk.ReadImage(str(shared_data / "ibsi_sts_suv_crops" / "STS_001" / "PET_image.nii.gz"))
    suv = to_suv(whole_body).image
    start = suv.TransformPhysicalPointToIndex(crop.GetOrigin())
    ours = sitk.GetArrayFromImage(sitk.RegionOfInterest(suv, crop.GetSize(), start))
    theirs = sitk.GetArrayFromImage(crop)
    assert theirs.max() > 10
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("name", ["DRO_0_0", "DRO_2_0", "DRO_2_4", "DRO_3_1", "DRO_4_2"])
def test_reference_objects_have_their_suv(shared_data: Path, name: str) -> None:
    """Minimum 0.20, median 1.00, maximum 4.00 in the mask; pixel values are integers, so DRO_3_1 is 6e-4 off."""
    folder = shared_data / "suv_reference_objects" / name
    suv = to_suv(read_volume(folder))
    inside = suv.array[sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "DRO_mask.nii.gz"))) > 0]
    found = (inside.min(), np.median(inside), inside.max())
    assert found == pytest.approx((0.20, 1.00, 4.00), rel=1e-3)


def test_a_measured_slice_of_a_siemens_scanner_has_its_facts(shared_data: Path) -> None:
    """FLT, 69.7 kg, with an icon image before the pixels."""
    file = shared_data / "dicom_single_slices" / "acrin_flt_1.dcm"
    facts = suv_facts(file)
    assert facts.source_unit == "BQML" and facts.weight_kg == pytest.approx(69.7344)
    assert facts.suv_factor is not None and 1e-5 < facts.suv_factor < 1e-2
    assert slice_values(read_header(file))[0].max() == pytest.approx(1327 * 9.12329, rel=1e-6)


def test_a_measured_slice_alone_is_no_volume(shared_data: Path) -> None:
    with pytest.raises(PETDiffusionError, match="single slice"):
        read_volume(shared_data / "dicom_single_slices" / "GH184.dcm")


def test_two_patients_in_one_folder_are_refused(shared_data: Path) -> None:
    with pytest.raises(PETDiffusionError) as caught:
        read_volume(shared_data / "dicom_single_slices")
    assert caught.value.code == "mixed-series"


def test_proportional_counts_cannot_become_suv(make_series: Callable[..., Path]) -> None:
    volume = read_volume(make_series(lambda dataset, _: setattr(dataset, "Units", "PROPCPS")))
    assert volume.unit == "unknown"
    with pytest.raises(PETDiffusionError, match="PROPCPS"):
        to_suv(volume, weight_kg=70, dose_mbq=370, minutes=60)
