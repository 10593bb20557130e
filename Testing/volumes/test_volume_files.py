"""Volumes in files: what is written comes back, and what is broken is refused by name."""

from __future__ import annotations

import gzip
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import UNITS, Unit, Volume, read_volume, write_volume

EXTENSIONS = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    """A right-handed rotation matrix from three angles about x, y and z."""
    x, y, z = angles
    about_x = np.array([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]])
    about_y = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_z = np.array([[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Volumes of noise of any magnitude, with any geometry."""
    shape = draw(array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=5))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    array = (noise.normal(1, 1, shape) * 10.0 ** draw(st.integers(-6, 6))).astype(np.float32)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(draw(st.tuples(*[st.floats(0.1, 10)] * 3)))
    image.SetOrigin(draw(st.tuples(*[st.floats(-2000, 2000, allow_subnormal=False)] * 3)))
    degrees = draw(st.tuples(*[st.sampled_from([0, 0.1, -3, 17, 45, 90, 180, 263.4])] * 3))
    image.SetDirection(rotation(tuple(math.radians(angle) for angle in degrees)).ravel().tolist())
    return Volume(image, draw(st.sampled_from(UNITS)), {})


def geometry(volume: Volume) -> tuple[tuple[float, ...], ...]:
    return volume.image.GetSize(), volume.image.GetSpacing(), volume.image.GetOrigin(), volume.image.GetDirection()


def written_and_read(volume: Volume, extension: str) -> Volume:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"volume{extension}"
        write_volume(volume, path)
        return read_volume(path)


def small_volume(unit: Unit = "suvbw") -> Volume:
    return Volume(sitk.GetImageFromArray(np.arange(1, 61, dtype=np.float32).reshape(3, 4, 5)), unit, {})


def save(array: np.ndarray, path: Path, is_vector: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=is_vector), str(path))
    return path


def refusal(path: Path, code: str) -> str:
    with pytest.raises(PETDiffusionError) as caught:
        read_volume(path)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("extension", [".mha", ".mhd"])
@given(volume=volumes())
@settings(deadline=None, max_examples=25)
def test_metaimage_keeps_values_geometry_and_unit_bit_for_bit(extension: str, volume: Volume) -> None:
    back = written_and_read(volume, extension)
    assert np.array_equal(back.array, volume.array) and back.unit == volume.unit
    assert geometry(back) == geometry(volume)


@given(volume=volumes())
@settings(deadline=None, max_examples=25)
def test_nrrd_keeps_values_bit_for_bit_and_geometry_in_double_precision(volume: Volume) -> None:
    """NRRD stores direction times spacing, so both come back through a product and a quotient."""
    back = written_and_read(volume, ".nrrd")
    assert np.array_equal(back.array, volume.array) and back.unit == volume.unit
    assert back.image.GetOrigin() == volume.image.GetOrigin()
    np.testing.assert_allclose(back.image.GetSpacing(), volume.image.GetSpacing(), rtol=1e-15)
    np.testing.assert_allclose(back.image.GetDirection(), volume.image.GetDirection(), atol=1e-15)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@given(volume=volumes())
@settings(deadline=None, max_examples=25)
def test_nifti_keeps_values_bit_for_bit_and_geometry_in_single_precision(extension: str, volume: Volume) -> None:
    back = written_and_read(volume, extension)
    assert np.array_equal(back.array, volume.array) and back.unit == volume.unit
    np.testing.assert_allclose(back.image.GetSpacing(), volume.image.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(back.image.GetOrigin(), volume.image.GetOrigin(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(back.image.GetDirection(), volume.image.GetDirection(), atol=1e-3)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_names_beyond_ascii_are_read_and_written(tmp_path: Path, extension: str) -> None:
    path = tmp_path / "Müller größe 患者" / f"aufnahme ä{extension}"
    path.parent.mkdir()
    write_volume(small_volume(), path)
    assert np.array_equal(read_volume(path).array, small_volume().array)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_only_the_output_appears(tmp_path: Path, extension: str) -> None:
    write_volume(small_volume(), tmp_path / f"out{extension}")
    expected = {"out.mhd", "out.raw"} if extension == ".mhd" else {f"out{extension}"}
    assert set(os.listdir(tmp_path)) == expected


def test_a_volume_of_another_program_has_an_unknown_unit_until_it_is_stated(tmp_path: Path) -> None:
    path = save(small_volume().array, tmp_path / "other.nii.gz")
    assert read_volume(path).unit == "unknown"
    assert read_volume(path, "bqml").unit == "bqml"


def test_a_stated_unit_may_not_contradict_the_file(tmp_path: Path) -> None:
    write_volume(small_volume("suvbw"), tmp_path / "suv.nrrd")
    assert read_volume(tmp_path / "suv.nrrd", "suvbw").unit == "suvbw"
    with pytest.raises(PETDiffusionError, match="suvbw") as caught:
        read_volume(tmp_path / "suv.nrrd", "bqml")
    assert caught.value.code == "unit-conflict"


def test_integers_become_float32(tmp_path: Path) -> None:
    path = save(np.arange(-5, 55, dtype=np.int16).reshape(3, 4, 5), tmp_path / "integers.nii")
    volume = read_volume(path)
    assert volume.array.dtype == np.float32 and volume.array.min() == -5


def test_small_negative_values_are_read_and_said(tmp_path: Path) -> None:
    array = small_volume().array
    array[0, 0, :2] = -0.5
    volume = read_volume(save(array, tmp_path / "negative.nrrd"))
    assert volume.array.min() == -0.5
    assert volume.warnings == ["2 of 60 voxels are negative (down to -0.5)."]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_counted_and_refused(tmp_path: Path, value: float) -> None:
    array = small_volume().array
    array[1, 2, :3] = value
    assert "3 voxels" in refusal(save(array, tmp_path / "broken.nii.gz"), "not-finite")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_broken_value_is_found_in_every_format(tmp_path: Path, dtype: type) -> None:
    """ITK's NIfTI reader would have made it zero in silence."""
    array = small_volume().array.astype(dtype)
    array[2, 3, 4] = np.nan
    for extension in EXTENSIONS:
        assert "1 voxels (of 60)" in refusal(save(array, tmp_path / f"broken{extension}"), "not-finite")


def test_a_volume_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(PETDiffusionError) as caught:
        write_volume(small_volume().with_array(np.full((3, 4, 5), np.nan)), tmp_path / "out.nii")
    assert caught.value.code == "not-finite" and os.listdir(tmp_path) == []


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5)])
def test_what_is_not_three_dimensional_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    refusal(save(np.ones(shape, np.float32), tmp_path / "shape.nii"), "not-3d")


