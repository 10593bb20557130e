"""The slices of a series are found wherever they lie and whatever lies beside them, and what is missing is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import list_series, read_volume
from PETDiffusionLib.volumes.dicom_files import is_dicom_file
from Testing.volumes.dicom_series import pet_slice, stored_values

MakeSeries = Callable[..., Path]
STORED = np.stack([stored_values(index) for index in range(5)]).astype(np.float32)


def refusal(path: Path, code: str) -> str:
    with pytest.raises(PETDiffusionError) as caught:
        read_volume(path)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


def complete(dataset: Dataset, _: int) -> None:
    dataset.NumberOfSlices = 5


NAMES = st.lists(
    st.text("abzAZ019-_.éß患", min_size=1, max_size=8).filter(lambda name: name.strip(".")),
    min_size=5,
    max_size=5,
    unique_by=str.lower,
)
FOLDERS = st.lists(st.sampled_from(["", "a", "a/b", "__MACOSX", ".hidden", "z é"]), min_size=5, max_size=5)
HEADS = st.lists(st.sampled_from(["whole", "no preamble", "no word"]), min_size=5, max_size=5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=NAMES, folders=FOLDERS, heads=HEADS, order=st.permutations(range(5)))
def test_names_folders_and_lost_preambles_change_nothing(
    tmp_path: Path, names: list[str], folders: list[str], heads: list[str], order: list[int]
) -> None:
    shutil.rmtree(tmp_path / "tree", ignore_errors=True)
    uid = generate_uid()
    for index, name, folder, head in zip(order, names, folders, heads, strict=True):
        place = tmp_path / "tree" / folder
        place.mkdir(parents=True, exist_ok=True)
        pet_slice(index, uid).save_as(place / f"{name}.x")
        whole = (place / f"{name}.x").read_bytes()
        kept = {"whole": whole, "no preamble": whole[132:], "no word": whole[:128] + whole[132:]}
        (place / f"{name}.x").write_bytes(kept[head])
    np.testing.assert_array_equal(read_volume(tmp_path / "tree").array, STORED)


@pytest.mark.parametrize(
    "content",
    [b"", b"notes", b"\x89PNG\r\n\x1a\n" + bytes(200), bytes(400), b"\x00\x05\x16\x07" + bytes(200), b"MZ" * 100],
)
def test_other_files_are_not_dicom_and_do_not_matter(make_series: MakeSeries, content: bytes) -> None:
    folder = make_series()
    for name in ("notes.txt", "._slice.dcm", "Thumbs.db"):
        (folder / name).write_bytes(content)
        assert not is_dicom_file(folder / name)
    np.testing.assert_array_equal(read_volume(folder).array, STORED)


def spread(make_series: MakeSeries, tmp_path: Path) -> None:
    """A series in the folders a and b, beside another series."""
    folder = make_series(complete, folder="study/a")
    (tmp_path / "study/b").mkdir()
    for file in sorted(folder.iterdir())[:2]:
        file.rename(tmp_path / "study/b" / file.name)
    make_series(complete, folder="study/a")


def test_one_file_finds_its_series_in_all_folders(make_series: MakeSeries, tmp_path: Path) -> None:
    spread(make_series, tmp_path)
    for file in (tmp_path / "study").rglob("*.dcm"):
        volume = read_volume(file)
        np.testing.assert_array_equal(volume.array, STORED)
        assert volume.warnings == []


def test_a_folder_with_a_part_of_a_series_says_where_the_rest_is(make_series: MakeSeries, tmp_path: Path) -> None:
    spread(make_series, tmp_path)
    refusal(tmp_path / "study", "mixed-series")
    volume = read_volume(tmp_path / "study/b")
    assert volume.array.shape[0] == 2
    assert any("3 more files" in one and str(tmp_path / "study/a") in one for one in volume.warnings)
    assert any("5 slices and 2 are there" in one for one in volume.warnings)


def test_slices_that_share_a_uid_are_all_read_and_it_is_said(make_series: MakeSeries) -> None:
    volume = read_volume(make_series(lambda dataset, _: setattr(dataset, "SOPInstanceUID", "1.2.3")))
    np.testing.assert_array_equal(volume.array, STORED)
    assert any("4 slices share their SOPInstanceUID" in one for one in volume.warnings)


def exported_twice(folder: Path, bend: Callable[[Dataset], None]) -> Path:
    for number, file in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(file)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        bend(dataset)
        dataset.save_as(folder / f"again{number}.dcm")
    return folder


def test_twins_count_once_and_twins_with_other_pixels_are_refused(make_series: MakeSeries) -> None:
    twins = exported_twice(make_series(), lambda dataset: None)
    volume = read_volume(twins)
    np.testing.assert_array_equal(volume.array, STORED)
    assert any("5 slices were exported twice" in one for one in volume.warnings)
    other = exported_twice(
        make_series(folder="other"), lambda d: setattr(d, "PixelData", np.full((6, 8), 7, np.int16).tobytes())
    )
    assert "10 slices at 5 positions" in refusal(other, "duplicate-slices")
    steeper = exported_twice(make_series(folder="steeper"), lambda d: setattr(d, "RescaleSlope", 2))
    refusal(steeper, "duplicate-slices")


@pytest.mark.parametrize("kind", ["capture", "mip", "colour"])
def test_pictures_in_the_series_are_left_out_and_it_is_said(make_series: MakeSeries, kind: str) -> None:
    folder = make_series()
    picture = pydicom.dcmread(min(folder.iterdir()))
    picture.SOPInstanceUID = picture.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    if kind == "capture":
        picture.SOPClassUID = picture.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    elif kind == "mip":
        picture.ImageType, picture.ImageOrientationPatient = ["DERIVED", "SECONDARY", "MIP"], [1, 0, 0, 0, 0, -1]
    else:
        picture.SamplesPerPixel, picture.PhotometricInterpretation = 3, "RGB"
    picture.save_as(folder / "picture.dcm")
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, STORED)
    assert any("1 pictures" in one for one in volume.warnings)


def test_corrected_and_uncorrected_are_listed_by_what_differs(make_series: MakeSeries, tmp_path: Path) -> None:
    make_series(folder="PT")
    make_series(lambda dataset, _: setattr(dataset, "CorrectedImage", ["DECY", "SCAT"]), folder="PT")
    sentence = refusal(tmp_path / "PT", "mixed-series")
    assert "slices, attenuation corrected" in sentence and "slices, not attenuation corrected" in sentence
    assert {one.attenuation_corrected for one in list_series(tmp_path / "PT")} == {True, False}


@pytest.mark.parametrize(
    ("padding", "limit", "signed", "none"),
    [
        (-5, None, True, [-5]),
        (65531, None, True, [-5]),
        (0, None, False, [0]),
        (-9, -5, True, [-9, -5]),
        (9, 5, True, [5]),
    ],
)
def test_padding_is_no_activity(
    make_series: MakeSeries, padding: int, limit: int | None, signed: bool, none: list[int]
) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        stored = stored_values(index)
        stored[0, : len(none)] = none
        dataset.PixelData, dataset.PixelRepresentation = stored.tobytes(), int(signed)
        dataset.RescaleIntercept = 1
        dataset.add_new("PixelPaddingValue", "SS" if padding < 0 else "US", padding)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", "SS" if limit < 0 else "US", limit)

    volume = read_volume(make_series(bend))
    expected = STORED + 1
    expected[:, 0, : len(none)] = 0
    np.testing.assert_array_equal(volume.array, expected)
    assert any(f"{5 * len(none)} voxels are marked as without data" in one for one in volume.warnings)


@pytest.mark.parametrize(("keyword", "value"), [("Columns", 7), ("Columns", 9), ("Rows", 7), ("BitsAllocated", 8)])
def test_sizes_that_do_not_fit_the_pixels_are_refused(make_series: MakeSeries, keyword: str, value: int) -> None:
    assert "its pixel data has 96" in refusal(make_series(lambda d, _: setattr(d, keyword, value)), "bad-file")


def test_bits_beyond_those_stored_are_no_values(make_series: MakeSeries) -> None:
    """Twelve bits stored, an old overlay in the four above."""

    def bend(dataset: Dataset, index: int) -> None:
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.PixelData = (stored_values(index) | 0x5000).astype(np.int16).tobytes()

    np.testing.assert_array_equal(read_volume(make_series(bend)).array, STORED)
