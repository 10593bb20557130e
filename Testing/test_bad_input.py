"""Bad input: one sentence that says what to do, a status that is not zero, and nothing half-written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from PETDiffusionLib.volumes import read_volume, write_volume

posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX signals, limits and permissions")


@pytest.fixture(params=["convert", "denoise"])
def refused(request, petdiffusion, untrained_model: Path, tmp_path: Path):
    """Run a command on bad input and check everything but what it says, which is returned."""

    def run(source: Path, *options: object, output: Path = tmp_path / "out.nii.gz", runner=petdiffusion) -> str:
        before = sorted(tmp_path.rglob("*"))
        if request.param == "convert":
            command = ["convert", source, output, *options, "--unit", "suv"]
        else:
            command = ["denoise", source, output, *options, "--model", untrained_model, "--preset", "fast"]
        done = runner(*command)
        assert done.returncode == 2, done
        assert "Traceback" not in done.stderr
        said = [line for line in done.stderr.splitlines() if line.startswith("petdiffusion: ")]
        assert len(said) == 1 and said[0].endswith(".")
        assert sorted(tmp_path.rglob("*")) == before
        return said[0]

    return run


def rewrite(path: Path, array: np.ndarray, name: str = "bad.nrrd") -> Path:
    """A volume of other values on the grid of the one at `path`, not checked by the engine."""
    image = sitk.GetImageFromArray(array.astype(np.float32))
    image.CopyInformation(sitk.ReadImage(str(path)))
    image.SetMetaData("PETDiffusion_unit", "suvbw")
    sitk.WriteImage(image, str(path.with_name(name)))
    return path.with_name(name)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(refused, small_pet: Path, value: float) -> None:
    array = read_volume(small_pet).array
    array[3, 4, 5] = value
    assert "NaN or infinite" in refused(rewrite(small_pet, array))


def test_a_volume_of_zeros(refused, small_pet: Path) -> None:
    assert "only zeros" in refused(rewrite(small_pet, np.zeros((20, 24, 28))))


def test_a_file_of_no_bytes(refused, tmp_path: Path) -> None:
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    assert "empty" in refused(tmp_path / "empty.nii.gz")


def test_an_empty_folder_and_a_path_that_is_not_there(refused, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder")
    assert "nowhere.nii" in refused(tmp_path / "nowhere.nii")


@pytest.mark.parametrize("shape", [(24, 28), (1, 24, 28)])
def test_2d(refused, tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = sitk.GetImageFromArray(np.ones(shape, np.float32), isVector=False)
    sitk.WriteImage(image, str(tmp_path / "shape.nrrd"))
    assert "3D volume is expected" in refused(tmp_path / "shape.nrrd")


def write_ct_series(folder: Path) -> Path:
    """Three slices of a CT as DICOM."""
    folder.mkdir()
    series, study = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    for number in range(3):
        slice_ = pydicom.Dataset()
        slice_.file_meta = pydicom.dataset.FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        slice_.file_meta.MediaStorageSOPClassUID = slice_.SOPClassUID = pydicom.uid.CTImageStorage
        slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID = pydicom.uid.generate_uid()
        slice_.Modality, slice_.SeriesInstanceUID, slice_.StudyInstanceUID = "CT", series, study
        slice_.ImagePositionPatient, slice_.ImageOrientationPatient = [0, 0, 3 * number], [1, 0, 0, 0, 1, 0]
        slice_.PixelSpacing, slice_.Rows, slice_.Columns = [2, 2], 8, 8
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 1
        slice_.RescaleSlope, slice_.RescaleIntercept = 1, -1024
        slice_.PixelData = np.full((8, 8), 1024, np.int16).tobytes()
        slice_.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def test_ct_instead_of_pet(refused, tmp_path: Path) -> None:
    assert "CT" in refused(write_ct_series(tmp_path / "ct"))


def test_a_ct_in_a_file_that_does_not_say_so_needs_its_unit_stated(refused, small_pet: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.full((9, 9, 9), -1000.0)), str(small_pet.with_name("ct.nii.gz")))
    assert "unit" in refused(small_pet.with_name("ct.nii.gz"))


def in_bqml(path: Path) -> Path:
    """The volume as activity, without a patient's facts."""
    volume = read_volume(path)
    write_volume(volume.with_array(volume.array * 5000, "bqml"), path.with_name("activity.mha"))
    return path.with_name("activity.mha")


def test_a_missing_weight(refused, small_pet: Path) -> None:
    said = refused(in_bqml(small_pet), "--dose-mbq", 300, "--minutes", 60)
    assert "--weight-kg" in said and "--dose-mbq" not in said


