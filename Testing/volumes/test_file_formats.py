"""Volume files of other programs: geometry and values as nibabel and pynrrd have them, contradictions said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import FrameTime, open_frames, read_volume, to_suv, write_volume

nibabel = pytest.importorskip("nibabel")

VALUES = np.random.default_rng(3).integers(1, 900, (6, 5, 4)).astype(np.float32)  # [i, j, k]
AFFINE = np.array([[-4.0, 0, 0, 30], [0, 5.0, 0, -35], [0, 0, 3.0, -60], [0, 0, 0, 1]])  # RAS, mm


def lies_at(path: Path, affine: np.ndarray = AFFINE, values: np.ndarray = VALUES) -> list[str]:
    """Check that the volume has every value where `affine` (RAS) puts it; returns the warnings."""
    volume = read_volume(path)
    for index in ((0, 0, 0), (5, 4, 3), (2, 1, 3)):
        right, front, head = (affine @ [*index, 1])[:3]
        np.testing.assert_allclose(volume.image.TransformIndexToPhysicalPoint(index), (-right, -front, head), atol=1e-3)
    np.testing.assert_allclose(volume.array.T, values, rtol=1e-6)
    return volume.warnings


def save(path: Path, image: object) -> Path:
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.Nifti1Pair])
def test_nifti_of_every_kind(tmp_path: Path, kind: type) -> None:
    name = "scan.img" if kind is nibabel.Nifti1Pair else "scan.nii.gz"
    assert lies_at(save(tmp_path / name, kind(VALUES, AFFINE))) == []


def test_big_endian_integers_with_a_slope(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    image = nibabel.Nifti1Image(VALUES.astype(">i2"), AFFINE, header)
    image.header.set_slope_inter(0.25, 3)
    path = save(tmp_path / "scan.nii", image)
    lies_at(path, values=nibabel.load(path).get_fdata())


def test_qform_and_sform_that_differ_are_said_and_both_kept(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    other = AFFINE.copy()
    other[2, 3] += 200
    image.set_qform(other, code=1)
    image.set_sform(AFFINE, code=2)
    path = save(tmp_path / "scan.nii.gz", image)
    assert any("200 mm apart; the sform was taken" in warning for warning in lies_at(path))
    write_volume(read_volume(path), tmp_path / "out.nii.gz")
    before, after = nibabel.load(path).header, nibabel.load(tmp_path / "out.nii.gz").header
    for key in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_z", "srow_x", "srow_z"):
        assert np.array_equal(before[key], after[key]), key


def test_no_orientation_is_said(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, None)
    assert any("left and right" in warning for warning in read_volume(save(tmp_path / "scan.nii", image)).warnings)


def test_a_sheared_sform_is_refused_as_what_it_is(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[0, 1] = 2.0
    with pytest.raises(PETDiffusionError, match="sheared") as caught:
        read_volume(save(tmp_path / "scan.nii", nibabel.Nifti1Image(VALUES, sheared)))
    assert caught.value.code == "bad-geometry"


def test_4d_nifti_is_frames_with_the_times_of_its_json(tmp_path: Path) -> None:
    frames = np.stack([VALUES, VALUES * 2, VALUES * 4], axis=-1)
    path = save(tmp_path / "sub-1_pet.nii.gz", nibabel.Nifti1Image(frames, AFFINE))
    document = {"Units": "kBq/mL", "FrameTimesStart": [0, 60, 120], "FrameDuration": [60, 60, 120]}
    (tmp_path / "sub-1_pet.json").write_text(json.dumps(document))
    series = open_frames(path)
    assert series.kind == "dynamic" and series.times[2] == FrameTime(120, 120)
    np.testing.assert_allclose(series.read(2).array.T, VALUES * 4000, rtol=1e-6)
    assert series.read(0).unit == "bqml"
    with pytest.raises(PETDiffusionError, match="--frames"):
        read_volume(path)
    np.testing.assert_allclose(read_volume(path, frames="2").array.T, VALUES * 2000, rtol=1e-6)


def test_bids_facts_give_suv(tmp_path: Path) -> None:
    """Ga-68, 150 MBq, 70 kg, corrected to 60 minutes after injection: worked out by hand."""
    path = save(tmp_path / "sub-1_pet.nii.gz", nibabel.Nifti1Image(VALUES, AFFINE))
    document = {"Units": "Bq/mL", "TracerRadionuclide": "Ga68", "RadionuclideHalfLife": 4062.6, "BodyWeight": 70}
    document |= {"InjectedRadioactivity": 150, "InjectedRadioactivityUnits": "MBq", "InjectionStart": -3600}
    document |= {"ImageDecayCorrected": True, "ImageDecayCorrectionTime": 0}
    (tmp_path / "sub-1_pet.json").write_text(json.dumps(document))
    factor = 70e3 / (150e6 * 2 ** (-3600 / 4062.6))
    np.testing.assert_allclose(to_suv(read_volume(path)).array.T, VALUES * factor, rtol=1e-5)


def test_a_header_and_json_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", nibabel.Nifti1Image(VALUES, AFFINE))
    write_volume(read_volume(path, "suvbw"), tmp_path / "suv.nii")
    (tmp_path / "suv.json").write_text('{"Units": "Bq/mL"}')
    with pytest.raises(PETDiffusionError, match="Correct or remove") as caught:
        read_volume(tmp_path / "suv.nii")
    assert caught.value.code == "unit-conflict"


@pytest.mark.parametrize("space", ["left-posterior-superior", "RAS"])
def test_nrrd_in_micrometres_and_slicer_sequences(tmp_path: Path, space: str) -> None:
    nrrd = pytest.importorskip("nrrd")
    sides = np.diag([-1, -1, 1, 1]) if space.startswith("left") else np.eye(4)
    matrix = sides @ AFFINE
    header = {"space": space, "space origin": matrix[:3, 3] * 1000, "space units": ["um"] * 3, "kinds": ["domain"] * 3}
    nrrd.write(str(tmp_path / "um.nrrd"), VALUES, header | {"space directions": matrix[:3, :3].T * 1000})
    assert any("millimetres" in warning for warning in lies_at(tmp_path / "um.nrrd"))
    listed = {"space": space, "space origin": matrix[:3, 3], "kinds": ["list", *["domain"] * 3]}
    listed["space directions"] = np.vstack([[np.nan] * 3, matrix[:3, :3].T])
    nrrd.write(str(tmp_path / "scan.seq.nrrd"), np.stack([VALUES, VALUES * 2]), listed)
    series = open_frames(tmp_path / "scan.seq.nrrd")
    assert len(series) == 2 and np.array_equal(series.read(1).array.T, VALUES * 2)


def test_metaimage_with_slope_and_offset(tmp_path: Path) -> None:
    header = "ObjectType = Image\nNDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\nElementSpacing = 4 5 3\n"
    header += "ElementToIntensityFunctionSlope = 2\nElementToIntensityFunctionOffset = 100\nElementDataFile = v.raw\n"
    (tmp_path / "v.mhd").write_text(header)
    (tmp_path / "v.raw").write_bytes(VALUES.T.astype("<i2").tobytes())
    warnings = lies_at(tmp_path / "v.mhd", np.diag([-4.0, -5, 3, 1]), VALUES * 2 + 100)
    assert any("Slope 2" in warning for warning in warnings)
