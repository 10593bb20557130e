"""4D NIfTI and Slicer sequences from the command line: frames, their times and their decay, kept to the output."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from Testing.methods.test_ddpm3d import STEPS
from Testing.methods.test_ddpm3d import model as small_ddpm3d  # noqa: F401 (a fixture)

FRAMES, SLICES, ROWS, COLUMNS = 4, 8, 16, 18
SIDECAR = {
    "Units": "Bq/mL",
    "TracerRadionuclide": "F18",
    "RadionuclideHalfLife": 6586.2,
    "BodyWeight": 70,
    "InjectedRadioactivity": 140,
    "InjectedRadioactivityUnits": "MBq",
    "InjectionStart": 0,
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0,
    "FrameTimesStart": [0, 10, 70, 190],
    "FrameDuration": [10, 60, 120, 300],
}


@pytest.fixture
def frames() -> np.ndarray:
    """A block that takes up activity, [frame, z, y, x]; the first frame lies before it."""
    rng = np.random.default_rng(0)
    block = np.zeros((SLICES, ROWS, COLUMNS))
    block[2:-2, 4:-4, 4:-4] = 2000
    return np.stack([rng.poisson(block / 20 * number) * 20 for number in range(FRAMES)]).astype(np.float32)


@pytest.fixture
def scan(tmp_path: Path, frames: np.ndarray) -> Path:
    """The frames as 4D NIfTI with the JSON of BIDS PET."""
    nibabel.save(nibabel.Nifti1Image(frames.T, np.diag([-2.0, -3, 4, 1])), tmp_path / "sub-1_pet.nii.gz")
    (tmp_path / "sub-1_pet.json").write_text(json.dumps(SIDECAR))
    return tmp_path / "sub-1_pet.nii.gz"


def values(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj).T


@pytest.mark.parametrize("frame", [2, 4])
def test_each_frame_of_4d_nifti_is_to_the_bit_what_it_is_alone(petdiffusion, scan, untrained_model, frame) -> None:
    common = ("--model", untrained_model, "--preset", "fast", "--seed", 5)
    done = petdiffusion("denoise", scan, "all.nii.gz", "--uncertainty", "sd.nii", *common)
    assert done.returncode == 0, done.stderr
    assert petdiffusion("denoise", scan, "one.nii", "--frames", frame, *common).returncode == 0
    assert values(scan.with_name("all.nii.gz")).shape == (FRAMES, SLICES, ROWS, COLUMNS)
    assert np.array_equal(values(scan.with_name("all.nii.gz"))[frame - 1], values(scan.with_name("one.nii")))
    nibabel.save(nibabel.load(scan).slicer[..., frame - 1], scan.with_name("alone.nii"))
    facts = {name: value for name, value in SIDECAR.items() if not name.startswith("Frame")}
    scan.with_name("alone.json").write_text(json.dumps(facts))
    assert petdiffusion("denoise", scan.with_name("alone.nii"), "static.nii", *common).returncode == 0
    assert np.array_equal(values(scan.with_name("static.nii")), values(scan.with_name("one.nii")))


def test_frame_times_and_decay_go_into_the_json_of_the_output(petdiffusion, scan: Path, untrained_model) -> None:
    common = ("--model", untrained_model, "--preset", "fast", "--frames", "2-4")
    assert petdiffusion("denoise", scan, "out.nii.gz", *common).returncode == 0
    assert petdiffusion("convert", scan, "suv.nii", "--unit", "suv", "--frames", "2-4").returncode == 0
    for name in ("out.json", "suv.json"):
        written = json.loads(scan.with_name(name).read_text())
        assert (written["FrameTimesStart"], written["FrameDuration"]) == ([10, 70, 190], [60, 120, 300])
        assert written["ImageDecayCorrected"] is True and written["ImageDecayCorrectionTime"] == 0
        assert written["Units"] == "g/mL" and written["RadionuclideHalfLife"] == 6586.2
    again = petdiffusion("convert", scan.with_name("out.nii.gz"), "again.nii", "--frames", "2")
    assert again.returncode == 0 and "(suvbw)" in again.stdout


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_convert_keeps_values_and_evaluate_takes_a_mean(petdiffusion, scan: Path, frames: np.ndarray, ending) -> None:
    assert petdiffusion("convert", scan, f"copy{ending}").returncode == 0
    assert np.array_equal(values(scan.with_name(f"copy{ending}")), frames)
    assert petdiffusion("convert", scan, "mean.nii", "--frames", "mean:2-4").returncode == 0
    weights = np.array([60, 120, 300]) / 480
    expected = np.tensordot(weights, frames[1:], 1)
    np.testing.assert_allclose(values(scan.with_name("mean.nii")), expected, rtol=1e-5)
    assert petdiffusion("convert", scan, "suv.nii", "--frames", "mean:2-4", "--unit", "suv").returncode == 0
    judged = petdiffusion("evaluate", scan, "suv.nii", "--frames", "mean:2-4")
    assert judged.returncode == 0, judged.stderr
    asked = petdiffusion("evaluate", scan, "suv.nii")
    assert asked.returncode == 2 and "--frames" in asked.stderr


def test_a_slicer_sequence_is_denoised_frame_by_frame(petdiffusion, tmp_path, frames, untrained_model) -> None:
    nrrd = pytest.importorskip("nrrd")
    header = {"space": "left-posterior-superior", "space origin": [0, 0, 0], "kinds": ["list", *["domain"] * 3]}
    header["space directions"] = np.vstack([[np.nan] * 3, np.diag([2.0, 3, 4])])
    nrrd.write(str(tmp_path / "scan.seq.nrrd"), frames.transpose(0, 3, 2, 1) / 2000, header)
    common = ("--model", untrained_model, "--preset", "fast", "--unit", "suv")
    done = petdiffusion("denoise", "scan.seq.nrrd", "out.nii.gz", *common)
    assert done.returncode == 0, done.stderr
    assert values(tmp_path / "out.nii.gz").shape == frames.shape
    assert petdiffusion("denoise", "scan.seq.nrrd", "one.nii.gz", "--frames", 3, *common).returncode == 0
    assert np.array_equal(values(tmp_path / "one.nii.gz"), values(tmp_path / "out.nii.gz")[2])


def test_ddpm3d_takes_frames(petdiffusion, scan: Path, small_ddpm3d: Path) -> None:  # noqa: F811
    common = ("--method", "ddpm3d", "--model", "small-ddpm3d", *STEPS)
    done = petdiffusion("denoise", scan, "out.nii", "--frames", "1,3", *common)
    assert done.returncode == 0, done.stderr
    assert "Frame 1: There are no counts to denoise" in done.stderr
    assert petdiffusion("denoise", scan, "one.nii", "--frames", 3, *common).returncode == 0
    assert not values(scan.with_name("out.nii"))[0].any()
    assert np.array_equal(values(scan.with_name("out.nii"))[1], values(scan.with_name("one.nii")))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_job_stopped_between_frames_leaves_nothing(scan: Path, untrained_model, engine_environment) -> None:
    common = ["--model", str(untrained_model), "--preset", "fast", "--steps", "8", "--json"]
    arguments = ["denoise", scan.name, "out.nii.gz", "--uncertainty", "sd.mha", *common]
    job = subprocess.Popen(
        [sys.executable, "-m", "PETDiffusionLib", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=scan.parent,
        env=engine_environment,
    )
    assert job.stdout is not None
    for line in job.stdout:
        if json.loads(line).get("stage") == f"Frame 3 of {FRAMES}":
            break
    job.send_signal(signal.SIGTERM)
    output, errors = job.communicate(timeout=60)
    assert job.returncode == 130 and "Traceback" not in errors
    assert json.loads(output.splitlines()[-1]) == {"event": "cancelled"}
    assert {path.name for path in scan.parent.iterdir()} == {"sub-1_pet.nii.gz", "sub-1_pet.json"}
