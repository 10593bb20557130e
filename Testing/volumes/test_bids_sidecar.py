"""The JSON beside a volume: what it says by BIDS or as dcm2niix writes it, and what it contradicts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import FrameTime, Volume, open_frames, read_volume, to_suv

VALUES = np.random.default_rng(3).integers(1, 900, (4, 5, 6)).astype(np.float32)
FRAMES = 3
HALF_LIFE = 6586.2
COMPLETE = {
    "Units": "Bq/mL",
    "TracerRadionuclide": "F18",
    "RadionuclideHalfLife": HALF_LIFE,
    "InjectedRadioactivity": 300,
    "InjectedRadioactivityUnits": "MBq",
    "BodyWeight": 70,
    "BodyWeightUnits": "kg",
    "InjectionStart": 0,
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 3600,
}
# As dcm2niix 1.0.2023 and later name what it found in DICOM: becquerels, seconds, kilograms.
DCM2NIIX = {
    "Modality": "PT",
    "Units": "BQML",
    "Radiopharmaceutical": "Fluorodeoxyglucose",
    "RadionuclidePositronFraction": 0.967,
    "RadionuclideTotalDose": 3.0e8,
    "RadionuclideHalfLife": HALF_LIFE,
    "DoseCalibrationFactor": 1.0,
    "PatientWeight": 70,
    "DecayCorrection": "ADMIN",
}


def scan(folder: Path, document: dict[str, object], frames: int = 1, name: str = "scan") -> Path:
    """A NIfTI file of `frames` frames, frame i being i + 1 times VALUES, and a JSON file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    volumes = [sitk.GetImageFromArray(VALUES * (frame + 1)) for frame in range(frames)]
    image = sitk.JoinSeries(volumes) if frames > 1 else volumes[0]
    sitk.WriteImage(image, folder / f"{name}.nii.gz")
    (folder / f"{name}.json").write_text(json.dumps(document))
    return folder / f"{name}.nii.gz"


def said(volume: Volume, *words: str) -> bool:
    return any(all(word in warning for word in words) for warning in volume.warnings)


def test_what_is_complete_gives_suv_in_silence(tmp_path: Path) -> None:
    volume = to_suv(read_volume(scan(tmp_path, COMPLETE)))
    factor = 70e3 / (300e6 * 2 ** (-3600 / HALF_LIFE))
    np.testing.assert_allclose(volume.array, VALUES * factor, rtol=1e-5)


def test_what_dcm2niix_writes_gives_suv(tmp_path: Path) -> None:
    """DecayCorrection ADMIN: the activity is that at the injection, and the dose does not decay."""
    volume = to_suv(read_volume(scan(tmp_path, DCM2NIIX)))
    np.testing.assert_allclose(volume.array, VALUES * 70e3 / 300e6, rtol=1e-6)


def test_start_without_the_injection_asks_for_minutes(tmp_path: Path) -> None:
    volume = read_volume(scan(tmp_path, DCM2NIIX | {"DecayCorrection": "START"}))
    with pytest.raises(PETDiffusionError, match="needs --minutes"):
        to_suv(volume)
    to_suv(volume, minutes=60)


def test_a_dose_in_mbq_where_dicom_has_becquerels_is_said(tmp_path: Path) -> None:
    volume = read_volume(scan(tmp_path, DCM2NIIX | {"RadionuclideTotalDose": 300}))
    assert volume.facts["dose_mbq"] == 300 and said(volume, "RadionuclideTotalDose 300", "MBq were taken")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RadionuclideTotalDose": 4e8}, ("InjectedRadioactivity 300", "400")),
        ({"DecayCorrection": "NONE"}, ("DecayCorrection NONE", "ImageDecayCorrected True")),
        ({"RadionuclideHalfLife": 109.77}, ("fluorine-18", "109.77")),
        ({"BodyWeightUnits": None}, ("BodyWeight 70 without a unit",)),
        ({"BodyWeightUnits": "stone"}, ("BodyWeight 70 in 'stone'",)),
        ({"InjectedRadioactivityUnits": None}, ("InjectedRadioactivity 300", "not taken")),
        ({"InjectionStart": 9000}, ("injection be at 9000 s", "90 minutes after")),
        ({"Units": "SUV"}, ("Units 'SUV'",)),
    ],
)
def test_contradictions_and_gaps_are_said(tmp_path: Path, change: dict[str, object], words: tuple[str, ...]) -> None:
    document = {key: value for key, value in (COMPLETE | change).items() if value is not None}
    assert said(read_volume(scan(tmp_path, document)), *words)


@pytest.mark.parametrize(
    ("change", "taken", "words"),
    [
        ({"RadionuclideHalfLife": 109.77}, 6586.2, ("fluorine-18", "109.77")),
        ({"RadionuclideHalfLife": 1221.8, "TracerName": "FDG"}, 6586.2, ("carbon-11", "fluorine-18")),
        ({"RadionuclideHalfLife": 1221.8}, None, ("carbon-11", "no half-life was taken", "--half-life-minutes")),
    ],
)
def test_a_half_life_of_another_nuclide_is_weighed_as_in_dicom(
    tmp_path: Path, change: dict[str, object], taken: float | None, words: tuple[str, ...]
) -> None:
    volume = read_volume(scan(tmp_path, COMPLETE | change))
    assert volume.facts.get("half_life_s") == (None if taken is None else pytest.approx(taken, rel=1e-3))
    assert said(volume, *words)
    if taken is None:
        with pytest.raises(PETDiffusionError, match="--half-life-minutes"):
            to_suv(volume)


