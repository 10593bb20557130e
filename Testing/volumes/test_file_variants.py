"""Variants of volume files that programs write, each against another reader of the format or worked out by hand."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import Volume, open_frames, read_volume

VALUES = np.random.default_rng(3).integers(1, 900, (6, 5, 4)).astype(np.float32)  # [i, j, k]
AFFINE = np.array([[-4.0, 0, 0, 30], [0, 5.0, 0, -35], [0, 0, 3.0, -60], [0, 0, 0, 1]])  # RAS, mm
TO_LPS = np.diag([-1.0, -1, 1, 1])


def lies_at(path: Path, affine: np.ndarray, values: np.ndarray = VALUES) -> Volume:
    """Check values and places (RAS); returns the volume."""
    volume = read_volume(path)
    for index in ((0, 0, 0), (5, 4, 3), (2, 1, 3)):
        expected = (TO_LPS @ affine @ [*index, 1])[:3]
        np.testing.assert_allclose(volume.image.TransformIndexToPhysicalPoint(index), expected, atol=2e-3)
    np.testing.assert_allclose(volume.array.T, values, rtol=1e-6)
    return volume


def as_itk_reads(path: Path) -> Volume:
    """Check that SimpleITK gives the same values in the same places; returns the volume."""
    volume, theirs = read_volume(path), sitk.ReadImage(str(path))
    for one in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(volume.image, one)() == pytest.approx(getattr(theirs, one)(), abs=1e-5)
    np.testing.assert_allclose(volume.array, sitk.GetArrayFromImage(theirs), rtol=1e-6)
    return volume


def said(volume: Volume, *words: str) -> bool:
    return any(all(word in warning for word in words) for warning in volume.warnings)


def nifti(path: Path, affine: np.ndarray = AFFINE, **fields: object) -> Path:
    """An uncompressed NIfTI-1 of nibabel's, then fields of the header set as they are, byte for byte."""
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(VALUES, affine), path)
    header = nibabel.load(path).header
    for key, value in {"vox_offset": 352, **fields}.items():
        header.structarr[key] = value
    data = bytearray(path.read_bytes())
    data[:348] = header.structarr.tobytes()
    path.write_bytes(data)
    return path


def test_an_sform_of_another_scale_than_pixdim(tmp_path: Path) -> None:
    pixdim = [1, 2, 5, 3, 1, 1, 1, 1]
    volume = lies_at(nifti(tmp_path / "scan.nii", pixdim=pixdim, qform_code=0), AFFINE)
    assert said(volume, "4 x 5 x 3 mm by its sform", "2 x 5 x 3 mm by its pixdim")


