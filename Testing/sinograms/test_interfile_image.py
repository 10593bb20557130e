"""Volumes as Interfile: what STIR and Siemens write lies where they mean it, and what is written comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.orientation import SCANNER_AXES
from PETDiffusionLib.volumes import Volume, read_volume, write_volume
from Testing.sinograms import stir_header

SHAPE = (3, 4, 5)  # z, y, x
VALUES = np.arange(1.0, 61.0, dtype=np.float32).reshape(SHAPE)
STIR = """!INTERFILE  :=
!imaging modality := PT
!version of keys := STIR6.0
name of data file := a.v
!GENERAL DATA :=
patient orientation := head_in
patient rotation := supine
!GENERAL IMAGE DATA :=
!type of data := PET
imagedata byte order := LITTLEENDIAN
number of radionuclides := 1
!PET STUDY (General) :=
!PET data type := Image
process status := Reconstructed
!number format := float
!number of bytes per pixel := 4
number of dimensions := 3
matrix axis label [1] := x
!matrix size [1] := 5
scaling factor (mm/pixel) [1] := 2
matrix axis label [2] := y
!matrix size [2] := 4
scaling factor (mm/pixel) [2] := 3
matrix axis label [3] := z
!matrix size [3] := 3
scaling factor (mm/pixel) [3] := 4
first pixel offset (mm) [1] := -4
first pixel offset (mm) [2] := -6
first pixel offset (mm) [3] := 0
number of time frames := 1
!END OF INTERFILE :=
"""
SIEMENS = """!INTERFILE
%comment:=by hand
!originating system:=2008
%SMS-MI header name space:=image subheader
%SMS-MI version number:=3.4

