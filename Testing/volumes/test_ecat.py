"""ECAT7: files packed by hand from CTI's definition of the headers, compared with nibabel where it reads them right."""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import FrameTime, open_frames, read_volume, to_suv

nibabel = pytest.importorskip("nibabel")

VALUES = np.random.default_rng(5).integers(1, 900, (3, 5, 6))  # [plane, row, column] as stored
HALF_LIFE, CALIBRATION, SCALES = 6586.2, 2.5, (0.5, 4.0)
SPANS = ((0, 60), (60, 240))  # start and length, s
START = 1_290_124_615


def corrected(start: float, length: float) -> float:
    """From the mean of a frame to the start of the scan."""
    k = math.log(2) / HALF_LIFE
    return math.exp(k * start) * k * length / (1 - math.exp(-k * length))


def put(block: bytearray, at: int, form: str, *values: object) -> None:
    struct.pack_into(">" + form, block, at, *values)


def ecat(path: Path, main: tuple = (), sub: tuple = (), numbers: tuple[int, ...] = (1, 2), kind: int = 6) -> Path:
    """A file of two frames; `main` and `sub` are (byte, form, value) that go into the headers last."""
    header, directory = bytearray(512), bytearray(512)
    put(header, 0, "14s", b"MATRIX72v")
    put(header, 46, "HHH", 72, 962, 7)  # software version, HR+, volume of 16 bits
    put(header, 62, "I", START)
    put(header, 66, "8sf32s", b"F-18", HALF_LIFE, b"FDG")
    put(header, 144, "fH", CALIBRATION, 1)  # calibration factor, calibrated
    put(header, 224, "f", 70.0)  # weight
    put(header, 330, "H", 3)  # head first, supine
    put(header, 352, "HHHH", 3, len(numbers), 1, 0)
    put(header, 454, "I", START - 3600)  # injection
    put(header, 466, "32s", b"Bq/cc")
    for one in main:
        put(header, *one)
    put(directory, 0, "4i", 31 - len(numbers), 2, 0, len(numbers))
    body, block = b"", 3
    for index, number in enumerate(numbers):
        values = (VALUES * (index + 1)).astype({2: "<i2", 5: ">f4", 6: ">i2"}[kind]).tobytes()
        values += bytes(-len(values) % 512)
        start, length = SPANS[index]
        subheader = bytearray(512)
        put(subheader, 0, "5H", kind, 3, 6, 5, 3)
        put(subheader, 26, "f", SCALES[index])
        put(subheader, 34, "fffII", 0.2, 0.25, 0.3, length * 1000, start * 1000)
        put(subheader, 80, "fI", corrected(start, length), 1 << 9 | 0b11)
        for one in sub:
            put(subheader, *one)
        matrix = number if number > 0xFFF else 0x01010000 | number
        put(directory, 16 * (index + 1), "4i", matrix, block, block + len(values) // 512, 1)
        body, block = body + bytes(subheader) + values, block + 1 + len(values) // 512
    path.write_bytes(bytes(header + directory) + body)
    return path


def test_the_layout_is_the_one_that_nibabel_knows(tmp_path: Path) -> None:
    header = nibabel.ecat.load(ecat(tmp_path / "scan.v")).header
    assert header["isotope_name"].item() == b"F-18" and header["patient_weight"] == 70
    assert header["data_units"].item() == b"Bq/cc" and header["patient_orientation"] == 3
    assert header["dose_start_time"] == START - 3600 and header["num_frames"] == 2


def test_values_times_and_place_of_head_first_supine(tmp_path: Path) -> None:
    """Each frame by its own scale; places and values as nibabel gives them for this orientation."""
    path = ecat(tmp_path / "scan.v")
    series, theirs = open_frames(path), nibabel.ecat.load(path)
    assert series.kind == "dynamic" and series.times == (FrameTime(0, 60), FrameTime(60, 240))
    for frame in (0, 1):
        volume = series.read(frame)
        np.testing.assert_allclose(volume.array, VALUES * (frame + 1) * SCALES[frame] * CALIBRATION, rtol=1e-6)
        assert volume.unit == "bqml" and volume.warnings == []
        values = theirs.get_frame(frame)
        for index in ((0, 0, 0), (5, 4, 2), (1, 3, 2)):
            right, front, head = (theirs.affine @ [*index, 1])[:3]
            ours = volume.image.TransformPhysicalPointToIndex((-right, -front, head))
            assert volume.image.GetPixel(ours) == pytest.approx(values[index], rel=1e-6)
    # Columns run to the patient's left, rows to the back, planes to the feet.
    assert np.reshape(series.read(0).image.GetDirection(), (3, 3)) == pytest.approx(np.diag([1, 1, -1]))
    assert series.read(0).voxel_size_mm == pytest.approx((2, 2.5, 3))


def test_suv_from_the_header_and_a_stated_dose(tmp_path: Path) -> None:
    volume = read_volume(ecat(tmp_path / "scan.v"), frames="1")
    factor = 70e3 / (300e6 * 2 ** (-3600 / HALF_LIFE))
    np.testing.assert_allclose(to_suv(volume, dose_mbq=300).array, VALUES * SCALES[0] * CALIBRATION * factor, rtol=1e-5)


def test_a_json_beside_it_completes_the_header_and_is_compared_with_it(tmp_path: Path) -> None:
    path = ecat(tmp_path / "scan.v")
    stated = {"InjectedRadioactivity": 300, "InjectedRadioactivityUnits": "MBq", "BodyWeight": 80}
    (tmp_path / "scan.json").write_text(json.dumps({**stated, "BodyWeightUnits": "kg", "Units": "Bq/mL"}))
    volume = read_volume(path, frames="1")
    assert volume.facts["dose_mbq"] == 300 and volume.facts["weight_kg"] == 80
    assert [one for one in volume.warnings if "BodyWeight 70" in one and "80" in one]
    (tmp_path / "scan.json").write_text('{"Units": "kBq/mL"}')
    with pytest.raises(PETDiffusionError, match="Bq/cc.*kBq/mL") as caught:
        read_volume(path, frames="1")
    assert caught.value.code == "unit-conflict"


@pytest.mark.parametrize("kind", [2, 5])
def test_vax_integers_and_ieee_floats(tmp_path: Path, kind: int) -> None:
    path = ecat(tmp_path / "scan.v", kind=kind)
    np.testing.assert_allclose(read_volume(path, frames="2").array, VALUES * 2 * SCALES[1] * CALIBRATION, rtol=1e-6)


def test_frames_come_in_the_order_of_their_numbers_and_deleted_ones_not_at_all(tmp_path: Path) -> None:
    path = ecat(tmp_path / "scan.v", numbers=(2, 1))
    assert read_volume(path, frames="2").array[0, 0, 0] == pytest.approx(VALUES[0, 0, 0] * SCALES[0] * CALIBRATION)
    with open(path, "r+b") as file:
        file.seek(512 + 16 + 12)
        file.write(struct.pack(">i", 3))
    assert len(open_frames(path)) == 1


@pytest.mark.parametrize(("code", "said", "sides"), [(8, "cannot be known", (1, 1, -1)), (2, "feet first", (-1, 1, 1))])
def test_other_orientations_are_said(tmp_path: Path, code: int, said: str, sides: tuple[int, ...]) -> None:
    volume = read_volume(ecat(tmp_path / "scan.v", ((330, "H", code),)), frames="1")
    assert any(said in warning for warning in volume.warnings)
    assert np.reshape(volume.image.GetDirection(), (3, 3)) == pytest.approx(np.diag(sides))


@pytest.mark.parametrize(
    ("main", "said"),
    [
        (((148, "H", 0),), "uncalibrated"),
        (((466, "32s", b"ECAT counts"), (148, "H", 0)), ""),
        (((466, "32s", b"mg/100g/min"), (148, "H", 2)), "mg/100g/min"),
    ],
)
def test_a_unit_only_where_the_header_says_it(tmp_path: Path, main: tuple, said: str) -> None:
    volume = read_volume(ecat(tmp_path / "scan.v", main), frames="1")
    assert volume.unit == "unknown"
    assert not said or any(said in warning for warning in volume.warnings)


def test_nanocuries_become_becquerels(tmp_path: Path) -> None:
    volume = read_volume(ecat(tmp_path / "scan.v", ((466, "32s", b"nCi/cc"),)), frames="1")
    np.testing.assert_allclose(volume.array, VALUES * SCALES[0] * CALIBRATION * 37, rtol=1e-6)
    assert volume.unit == "bqml"


def test_frames_that_were_not_corrected_for_decay_are_brought_to_the_start(tmp_path: Path) -> None:
    volume = read_volume(ecat(tmp_path / "scan.v", sub=((80, "fI", 1.0, 0b11),)), frames="2")
    expected = VALUES * 2 * SCALES[1] * CALIBRATION * corrected(*SPANS[1])
    np.testing.assert_allclose(volume.array, expected, rtol=1e-6)
    assert volume.facts["minutes"] == 60 and any("not corrected for decay" in one for one in volume.warnings)


def test_a_correction_that_contradicts_its_times_gives_no_minutes(tmp_path: Path) -> None:
    volume = read_volume(ecat(tmp_path / "scan.v", sub=((80, "fI", 2.0, 1 << 9),)), frames="2")
    assert "minutes" not in volume.facts and any("decay_corr_fctr 2 " in one for one in volume.warnings)
    with pytest.raises(PETDiffusionError, match="--minutes"):
        to_suv(volume, dose_mbq=300)


def test_gates_and_what_is_no_volume(tmp_path: Path) -> None:
    gates = (0x01010001, 0x02010001)
    assert open_frames(ecat(tmp_path / "gated.v", numbers=gates)).kind == "gated"
    beds = (0x01010001, 0x01011001)
    for name, options, code in (
        ("beds.v", {"numbers": beds}, "multi-bed"),
        ("scan.v", {"main": ((50, "H", 11),)}, "not-scalar"),
        ("zero.v", {"sub": ((26, "f", 0.0),)}, "bad-file"),
        ("side.v", {"main": ((330, "H", 4),)}, "bad-geometry"),
    ):
        with pytest.raises(PETDiffusionError) as caught:
            open_frames(ecat(tmp_path / name, **options))
        assert caught.value.code == code
    short = ecat(tmp_path / "short.v")
    os.truncate(short, 512 * 4)
    with pytest.raises(PETDiffusionError, match="truncated"):
        open_frames(short).read(1)


def test_ecat6_and_a_missing_nibabel_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = bytearray(1024)
    struct.pack_into("<hhhh", old, 48, 70, 2, 951, 2)
    (tmp_path / "old.img").write_bytes(old)
    with pytest.raises(PETDiffusionError, match="ECAT6"):
        read_volume(tmp_path / "old.img")
    path = ecat(tmp_path / "scan.v")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(PETDiffusionError, match="pip install nibabel"):
        read_volume(path)


def test_nibabels_own_example(tmp_path: Path) -> None:
    """A real HRRT header, its dates made up: injection after the scan, which is said and not taken."""
    path = Path(nibabel.__file__).parent / "tests" / "data" / "tinypet.v"
    if not path.exists():
        pytest.skip("nibabel is installed without its test data")
    volume = read_volume(path)
    assert volume.unit == "bqml" and "minutes" not in volume.facts
    assert volume.facts["decay_corrected"] is True
    assert any("injection" in one for one in volume.warnings)
    values = np.asarray(nibabel.ecat.load(path).get_frame(0))
    np.testing.assert_allclose(volume.array.T, values, rtol=1e-6)