def test_a_slightly_sheared_sform_is_straightened_and_said(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.3
    path = nifti(tmp_path / "scan.nii", sheared, qform_code=0)
    volume = read_volume(path)
    assert said(volume, "off right angles")
    affine = nibabel.load(path).affine
    for index in ((0, 0, 0), (5, 4, 3), (5, 0, 3)):
        theirs = (TO_LPS @ affine @ [*index, 1])[:3]
        assert np.linalg.norm(np.subtract(volume.image.TransformIndexToPhysicalPoint(index), theirs)) < 1.5


@pytest.mark.parametrize("qfac", [-1.0, 1.0, 0.0])
def test_a_qform_alone_of_either_hand(tmp_path: Path, qfac: float) -> None:
    """qfac 0 means 1 (nifti1.h)."""
    nibabel = pytest.importorskip("nibabel")
    path = nifti(tmp_path / "scan.nii", sform_code=0, qform_code=1, pixdim=[qfac, 4, 5, 3, 1, 1, 1, 1])
    lies_at(path, nibabel.load(path).affine)
    as_itk_reads(path)


@pytest.mark.parametrize(("code", "length", "word"), [(1, 1e-3, "metres"), (3, 1e3, "micrometres")])
def test_lengths_in_metres_and_micrometres(tmp_path: Path, code: int, length: float, word: str) -> None:
    scaled = AFFINE.copy()
    scaled[:3] *= length
    assert said(lies_at(nifti(tmp_path / "scan.nii", scaled, xyzt_units=code), AFFINE), word)


@pytest.mark.parametrize(("slope", "sentence"), [(0.0, False), (float("nan"), True), (float("inf"), True)])
def test_a_slope_that_is_none(tmp_path: Path, slope: float, sentence: bool) -> None:
    volume = lies_at(nifti(tmp_path / "scan.nii", scl_slope=slope, scl_inter=7), AFFINE)
    assert said(volume, "as they are stored") is sentence


def test_analyze_does_not_know_left_and_right(tmp_path: Path) -> None:
    """nibabel's Spm99AnalyzeImage: the scale is SPM's; and a .mat beside it is not read."""
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Spm99AnalyzeImage(VALUES.astype(np.int16), None)
    image.header.set_zooms((4, 5, 3))
    image.header.set_slope_inter(0.5, 0)
    nibabel.save(image, tmp_path / "scan.img")
    theirs = nibabel.load(tmp_path / "scan.img").get_fdata()
    (tmp_path / "scan.mat").write_bytes(b"MATLAB")
    for name in ("scan.img", "scan.hdr"):
        volume = read_volume(tmp_path / name)
        np.testing.assert_allclose(volume.array.T, theirs, rtol=1e-6)
        assert volume.voxel_size_mm == (4, 5, 3)
        assert said(volume, "Analyze", "left and right") and said(volume, "scan.mat") and said(volume, "SPM")


HEADER = "NRRD0005\ntype: float\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: {}\n"
PLACED = "space: {}\nspace directions: ({},0,0) (0,{},0) (0,0,{})\nspace origin: (-30,35,-60)\n"
DATA = np.ascontiguousarray(VALUES.T, "<f4").tobytes()


def nrrd_file(path: Path, fields: str, data: bytes = DATA, encoding: str = "raw") -> Path:
    end = "\n" if data else ""  # a detached header ends where it ends
    path.write_bytes((HEADER.format(encoding) + fields + end).encode() + data)
    return path


@pytest.mark.parametrize("skip", [-1, 16])
def test_nrrd_with_bytes_before_its_values(tmp_path: Path, skip: int) -> None:
    fields = PLACED.format("left-posterior-superior", 4, -5, 3) + f"byte skip: {skip}\ndata file: v.raw\n"
    (tmp_path / "v.raw").write_bytes(bytes(16) + DATA)
    path = nrrd_file(tmp_path / "v.nhdr", fields, b"")
    lies_at(path, AFFINE)
    as_itk_reads(path)


@pytest.mark.parametrize("listed", ["LIST\na.raw\nb.raw\nc.raw\nd.raw\n", "%c.raw"])
def test_nrrd_in_several_files(tmp_path: Path, listed: str) -> None:
    for number, name in enumerate("abcd"):
        data = DATA[number * 120 : (number + 1) * 120]
        (tmp_path / f"{name}.raw").write_bytes(data)
        (tmp_path / f"s{number:02d}.raw").write_bytes(data)
    files = listed if listed.startswith("LIST") else "s%02d.raw 0 3 1\n"
    path = nrrd_file(
        tmp_path / "v.nhdr", PLACED.format("left-posterior-superior", 4, -5, 3) + f"data file: {files}", b""
    )
    lies_at(path, AFFINE)
    as_itk_reads(path)


@pytest.mark.parametrize(
    ("fields", "factor", "word"),
    [
        ('space units: "cm" "cm" "cm"\n', 10.0, "cm"),
        ('space units: "m" "m" "m"\n', 1000.0, '"m"'),
    ],
)
def test_nrrd_in_centimetres_and_metres(tmp_path: Path, fields: str, factor: float, word: str) -> None:
    steps = [step / factor for step in (4, -5, 3)]
    placed = PLACED.format("left-posterior-superior", *steps)
    placed = placed.replace("(-30,35,-60)", f"({-30 / factor},{35 / factor},{-60 / factor})")
    assert said(lies_at(nrrd_file(tmp_path / "v.nrrd", placed + fields), AFFINE), word, "millimetres")


@pytest.mark.parametrize(("space", "sides"), [("RAS", (-4, 5, 3)), ("left-anterior-superior", (4, 5, 3))])
def test_nrrd_in_other_spaces(tmp_path: Path, space: str, sides: tuple[int, ...]) -> None:
    """The measurement frame that Slicer writes beside says nothing of places."""
    frame = "measurement frame: (0,1,0) (1,0,0) (0,0,1)\n"
    fields = PLACED.format(space, *sides).replace("(-30,35,", "(30,-35," if space == "RAS" else "(-30,-35,") + frame
    path = nrrd_file(tmp_path / "v.nrrd", fields)
    lies_at(path, AFFINE)
    as_itk_reads(path)


def test_nrrd_without_a_space(tmp_path: Path) -> None:
    spacings = nrrd_file(tmp_path / "v.nrrd", "spacings: 4 5 3\n", gzip.compress(DATA), "gzip")
    assert said(as_itk_reads(spacings), "left and right")
    unnamed = PLACED.format("x", 4, -5, 3).replace("space: x", "space dimension: 3")
    assert said(lies_at(nrrd_file(tmp_path / "u.nrrd", unnamed), AFFINE), "does not name its space")


def test_nrrd_says_its_unit(tmp_path: Path) -> None:
    fields = PLACED.format("LPS", 4, -5, 3) + 'sample units: "kBq/ml"\n'
    volume = read_volume(nrrd_file(tmp_path / "v.nrrd", fields))
    assert volume.unit == "bqml"
    np.testing.assert_allclose(volume.array.T, VALUES * 1000, rtol=1e-6)


@pytest.mark.parametrize(("place", "outside"), [(0, "none"), (0, "(nan,nan,nan)"), (3, "none")])
def test_a_sequence_of_slicer_in_any_order(tmp_path: Path, place: int, outside: str) -> None:
    """Slicer before 5.0 keeps frames on the first axis, later ones on the last."""
    frames = np.stack([VALUES.T, VALUES.T * 2], axis=3 if place == 0 else 0)
    words = {"sizes": ["6", "5", "4"], "kinds": ["domain"] * 3, "directions": ["(4,0,0)", "(0,-5,0)", "(0,0,3)"]}
    for key, word in (("sizes", "2"), ("kinds", "list"), ("directions", outside)):
        words[key].insert(place, word)
    header = "NRRD0005\ntype: float\ndimension: 4\nspace: left-posterior-superior\nendian: little\nencoding: raw\n"
    header += f"sizes: {' '.join(words['sizes'])}\nkinds: {' '.join(words['kinds'])}\n"
    header += f"space directions: {' '.join(words['directions'])}\nspace origin: (-30,35,-60)\n\n"
    (tmp_path / "scan.seq.nrrd").write_bytes(header.encode() + np.ascontiguousarray(frames, "<f4").tobytes())
    series = open_frames(tmp_path / "scan.seq.nrrd")
    assert len(series) == 2
    for number in (0, 1):
        np.testing.assert_array_equal(series.read(number).array, VALUES.T * (number + 1))
        assert series.read(number).image.GetOrigin() == (-30, 35, -60)


META = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 6 5 4\nElementType = MET_FLOAT\n"
META += "ElementSpacing = 4 5 3\nOffset = -30 -35 -60\n"


def meta(path: Path, fields: str) -> Path:
    path.write_text(META + fields)
    return path


def test_metaimage_in_several_files(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.raw").write_bytes(DATA[number * 120 : (number + 1) * 120])
    names = "\n".join(f"{number}.raw" for number in range(4))
    as_itk_reads(meta(tmp_path / "v.mhd", f"ElementDataFile = LIST\n{names}\n"))


@pytest.mark.parametrize("skip", [-1, 20])
def test_metaimage_with_bytes_before_its_values(tmp_path: Path, skip: int) -> None:
    (tmp_path / "v.raw").write_bytes(bytes(20) + DATA)
    as_itk_reads(meta(tmp_path / "v.mhd", f"HeaderSize = {skip}\nElementDataFile = v.raw\n"))


@pytest.mark.parametrize(("letters", "contradicts"), [("RAI", True), ("LAI", False), ("???", False)])
def test_metaimage_letters_against_its_matrix(tmp_path: Path, letters: str, contradicts: bool) -> None:
    (tmp_path / "v.raw").write_bytes(DATA)
    fields = f"TransformMatrix = -1 0 0 0 1 0 0 0 1\nAnatomicalOrientation = {letters}\nElementDataFile = v.raw\n"
    volume = as_itk_reads(meta(tmp_path / "v.mhd", fields))
    assert said(volume, f"AnatomicalOrientation {letters}", "LAI") is contradicts


def test_metaimage_of_four_dimensions_is_frames(tmp_path: Path) -> None:
    frames = [sitk.GetImageFromArray(VALUES.T * weight) for weight in (1, 0, 3)]
    sitk.WriteImage(sitk.JoinSeries(frames), tmp_path / "v.mha", useCompression=True)
    series = open_frames(tmp_path / "v.mha")
    assert len(series) == 3 and series.kind == "unknown" and not series.read(1).array.any()
    np.testing.assert_array_equal(series.read(2).array, VALUES.T * 3)


def test_nifti_with_extensions_of_afni(tmp_path: Path) -> None:
    """AFNI keeps text between header and values: the offset of the values counts."""
    path = nifti(tmp_path / "scan.nii", vox_offset=352 + 32)
    data = path.read_bytes()
    extension = struct.pack("<4sii24s", b"\1\0\0\0", 32, 4, b"<AFNI_attributes />")
    path.write_bytes(data[:348] + extension[:36] + data[352:])
    lies_at(path, AFFINE)


def test_a_damaged_name_is_no_reason(tmp_path: Path) -> None:
    (tmp_path / "scan.v").write_bytes(bytes(4096))
    with pytest.raises(PETDiffusionError) as caught:
        read_volume(tmp_path / "scan.v")
    assert caught.value.code == "bad-format"
