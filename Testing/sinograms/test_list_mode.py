"""Coincidences are counted in the bin whose line joins their crystals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms import ScannerGeometry, Segment, TimeOfFlight, segments_of_span
from PETDiffusionLib.sinograms.binning import EventBinner, compressed
from PETDiffusionLib.sinograms.files import read_sinogram
from PETDiffusionLib.sinograms.interfile import read_interfile
from PETDiffusionLib.sinograms.list_mode_frames import check_frames, decay_factor, frame_times
from PETDiffusionLib.volumes import read_volume
from PETDiffusionLib.volumes.frames import FrameTime
from Testing.sinograms.list_mode_files import BINS, PROMPT, bed_tag, siemens_files, time_tag

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
    crystals, rings = (tuple(np.array([pair[k]]) for pair in (first, second)) for k in (0, 1))
    (flat,) = EventBinner(geometry).bins(crystals, rings, np.array([tof_mm]))  # type: ignore[arg-type]
    return np.array(np.unravel_index(flat, geometry.data_shape))


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
    crystals = np.array([0, 0, 0]), np.array([20, 1, 20])
    bins = binner.bins(crystals, (np.array([0, 0, 0]), np.array([0, 0, 1])), np.zeros(3))
    assert (bins == binner.size).tolist() == [False, True, True]


def test_merged_planes_are_those_of_binning_at_once() -> None:
    rng = np.random.default_rng(0)
    single = replace(SCANNER, tof=None)
    merged = replace(single, segments=segments_of_span(RINGS, 3, RINGS - 1))
    crystals = rng.integers(0, CRYSTALS, (2, 2000))
    rings = rng.integers(0, RINGS, (2, 2000))
    counts = []
    for geometry in (single, merged):
        binner = EventBinner(geometry)
        bins = binner.bins(tuple(crystals), tuple(rings), np.zeros(2000))
        counted = np.bincount(bins, minlength=binner.size + 1)[: binner.size]
        counts.append(torch.from_numpy(counted.astype(np.float32)).reshape(geometry.data_shape))
    total, geometry = compressed(counts[0], single, 3)
    assert geometry == merged
    assert torch.equal(total, counts[1])


def test_histogram_writes_a_sinogram_folder(tmp_path: Path, petdiffusion: Callable[..., CompletedProcess[str]]) -> None:
    siemens_files(tmp_path, np.arange(48, dtype=np.uint32) | PROMPT)
    done = petdiffusion("histogram", "scan.l.hdr", "scan", "--span", 3)
    assert done.returncode == 0, done.stderr
    sinogram = read_sinogram(tmp_path / "scan")
    assert float(sinogram.prompts.sum()) == 48
    assert sinogram.multiplicative is not None
    assert sinogram.multiplicative[:, 0, 0].tolist() == [1, 2, 1, 2, 1]  # pairs of rings
    assert "normalisation" in sinogram.not_corrected
    assert petdiffusion("simulate", "low", "--from", "scan", "--drf", 2).returncode == 0
    assert "normalisation" in read_sinogram(tmp_path / "low").not_corrected


def test_histogram_of_several_places_or_frames_has_a_folder_each(
    tmp_path: Path, petdiffusion: Callable[..., CompletedProcess[str]]
) -> None:
    words = [time_tag(0), bed_tag(10), PROMPT, 7, time_tag(1000), bed_tag(90), PROMPT | 1, PROMPT, time_tag(2000)]
    siemens_files(tmp_path, words)
    done = petdiffusion("histogram", "scan.l", "out")
    assert done.returncode == 0, done.stderr
    first, second = (read_sinogram(tmp_path / "out" / part) for part in ("part-001", "part-002"))
    assert (first.prompts.sum(), second.prompts.sum()) == (1, 2)
    assert (first.facts["position"], second.facts["position"]) == ("bed at 10.0 mm", "bed at 90.0 mm")
    assert (second.facts["start_s"], second.facts["duration_s"]) == (1, 1) and second.facts["decay_factor"] > 1
    assert read_interfile(tmp_path / "out/part-001/delayed.hs").prompts.sum() == 1
    assert petdiffusion("histogram", "scan.l", "one", "--from-s", 1).returncode == 0
    assert read_sinogram(tmp_path / "one").prompts.equal(second.prompts)
    refused = petdiffusion("histogram", "scan.l", "two", "--from-s", 9)
    assert refused.returncode == 2 and "after the end" in refused.stderr and not (tmp_path / "two").exists()


def test_list_mode_is_reconstructed_as_its_sinogram_is(
    tmp_path: Path, petdiffusion: Callable[..., CompletedProcess[str]]
) -> None:
    rng = np.random.default_rng(8)
    words = [time_tag(0), *(rng.integers(0, BINS, 4000) | PROMPT), time_tag(500)]
    siemens_files(tmp_path, words)
    asked = ("--iterations", 2, "--subsets", 2, "--voxel-mm", 60)
    assert petdiffusion("histogram", "scan.l.hdr", "scan").returncode == 0
    for data, output in (("scan", "a.nii.gz"), ("scan.l", "b.nii.gz")):
        done = petdiffusion("reconstruct", data, output, *asked)
        assert done.returncode == 0, done.stderr
    a, b = (read_volume(tmp_path / name).array for name in ("a.nii.gz", "b.nii.gz"))
    assert a.max() > 0 and np.array_equal(a, b)
    summary = json.loads((tmp_path / "b.nii.gz.manifest.json").read_text())["summary"]
    assert summary["duration_s"] == 0.5 and summary["list_mode"]["words"] == 4002
    refused = petdiffusion("reconstruct", "scan", "c.nii.gz", "--from-s", 0)
    assert refused.returncode == 2 and "no list mode" in refused.stderr


def test_frames_of_list_mode_are_a_dynamic_volume(
    tmp_path: Path, petdiffusion: Callable[..., CompletedProcess[str]]
) -> None:
    """One pass; each frame is what its time window alone gives, and times and half-life stand beside."""
    rng = np.random.default_rng(9)
    words = [word for k in range(3) for word in (time_tag(1000 * k), *(rng.integers(0, BINS, 2000) | PROMPT))]
    siemens_files(tmp_path, [*words, time_tag(3000)])
    asked = ("--iterations", 2, "--subsets", 2, "--voxel-mm", 60)
    done = petdiffusion("reconstruct", "scan.l", "dynamic.nii.gz", "--frame-times", "0-1,1-3", *asked)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Not corrected") == 1
    frames = nibabel.load(tmp_path / "dynamic.nii.gz").get_fdata()
    for number, (start, stop) in enumerate(((0, 1), (1, 3))):
        name = f"{number}.nii.gz"
        assert petdiffusion("reconstruct", "scan.l", name, "--from-s", start, "--to-s", stop, *asked).returncode == 0
        assert np.allclose(frames[..., number], nibabel.load(tmp_path / name).get_fdata(), rtol=1e-5)
    beside = json.loads((tmp_path / "dynamic.json").read_text())
    assert beside["FrameTimesStart"] == [0, 1] and beside["FrameDuration"] == [1, 2]
    assert beside["RadionuclideHalfLife"] == 6586.2 and beside["ImageDecayCorrected"] is False
    summary = json.loads((tmp_path / "dynamic.nii.gz.manifest.json").read_text())["summary"]
    assert [frame["duration_s"] for frame in summary["frames"]] == [1, 2]
    refused = petdiffusion("reconstruct", "scan.l", "x.nii.gz", "--frame-times", "0-1,0.5-2")
    assert refused.returncode == 2 and "without overlap" in refused.stderr


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("0-60,60-120", [(0, 60), (60, 120)]),
        ("2x10, 1x30,300", [(0, 10), (10, 20), (20, 50), (50, 350)]),
        ("5.5-6", [(5.5, 6)]),
    ],
)
def test_frame_times_are_ranges_or_lengths(text: str, ends: list[tuple[float, float]]) -> None:
    assert [(frame.start_s, frame.start_s + frame.duration_s) for frame in frame_times(text)] == ends


@pytest.mark.parametrize("text", ["", "a", "60-0", "0-60,30-90", "0x10,0", "1-2-3", "1..2", "-5-5"])
def test_frames_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(PETDiffusionError) as refused:
        frame_times(text)
    assert refused.value.code == "bad-frames"


@given(start=st.floats(0, 1e4), length=st.floats(0.1, 1e4), share=st.floats(0.05, 0.95))
def test_decay_factors_of_parts_make_up_that_of_the_whole(start: float, length: float, share: float) -> None:
    """What decays in a frame is what decays in its parts: durations over factors add up."""
    (whole,) = check_frames([FrameTime(start, length)])
    parts = [FrameTime(start, share * length), FrameTime(start + share * length, (1 - share) * length)]
    total = sum(part.duration_s / decay_factor(part, 6586.2) for part in parts)
    assert total == pytest.approx(length / decay_factor(whole, 6586.2), rel=1e-9)
    assert decay_factor(FrameTime(6586.2, 1e-6), 6586.2) == pytest.approx(2)