@pytest.mark.parametrize("value", ["0", "-3", "nan", "many"])
@pytest.mark.parametrize("option", ["--dose-mbq", "--weight-kg"])
def test_a_dose_or_weight_of_zero_or_nonsense(petdiffusion, small_pet: Path, option: str, value: str) -> None:
    for command in ("convert", "denoise"):
        done = petdiffusion(command, in_bqml(small_pet), small_pet.with_name("out.nrrd"), option, value)
        assert done.returncode == 2 and option in done.stderr and "above 0" in done.stderr
        assert not small_pet.with_name("out.nrrd").exists()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_truncated_file(refused, small_pet: Path, suffix: str) -> None:
    whole, short = small_pet.with_name(f"whole{suffix}"), small_pet.with_name(f"short{suffix}")
    write_volume(read_volume(small_pet), whole)
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert "truncated" in refused(short)


def test_a_file_that_is_something_else(refused, tmp_path: Path) -> None:
    (tmp_path / "notes.nii.gz").write_text("These are notes.")
    (tmp_path / "notes.txt").write_text("These are notes.")
    refused(tmp_path / "notes.nii.gz")
    refused(tmp_path / "notes.txt")


def test_an_output_that_cannot_be_named_so(refused, small_pet: Path) -> None:
    folder = small_pet.parent
    (folder / "file").write_text("")
    (folder / "a-folder.nii.gz").mkdir()
    doubled = ("out.nii.gz.nii.gz", "out.nii.nii.gz", "out.hdr.nii.gz", "OUT.NII.GZ")  # ITK writes another file
    for output in ("no/such/out.nii.gz", "file/out.nii.gz", "out.txt", "out", "a-folder.nii.gz", *doubled):
        refused(small_pet, output=folder / output)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that takes no files")
def test_a_place_that_takes_no_files_is_no_other_job(refused, small_pet: Path) -> None:
    assert "another job" not in refused(small_pet, output=Path("/proc/out.nii.gz"))


def test_an_argument_that_is_empty(petdiffusion) -> None:
    done = petdiffusion("suv", "")
    assert done.returncode == 2 and "an argument is empty" in done.stderr


@posix_only
def test_a_read_only_folder(refused, small_pet: Path) -> None:
    folder = small_pet.parent / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write anywhere")
    assert "read-only" in refused(small_pet, output=folder / "out.nii.gz")


@posix_only
def test_a_full_disk(refused, petdiffusion_process, small_pet: Path) -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # bytes in any file that the process writes

    limited = partial(petdiffusion_process, preexec_fn=limit)
    assert "full" in refused(small_pet, output=small_pet.with_name("out.nrrd"), runner=limited)


def test_negative_voxels_are_warned_about_and_denoised(
    petdiffusion_process, small_pet: Path, untrained_model: Path
) -> None:
    array = read_volume(small_pet).array
    array[:2] = -0.25
    bad, output = rewrite(small_pet, array), small_pet.with_name("out.nrrd")
    done = petdiffusion_process("denoise", bad, output, "--model", untrained_model, "--preset", "fast")
    assert done.returncode == 0 and "negative" in done.stderr
    assert read_volume(output).array.min() >= 0


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_the_middle_leaves_nothing(
    small_pet: Path, untrained_model: Path, engine_environment: dict[str, str], number: signal.Signals
) -> None:
    before = sorted(small_pet.parent.rglob("*"))
    command = [sys.executable, "-m", "PETDiffusionLib", "denoise", "pet.nrrd", "out.nrrd", "--samples", "1000"]
    job = subprocess.Popen(
        [*command, "--model", untrained_model, "--preset", "best", "--threads", "1"],
        cwd=small_pet.parent,
        env=engine_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stderr is not None
    for line in job.stderr:
        if "Denoising" in line:
            break
    job.send_signal(number)
    output, errors = job.communicate(timeout=60)
    assert job.returncode == 130 and output == ""
    assert "Stopped; nothing was written." in errors and "Traceback" not in errors
    assert sorted(small_pet.parent.rglob("*")) == before


def test_damaged_weights(petdiffusion, small_pet: Path, untrained_model: Path) -> None:
    for name in ("untrained.json", "untrained.safetensors"):
        shutil.copy(untrained_model.with_name(name), small_pet.parent)
    weights = small_pet.with_name("untrained.safetensors")
    weights.write_bytes(weights.read_bytes()[:-8])
    done = petdiffusion("denoise", small_pet, "out.nrrd", "--model", "untrained.json")
    assert done.returncode == 2 and "untrained.safetensors" in done.stderr and "cut short" in done.stderr
    assert not small_pet.with_name("out.nrrd").exists()
