"""Where the scanner's axes lie in the patient: points of STIR's sinograms come out at their true place in LPS.

The places are worked out here by hand from STIR's rule, and the sinograms are made by hand too (stir_files.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.reconstruct import reconstruct
from PETDiffusionLib.reconstruction.measurement import with_attenuation_map
from PETDiffusionLib.sinograms import ImageGrid, ScannerGeometry, Sinogram, default_grid, segments_of_span
from PETDiffusionLib.sinograms.files import read_sinogram
from PETDiffusionLib.sinograms.interfile import read_interfile, write_interfile
from PETDiffusionLib.sinograms.interfile_geometry import read_patient_position
from PETDiffusionLib.sinograms.interfile_header import InterfileHeader
from PETDiffusionLib.sinograms.orientation import (
    SCANNER_AXES,
    PatientPosition,
    in_patient_order,
    in_scanner_order,
    position,
    position_in_codes,
    position_in_words,
)
from PETDiffusionLib.sinograms.petsird_list_mode import _patient_position
from Testing.sinograms.stir_files import BY_HAND, HEADERS, POINTS, RING_MM, place_in_lps, write_points

NEAR_MM = 14.0
SCANNER = ScannerGeometry("small", 150.0, 6, 64, 8.0, 32, 41, segments_of_span(6, 1, 1))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def places_mm(image: sitk.Image) -> np.ndarray:
    """The LPS coordinates of every voxel, [z, y, x, 3]."""
    z, y, x = np.indices(image.GetSize()[::-1])
    index = np.stack([x, y, z], axis=-1) * image.GetSpacing()
    return index @ np.reshape(image.GetDirection(), (3, 3)).T + image.GetOrigin()


def assert_points_are_there(image: sitk.Image, code: str) -> None:
    values, places = sitk.GetArrayFromImage(image), places_mm(image)
    found = []
    for x, y, ring, weight in POINTS:
        expected = place_in_lps(code, x, y, ring)
        near = np.linalg.norm(places - expected, axis=-1) < NEAR_MM
        middle = (values[near, None] * places[near]).sum(0) / values[near].sum()
        assert np.linalg.norm(middle - expected) < 5, (x, y, ring)
        found.append(values[near].sum() / weight)
    assert max(found) < 1.7 * min(found)  # each point with its own weight, so none stands for another
    assert np.dot(found, [weight for *_, weight in POINTS]) > 0.9 * values.sum()  # and there are no others


@pytest.mark.parametrize("code", BY_HAND)
def test_points_in_every_octant_and_ring_lie_where_stirs_rule_puts_them(code: str, tmp_path: Path) -> None:
    points = [(x, y, ring * RING_MM, weight) for x, y, ring, weight in POINTS]
    sinogram = read_sinogram(write_points(tmp_path, points, HEADERS[code]))
    image = reconstruct(sinogram, "osem", iterations=3, subsets=6).image
    assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)  # left, back, head: what every reader shows right
    assert_points_are_there(image, code)


def test_time_of_flight_bins_lie_along_the_lines_as_stirs_do(tmp_path: Path) -> None:
    points = [(x, y, ring * RING_MM, weight) for x, y, ring, weight in POINTS]
    sinogram = read_sinogram(write_points(tmp_path, points, HEADERS["HFS"], tof=True))
    assert_points_are_there(reconstruct(sinogram, "osem", iterations=2, subsets=6).image, "HFS")


def test_a_point_in_ring_1_of_8_is_towards_the_head(tmp_path: Path) -> None:
    sinogram = read_sinogram(write_points(tmp_path, [(0.0, 0.0, RING_MM, 1.0)], HEADERS["HFS"]))
    image = reconstruct(sinogram, "osem", iterations=2, subsets=6).image
    hottest = np.unravel_index(sitk.GetArrayViewFromImage(image).argmax(), image.GetSize()[::-1])
    assert image.TransformIndexToPhysicalPoint([int(i) for i in hottest[::-1]])[2] == pytest.approx(25)


@pytest.mark.parametrize("code", BY_HAND)
def test_a_volume_in_any_order_of_axes_is_read_at_its_place(code: str) -> None:
    """A ball in LPS, its file's axes right, anterior, superior and its voxels of other sizes."""
    grid = ImageGrid((12, 40, 48), (5.0, 5.0, 6.0), code)
    ball = BY_HAND[code](50.0, -35.0, 20.0)
    image = sitk.Image(70, 60, 50, sitk.sitkFloat32)
    image.SetSpacing((4.0, 4.5, 3.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetOrigin((138.0, 132.75, -73.5))
    within = np.linalg.norm(places_mm(image) - ball, axis=-1) < 15
    filled = sitk.GetImageFromArray(within.astype(np.float32))
    filled.CopyInformation(image)
    read = grid.from_image(filled)
    z, y, x = (np.argwhere(read > 0.5).mean(0) - (np.array(grid.shape) - 1) / 2) * grid.voxel_size_mm[::-1]
    assert (x, y, z) == pytest.approx((50, -35, 20), abs=2)
    back = grid.to_image(read)
    assert np.average(places_mm(back)[sitk.GetArrayFromImage(back) > 0.5], axis=0) == pytest.approx(ball, abs=2)


@pytest.mark.parametrize("code", BY_HAND)
def test_a_mu_map_attenuates_the_lines_through_its_place(code: str) -> None:
    """A ball of water beside the centre, against the length of its chords by hand."""
    geometry = SCANNER.with_patient(code)
    place, radius, mu = np.array([35.0, -25.0, 8.0]), 25.0, 0.0096
    image = sitk.Image(80, 80, 40, sitk.sitkFloat32)
    image.SetSpacing((3.0, 3.0, 2.0))
    image.SetOrigin((-118.5, -118.5, -39.0))
    within = np.linalg.norm(places_mm(image) - BY_HAND[code](*place), axis=-1) < radius
    filled = sitk.GetImageFromArray((mu * within).astype(np.float32))
    filled.CopyInformation(image)
    blank = Sinogram(geometry, torch.zeros(geometry.data_shape))
    factors = with_attenuation_map(blank, filled, "per-mm").multiplicative
    assert factors is not None
    start, end = geometry.end_points_mm()
    direction = (end - start) / np.linalg.norm(end - start, axis=-1, keepdims=True)
    offset = place - start
    distance = np.linalg.norm(offset - (offset * direction).sum(-1, keepdims=True) * direction, axis=-1)
    chords = 2 * np.sqrt(np.clip(radius**2 - distance**2, 0, None))
    assert np.abs(-np.log(factors.numpy()) - mu * chords).max() < 0.25 * mu * 2 * radius
    assert np.corrcoef(-np.log(factors.numpy()).ravel(), chords.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("code", ["HFS", "FFP", "HFDR"])
def test_a_start_volume_starts_where_it_lies(code: str) -> None:
    """MLEM leaves zero what was zero: the result stays within a start that is a ball."""
    geometry = SCANNER.with_patient(code)
    ball = np.array(BY_HAND[code](30.0, -18.0, 12.0))
    start = sitk.Image(60, 60, 24, sitk.sitkFloat32)
    start.SetSpacing((4.0, 4.0, 4.0))
    start.SetOrigin((-118.0, -118.0, -46.0))
    within = sitk.GetImageFromArray((np.linalg.norm(places_mm(start) - ball, axis=-1) < 20).astype(np.float32))
    within.CopyInformation(start)
    image = reconstruct(Sinogram(geometry, torch.ones(geometry.data_shape)), "mlem", iterations=1, start=within).image
    values, places = sitk.GetArrayFromImage(image), places_mm(image)
    assert values[np.linalg.norm(places - ball, axis=-1) > 32].sum() < 1e-3 * values.sum()
    assert values.sum() > 0


@settings(max_examples=40, deadline=None)
@given(
    code=st.sampled_from(list(BY_HAND)), shape=st.tuples(*[st.integers(1, 4)] * 3), lead=st.sampled_from([(), (1, 2)])
)
def test_the_patients_order_of_axes_and_the_scanners_are_each_others_inverse(
    code: str, shape: tuple[int, int, int], lead: tuple[int, ...]
) -> None:
    """And the patient's is that of the volume."""
    values = np.arange(np.prod(lead + shape), dtype=np.float32).reshape(lead + shape)
    turned = in_patient_order(values, code)
    assert np.array_equal(in_scanner_order(turned, code), values)
    assert torch.equal(in_patient_order(torch.from_numpy(values), code), torch.from_numpy(turned.copy()))
    volume = ImageGrid(shape, (1.0, 1.0, 1.0), code).to_image(values.reshape(-1, *shape)[0])
    assert np.array_equal(sitk.GetArrayFromImage(volume), turned.reshape(-1, *turned.shape[-3:])[0])


def test_the_shape_asked_for_is_the_volumes() -> None:
    """Also where the scanner's x is the patient's y."""
    grid = default_grid(SCANNER.with_patient("HFDL"), 5.0, (11, 30, 20))
    assert grid.shape == (11, 20, 30)
    assert grid.to_image(np.zeros(grid.shape, np.float32)).GetSize() == (20, 30, 11)
    assert grid.described() == {"shape": (20, 30, 11), "voxel_size_mm": (5.0, 5.0, 4.0), "patient_position": "HFDL"}


@pytest.mark.parametrize("code", SCANNER_AXES)
def test_what_is_written_says_how_the_patient_lies(code: str, tmp_path: Path) -> None:
    geometry = SCANNER.with_patient(code)
    write_interfile(torch.zeros(geometry.data_shape), geometry, tmp_path / "a.hs")
    assert read_interfile(tmp_path / "a.hs").geometry == geometry
    words = (tmp_path / "a.hs").read_text()
    assert f"patient orientation := {'head_in' if code[0] == 'H' else 'feet_in'}" in words  # STIR's words


@pytest.mark.parametrize(
    ("orientation", "rotation", "code"),
    [
        ("head_in", "supine", "HFS"), ("feet_in", "prone", "FFP"), ("Head In", "Left", "HFDL"), ("FFDR", "", "FFDR"),
        ("hfp", "", "HFP"), ("HEAD FIRST SUPINE", "", "HFS"), ("Feet First-Decubitus Left", "", "FFDL"),
        ("head first", "right lateral decubitus", "HFDR"), ("HFS", "supine", "HFS"), ("foot_in", "right_in", "FFDR"),
        ("unknown", "unknown", None), ("", "", None), ("head_in", "", None), ("", "prone", None),
        ("head_in", "other", None), ("other", "supine", None),
    ],
)  # fmt: skip
def test_headers_say_the_position_in_several_ways(orientation: str, rotation: str, code: str | None) -> None:
    assert position_in_words(orientation, rotation).code == code


@pytest.mark.parametrize("words", [("sideways", ""), ("head_in", "upright"), ("HFS", "prone"), ("supine", "")])
def test_words_that_mean_no_position_are_refused(words: tuple[str, str], tmp_path: Path) -> None:
    patient = f"patient orientation := {words[0]}\npatient rotation := {words[1]}"
    with pytest.raises(PETDiffusionError, match="patient orientation"):
        read_sinogram(write_points(tmp_path, [], patient))


def test_the_codes_of_dicom_are_understood() -> None:
    """PETSIRD states a position by them; they are those of pydicom's dictionary."""
    codes = pytest.importorskip("pydicom.sr.codedict").codes.SCT
    assert position_in_codes(codes.Headfirst.value, codes.Supine.value) == position("HFS")
    assert position_in_codes(codes.FeetFirst.value, codes.Prone.value) == position("FFP")
    assert position_in_codes(codes.FeetFirst.value, codes.LeftLateralDecubitus.value) == position("FFDL")
    assert position_in_codes(codes.Headfirst.value, codes.RightLateralDecubitus.value) == position("HFDR")
    assert position_in_codes("", "").code is None
    with pytest.raises(PETDiffusionError, match="--patient-position"):
        assert position_in_codes(codes.Headfirst.value, codes.Sitting.value).taken


def test_petsird_and_siemens_list_mode_say_the_position(tmp_path: Path) -> None:
    petsird = pytest.importorskip("petsird")
    exam = petsird.ExamInformation()
    assert _patient_position(None) == _patient_position(exam) == PatientPosition()
    said = exam.patient_orientation
    said.patient_gantry_relationship_code_sequence.code_value = "102541007"
    said.patient_orientation_modifier_code_sequence.code_value = "1240000"
    assert _patient_position(exam) == position("FFP")
    (tmp_path / "a.l.hdr").write_text("!INTERFILE:=\n%patient orientation:=HFDL\n")
    assert read_patient_position(InterfileHeader(tmp_path / "a.l.hdr")) == position("HFDL")


@pytest.mark.parametrize(
    ("patient", "options", "code", "warned"),
    [
        ("", (), "HFS", True),
        ("", ("--patient-position", "FFS"), "FFS", False),
        ("patient orientation := feet_in", (), "FFS", True),
        ("patient rotation := prone", ("--patient-position", "FFP"), "FFP", False),
        ("patient orientation := head_in\npatient rotation := other", ("--patient-position", "HFDR"), "HFDR", False),
        (HEADERS["FFP"], ("--patient-position", "FFP"), "FFP", False),
    ],
)
def test_the_option_says_what_the_header_does_not(
    patient: str, options: tuple[str, ...], code: str, warned: bool, tmp_path: Path,
    petdiffusion: Callable[..., CompletedProcess[str]],
) -> None:  # fmt: skip
    write_points(tmp_path, [(x, y, ring * RING_MM, weight) for x, y, ring, weight in POINTS], patient)
    done = petdiffusion("reconstruct", "points.hs", "out.nrrd", "--iterations", 3, "--subsets", 6, *options)
    assert done.returncode == 0, done.stderr
    assert (f"({code}) is assumed" in done.stderr) == warned
    assert_points_are_there(sitk.ReadImage(str(tmp_path / "out.nrrd")), code)


@pytest.mark.parametrize(
    ("patient", "options", "sentence"),
    [
        (HEADERS["HFS"], ("--patient-position", "HFP"), "the sinogram itself says supine"),
        ("patient orientation := feet_in", ("--patient-position", "HFS"), "the sinogram itself says feet"),
        ("patient orientation := head_in\npatient rotation := other", (), "Give it by --patient-position"),
        ("", ("--patient-position", "UPRIGHT"), "HFS"),
    ],
)
def test_a_contradiction_and_a_position_without_a_name_are_refused(
    patient: str, options: tuple[str, ...], sentence: str, tmp_path: Path,
    petdiffusion: Callable[..., CompletedProcess[str]],
) -> None:  # fmt: skip
    write_points(tmp_path, [], patient)
    done = petdiffusion("reconstruct", "points.hs", "out.nrrd", *options)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (tmp_path / "out.nrrd").exists()