!GENERAL IMAGE DATA:=
!name of data file:=a.v
%study date (yyyy:mm:dd):=2017:03:27
%study time (hh:mm:ss GMT+00:00):=17:33:38
image data byte order:=LITTLEENDIAN
%patient orientation:=HFS
!PET data type:=image
number format:=float
!number of bytes per pixel:=4
number of dimensions:=3
matrix axis label [1]:=x
matrix axis label [2]:=y
matrix axis label [3]:=z
matrix size [1]:=5
matrix size [2]:=4
matrix size [3]:=3
scale factor (mm/pixel) [1]:=2
scale factor (mm/pixel) [2]:=3
scale factor (mm/pixel) [3]:=4
%image orientation:={1,0,0,0,1,0}
quantification units:=1/cm
"""
OLD = """!INTERFILE :=
!imaging modality := PET
!name of data file := a.v
!total number of images := 3
imagedata byte order := LITTLEENDIAN
!number format := short float
!number of bytes per pixel := 4
process status := Reconstructed
!matrix size [1] := 5
!matrix size [2] := 4
scaling factor (mm/pixel) [1] := 2
scaling factor (mm/pixel) [2] := 3
slice thickness (pixels) := 2
patient orientation := head_in
patient rotation := supine
!END OF INTERFILE :=
"""


def written(
    folder: Path, text: str, *changes: tuple[str, str], name: str = "a.hv", values: np.ndarray = VALUES
) -> Path:
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (folder / name).write_text(text, encoding="utf-8")
    (folder / "a.v").write_bytes(np.ascontiguousarray(values).tobytes())
    return folder / name


@pytest.mark.parametrize(
    ("text", "name"), [(STIR, "a.hv"), (SIEMENS, "a.v.hdr"), (OLD, "a.h33"), (SIEMENS, "a.i.hdr"), (STIR, "a.hdr")]
)
def test_a_volume_lies_where_stir_has_it(text: str, name: str, tmp_path: Path) -> None:
    """By hand: x -4, -2, 0 ... to the left, y -6, -3, 0, 3 to the back; z about the middle, out of the gantry, which is
    towards the feet of a patient head first: the first plane is the highest in LPS."""
    volume = read_volume(written(tmp_path, text, name=name))
    assert volume.warnings == []
    assert volume.image.GetSpacing() == (2.0, 3.0, 4.0)
    assert volume.image.GetOrigin() == (-4.0, -6.0, -4.0)
    assert volume.image.GetPixel(2, 2, 2) == VALUES[0, 2, 2]
    assert volume.image.TransformIndexToPhysicalPoint((2, 2, 2)) == (0.0, 0.0, 4.0)
    assert volume.facts.get("mu_unit") == ("per-cm" if text is SIEMENS else None)


def test_a_shifted_volume_is_shifted(tmp_path: Path) -> None:
    """The middle plane 8 mm out of the gantry is 8 mm towards the feet; feet first it is towards the head."""
    shift = ("offset (mm) [3] := 0", "offset (mm) [3] := 8")
    assert read_volume(written(tmp_path, STIR, shift)).image.GetOrigin()[2] == -12.0
    feet = ("head_in", "feet_in")
    volume = read_volume(written(tmp_path, STIR, shift, feet))
    assert volume.image.GetOrigin()[2] == 4.0
    np.testing.assert_array_equal(volume.array, VALUES[:, :, ::-1])


@pytest.mark.parametrize("code", list(SCANNER_AXES))
def test_what_is_written_comes_back_to_the_bit(code: str, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(VALUES)
    image.SetSpacing((1.3, 2.7, 3.1))
    image.SetOrigin((-10.25, 3.3, 77.7))
    write_volume(Volume(image, "suvbw", {"patient_position": code}), tmp_path / "out.hv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.hv", "out.v"]
    back = read_volume(tmp_path / "out.hv")
    assert back.unit == "suvbw" and back.facts["patient_position"] == code and back.warnings == []
    np.testing.assert_array_equal(back.array, VALUES)
    assert back.image.GetSpacing() == image.GetSpacing()
    np.testing.assert_allclose(back.image.GetOrigin(), image.GetOrigin(), atol=1e-9)
    read_again = read_volume(tmp_path / "out.v")
    np.testing.assert_array_equal(read_again.array, VALUES)


def test_a_tilted_volume_is_not_written(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(VALUES)
    image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    with pytest.raises(PETDiffusionError, match="tilted"):
        write_volume(Volume(image, "suvbw"), tmp_path / "out.hv")


@pytest.mark.parametrize(
    ("key", "unit", "factor"),
    [
        ("quantification units := Bq/ml", "bqml", 1),
        ("quantification units := kBq/ml\nimage scaling factor[1] := 2", "bqml", 2000),
        ("image scaling factor[1] := {1,2,4}", "unknown", [1, 2, 4]),
        ("quantification units := 3", "unknown", 3),
        ("rescale slope := 2\nrescale intercept := 5", "unknown", 2),
    ],
)
def test_values_are_in_the_headers_unit(key: str, unit: str, factor: int | list[int], tmp_path: Path) -> None:
    volume = read_volume(written(tmp_path, STIR, ("number of time frames := 1", key)))
    assert volume.unit == unit
    expected = VALUES * np.reshape(np.float32(factor), (-1, 1, 1)) + (5 if "intercept" in key else 0)
    np.testing.assert_allclose(volume.array, expected[::-1], rtol=1e-6)


def test_axes_of_a_volume_come_in_any_order(tmp_path: Path) -> None:
    order = [("label [1] := x", "label [1] := z"), ("label [3] := z", "label [3] := x")]
    sizes = [("size [1] := 5", "size [1] := 3"), ("size [3] := 3", "size [3] := 5")]
    lengths = [(") [1] := 2", ") [1] := 4"), ("pixel) [3] := 4", "pixel) [3] := 2")]
    offsets = [("offset (mm) [1] := -4", "offset (mm) [1] := 0"), ("offset (mm) [3] := 0\n", "offset (mm) [3] := -4\n")]
    offsets = offsets[::-1]
    path = written(tmp_path, STIR, *order, *sizes, *lengths, *offsets, values=VALUES.transpose(2, 1, 0))
    np.testing.assert_array_equal(read_volume(path).array, VALUES[::-1])


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("number of time frames := 1", "number of time frames := 2", "2 frames"),
        ("type := Image", "type := Emission", "axes are those of an image"),
        ("type := Image", "type := Transmission", "axes are those of an image"),
        ("[3] := 3", "[3] := 4", "should hold 320 bytes"),
        ("[1] := 2", "[1] := wide", "scaling factor"),
        ("[1] := x", "[1] := a", "x, y and z"),
        ("a.v", "b.v", "not beside it"),
        ("type := Image", "type := Image\n%image orientation := {0,1,0,1,0,0}", "image orientation"),
        ("head_in", "sideways", "patient orientation"),
    ],
)
def test_what_is_no_such_volume_is_refused(old: str, new: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(PETDiffusionError, match=named):
        read_volume(written(tmp_path, STIR, (old, new)))


def test_what_is_assumed_is_said(tmp_path: Path) -> None:
    text = STIR.replace("patient orientation := head_in\npatient rotation := supine\n", "colour := blue\n")
    said = read_volume(written(tmp_path, text)).warnings
    assert len(said) == 2 and "HFS is taken" in said[0] and '"colour"' in said[1]
    said = read_volume(written(tmp_path, STIR, ("modality := PT", "modality := nucmed"))).warnings
    assert len(said) == 1 and "SPECT" in said[0]


def test_a_sinogram_is_not_read_as_a_volume(tmp_path: Path) -> None:
    with pytest.raises(PETDiffusionError, match="a sinogram of emission data"):
        read_volume(stir_header.written(tmp_path))
