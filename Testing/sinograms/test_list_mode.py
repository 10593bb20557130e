"""Coincidences are counted in the bin whose line joins their crystals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms import ScannerGeometry, Segment, TimeOfFlight, segments_of_span
from PETDiffusionLib.sinograms.binning import EventBinner, compressed
from PETDiffusionLib.sinograms.files import read_sinogram
from PETDiffusionLib.sinograms.siemens_list_mode import read_siemens_list_mode

RINGS, CRYSTALS, RADIUS = 4, 40, 100.0
SINGLE = tuple(Segment(d, d) for d in range(1 - RINGS, RINGS))
SCANNER = ScannerGeometry("ring", RADIUS, RINGS, CRYSTALS, 5.0, 20, 31, SINGLE, tof=TimeOfFlight(5, 30.0, 20.0))


def crystal_mm(crystal: int, ring: int) -> np.ndarray:
    angle = 2 * np.pi * crystal / CRYSTALS
    return np.array([RADIUS * np.sin(angle), -RADIUS * np.cos(angle), (ring - (RINGS - 1) / 2) * 5.0])


def counted(
    geometry: ScannerGeometry, first: tuple[int, int], second: tuple[int, int], tof_mm: float = 0.0
) -> np.ndarray:
    """The bin [plane, view, tangential(, tof)] of one coincidence of two (crystal, ring)."""
    binner = EventBinner(geometry)
    crystals, rings = (tuple(np.array([pair[k]]) for pair in (first, second)) for k in (0, 1))
    binner.add(crystals, rings, np.array([tof_mm]))  # type: ignore[arg-type]
    assert float(binner.counts.sum()) == 1
    return np.argwhere(binner.counts.numpy())[0]


@settings(max_examples=100, deadline=None)
@given(
    crystal=st.integers(0, CRYSTALS - 1),
    across=st.integers(7, CRYSTALS - 7),
    rings=st.tuples(st.integers(0, RINGS - 1), st.integers(0, RINGS - 1)),
    tof_bin=st.integers(-2, 2),
)
def test_a_coincidence_is_counted_on_the_line_between_its_crystals(
    crystal: int, across: int, rings: tuple[int, int], tof_bin: int
) -> None:
    """In either order of its crystals; odd bins lie half a crystal off, as sinograms have it."""
    first, second = (crystal, rings[0]), ((crystal + across) % CRYSTALS, rings[1])
    plane, view, tangential, tof = counted(SCANNER, first, second, tof_bin * 30.0)
    assert tuple(counted(SCANNER, second, first, -tof_bin * 30.0)) == (plane, view, tangential, tof)
    start, end = (side[plane, view, tangential] for side in SCANNER.end_points_mm())
    ends = [crystal_mm(*first), crystal_mm(*second)]
    if np.linalg.norm(start - ends[0]) > np.linalg.norm(start - ends[1]):
        ends.reverse()
    assert np.linalg.norm(start - ends[0]) < RADIUS * np.pi / CRYSTALS + 1e-6
    assert np.linalg.norm(end - ends[1]) < RADIUS * np.pi / CRYSTALS + 1e-6
    middle = (crystal_mm(*first) + crystal_mm(*second)) / 2
    place = middle + tof_bin * 30.0 * (crystal_mm(*second) - middle) / np.linalg.norm(crystal_mm(*second) - middle)
    on_line = (start + end) / 2 + (tof - 2) * 30.0 * (end - start) / np.linalg.norm(end - start)
    assert np.linalg.norm(place - on_line) < 2 * RADIUS * np.pi / CRYSTALS


def test_what_no_bin_takes_is_left_out() -> None:
    binner = EventBinner(replace(SCANNER, segments=(Segment(0, 0),), tof=None))
    binner.add((np.array([0, 0, 0]), np.array([20, 1, 20])), (np.array([0, 0, 0]), np.array([0, 0, 1])), np.zeros(3))
    assert float(binner.counts.sum()) == 1 and binner.left_out == 2


def test_merged_planes_are_those_of_binning_at_once() -> None:
    rng = np.random.default_rng(0)
    single = replace(SCANNER, tof=None)
    merged = replace(single, segments=segments_of_span(RINGS, 3, RINGS - 1))
    crystals = rng.integers(0, CRYSTALS, (2, 2000))
    rings = rng.integers(0, RINGS, (2, 2000))
    counts = []
    for geometry in (single, merged):
        binner = EventBinner(geometry)
        binner.add(tuple(crystals), tuple(rings), np.zeros(2000))
        counts.append(binner.counts)
    total, geometry = compressed(counts[0], single, 3)
    assert geometry == merged
    assert torch.equal(total, counts[1])


def siemens_files(folder: Path, words: np.ndarray, **changes: str) -> Path:
    """A header of a small mMR-like scanner and its words."""
    lines = {
        "originating system": "2008",
        "%axial compression": "1",
        "%maximum ring difference": "1",
        "number of rings": "3",
        "number of projections": "8",
        "number of views": "6",
        "%segment table": "{3,2,2}",
        "name of data file": "scan.l",
    }
    lines.update({key.replace("_", " "): value for key, value in changes.items()})
    text = "!INTERFILE:=\n" + "".join(f"{key}:={value}\n" for key, value in lines.items())
    (folder / "scan.l.hdr").write_text(text)
    words.astype("<u4").tofile(folder / "scan.l")
    return folder / "scan.l.hdr"


def test_siemens_words_are_addresses_of_bins(tmp_path: Path) -> None:
    """Bit 31 marks what is no event, bit 30 a prompt; segments follow each other as 0, -1, +1."""
    address = (3 * 6 + 2) * 8 + 5  # the first plane of ring difference -1, view 2, bin 5
    words = np.array([1 << 31 | 17, 1 << 30 | address, 1 << 30 | address, address, 1 << 30], np.uint32)
    prompts, delayed, geometry = read_siemens_list_mode(siemens_files(tmp_path, words))
    assert [segment.lowest for segment in geometry.segments] == [0, -1, 1]
    assert prompts[3, 2, 5] == 2 and prompts[0, 0, 0] == 1 and prompts.sum() == 3
    assert delayed[3, 2, 5] == 1 and delayed.sum() == 1
    total, merged = compressed(prompts, geometry, 3)
    assert merged.segments == (Segment(-1, 1),)
    assert total[1, 2, 5] == 2  # between rings 0 and 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"originating_system": "9999"}, "originating system"),
        ({"%axial_compression": "11"}, "axial compression"),
        ({"number_of_views": ""}, "number of views"),
        ({"%segment_table": "{3,2}"}, "segment table"),
        ({"number_of_projections": "2"}, "counts in bin"),
        ({"name_of_data_file": "other.l"}, "not beside it"),
    ],
)
def test_list_mode_that_is_not_understood_is_refused(changes: dict[str, str], sentence: str, tmp_path: Path) -> None:
    path = siemens_files(tmp_path, np.array([1 << 30 | 300], np.uint32), **changes)
    with pytest.raises(PETDiffusionError, match=sentence):
        read_siemens_list_mode(path)


def test_histogram_writes_a_sinogram_folder(tmp_path: Path, petdiffusion: Callable[..., CompletedProcess[str]]) -> None:
    siemens_files(tmp_path, np.arange(48, dtype=np.uint32) | 1 << 30)
    done = petdiffusion("histogram", "scan.l.hdr", "scan", "--span", 3)
    assert done.returncode == 0, done.stderr
    sinogram = read_sinogram(tmp_path / "scan")
    assert float(sinogram.prompts.sum()) == 48
    assert sinogram.multiplicative is not None
    assert sinogram.multiplicative[:, 0, 0].tolist() == [1, 2, 1, 2, 1]  # pairs of rings
    assert "normalisation" in sinogram.not_corrected
    assert petdiffusion("simulate", "low", "--from", "scan", "--drf", 2).returncode == 0
    assert "normalisation" in read_sinogram(tmp_path / "low").not_corrected


def petsird_file(path: Path, events: list[tuple[int, int, int]]) -> None:
    """A ring of 20 modules of two crystals across and four rings along, and its coincidences."""
    petsird = pytest.importorskip("petsird", reason="the optional package petsird is not installed")
    corners = [(x, y, z) for x in (0, 20.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)]
    shape = petsird.BoxShape(corners=[petsird.Coordinate(c=np.array(c, np.float32)) for c in corners])

    def moved(matrix: list[list[float]]) -> object:
        return petsird.RigidTransformation(matrix=np.array(matrix, np.float32))

    half = np.pi / CRYSTALS
    elements = [
        moved([
            [np.cos(turn), -np.sin(turn), 0, 90 * np.cos(turn)],
            [np.sin(turn), np.cos(turn), 0, 90 * np.sin(turn)],
            [0, 0, 1, z],
        ])
        for turn in (-half, half)
        for z in (-7.5, -2.5, 2.5, 7.5)
    ]  # fmt: skip
    turns = [2 * np.pi * k / 20 for k in range(20)]
    modules = [moved([[np.cos(t), -np.sin(t), 0, 0], [np.sin(t), np.cos(t), 0, 0], [0, 0, 1, 0]]) for t in turns]
    solid = petsird.BoxSolidVolume(shape=shape, material_id=1)
    module = petsird.DetectorModule(
        detecting_elements=petsird.ReplicatedBoxSolidVolume(object=solid, transforms=elements)
    )
    replicated = petsird.ReplicatedDetectorModule(object=module, transforms=modules)
    scanner = petsird.ScannerInformation(
        model_name="ring",
        scanner_geometry=petsird.ScannerGeometry(replicated_modules=[replicated]),
        tof_bin_edges=[[petsird.BinEdges(edges=np.array([-75, -45, -15, 15, 45, 75], np.float32))]],
        tof_resolution=[[47.0]],
        event_energy_bin_edges=[petsird.BinEdges(edges=np.array([430, 510, 650], np.float32))],
        energy_resolution_at_511=[0.1],
    )
    happened = [petsird.CoincidenceEvent(detection_bins=[2 * a, 2 * b], tof_idx=tof) for a, b, tof in events]
    block = petsird.EventTimeBlock(
        time_interval=petsird.TimeInterval(start=0, stop=1), prompt_events=[[happened]], delayed_events=[[[]]]
    )
    with petsird.BinaryPETSIRDWriter(str(path)) as writer:
        writer.write_header(petsird.Header(scanner=scanner))
        writer.write_time_blocks([petsird.TimeBlock.EventTimeBlock(block)])


def test_petsird_elements_become_crystals_of_a_cylinder(tmp_path: Path) -> None:
    """Element 8 m + 4 c + r is crystal c of module m in ring r; modules start on the x axis and go towards +y."""
    pytest.importorskip("petsird", reason="the optional package petsird is not installed")
    from PETDiffusionLib.sinograms.petsird_list_mode import read_petsird

    events = [(8 * 12 + 4 + 2, 8 * 2 + 1, 3), (8 * 15, 8 * 4 + 4 + 3, 2)]
    petsird_file(tmp_path / "scan.petsird", events)
    prompts, delayed, geometry = read_petsird(tmp_path / "scan.petsird")
    assert (geometry.rings, geometry.crystals, geometry.ring_spacing_mm) == (4, 40, pytest.approx(5.0))
    assert geometry.radius_mm == pytest.approx(100.0, abs=0.5)
    assert geometry.tof is not None and geometry.tof.bins == 5
    assert prompts.sum() == 2 and delayed.sum() == 0
    start, end = geometry.end_points_mm()
    for plane, view, tangential, tof in np.argwhere(prompts.numpy()):
        ends = start[plane, view, tangential], end[plane, view, tangential]
        for event in events:
            places = []
            for element in event[:2]:
                turn = 2 * np.pi * (element // 8) / 20 + (2 * (element // 4 % 2) - 1) * np.pi / 40
                places.append(np.array([100 * np.cos(turn), 100 * np.sin(turn), (element % 4 - 1.5) * 5]))
            forwards, backwards = (
                max(np.linalg.norm(a - b) for a, b in zip(ends, order, strict=True)) for order in (places, places[::-1])
            )
            if min(forwards, backwards) < 9:
                assert tof == (event[2] if forwards < backwards else 4 - event[2])
                break
        else:
            pytest.fail("a count lies on no event's line")
    (tmp_path / "broken.petsird").write_bytes(b"nonsense")
    with pytest.raises(PETDiffusionError, match="PETSIRD"):
        read_petsird(tmp_path / "broken.petsird")
