"""Dynamic series from the command line: every frame as if it were alone, one file, nothing said twice."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from PETDiffusionLib.methods.denoising import DenoiseResult
from PETDiffusionLib.methods.frames import denoise_frames
from PETDiffusionLib.volumes import FrameSeries, Volume
from Testing.volumes.dicom_series import SUV_PER_BQML, write_dynamic

FRAMES, SLICES, ROWS, COLUMNS = 4, 8, 16, 18


@pytest.fixture
def frames() -> np.ndarray:
    """A block that takes up activity; the first frame lies before the injection."""
    rng = np.random.default_rng(0)
    block = np.zeros((SLICES, ROWS, COLUMNS))
    block[2:-2, 4:-4, 4:-4] = 2000
    return np.stack([rng.poisson(block / 20 * number) * 20 for number in range(FRAMES)])


@pytest.fixture
def series(tmp_path: Path, frames: np.ndarray) -> Path:
    return write_dynamic(tmp_path / "dynamic", frames)


@pytest.fixture
def denoise(petdiffusion, series: Path, untrained_model: Path):
    """Denoise the dynamic series into a file of the given name, with further options."""

    def run(output: str, *options: object):
        return petdiffusion("denoise", series, output, "--model", untrained_model, "--preset", "fast", *options)

    return run


def values(path: Path) -> np.ndarray:
    """The values of a NIfTI file as nibabel reads them, [frame, z, y, x] or [z, y, x]."""
    return np.asarray(nibabel.load(path).dataobj).T


def test_each_frame_is_to_the_bit_what_it_is_alone(denoise, series: Path) -> None:
    done = denoise("all.nii.gz", "--uncertainty", "sd.nii.gz", "--seed", 5)
    assert done.returncode == 0, done.stderr
    together, deviation = values(series.parent / "all.nii.gz"), values(series.parent / "sd.nii.gz")
    assert together.shape == deviation.shape == (FRAMES, SLICES, ROWS, COLUMNS)
    for number in (2, 4):
        assert denoise(f"{number}.nii.gz", "--frames", number, "--seed", 5).returncode == 0
        assert np.array_equal(values(series.parent / f"{number}.nii.gz"), together[number - 1])


def test_a_frame_without_counts_passes_through_and_is_said_once(denoise, series: Path) -> None:
    done = denoise("all.nii.gz", "--uncertainty", "sd.nii.gz")
    assert not values(series.parent / "all.nii.gz")[0].any() and not values(series.parent / "sd.nii.gz")[0].any()
    said = [line for line in done.stderr.splitlines() if "no counts" in line]
    assert said == ["Warning: Frame 1: There are no counts to denoise; the frame was passed through as it is."]
    warned = [line for line in done.stderr.splitlines() if line.startswith("Warning")]
    assert len(warned) == len({line.split(":", 2)[-1] for line in warned})


def test_manifest_and_sidecar_hold_the_facts_of_the_frames(denoise, series: Path) -> None:
    assert denoise("all.nii.gz", "--frames", "2-4").returncode == 0
    summary = json.loads((series.parent / "all.nii.gz.manifest.json").read_text())["summary"]
    assert (summary["model"], summary["kind"], summary["unit"]) == ("untrained", "dynamic", "suvbw")
    assert [frame["number"] for frame in summary["frames"]] == [2, 3, 4]
    assert [frame["start_s"] for frame in summary["frames"]] == [60, 120, 180]
    assert all(frame["noise_level"] > 0 for frame in summary["frames"])
    sidecar = json.loads((series.parent / "all.json").read_text())
    assert (sidecar["FrameTimesStart"], sidecar["FrameDuration"]) == ([60, 120, 180], [60, 60, 60])
    assert sidecar["ImageDecayCorrected"] is True


def test_the_mean_of_frames_is_one_volume(denoise, series: Path) -> None:
    assert denoise("mean.nii.gz", "--frames", "mean:2-4").returncode == 0
    assert values(series.parent / "mean.nii.gz").shape == (SLICES, ROWS, COLUMNS)


def test_progress_runs_once_through_all_frames(denoise) -> None:
    events = [json.loads(line) for line in denoise("all.nii.gz", "--json").stdout.splitlines()]
    stages = [event["stage"] for event in events if event["event"] == "stage"]
    assert stages == ["Preparing", "Reading", *(f"Frame {n} of {FRAMES}" for n in range(1, FRAMES + 1)), "Writing"]
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions) and fractions[-1] == 1


def test_formats_without_4d_get_a_file_a_frame_and_none_is_replaced_unasked(denoise, series: Path) -> None:
    done = denoise("all.nrrd")
    assert done.returncode == 0, done.stderr
    assert "image: all_frame001.nrrd" in done.stdout
    assert len(list(series.parent.glob("all_frame*.nrrd"))) == FRAMES
    again = denoise("all.nrrd")
    assert again.returncode == 2 and "exists already" in again.stderr


def test_frames_that_are_not_there_are_refused(denoise) -> None:
    for text, said in (("7", "has 4 frame(s), and frame 7 was asked for"), ("last", "Frames are numbered from 1")):
        done = denoise("all.nii.gz", "--frames", text)
        assert done.returncode == 2 and said in done.stderr


def test_convert_writes_the_frames_on_another_grid_too(petdiffusion, series: Path, frames: np.ndarray) -> None:
    assert petdiffusion("convert", series, "own.nii.gz").returncode == 0
    assert np.array_equal(values(series.parent / "own.nii.gz"), frames)
    done = petdiffusion("convert", series, "cubic.nii.gz", "--voxel-mm", 2, "--frames", "2-4")
    assert done.returncode == 0, done.stderr
    cubic = values(series.parent / "cubic.nii.gz")
    assert cubic.shape == (3, 16, 24, 18)  # 32 x 48 x 36 mm
    activity = frames[1:].sum(axis=(1, 2, 3)) * 24 * SUV_PER_BQML
    assert cubic.sum(axis=(1, 2, 3)) * 8 == pytest.approx(activity, rel=2e-3)


def test_evaluate_asks_which_frame(petdiffusion, series: Path) -> None:
    assert petdiffusion("convert", series, "mean.nii.gz", "--unit", "suv", "--frames", "mean:2-4").returncode == 0
    asked = petdiffusion("evaluate", series, "mean.nii.gz")
    assert asked.returncode == 2 and "--frames mean" in asked.stderr
    judged = petdiffusion("evaluate", series, "mean.nii.gz", "--frames", "mean:2-4")
    assert judged.returncode == 0, judged.stderr
    in_body = next(line for line in judged.stdout.splitlines() if line.startswith("body"))
    assert in_body.split()[3] == "+0.00"


def test_one_frame_is_in_memory_at_a_time(tmp_path: Path) -> None:
    alive: list[weakref.ref[Volume | sitk.Image]] = []

    def read(index: int) -> Volume:
        assert not any(one() for one in alive)
        image = sitk.GetImageFromArray(np.full((4, 5, 6), index + 1, np.float32))
        alive.extend((weakref.ref(volume := Volume(image, "suvbw")), weakref.ref(image)))
        return volume

    series = FrameSeries("a test", "dynamic", (None,) * 12, read)
    job = SimpleNamespace(outputs={"image": tmp_path / "out.nii.gz"})

    def as_it_is(image: sitk.Image, progress: object, warn: object) -> DenoiseResult:
        return DenoiseResult(image, None, {})

    denoise_frames(job, series, lambda volume: volume, as_it_is, lambda *_: None, lambda *_: None)
    assert list(values(tmp_path / "out.nii.gz")[:, 0, 0, 0]) == list(range(1, 13))


def test_file_names_of_frames_that_are_taken_are_refused_before_the_work(denoise, series: Path) -> None:
    (series.parent / "all_frame003.nrrd").write_bytes(b"precious")
    done = denoise("all.nrrd")
    assert done.returncode == 2 and "all_frame003.nrrd' exists already" in done.stderr
    assert "Frame 1 of" not in done.stderr
    assert (series.parent / "all_frame003.nrrd").read_bytes() == b"precious"
