"""A folder of DICOM PT becomes a volume with the right values in the right place, or a sentence that says why not."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage, generate_uid

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import list_series, read_volume, to_suv
from PETDiffusionLib.volumes.dicom_files import read_header
from PETDiffusionLib.volumes.pixels import slice_values
from Testing.volumes.dicom_series import stored_values, tracer_of

MakeSeries = Callable[..., Path]

STORED = np.stack([stored_values(index) for index in range(5)]).astype(np.float32)


def refusal(path: Path, code: str) -> str:
    with pytest.raises(PETDiffusionError) as caught:
        read_volume(path)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


def at_positions(*positions_mm: float) -> Callable[[Dataset, int], None]:
    return lambda dataset, index: setattr(dataset, "ImagePositionPatient", [-10, -20, positions_mm[index]])


def test_slices_are_ordered_by_position_whatever_their_files_are_called(make_series: MakeSeries) -> None:
    volume = read_volume(make_series())
    assert volume.unit == "bqml" and volume.facts["modality"] == "PT"
    np.testing.assert_array_equal(volume.array, STORED)
    assert volume.voxel_size_mm == (2, 3, 4)
    assert volume.image.GetOrigin() == (-10, -20, 30)
    assert volume.image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert volume.warnings == [] and volume.facts["regridded"] is False


def test_every_slice_has_its_own_slope_and_intercept(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + index, 10 * index

    expected = np.stack([STORED[index] * (0.5 + index) + 10 * index for index in range(5)])
    np.testing.assert_allclose(read_volume(make_series(bend)).array, expected, rtol=1e-6)


def test_the_volume_stands_where_the_slices_stand(make_series: MakeSeries) -> None:
    """Oblique slices: the corner of each slice in patient space is where the volume puts its first voxel."""
    along_x, along_y = np.array([0.8, 0.6, 0]), np.array([-0.36, 0.48, 0.8])
    normal = np.cross(along_x, along_y)

    def corner(index: int) -> np.ndarray:
        return np.array([5, 6, 7]) - 2.5 * (4 - index) * normal

    def bend(dataset: Dataset, index: int) -> None:
        dataset.ImageOrientationPatient = [*along_x, *along_y]
        dataset.ImagePositionPatient = [f"{value:.8f}" for value in corner(index)]

    volume = read_volume(make_series(bend))
    np.testing.assert_array_equal(volume.array, STORED)
    for index in range(5):
        place = volume.image.TransformIndexToPhysicalPoint((0, 0, index))
        np.testing.assert_allclose(place, corner(index), atol=1e-6)
    np.testing.assert_allclose(volume.image.TransformIndexToPhysicalPoint((1, 0, 4)), corner(4) + 2 * along_x)
    np.testing.assert_allclose(volume.image.TransformIndexToPhysicalPoint((0, 1, 4)), corner(4) + 3 * along_y)


def test_uneven_slices_are_interpolated_on_to_the_median_gap(make_series: MakeSeries) -> None:
    """Values that rise linearly along z stay on their line."""
    positions = (0.0, 4.0, 9.0, 13.0, 16.0)

    def bend(dataset: Dataset, index: int) -> None:
        at_positions(*positions)(dataset, index)
        dataset.PixelData = np.full((6, 8), 1000 + 100 * positions[index], np.int16).tobytes()

    volume = read_volume(make_series(bend))
    assert volume.voxel_size_mm[2] == 4 and volume.facts["regridded"] is True
    np.testing.assert_allclose(volume.array[:, 0, 0], [1000, 1400, 1800, 2200, 2600], rtol=1e-6)
    assert any("from 3.000 to 5.000 mm" in warning for warning in volume.warnings)


def test_a_regular_grid_never_reaches_beyond_the_last_slice(make_series: MakeSeries) -> None:
    volume = read_volume(make_series(at_positions(0, 4, 8, 12, 15)))
    assert volume.array.shape[0] == 5
    np.testing.assert_array_equal(volume.array[-1], STORED[-1])


def test_slices_that_lie_nearly_regular_keep_their_values(make_series: MakeSeries) -> None:
    volume = read_volume(make_series(at_positions(0, 4, 8.1, 12, 16)))
    np.testing.assert_array_equal(volume.array, STORED)
    assert volume.facts["regridded"] is False and "from 3.900 to 4.100 mm" in str(volume.facts["slice_distances"])


def test_slice_positions_that_were_rounded_do_not_drift(make_series: MakeSeries) -> None:
    """Gaps of 3.3 and 3.2 mm that were 3.25 mm once: the whole length counts, not the median gap."""
    volume = read_volume(make_series(at_positions(0, 3.3, 6.5, 9.8, 13.0)))
    assert volume.voxel_size_mm[2] == 3.25
    np.testing.assert_array_equal(volume.array, STORED)


def test_a_missing_slice_is_refused_with_its_place(make_series: MakeSeries) -> None:
    sentence = refusal(make_series(at_positions(0, 4, 8, 16, 20)), "missing-slices")
    assert "between 8.00 and 16.00 mm" in sentence


def test_a_series_that_was_cut_off_is_read_with_a_warning(make_series: MakeSeries) -> None:
    volume = read_volume(make_series(lambda dataset, _: setattr(dataset, "NumberOfSlices", 9)))
    assert any("9 slices and 5 are there" in warning for warning in volume.warnings)


def test_two_reconstructions_in_one_series_are_refused(make_series: MakeSeries) -> None:
    assert "6 slices at 3 positions" in refusal(
        make_series(at_positions(0, 0, 4, 4, 8, 8), slices=6), "duplicate-slices"
    )


def test_a_dynamic_series_is_refused_as_dynamic(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        at_positions(0, 4, 8, 0, 4, 8)(dataset, index)
        dataset.FrameReferenceTime = 60000 * (index // 3)

    assert "--frames mean" in refusal(make_series(bend, slices=6), "dynamic")


def test_a_gated_series_is_refused_as_gated(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        at_positions(0, 4, 8, 0, 4, 8)(dataset, index)
        dataset.SeriesType = ["GATED", "IMAGE"]

    assert "gated" in refusal(make_series(bend, slices=6), "gated")


def test_one_frame_of_a_dynamic_series_is_a_volume(make_series: MakeSeries) -> None:
    assert read_volume(make_series(lambda d, _: setattr(d, "SeriesType", ["DYNAMIC", "IMAGE"]))).array.shape == (
        5,
        6,
        8,
    )


def test_mixed_series_are_refused_and_listed(make_series: MakeSeries, tmp_path: Path) -> None:
    make_series(lambda dataset, _: setattr(dataset, "SeriesDescription", "corrected"))
    make_series(lambda dataset, _: setattr(dataset, "SeriesDescription", "uncorrected"), slices=3)
    sentence = refusal(tmp_path / "PT", "mixed-series")
    assert "PT 'corrected' BQML, 5 slices" in sentence and "PT 'uncorrected' BQML, 3 slices" in sentence
    listed = list_series(tmp_path / "PT")
    assert [(series.description, series.slices) for series in listed] == [("corrected", 5), ("uncorrected", 3)]
    assert read_volume(Path(listed[1].first_file)).array.shape == (3, 6, 8)


def test_a_pet_beside_its_ct_is_refused_and_both_are_listed(make_series: MakeSeries, tmp_path: Path) -> None:
    make_series(folder="study/PT")
    make_series(lambda dataset, _: setattr(dataset, "Modality", "CT"), folder="study/CT")
    sentence = refusal(tmp_path / "study", "mixed-series")
    assert "CT 'AC'" in sentence and "PT 'AC'" in sentence
    assert [series.modality for series in list_series(tmp_path / "study")] == ["PT", "CT"]


def test_ct_instead_of_pet_is_refused_as_that(make_series: MakeSeries) -> None:
    folder = make_series(lambda dataset, _: setattr(dataset, "Modality", "CT"))
    assert "CT instead of PET" in refusal(folder, "not-pet")
    assert "CT instead of PET" in refusal(next(folder.iterdir()), "not-pet")


def test_objects_that_are_no_images_do_not_matter(make_series: MakeSeries) -> None:
    folder = make_series()

    def contours(dataset: Dataset, _: int) -> None:
        dataset.Modality, dataset.SOPClassUID = "RTSTRUCT", RTStructureSetStorage
        del dataset.Rows, dataset.Columns, dataset.PixelData

    make_series(contours, slices=1)
    (folder / "notes.txt").write_text("not DICOM")
    np.testing.assert_array_equal(read_volume(folder).array, STORED)


def test_a_file_that_was_copied_twice_counts_once(make_series: MakeSeries) -> None:
    folder = make_series()
    first = min(folder.iterdir())
    shutil.copy(first, folder / "copy.dcm")
    np.testing.assert_array_equal(read_volume(folder).array, STORED)


def test_one_file_stands_for_its_series(make_series: MakeSeries) -> None:
    folder = make_series()
    make_series(slices=3)
    sizes = {read_volume(file).array.shape[0] for file in folder.iterdir()}
    assert sizes == {3, 5}


def test_monochrome1_is_a_matter_of_display_and_not_of_activity(make_series: MakeSeries) -> None:
    folder = make_series(lambda dataset, _: setattr(dataset, "PhotometricInterpretation", "MONOCHROME1"))
    np.testing.assert_array_equal(read_volume(folder).array, STORED)


def test_a_truncated_slice_is_refused_by_name(make_series: MakeSeries) -> None:
    folder = make_series()
    broken = min(folder.iterdir())
    whole = broken.read_bytes()
    for kept in (0, 100, 140, *range(200, len(whole), 61), len(whole) - 1):
        broken.write_bytes(whole[:kept])
        assert str(broken) in refusal(folder, "bad-file")


def test_folders_beyond_ascii_are_read(make_series: MakeSeries) -> None:
    np.testing.assert_array_equal(read_volume(make_series(folder="Größe 患者/PT é")).array, STORED)


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(tmp_path, "missing-file")
    assert list_series(tmp_path) == []


@pytest.mark.parametrize(
    ("keyword", "value", "code"),
    [
        ("PixelSpacing", None, "missing-tag"),
        ("ImagePositionPatient", None, "missing-tag"),
        ("ImageOrientationPatient", None, "missing-tag"),
        ("RescaleSlope", None, "missing-tag"),
        ("NumberOfFrames", 20, "multi-frame"),
    ],
)
def test_a_header_that_does_not_place_its_slices_is_refused(
    make_series: MakeSeries, keyword: str, value: object, code: str
) -> None:
    def bend(dataset: Dataset, _: int) -> None:
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)

    sentence = refusal(make_series(bend), code)
    assert code == "multi-frame" or keyword in sentence


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("RescaleSlope", 1.625), ("RescaleIntercept", 1.625), ("ImagePositionPatient", [1.625, 2, 3])],
)
def test_a_number_that_is_none_is_refused_by_name(make_series: MakeSeries, keyword: str, value: object) -> None:
    folder = make_series(lambda dataset, _: setattr(dataset, keyword, value))
    broken = max(folder.iterdir())
    broken.write_bytes(broken.read_bytes().replace(b"1.625", b"1.x25"))
    sentence = refusal(folder, "missing-tag")
    assert keyword in sentence and str(broken) in sentence


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0]),
        ("PixelSpacing", [3, 3]),
        ("Rows", 4),
        ("Units", "CNTS"),
        ("PatientWeight", 80),
    ],
)
def test_slices_that_disagree_are_refused(make_series: MakeSeries, keyword: str, value: object) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        if index == 2:
            setattr(dataset, keyword, value)

    assert keyword in refusal(make_series(bend), "inconsistent-series")


def test_a_sheared_stack_is_refused(make_series: MakeSeries) -> None:
    folder = make_series(lambda d, index: setattr(d, "ImagePositionPatient", [0, index, 4 * index]))
    assert "drift sideways by 4.00 mm" in refusal(folder, "bad-geometry")


def test_a_single_slice_is_no_volume(make_series: MakeSeries) -> None:
    assert "single slice" in refusal(make_series(slices=1), "not-3d")


def test_one_administration_listed_twice_is_one_and_two_ask_for_the_dose(make_series: MakeSeries) -> None:
    def twice(dataset: Dataset, _: int, factor: float = 1) -> None:
        second = copy.deepcopy(tracer_of(dataset))
        second.RadionuclideTotalDose *= factor
        dataset.RadiopharmaceuticalInformationSequence = [tracer_of(dataset), second]

    once = to_suv(read_volume(make_series(twice)))
    two = read_volume(make_series(lambda dataset, index: twice(dataset, index, 2), folder="two"))
    with pytest.raises(PETDiffusionError, match="the dose, --dose-mbq .several administrations"):
        to_suv(two)
    np.testing.assert_allclose(to_suv(two, dose_mbq=140).array, once.array, rtol=1e-6)


def test_a_stated_unit_may_fill_a_gap_but_not_contradict_the_series(make_series: MakeSeries) -> None:
    silent = make_series(lambda dataset, _: delattr(dataset, "Units"))
    assert read_volume(silent).unit == "unknown"
    assert to_suv(read_volume(silent, "suvbw")).unit == "suvbw"
    whole = to_suv(read_volume(make_series(folder="whole"), "bqml"))
    np.testing.assert_array_equal(to_suv(read_volume(silent, "bqml")).array, whole.array)
    for folder, bend in (("other", None), ("lean", _lean)):
        with pytest.raises(PETDiffusionError) as caught:
            read_volume(make_series(bend, folder=folder), "suvbw")
        assert caught.value.code == "unit-conflict"


def test_a_stated_unit_does_not_make_an_uncorrected_series_suv(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, _: int) -> None:
        del dataset.Units
        dataset.CorrectedImage = ["DECY"]

    with pytest.raises(PETDiffusionError, match="ATTN missing"):
        to_suv(read_volume(make_series(bend), "bqml"))


def _lean(dataset: Dataset, _: int) -> None:
    dataset.Units, dataset.SUVType = "GML", "LBM"


class TestCompressedSlice:
    """A measured slice in JPEG lossless (GE Discovery ST), which pydicom alone has no codec for."""

    @pytest.fixture
    def compressed(self, shared_data: Path) -> Path:
        return shared_data / "dicom_single_slices" / "GH184.dcm"

    def test_it_is_decoded_and_rescaled(self, compressed: Path) -> None:
        values = slice_values(read_header(compressed))[0]
        assert values.shape == (128, 128) and values.min() == 0
        assert values.max() == pytest.approx(32767 * 0.234542, rel=1e-6)

    def test_monochrome1_does_not_invert_it(self, compressed: Path, tmp_path: Path) -> None:
        dataset = pydicom.dcmread(compressed)
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.save_as(tmp_path / "inverted.dcm")
        np.testing.assert_array_equal(
            slice_values(read_header(tmp_path / "inverted.dcm"))[0], slice_values(read_header(compressed))[0]
        )

    def test_a_series_of_such_slices_is_a_volume(self, compressed: Path, tmp_path: Path) -> None:
        dataset = pydicom.dcmread(compressed)
        x, y, z = dataset.ImagePositionPatient
        for index in range(3):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.ImagePositionPatient, dataset.RescaleSlope = [x, y, z + 3.27 * index], 1 + index
            dataset.save_as(tmp_path / f"{index}.dcm")
        array = read_volume(tmp_path).array
        np.testing.assert_array_equal(array[1:], [2 * array[0], 3 * array[0]])

    def test_half_of_it_is_refused_by_name(self, compressed: Path, tmp_path: Path) -> None:
        half = tmp_path / "half.dcm"
        half.write_bytes(compressed.read_bytes()[: compressed.stat().st_size * 2 // 3])
        with pytest.raises(PETDiffusionError, match=r"half\.dcm") as caught:
            slice_values(read_header(half))
        assert caught.value.code == "bad-file"