def test_what_is_stated_by_hand_against_the_json_is_said_with_both(tmp_path: Path) -> None:
    volume = to_suv(read_volume(scan(tmp_path, COMPLETE)), weight_kg=80, dose_mbq=200, minutes=30)
    for known, stated in (("70", "80"), ("300", "200"), ("60", "30")):
        assert said(volume, f"{known}; {stated} was stated")


@pytest.mark.parametrize(("weight", "unit"), [(70, "kg"), (70000, "g"), (154.3236, "lb")])
def test_units_of_weight(tmp_path: Path, weight: float, unit: str) -> None:
    volume = read_volume(scan(tmp_path, COMPLETE | {"BodyWeight": weight, "BodyWeightUnits": unit}))
    assert volume.facts["weight_kg"] == pytest.approx(70, rel=1e-5)


def test_frames_not_corrected_for_decay_are_brought_to_time_zero(tmp_path: Path) -> None:
    """By the exact mean of exponential decay over each frame; the dose is that at time zero."""
    starts, lengths = [0, 600, 1200], [600, 600, 1800]
    document = COMPLETE | {"ImageDecayCorrected": "false", "InjectionStart": -600}
    document |= {"FrameTimesStart": starts, "FrameDuration": lengths}
    series = open_frames(scan(tmp_path, document, FRAMES))
    rate = math.log(2) / HALF_LIFE
    for frame, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        mean = (math.exp(-rate * start) - math.exp(-rate * (start + length))) / (rate * length)
        np.testing.assert_allclose(series.read(frame).array, VALUES * (frame + 1) / mean, rtol=1e-6)
    volume = series.read(1)
    assert volume.facts["minutes"] == 10 and said(volume, "not corrected for decay", "time zero")
    to_suv(volume)


@pytest.mark.parametrize("lacking", ["FrameTimesStart", "RadionuclideHalfLife"])
def test_uncorrected_frames_without_times_or_half_life_give_no_suv(tmp_path: Path, lacking: str) -> None:
    document = COMPLETE | {"DecayCorrection": "NONE", "FrameTimesStart": [0], "FrameDuration": [600]}
    del document[lacking], document["ImageDecayCorrected"], document["TracerRadionuclide"]
    with pytest.raises(PETDiffusionError, match=f"(?s)not.*{lacking}.*Add that"):
        to_suv(read_volume(scan(tmp_path, document)))


def test_an_injection_after_the_moment_of_decay_correction(tmp_path: Path) -> None:
    """A dynamic scan that began five minutes before the injection: the dose decayed backwards."""
    document = COMPLETE | {"InjectionStart": 300, "ImageDecayCorrectionTime": 0}
    volume = to_suv(read_volume(scan(tmp_path, document)))
    np.testing.assert_allclose(volume.array, VALUES * 70e3 / (300e6 * 2 ** (300 / HALF_LIFE)), rtol=1e-5)


def test_frame_times_in_milliseconds_are_not_taken(tmp_path: Path) -> None:
    document = COMPLETE | {"FrameTimesStart": [0, 60, 120], "FrameDuration": [60000, 60000, 60000]}
    volume = open_frames(scan(tmp_path, document, FRAMES)).read(0)
    assert said(volume, "frame 1 end at 60000 s", "begin at 60 s")
    assert open_frames(tmp_path / "scan.nii.gz").times == (None,) * FRAMES


def test_inheritance_and_participants(tmp_path: Path) -> None:
    """What lies nearer to the volume has the last word; weights of participants.tsv serve where their unit is said."""
    (tmp_path / "dataset_description.json").write_text("{}")
    (tmp_path / "task-rest_pet.json").write_text('{"Units": "counts", "TracerName": "other"}')
    (tmp_path / "pet.json").write_text(json.dumps({"Units": "kBq/mL", "TracerName": "FDG"}))
    (tmp_path / "participants.tsv").write_text("participant_id\tweight\nsub-1\t64\nsub-2\t90\n")
    (tmp_path / "participants.json").write_text('{"weight": {"Units": "kg"}}')
    own = {"FrameTimesStart": [0], "FrameDuration": [60], "TracerName": "PIB"}
    path = scan(tmp_path / "sub-1" / "pet", own, name="sub-1_pet")
    volume = read_volume(path)
    assert volume.unit == "bqml" and volume.array[0, 0, 0] == VALUES[0, 0, 0] * 1000
    assert volume.facts["tracer"] == "PIB" and volume.facts["weight_kg"] == 64
    assert open_frames(path).times == (FrameTime(0, 60),)
    scan(tmp_path / "sub-1" / "pet", own | {"BodyWeight": 70, "BodyWeightUnits": "kg"}, name="sub-1_pet")
    assert said(read_volume(path), "70 kg", "participants.tsv 64 kg")
    (tmp_path / "participants.json").unlink()
    scan(tmp_path / "sub-1" / "pet", own, name="sub-1_pet")
    assert said(read_volume(path), "participants.tsv says weight 64", "--weight-kg")


def test_empty_frames_pass(tmp_path: Path) -> None:
    """A frame before the injection may be empty; a whole volume that is, is said to be."""
    path = scan(tmp_path, {"Units": "Bq/mL", "FrameTimesStart": [0, 60, 120], "FrameDuration": [60] * 3}, FRAMES)
    frames = [sitk.GetImageFromArray(VALUES * weight) for weight in (0, 1, 2)]
    sitk.WriteImage(sitk.JoinSeries(frames), path)
    series = open_frames(path)
    assert series.read(0).warnings == series.read(1).warnings and not series.read(0).array.any()