def test_a_single_frame_in_four_dimensions_is_a_volume(tmp_path: Path) -> None:
    path = save(np.ones((1, 3, 4, 5), np.float32), tmp_path / "frame.nrrd")
    assert read_volume(path).array.shape == (3, 4, 5)


def test_vectors_and_complex_numbers_are_refused(tmp_path: Path) -> None:
    refusal(save(np.ones((3, 4, 5, 3), np.float32), tmp_path / "vector.nii", is_vector=True), "not-scalar")
    refusal(save(np.ones((3, 4, 5), np.complex64), tmp_path / "complex.nii"), "not-scalar")


def test_a_volume_of_zeros_is_refused_as_empty(tmp_path: Path) -> None:
    refusal(save(np.zeros((3, 4, 5), np.float32), tmp_path / "zeros.mha"), "empty")


def test_a_missing_file_and_an_unknown_format_are_named(tmp_path: Path) -> None:
    assert "absent.nii" in refusal(tmp_path / "absent.nii", "missing-file")
    (tmp_path / "notes.txt").write_text("no volume")
    assert "notes.txt" in refusal(tmp_path / "notes.txt", "bad-format")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_empty_file_is_refused(tmp_path: Path, extension: str) -> None:
    (tmp_path / f"empty{extension}").touch()
    assert f"empty{extension}" in refusal(tmp_path / f"empty{extension}", "bad-file")


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("kept", [0.3, 0.95])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, extension: str, kept: float) -> None:
    array = np.random.default_rng(1).random((20, 20, 20), np.float32)
    write_volume(Volume(sitk.GetImageFromArray(array), "suvbw", {}), tmp_path / f"whole{extension}")
    data = tmp_path / ("whole.raw" if extension == ".mhd" else f"whole{extension}")
    data.write_bytes(data.read_bytes()[: int(kept * data.stat().st_size)])
    assert f"whole{extension}" in refusal(tmp_path / f"whole{extension}", "bad-file")


def test_a_compressed_file_that_ends_at_the_last_byte_but_lacks_data_is_refused(tmp_path: Path) -> None:
    """A whole gzip stream around half a volume: only the header's own count tells."""
    write_volume(small_volume(), tmp_path / "whole.nii")
    with gzip.open(tmp_path / "half.nii.gz", "wb") as file:
        file.write((tmp_path / "whole.nii").read_bytes()[:480])
    assert "truncated" in refusal(tmp_path / "half.nii.gz", "bad-file")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_disk_that_fills_up_leaves_nothing_and_keeps_what_was_there(tmp_path: Path, extension: str) -> None:
    """A limit on file size stops the write in the middle, as a full disk or a quota does."""
    target = tmp_path / f"out{extension}"
    write_volume(small_volume(), target)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    script = (
        "import resource, signal, sys\n"
        "import numpy as np, SimpleITK as sitk\n"
        "from PETDiffusionLib.errors import PETDiffusionError\n"
        "from PETDiffusionLib.volumes import Volume, write_volume\n"
        "array = np.random.default_rng(1).random((60, 60, 60), np.float32)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    write_volume(Volume(sitk.GetImageFromArray(array), 'suvbw', {}), sys.argv[1])\n"
        "except PETDiffusionError as error:\n"
        "    print(error.code, error)\n"
    )
    pytest.importorskip("resource", reason="file size limits are of Unix")
    done = subprocess.run([sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cannot-write") and str(target) in done.stdout
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    if not hasattr(os, "geteuid"):
        pytest.skip("permissions of folders are of Unix")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        was_root = os.geteuid() == 0
        try:
            if was_root:
                os.seteuid(65534)  # root may write anywhere, nobody may not
            with pytest.raises(PETDiffusionError, match="Choose another folder") as caught:
                write_volume(small_volume(), Path(folder) / "out.nii")
        finally:
            if was_root:
                os.seteuid(0)
        assert caught.value.code == "cannot-write" and folder in str(caught.value)
        assert os.listdir(folder) == []


def test_an_output_without_format_or_folder_is_refused(tmp_path: Path) -> None:
    for name, code in (("out.png", "bad-format"), ("absent/out.nii", "cannot-write")):
        with pytest.raises(PETDiffusionError) as caught:
            write_volume(small_volume(), tmp_path / name)
        assert caught.value.code == code
    assert os.listdir(tmp_path) == []


@given(volume=volumes())
@settings(deadline=None, max_examples=25)
def test_new_values_lie_on_the_same_geometry_bit_for_bit(volume: Volume) -> None:
    other = volume.with_array(volume.array * 2, "counts")
    assert geometry(other) == geometry(volume) and other.unit == "counts"
    with pytest.raises(ValueError, match="shape"):
        volume.with_array(np.zeros((1, 1, 1)))


def test_the_array_is_a_copy() -> None:
    volume = small_volume()
    volume.array[:] = 0
    assert volume.array.max() == 60
