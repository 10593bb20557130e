"""Siemens' .s.hdr: the segment table, prompts and delayed coincidences, and what contradicts the scanner."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms import Segment
from PETDiffusionLib.sinograms.interfile import read_interfile
from PETDiffusionLib.sinograms.interfile_header import InterfileHeader
from PETDiffusionLib.sinograms.interfile_layout import TIMING
from PETDiffusionLib.sinograms.interfile_siemens import read_siemens_layout

TEXT = """!INTERFILE:=
%comment:=by hand
!originating system:=2008
%SMS-MI header name space:=sinogram subheader
%SMS-MI version number:=3.4

!GENERAL DATA:=
!name of data file:=a.s
%compression:=off

!GENERAL IMAGE DATA:=
%study time (hh:mm:ss GMT+00:00):=17:33:38
image data byte order:=LITTLEENDIAN
%patient orientation:=HFS
!PET data type:=emission
data format:=sinogram
number format:=signed integer
!number of bytes per pixel:=2
number of dimensions:=3
matrix axis label [1]:=bin
matrix axis label [2]:=projection
matrix axis label [3]:=plane
matrix size [1]:=4
matrix size [2]:=2
matrix size [3]:=357
scale factor (mm/pixel) [1]:=2.0445
scale factor (degree/pixel) [2]:=90
scale factor (mm/pixel) [3]:=2.03125
%axial compression:=11
%maximum ring difference:=16
number of rings:=64
%number of segments:=3
%segment table:={127,115,115}
applied corrections:=
number of scan data types:=2
scan data type description [1]:=prompts
scan data type description [2]:=randoms
data offset in bytes [1]:=0
data offset in bytes [2]:=5712
%TOF mashing factor:=1
%bucket singles rate [1]:=19113
"""
PROMPTS = np.arange(357 * 2 * 4, dtype="<i2").reshape(357, 2, 4)


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (folder / "a.s.hdr").write_text(text)
    (folder / "a.s").write_bytes(PROMPTS.tobytes() + (PROMPTS[::-1] + 7).astype("<i2").tobytes())
    return folder / "a.s.hdr"


def test_prompts_and_delayed_coincidences_are_told_apart(tmp_path: Path) -> None:
    """Planes of a segment are together, each with all its views: 0, then -1 and +1."""
    sinogram = read_interfile(written(tmp_path))
    assert sinogram.geometry.segments == (Segment(-5, 5), Segment(-16, -6), Segment(6, 16))
    assert sinogram.geometry.bin_mm is None and sinogram.geometry.radius_mm == 335.0
    np.testing.assert_array_equal(sinogram.prompts.numpy(), PROMPTS)
    delayed = sinogram.delayed
    assert delayed is not None
    np.testing.assert_array_equal(delayed.numpy(), PROMPTS[::-1] + 7)
    assert sinogram.facts["warnings"] == []


def test_the_data_set_of_prompts_may_be_the_second(tmp_path: Path) -> None:
    swapped = [("[1]:=prompts", "[1]:=randoms_"), ("[2]:=randoms\n", "[2]:=prompts\n"), ("randoms_", "randoms")]
    sinogram = read_interfile(written(tmp_path, *swapped))
    np.testing.assert_array_equal(sinogram.prompts.numpy(), PROMPTS[::-1] + 7)


def test_delayeds_that_tell_no_randoms_are_left(tmp_path: Path) -> None:
    """Those that were taken off already, and those that arc correction has moved off their crystals."""
    assert read_interfile(written(tmp_path, ("[1]:=prompts", "[1]:=net trues"))).delayed is None
    corrected = read_interfile(
        written(tmp_path, ("applied corrections:=", "applied corrections:={radial arc-correction}"))
    )
    assert corrected.delayed is None
    assert any("arc-corrected, so that no randoms" in sentence for sentence in corrected.warnings)


def test_the_energy_window_and_the_singles_of_all_buckets_are_facts(tmp_path: Path) -> None:
    rates = "".join(f"%bucket singles rate [{number}]:={100 * number}\n" for number in range(1, 4))
    window = "%energy window lower level (keV) [1]:=430\n%energy window upper level (keV) [1]:=610\n"
    whole = ("%bucket singles rate [1]:=19113\n", f"{window}%number of buckets:=3\n{rates}")
    facts = read_interfile(written(tmp_path, whole)).facts
    assert facts["energy_window_kev"] == [430, 610]
    assert facts["bucket_singles"] == [100, 200, 300]
    assert "bucket_singles" not in read_interfile(written(tmp_path)).facts  # one of an unknown number
    some = (whole[0], whole[1].replace(":=3\n", ":=224\n"))
    assert "bucket_singles" not in read_interfile(written(tmp_path, some)).facts
    odd = read_interfile(written(tmp_path, (whole[0], whole[1].replace(":=430", ":=530"))))
    assert "energy_window_kev" not in odd.facts
    assert any("does not hold 511 keV" in sentence for sentence in odd.warnings)


def test_net_trues_are_said_to_be_no_counts(tmp_path: Path) -> None:
    sinogram = read_interfile(written(tmp_path, ("[1]:=prompts", "[1]:=net trues")))
    assert sinogram.corrected == {"randoms"} and "no counts" in sinogram.facts["warnings"][0]


def test_bins_of_time_of_flight_come_from_the_middle_outwards(tmp_path: Path) -> None:
    """Siemens' 0, -1, +1 are STIR's 0, +1, -1, and STIR's highest is the first of the geometry."""
    path = written(tmp_path, ("%TOF mashing", "%number of TOF time bins:=3\n%TOF mashing"))
    layout = read_siemens_layout(InterfileHeader(path))
    assert layout.axes[0] == TIMING and layout.tof_order == (1, 0, 2)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("%compression:=off", "%compression:=on", "intfcompr"),
        ("{127,115,115}", "{64,63,63}", "adds up to 190"),
        ("%axial compression:=11", "%axial compression:=9", "make it"),
        ("%number of segments:=3", "%number of segments:=5", "number of segments"),
        ("number of rings:=64", "number of rings:=55", "is 55, but Siemens mMR has 64"),
        ("system:=2008", "system:=9999", "not known here"),
        ("[3]:=2.03125", "[3]:=3.0", "rings every 4.0625 mm"),
        ("offset in bytes [2]:=5712", "offset in bytes [2]:=5714", "should hold"),
        ("[2]:=90", "[2]:=45", "2 views over half a turn make 90"),
        ("label [3]:=plane", "label [3]:=depth", "plane"),
        ("difference:=16", "difference:=1e9", "maximum ring difference"),
        ("%TOF mashing", "%number of TOF time bins:=3\n%TOF mashing", "has none"),
    ],
)
def test_what_contradicts_the_scanner_is_refused_with_both_values(
    old: str, new: str, named: str, tmp_path: Path
) -> None:
    path = written(tmp_path, (old, new))
    with pytest.raises(PETDiffusionError) as refusal:
        read_interfile(path)
    assert re.search(named, refusal.value.sentence), refusal.value.sentence


def test_bins_of_another_width_are_warned_of(tmp_path: Path) -> None:
    assert "3 mm" in read_interfile(written(tmp_path, ("[1]:=2.0445", "[1]:=3.0"))).facts["warnings"][0]
