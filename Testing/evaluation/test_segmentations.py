"""The segments of a DICOM Segmentation of every type are regions, on the image's grid or another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from PETDiffusionLib.cli import main
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.evaluation.grids import patient_image
from PETDiffusionLib.evaluation.regions import dicom_regions, is_dicom_regions
from PETDiffusionLib.volumes import Volume, write_volume
from PETDiffusionLib.volumes.dicom_files import frame_of_reference
from Testing.evaluation.dicom_regions import ROOM, box, write_structure_set
from Testing.volumes.dicom_series import COLUMNS, ROWS, pet_slice

highdicom = pytest.importorskip("highdicom", reason="highdicom, which reads DICOM Segmentations, is not installed")

SLICES = 9
SPACING, ORIGIN = (2.0, 3.0, 4.0), (-10.0, -20.0, 30.0)


@pytest.fixture
def series(tmp_path) -> Path:
    """A PET series of 8 x 6 x 9 voxels with all that a Segmentation copies from its source."""
    folder, uid, study = tmp_path / "PT", generate_uid(), generate_uid()
    folder.mkdir()
    for index in range(SLICES):
        dataset = pet_slice(index, uid)
        dataset.FrameOfReferenceUID, dataset.StudyInstanceUID = ROOM, study
        dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = dataset.StudyID = ""
        dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = "20240105", "110000", ""
        dataset.InstanceNumber, dataset.SliceThickness, dataset.Manufacturer = index + 1, 4, "none"
        dataset.SeriesNumber, dataset.PositionReferenceIndicator = 1, ""
        dataset.save_as(folder / f"{index:03}.dcm", enforce_file_format=True)
    return folder


@pytest.fixture
def image() -> sitk.Image:
    image = sitk.Image((COLUMNS, ROWS, SLICES), sitk.sitkFloat32)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    return image


def write_seg(path: Path, series: Path, pixels: np.ndarray, labels: list[str], kind: str = "BINARY") -> Path:
    """A SEG of `pixels` [slice, row, column, segment] (LABELMAP: without the last) over the series."""
    from pydicom import dcmread

    sources: list[Dataset] = [dcmread(file) for file in sorted(series.iterdir())]
    descriptions = [
        highdicom.seg.SegmentDescription(
            number, label, codes.SCT.Organ, codes.SCT.Liver, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for number, label in enumerate(labels, start=1)
    ]
    segmentation = highdicom.seg.Segmentation(
        sources, pixels, kind, descriptions, generate_uid(), 2, generate_uid(), 1, "none", "none", "1", "1",
        max_fractional_value=200, omit_empty_frames=True,
    )  # fmt: skip
    segmentation.save_as(path)
    return path


def whole(region, image: sitk.Image) -> np.ndarray:
    mask = np.zeros(patient_image(image).GetSize()[::-1], bool)
    if region.box is not None:
        mask[region.box] = region.mask
    return mask


@pytest.fixture
def overlapping() -> np.ndarray:
    """Two segments that overlap, [slice, row, column, segment]."""
    pixels = np.zeros((SLICES, ROWS, COLUMNS, 2), np.uint8)
    pixels[2:6, 1:4, 2:6, 0] = 1
    pixels[4:7, 2:5, 3:8, 1] = 1
    return pixels


@pytest.mark.parametrize("order", ["LPS", "RAS", "SPL"])
def test_overlapping_segments_are_regions_in_any_order_of_axes(tmp_path, series, image, overlapping, order) -> None:
    path = write_seg(tmp_path / "s.dcm", series, overlapping, ["Liver", "Lesion"])
    assert is_dicom_regions(path) and frame_of_reference(series) == ROOM
    given = sitk.DICOMOrient(image, order)
    liver, lesion = dicom_regions(path, given, ROOM)
    assert [(region.number, region.name, region.notes) for region in (liver, lesion)] == [
        (1, "Liver", ()),
        (2, "Lesion", ()),
    ]
    assert np.array_equal(whole(liver, given), overlapping[..., 0])
    assert np.array_equal(whole(lesion, given), overlapping[..., 1])


def test_of_a_fractional_segment_voxels_count_from_one_half_up(tmp_path, series, image) -> None:
    shares = np.zeros((SLICES, ROWS, COLUMNS, 1))
    shares[3, 2, 1:5, 0] = 0.25, 0.5, 0.75, 1.0
    (region,) = dicom_regions(write_seg(tmp_path / "s.dcm", series, shares, ["Lesion"], "FRACTIONAL"), image, ROOM)
    assert list(np.flatnonzero(whole(region, image)[3, 2])) == [2, 3, 4]
    assert region.notes == ("is fractional; voxels count from one half up",)


def test_a_label_map_has_a_region_for_each_value(tmp_path, series, image) -> None:
    values = np.zeros((SLICES, ROWS, COLUMNS), np.uint8)
    values[1:3], values[5, 2:4] = 1, 2
    regions = list(dicom_regions(write_seg(tmp_path / "s.dcm", series, values, ["A", "B"], "LABELMAP"), image, ROOM))
    assert [region.name for region in regions] == ["A", "B"]
    for number, region in enumerate(regions, start=1):
        assert np.array_equal(whole(region, image), values == number)


def test_a_segment_on_another_grid_keeps_its_volume_and_place(tmp_path, series, overlapping) -> None:
    fine = sitk.Image((16, 24, 36), sitk.sitkFloat32)
    fine.SetSpacing((1.0, 0.75, 1.0))
    fine.SetOrigin((-10.5, -21.125, 28.5))  # the same field
    liver, _ = dicom_regions(write_seg(tmp_path / "s.dcm", series, overlapping, ["Liver", "Lesion"]), fine, ROOM)
    assert np.array_equal(whole(liver, fine), overlapping[..., 0].repeat(4, 0).repeat(4, 1).repeat(2, 2))
    assert "lies on another grid and was brought to the image's" in liver.notes[0]


def test_what_has_no_voxel_says_why(tmp_path, series, image, overlapping) -> None:
    overlapping[..., 1] = 0
    path = write_seg(tmp_path / "s.dcm", series, overlapping, ["Liver", "Nothing"])
    _, nothing = dicom_regions(path, image, ROOM)
    assert (nothing.box, nothing.notes) == (None, ("is empty",))
    image.SetOrigin((500, 0, 0))
    liver, _ = dicom_regions(path, image, ROOM)
    assert liver.box is None and liver.notes[-1] == "lies outside the image"


def test_another_frame_of_reference_is_refused_by_name(tmp_path, series, image, overlapping) -> None:
    path = write_seg(tmp_path / "s.dcm", series, overlapping, ["Liver", "Lesion"])
    with pytest.raises(PETDiffusionError, match="'s.dcm' lies in the frame of reference") as refusal:
        dicom_regions(path, image, "1.2.3")
    assert refusal.value.code == "other-frame"


def test_evaluate_names_the_regions_of_either_file_in_its_table(tmp_path, series, overlapping, capsys) -> None:
    array = np.zeros((SLICES + 4, ROWS + 6, COLUMNS + 8), np.float32)  # the same voxels, and more of them
    array[1:-1, 1:-1, 1:-1] = 1 + np.indices(array.shape)[0][1:-1, 1:-1, 1:-1] / 10
    pet = sitk.GetImageFromArray(array)
    pet.SetSpacing(SPACING)
    pet.SetOrigin([o - n * s for o, n, s in zip(ORIGIN, (4, 3, 2), SPACING, strict=True)])
    image = str(tmp_path / "pet.nrrd")
    write_volume(Volume(pet, "suvbw"), image)
    seg = write_seg(tmp_path / "seg.dcm", series, overlapping, ["Liver", "Lesion"])
    x, y = np.array(ORIGIN[:2]) + 3.0 * np.array(SPACING[:2])
    contours = [box((x - 3, y - 4), (x + 3, y + 4), 30 + 4.0 * index) for index in (2, 3, 4)]
    rtstruct = write_structure_set(tmp_path / "rt.dcm", [("Tumour", contours), ("Elsewhere", [])])

    assert main(["evaluate", image, image, "--labels", str(seg)]) == 0
    table = capsys.readouterr().out.splitlines()
    rows = [line.split()[:3] for line in table if line.startswith(("Liver", "Lesion"))]
    assert rows == [["Liver", "1.2", "1.550"], ["Lesion", "1.1", "1.700"]]  # slices 4 to 7, and 6 to 8, of the image
    assert main(["evaluate", image, image, "--labels", str(rtstruct)]) == 0
    said = capsys.readouterr()
    assert any(line.startswith("Tumour") for line in said.out.splitlines())
    assert "Warning: Region 'Elsewhere' was left out: it has no closed contour." in said.err
    assert "Region 'Tumour' (and 1 more) was placed by its coordinates alone" in said.err
