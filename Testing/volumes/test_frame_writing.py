"""Frames written one by one: 4D NIfTI as nibabel reads it, files a frame elsewhere, and all or nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import FrameTime, FrameWriter, Volume, frame_files, read_volume, write_volume

nibabel = pytest.importorskip("nibabel")

TIMES = (FrameTime(30.0, 60.0), FrameTime(90.0, 60.0), FrameTime(150.0, 60.0))


def frame(number: int, **facts: object) -> Volume:
    noise = np.random.default_rng(number)
    image = sitk.GetImageFromArray(noise.normal(5, 1, (4, 5, 6)).astype(np.float32))
    image.SetSpacing((4.0, 4.5, 3.27))
    image.SetOrigin((-100.0, 20.5, -1200.0))
    image.SetDirection((0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    return Volume(image, "bqml", facts)


def write(path: Path, times: tuple[FrameTime | None, ...] = TIMES, frames: int = 3) -> None:
    with FrameWriter(path, frame(0), times, {"source": "scan.v", "nuclide": "C11", "half_life_s": 1221.8}) as writer:
        for number in range(frames):
            writer.write(frame(number))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_4d_nifti_holds_every_frame_where_the_volumes_lie(tmp_path: Path, ending: str) -> None:
    write(tmp_path / f"scan{ending}")
    image = nibabel.load(tmp_path / f"scan{ending}")
    assert image.shape == (6, 5, 4, 3) and image.header.get_xyzt_units() == ("mm", "sec")
    for number in range(3):
        assert np.array_equal(np.asarray(image.dataobj[..., number]).T, frame(number).array)
    affine = np.diag([-1, -1, 1, 1]) @ image.affine
    for index in ((0, 0, 0), (5, 4, 3), (2, 3, 1)):
        expected = frame(0).image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((affine @ [*index, 1])[:3], expected, rtol=1e-6)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
    assert int(image.header["qform_code"]) == int(image.header["sform_code"]) == 1
    assert image.header.get_zooms()[3] == 60 and image.header["toffset"] == 30


def test_uneven_frames_have_no_step_in_the_header_but_all_times_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "scan.nii", (FrameTime(0, 10), FrameTime(10, 20), FrameTime(30, 60)))
    assert nibabel.load(tmp_path / "scan.nii").header.get_zooms()[3] == 0
    document = json.loads((tmp_path / "scan.json").read_text())
    assert document["FrameTimesStart"] == [0, 10, 30] and document["FrameDuration"] == [10, 20, 60]
    assert document["Units"] == "Bq/mL" and document["TracerRadionuclide"] == "C11"
    assert document["RadionuclideHalfLife"] == 1221.8 and document["GeneratedBy"][0]["Name"] == "PETDiffusion"


def test_unknown_times_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "scan.nii", (None, FrameTime(0, 1), None))
    assert "FrameTimesStart" not in json.loads((tmp_path / "scan.json").read_text())


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd"])
def test_formats_without_an_agreed_fourth_dimension_get_a_file_a_frame(tmp_path: Path, ending: str) -> None:
    write(tmp_path / f"scan{ending}")
    assert sorted(tmp_path.iterdir()) == sorted(frame_files(tmp_path / f"scan{ending}", 3))
    for number in range(3):
        volume = read_volume(tmp_path / f"scan_frame{number + 1:03}{ending}")
        assert volume.unit == "bqml" and np.array_equal(volume.array, frame(number).array)


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / f"{name}.nii.gz")
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()


def test_what_is_left_early_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), FrameWriter(tmp_path / "scan.nii.gz", frame(0), TIMES) as writer:
        writer.write(frame(0))
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_a_json_file_of_another_program_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "scan.json").write_text('{"Units": "Bq/mL", "GeneratedBy": [{"Name": "another"}]}')
    with pytest.raises(PETDiffusionError, match=r"scan\.json.*--overwrite") as caught:
        FrameWriter(tmp_path / "scan.nii", frame(0), TIMES)
    assert caught.value.code == "exists"
    with pytest.raises(PETDiffusionError, match=r"scan\.json"):
        write_volume(frame(0, source="a"), tmp_path / "scan.nii")
    write_volume(frame(0, source="a"), tmp_path / "scan.nii", overwrite=True)
    write_volume(frame(0, source="b"), tmp_path / "scan.nii")  # our own now
    assert json.loads((tmp_path / "scan.json").read_text())["Sources"] == ["b"]


def test_no_name_of_a_patient_is_written_beside_a_volume(tmp_path: Path) -> None:
    """A folder of DICOM is often named after the patient; dates are left out for the same reason."""
    facts = {"source": "/archive/DOE^JOHN", "format": "dicom", "reference_time": "2024-05-06T10:20:30"}
    facts |= {"injection_time": "2024-05-06T09:20:30", "decay_correction": "START"}
    write_volume(frame(0, **facts), tmp_path / "scan.nii")
    text = (tmp_path / "scan.json").read_text()
    document = json.loads(text)
    assert "DOE" not in text and "2024" not in text
    assert document["TimeZero"] == "10:20:30" and document["InjectionStart"] == -3600
    assert document["ImageDecayCorrected"] is True and document["ImageDecayCorrectionTime"] == 0


def test_the_json_of_an_input_is_never_replaced(tmp_path: Path) -> None:
    from PETDiffusionLib.jobs.input_files import with_data
    from PETDiffusionLib.jobs.runner import check_output

    write_volume(frame(0), tmp_path / "scan.nii.gz")
    (tmp_path / "scan.json").write_text('{"Units": "Bq/mL"}')
    with pytest.raises(PETDiffusionError, match=r"scan\.json.*is an input"):
        check_output(tmp_path / "scan.nii", with_data(tmp_path / "scan.nii.gz"), overwrite=True)
