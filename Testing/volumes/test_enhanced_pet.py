"""Enhanced (multi-frame) PET is read frame by frame: place, slope, unit, time and gate are each frame's own."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage, RLELossless, generate_uid

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import FrameTime, open_frames, read_volume, suv_facts, to_suv
from Testing.volumes.dicom_series import SUV_PER_BQML, pet_slice, stored_values
from Testing.volumes.enhanced_pet import Frame, code, enhanced_pet

SLICES = 5
STORED = np.stack([stored_values(index) for index in range(SLICES)]).astype(np.float32)
STACK = [Frame(stored_values(index), 30 + 4 * index, unit_slope=1 + index / 4) for index in range(SLICES)]
ACTIVITY = np.stack([STORED[index] * (1 + index / 4) for index in range(SLICES)])


def saved(folder: Path, *images: FileDataset) -> Path:
    for number, image in enumerate(images):
        image.save_as(folder / f"IM{number}", enforce_file_format=True)
    return folder


def refusal(path: Path, coded: str) -> str:
    with pytest.raises(PETDiffusionError) as caught:
        read_volume(path)
    assert caught.value.code == coded, str(caught.value)
    for program in ("dcm2niix", "SimpleITK"):
        assert program not in str(caught.value)
    return str(caught.value)


def shuffled(frames: Sequence[Frame], seed: int) -> list[Frame]:
    return random.Random(seed).sample(list(frames), len(frames))


@pytest.mark.parametrize("seed", range(4))
def test_every_frame_has_its_own_place_and_slope_whatever_their_order(tmp_path: Path, seed: int) -> None:
    volume = read_volume(saved(tmp_path, enhanced_pet(shuffled(STACK, seed), generate_uid())))
    assert volume.unit == "bqml" and volume.voxel_size_mm == (2, 3, 4) and volume.warnings == []
    assert volume.image.GetOrigin() == (-10, -20, 30)
    np.testing.assert_array_equal(volume.array, ACTIVITY)
    np.testing.assert_allclose(to_suv(volume).array, ACTIVITY * SUV_PER_BQML, rtol=1e-6)


def test_one_frame_a_file_is_a_series_of_files(tmp_path: Path) -> None:
    uid = generate_uid()
    folder = saved(tmp_path, *(enhanced_pet([frame], uid) for frame in shuffled(STACK, 1)))
    np.testing.assert_array_equal(read_volume(folder).array, ACTIVITY)
    np.testing.assert_array_equal(read_volume(folder / "IM3").array, ACTIVITY)


def concatenated(uid: str) -> list[FileDataset]:
    parts = [enhanced_pet(STACK[:2], uid), enhanced_pet(STACK[2:4], uid), enhanced_pet(STACK[4:], uid)]
    for number, part in enumerate(parts, 1):
        part.ConcatenationUID, part.InConcatenationNumber, part.InConcatenationTotalNumber = f"{uid}.1", number, 3
    return parts


def test_a_concatenation_is_one_image_and_none_without_one_of_its_parts(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_volume(saved(tmp_path, *concatenated("1.2.3"))).array, ACTIVITY)
    (tmp_path / "IM2").unlink()
    assert "part 3 is missing" in refusal(tmp_path, "missing-slices")


def test_time_points_are_frames_with_their_times(tmp_path: Path) -> None:
    frames = [
        Frame(stored_values(SLICES * time + z), 30 + 4 * z, start=f"2024010511{5 * time:02}00", temporal_index=time + 1)
        for time in range(3)
        for z in range(SLICES)
    ]
    series = open_frames(saved(tmp_path, enhanced_pet(shuffled(frames, 2), generate_uid())))
    assert series.kind == "dynamic" and series.times == tuple(FrameTime(300.0 * time, 60.0) for time in range(3))
    np.testing.assert_array_equal(series.read(2).array[4], stored_values(14))
    assert "--frames mean" in refusal(tmp_path, "dynamic")


def test_gates_and_time_points_cross(tmp_path: Path) -> None:
    frames = [
        Frame(stored_values(6 * time + 3 * gate + z), 4 * z, temporal_index=time + 1, trigger_ms=300.0 * gate)
        for time in range(2)
        for gate in range(2)
        for z in range(3)
    ]
    series = open_frames(saved(tmp_path, enhanced_pet(shuffled(frames, 3), generate_uid())))
    assert series.kind == "gated" and len(series) == 4
    for frame in range(4):
        np.testing.assert_array_equal(series.read(frame).array[0], stored_values(3 * frame))


@pytest.mark.parametrize(
    ("unit", "expected", "factor"),
    [
        ("Bq/ml", "bqml", 1),
        ("g/ml{SUVbw}", "suvbw", 1),
        ("{SUVbw}g/ml", "suvbw", 1),
        ("g/ml{SUVlbm}", "suvlbm", 1),
        ("{counts}", "counts", 1),
    ],
)
def test_the_unit_is_the_one_of_the_real_world_value_mapping(
    tmp_path: Path, unit: str, expected: str, factor: float
) -> None:
    volume = read_volume(saved(tmp_path, enhanced_pet(STACK, generate_uid(), unit)))
    assert volume.unit == expected
    np.testing.assert_array_equal(volume.array, ACTIVITY * factor)


def test_of_two_mappings_activity_counts(tmp_path: Path) -> None:
    image = enhanced_pet(STACK, generate_uid(), "g/ml{SUVbw}")
    for groups in image.PerFrameFunctionalGroupsSequence:
        activity = Dataset()
        activity.RealWorldValueSlope, activity.RealWorldValueIntercept = 4.0, 0.0
        activity.MeasurementUnitsCodeSequence = code("Bq/ml", "UCUM", "Bq/ml")
        groups.RealWorldValueMappingSequence.append(activity)
    volume = read_volume(saved(tmp_path, image))
    assert volume.unit == "bqml"
    np.testing.assert_array_equal(volume.array, STORED * 4)


@pytest.mark.parametrize(
    ("corrected", "moment", "expected"),
    [
        ("YES", "20240105110000", "START"),
        ("YES", "20240105110500", "START"),
        ("YES", "20240105100000", "ADMIN"),
        ("NO", None, "NONE"),
    ],
)
def test_decay_is_corrected_to_the_moment_that_is_named(
    tmp_path: Path, corrected: str, moment: str | None, expected: str
) -> None:
    image = enhanced_pet(STACK, generate_uid())
    image.DecayCorrected, image.DecayCorrectionDateTime = corrected, moment
    facts = suv_facts(saved(tmp_path, image))
    assert facts.decay_correction == expected
    if moment is not None:
        minutes = {"20240105110000": 60, "20240105110500": 65, "20240105100000": 0}[moment]
        assert facts.minutes == minutes
        assert facts.suv_factor == pytest.approx(70e3 / (140e6 * 2 ** (-minutes / 60)))


def test_an_uncorrected_or_unstated_correction_is_no_suv(tmp_path: Path) -> None:
    image = enhanced_pet(STACK, generate_uid())
    image.AttenuationCorrected = "NO"
    with pytest.raises(PETDiffusionError, match="ATTN missing"):
        suv_facts(saved(tmp_path, image))
    image.AttenuationCorrected, image.DecayCorrectionDateTime = "YES", None
    with pytest.raises(PETDiffusionError, match="DecayCorrection"):
        suv_facts(saved(tmp_path, image))


def test_compressed_frames_are_decoded_one_by_one(tmp_path: Path) -> None:
    image = enhanced_pet(STACK, generate_uid())
    image.compress(RLELossless)
    np.testing.assert_array_equal(read_volume(saved(tmp_path, image)).array, ACTIVITY)


def test_frames_without_their_groups_are_refused(tmp_path: Path) -> None:
    image = enhanced_pet(STACK, generate_uid())
    image.PerFrameFunctionalGroupsSequence = image.PerFrameFunctionalGroupsSequence[:4]
    assert "5 frames and functional groups of 4" in refusal(saved(tmp_path, image), "bad-file")


@pytest.mark.parametrize("rows", [5, 7])
def test_pixels_that_do_not_fit_the_frames_are_refused(tmp_path: Path, rows: int) -> None:
    image = enhanced_pet(STACK, generate_uid())
    image.Rows = rows
    assert "480" in refusal(saved(tmp_path, image), "bad-file")


def test_many_frames_of_another_class_are_refused_by_its_name(tmp_path: Path) -> None:
    image = enhanced_pet(STACK, generate_uid())
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    assert "Multi-frame Grayscale Word Secondary Capture" in refusal(saved(tmp_path, image), "multi-frame")


def classic_slices(bend: Callable[[Dataset, int], None]) -> list[FileDataset]:
    uid, study = generate_uid(), generate_uid()
    slices = []
    for index in range(SLICES):
        one = pet_slice(index, uid)
        one.StudyInstanceUID, one.FrameOfReferenceUID, one.InstanceNumber = study, f"{study[:60]}.1", index + 1
        one.AccessionNumber, one.PatientBirthDate, one.PatientSex, one.StudyID = "", "", "", "1"
        one.ReferringPhysicianName, one.StudyDate, one.StudyTime, one.Manufacturer = "", "20240105", "100000", "V"
        one.Laterality, one.PatientPosition, one.BodyPartExamined = None, "HFS", "CHEST"
        one.ImageType, one.SliceThickness, one.ContentDate, one.ContentTime = (
            ["ORIGINAL", "PRIMARY"],
            4,
            "20240105",
            "113000",
        )
        one.SeriesNumber, one.AcquisitionNumber, one.ActualFrameDuration = 1, 1, 60000
        bend(one, index)
        slices.append(one)
    return slices


@pytest.mark.parametrize("decay", ["START", "ADMIN", "NONE"])
def test_a_legacy_converted_series_is_the_classic_one_to_the_bit(tmp_path: Path, decay: str) -> None:
    """highdicom's conversion (A.72) against the slices that it was made from."""
    legacy = pytest.importorskip("highdicom.legacy")

    def bend(one: Dataset, index: int) -> None:
        one.RescaleSlope, one.DecayCorrection = 1 + index / 4, decay
        one.AcquisitionTime = f"11{index:02}00"

    slices = classic_slices(bend)
    (tmp_path / "classic").mkdir()
    (tmp_path / "legacy").mkdir()
    classic = read_volume(saved(tmp_path / "classic", *slices))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = legacy.LegacyConvertedEnhancedPETImage(slices, generate_uid(), 9, generate_uid(), 1)
    converted = read_volume(saved(tmp_path / "legacy", image))
    assert converted.unit == classic.unit == "bqml"
    np.testing.assert_array_equal(converted.array, classic.array)
    assert converted.image.GetOrigin() == classic.image.GetOrigin()
    for fact in ("suv_factor", "reference_time", "injection_time", "decay_correction", "corrected_image"):
        assert converted.facts[fact] == classic.facts[fact]


def test_a_file_of_frames_lost_its_preamble(tmp_path: Path) -> None:
    saved(tmp_path, enhanced_pet(STACK, generate_uid()))
    (tmp_path / "IM0").write_bytes((tmp_path / "IM0").read_bytes()[132:])
    np.testing.assert_array_equal(read_volume(tmp_path).array, ACTIVITY)
    assert pydicom.dcmread(tmp_path / "IM0", force=True).NumberOfFrames == SLICES
