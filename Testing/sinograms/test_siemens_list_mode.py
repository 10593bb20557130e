"""Siemens' 32-bit words: addresses, time, the bed, and files that are cut, misnamed or of another kind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.files import read_sinogram
from PETDiffusionLib.sinograms.list_mode import binned_geometry, is_list_mode, open_list_mode
from PETDiffusionLib.sinograms.list_mode_frames import BinnedFrame, binned_frames, frame_times
from Testing.sinograms.list_mode_files import BINS, PROMPT, bed_tag, siemens_files, time_tag


def binned(path: Path, frames: str = "", span: int | None = None) -> tuple[list[BinnedFrame], Any]:
    opened = open_list_mode(path)
    wanted = frame_times(frames) if frames else ()
    return list(binned_frames(opened, binned_geometry(opened.geometry, span), wanted)), opened


def test_words_are_addresses_of_bins(tmp_path: Path) -> None:
    """Bit 31 marks what is no event, bit 30 a prompt; segments follow each other as 0, -1, +1."""
    address = (3 * 6 + 2) * 8 + 5  # the first plane of ring difference -1, view 2, bin 5
    words = [time_tag(0), PROMPT | address, PROMPT | address, address, PROMPT]
    (frame,), opened = binned(siemens_files(tmp_path, words))
    assert [segment.lowest for segment in opened.geometry.segments] == [0, -1, 1]
    assert opened.geometry.patient_position.code == "FFS"
    assert frame.prompts[3, 2, 5] == 2 and frame.prompts[0, 0, 0] == 1 and frame.prompts.sum() == 3
    assert frame.delayed[3, 2, 5] == 1 and frame.delayed.sum() == 1
    (merged,), _ = binned(siemens_files(tmp_path, words), span=3)
    assert merged.prompts[1, 2, 5] == 2  # between rings 0 and 1


@pytest.mark.parametrize("name", ["scan.l.hdr", "patient.hdr", "header of list mode.txt"])
def test_list_mode_is_found_by_its_content(name: str, tmp_path: Path) -> None:
    """Whichever file is given, under any name: the header, or the words beside it."""
    header = siemens_files(tmp_path, [PROMPT | 5], name)
    for given in (header, tmp_path / "scan.l"):
        if given != tmp_path / "scan.l" or header.suffix == ".hdr":
            assert is_list_mode(given)
            assert float(read_sinogram(given).prompts.sum()) == 1
    assert not is_list_mode(tmp_path)


def test_words_without_their_header_are_refused(tmp_path: Path) -> None:
    siemens_files(tmp_path, [PROMPT | 5]).unlink()
    shutil.copy(tmp_path / "scan.l", tmp_path / "other.bf")
    for name in ("scan.l", "other.bf"):
        with pytest.raises(PETDiffusionError, match="needs its header"):
            read_sinogram(tmp_path / name)


@pytest.mark.parametrize("inside", [True, False])
def test_the_dicom_file_of_list_mode(inside: bool, tmp_path: Path) -> None:
    """Siemens' private elements hold the header, and the words too, or a .bf file beside holds them."""
    header = siemens_files(tmp_path, [PROMPT | 5, PROMPT | 5, 7])
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.3.12.2.1107.5.9.1"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.add_new((0x0029, 0x0010), "LO", "SIEMENS MEDCOM HEADER2")
    data.add_new((0x0029, 0x1010), "OB", header.read_bytes() + b"\0" * (len(header.read_bytes()) % 2))
    words = (tmp_path / "scan.l").read_bytes()
    if inside:
        data.add_new((0x7FE1, 0x0010), "LO", "SIEMENS MED PT")
        data.add_new((0x7FE1, 0x1010), "OB", words)
    else:
        (tmp_path / "dicom.bf").write_bytes(words)
    data.save_as(tmp_path / "dicom.dcm", enforce_file_format=True)
    header.unlink()
    given = [tmp_path / "dicom.dcm"] if inside else [tmp_path / "dicom.dcm", tmp_path / "dicom.bf"]
    for path in given:
        (frame,), _ = binned(path)
        assert frame.prompts[0, 0, 5] == 2 and frame.delayed[0, 0, 7] == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"originating_system": "9999"}, "originating system"),
        ({"%axial_compression": "11"}, "axial compression"),
        ({"%axial_compression": "3", "%segment_table": "{4}"}, "segment table"),
        ({"%axial_compression": "2"}, "axial compression"),
        ({"number_of_views": ""}, "number of views"),
        ({"%segment_table": "{3,2}"}, "segment table"),
        ({"number_of_projections": "2"}, "counts in bin"),
        ({"name_of_data_file": "other.l", "originating_system": ""}, "originating system"),
        ({"%LM event and tag words format (bits)": "64"}, "64 bits"),
        ({"%SMS-MI header name space": "PETLINK crystal pair"}, "crystal pair"),
        ({"data format": "SinglesList"}, "SinglesList"),
        ({"%number of TOF time bins": "13"}, "time of flight"),
    ],
)
def test_what_is_not_understood_is_refused(changes: dict[str, str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(PETDiffusionError, match=sentence):
        binned(siemens_files(tmp_path, [PROMPT | 300], **changes))


def test_a_header_without_its_words_is_refused(tmp_path: Path) -> None:
    header = siemens_files(tmp_path, [PROMPT], name_of_data_file="other.l")
    (tmp_path / "scan.l").unlink()
    with pytest.raises(PETDiffusionError, match="not beside it"):
        binned(header)


@pytest.mark.parametrize("compression", ["1", "3"])
def test_the_addresses_decide_what_a_header_states(compression: str, tmp_path: Path) -> None:
    """mMR headers state the table of span 11 beside words of span 1."""
    stated = {"%axial compression": compression, "%segment table": "{5}"}
    beyond = 6 * 8 * 5  # the stated table ends before
    (frame,), opened = binned(siemens_files(tmp_path, [PROMPT | beyond], **stated))
    assert opened.geometry.planes == 7 and frame.prompts[5, 0, 0] == 1
    assert any("span 1" in sentence for sentence in opened.warnings)
    (frame,), opened = binned(siemens_files(tmp_path, [PROMPT | 1] * 20, **stated))
    assert opened.geometry.planes == 5 and frame.prompts[0, 0, 1] == 20
    with pytest.raises(PETDiffusionError, match="do not tell"):
        binned(siemens_files(tmp_path, [PROMPT | 1], **stated))


def test_time_passes_by_the_tags(tmp_path: Path) -> None:
    """Events belong to the last tag before them; a frame begins with its first and ends before its last moment."""
    words = [time_tag(0), PROMPT, time_tag(1000), PROMPT | 1, PROMPT | 2, time_tag(2000), PROMPT | 3, time_tag(2500)]
    frames, opened = binned(siemens_files(tmp_path, words), "0-1,1-2,2-3")
    assert [frame.prompts.reshape(-1)[:4].tolist() for frame in frames] == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert [frame.time.duration_s for frame in frames if frame.time] == [1, 1, 0.5]
    assert any("Frame 3 was asked for to 3 s" in sentence for sentence in opened.warnings)
    with pytest.raises(PETDiffusionError, match="after the end"):
        binned(siemens_files(tmp_path, words), "0-1,5-6")
    with pytest.raises(PETDiffusionError, match="no time in it"):
        binned(siemens_files(tmp_path, [PROMPT]), "0-1")
    _, opened = binned(siemens_files(tmp_path, [PROMPT]))
    assert any("no time tags" in sentence for sentence in opened.warnings)


def test_the_clock_wraps_around_and_never_runs_back(tmp_path: Path) -> None:
    last = (1 << 29) - 1
    (frame,), opened = binned(siemens_files(tmp_path, [time_tag(last), PROMPT, time_tag(0), time_tag(199)]))
    assert frame.time is not None and frame.time.duration_s == pytest.approx(0.2)
    assert ["first time tag is at 536870.911 s" in sentence for sentence in opened.warnings] == [True]
    _, opened = binned(siemens_files(tmp_path, [time_tag(500), PROMPT, time_tag(400), PROMPT, time_tag(600)]))
    assert any("out of order" in sentence for sentence in opened.warnings)
    _, opened = binned(siemens_files(tmp_path, [time_tag(0), PROMPT, time_tag(60000)]))
    assert any("from 0.000 to 60.000 s" in sentence for sentence in opened.warnings)
    with pytest.raises(PETDiffusionError, match="runs back from 60.000 s to 0.000 s"):
        binned(siemens_files(tmp_path, [time_tag(60000), PROMPT, time_tag(0)]))


def test_each_place_of_the_bed_has_a_sinogram(tmp_path: Path) -> None:
    """A tremble below a millimetre is no other place; events while the bed moves are left out, and said."""
    words = [time_tag(0), bed_tag(-100), PROMPT, bed_tag(-100.3), PROMPT, time_tag(1000)]
    words += [bed_tag(-150, moving=True), PROMPT | 9, time_tag(1500), bed_tag(-200), PROMPT | 1, time_tag(2500)]
    path = siemens_files(tmp_path, words)
    frames, opened = binned(path)
    assert [(frame.position, int(frame.prompts.sum())) for frame in frames] == [
        ("bed at -100.0 mm", 2),
        ("bed at -200.0 mm", 1),
    ]
    assert any("1 events while the bed moved" in sentence for sentence in opened.warnings)
    with pytest.raises(PETDiffusionError, match=r"-100.0 mm from 0.0 to 1.0 s; bed at -200.0 mm from 1.5 to 2.5 s"):
        read_sinogram(path)


def test_a_cut_file_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    path = siemens_files(tmp_path, [time_tag(0), PROMPT, PROMPT], **{"%total listmode word counts": "9"})
    with open(tmp_path / "scan.l", "ab") as stream:
        stream.write(b"\1\2")
    (frame,), opened = binned(path)
    assert frame.prompts.sum() == 2
    assert "9 words, and 3 whole ones" in opened.warnings[0]
    with pytest.raises(PETDiffusionError, match="no coincidences"):
        binned(siemens_files(tmp_path, [time_tag(0), time_tag(1)]))
    with pytest.raises(PETDiffusionError, match="no coincidences"):
        binned(siemens_files(tmp_path, []))


def test_other_tags_are_counted_by_name(tmp_path: Path) -> None:
    lost = 0b101111 << 26 | 12
    _, opened = binned(siemens_files(tmp_path, [time_tag(0), 0b101 << 29 | 7, lost, 0xE1 << 24, PROMPT]))
    assert opened.facts["dead-time words"] == 2 and opened.facts["gating words"] == 1
    assert any("12 lost events" in sentence for sentence in opened.warnings)


@pytest.mark.parametrize("words_at_once", [1, 3, 7, 100])
def test_counts_do_not_depend_on_how_the_file_is_read(
    words_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces of any size; and frames that cover the file add up to it."""
    rng = np.random.default_rng(4)
    words = []
    for millisecond in range(40):
        events = rng.integers(0, BINS, rng.integers(0, 9))
        words += [time_tag(10 * millisecond), *(events | rng.integers(0, 2, len(events)) << 30)]
    path = siemens_files(tmp_path, words)
    (whole,), _ = binned(path)
    monkeypatch.setattr("PETDiffusionLib.sinograms.siemens_list_mode.WORDS_AT_ONCE", words_at_once)
    (again,), _ = binned(path)
    assert again.prompts.equal(whole.prompts) and again.delayed.equal(whole.delayed)
    frames, _ = binned(path, "0-0.1,0.1-0.13,0.13-0.5")
    assert len(frames) == 3
    assert sum(frame.prompts for frame in frames).equal(whole.prompts)  # type: ignore[union-attr]
    expected = np.bincount([w & ~PROMPT for w in words if w < 1 << 31 and w & PROMPT], minlength=BINS)
    assert whole.prompts.reshape(-1).tolist() == expected.tolist()
