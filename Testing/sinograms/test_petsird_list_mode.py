"""PETSIRD: elements become crystals where they truly are, or are refused; versions, movements, singles, cut files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

petsird: Any = pytest.importorskip("petsird", reason="the optional package petsird is not installed")

from PETDiffusionLib.errors import PETDiffusionError  # noqa: E402
from PETDiffusionLib.sinograms.files import read_sinogram  # noqa: E402
from PETDiffusionLib.sinograms.list_mode import ListMode, open_list_mode  # noqa: E402
from PETDiffusionLib.sinograms.list_mode_frames import BinnedFrame, binned_frames, frame_times  # noqa: E402
from Testing.sinograms.list_mode_files import (  # noqa: E402
    event_block,
    module_type,
    petsird_header,
    rigid,
    write_petsird,
)

# 20 flat modules of 4 x 3 elements of 4 mm with gaps of one element between them: 100 places around.
MODULES, ACROSS, ALONG, PITCH, RADIUS = 20, 4, 3, 4.0, 100 * 4.0 / (2 * np.pi)
PER_MODULE = ACROSS * ALONG


def ring() -> Any:
    return module_type(MODULES, ACROSS, ALONG, PITCH, RADIUS)


def binned(path: Path, frames: str = "") -> tuple[list[BinnedFrame], ListMode]:
    opened = open_list_mode(path)
    return list(binned_frames(opened, opened.geometry, frame_times(frames) if frames else ())), opened


def place_mm(element: int) -> np.ndarray:
    """Where an element is, by the package's own helpers."""
    from petsird.helpers import expand_detection_bin
    from petsird.helpers.geometry import get_detecting_box

    scanner = petsird_header([ring()]).scanner
    box = get_detecting_box(scanner, 0, expand_detection_bin(scanner, 0, element))
    return np.mean([corner.c for corner in box.corners], axis=0)


def some_events(rng: np.random.Generator, count: int) -> list[tuple[int, int, int]]:
    """Between modules that are about opposite to each other."""
    module = rng.integers(0, MODULES // 2, count)
    other = (module + MODULES // 2 - rng.integers(-2, 3, count)) % MODULES
    first, second = (m * PER_MODULE + rng.integers(0, PER_MODULE, count) for m in (other, module))
    return list(zip(first.tolist(), second.tolist(), rng.integers(0, 5, count).tolist(), strict=True))


def test_elements_with_gaps_between_blocks_are_where_they_are(tmp_path: Path) -> None:
    """The bin's line is that of the two elements, within a quarter of an element; TOF counts from its start."""
    for event in some_events(np.random.default_rng(1), 25):
        (frame,), opened = binned(
            write_petsird(tmp_path / "one", petsird_header([ring()]), [event_block(0, 9, [event])])
        )
        geometry = opened.geometry
        assert (geometry.rings, geometry.crystals, geometry.ring_spacing_mm) == (3, 100, pytest.approx(4.0))
        plane, view, tangential, tof = np.argwhere(frame.prompts.numpy())[0]
        ends = [side[plane, view, tangential] for side in geometry.end_points_mm()]
        places = [place_mm(element) for element in event[:2]]
        turned = np.linalg.norm(ends[0] - places[0]) > np.linalg.norm(ends[0] - places[1])
        for end, place in zip(ends, places[::-1] if turned else places, strict=True):
            along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
            off = place - end - along * ((place - end) @ along)
            # A bin an odd number of crystals off the middle lies half a crystal aside, as sinograms have it.
            assert np.linalg.norm(off) < PITCH / 2 + PITCH / 4
        assert tof == (4 - event[2] if turned else event[2])


def test_gaps_count_nothing(tmp_path: Path) -> None:
    """The pairs of elements of each bin, none where a place in a gap is an end of the line."""
    path = write_petsird(
        tmp_path / "a", petsird_header([ring()]), [event_block(0, 9, some_events(np.random.default_rng(2), 3000))]
    )
    sinogram = read_sinogram(path)
    assert sinogram.multiplicative is not None
    seen = sinogram.prompts.sum(-1) > 0
    assert bool((sinogram.multiplicative[seen] == 1).all())
    share = float((sinogram.multiplicative == 0).float().mean())
    assert share == pytest.approx(1 - (ACROSS / (ACROSS + 1)) ** 2, abs=0.02)


def test_types_of_modules_on_one_cylinder(tmp_path: Path) -> None:
    """Alternating modules of two types, and coincidences within and between them; energies do not count."""
    half = [module_type(10, ACROSS, ALONG, PITCH, RADIUS, start) for start in (0, 2 * np.pi / MODULES)]
    header = petsird_header(half, energies=2)
    within = [(2 * 5 * PER_MODULE + 1, 2 * 3, 2)]  # energies 1 and 0: elements 60 and 3
    between = {(0, 0): within, (1, 0): [(2 * 5 * PER_MODULE, 1, 2)], (1, 1): [(2 * 5 * PER_MODULE, 0, 2)]}
    (frame,), opened = binned(write_petsird(tmp_path / "a", header, [event_block(0, 1, between, types=2)]))
    assert opened.geometry.crystals == 100 and frame.prompts.sum() == 3
    mixed = {(0, 0): [(10 * PER_MODULE // 2, 3, 2)]}
    (alone,), _ = binned(write_petsird(tmp_path / "b", petsird_header([ring()]), [event_block(0, 1, mixed[0, 0])]))
    # Element 60 of the ring is the first of module 5, a quarter around; of the type it is opposite: another line.
    assert not alone.prompts.equal(frame.prompts)


@pytest.mark.parametrize(
    ("types", "off"),
    [
        (lambda: [ring(), module_type(15, 3, 30, 2.0, 40.0)], r"up to \d+\.\d mm .* off.*2 type"),
        (lambda: [module_type(4, 10, 2, 10.0, 52.0)], r"up to \d+\.\d mm"),
    ],
)
def test_what_is_no_cylinder_is_refused_with_how_far_off_lines_would_be(types: Any, off: str, tmp_path: Path) -> None:
    with pytest.raises(PETDiffusionError, match=off):
        open_list_mode(write_petsird(tmp_path / "a", petsird_header(types()), []))


def test_the_header_says_how_the_patient_lies(tmp_path: Path) -> None:
    exam = petsird.ExamInformation()
    said = exam.patient_orientation
    said.patient_orientation_modifier_code_sequence.code_value = "1240000"  # prone
    said.patient_gantry_relationship_code_sequence.code_value = "102541007"  # feet first
    opened = open_list_mode(write_petsird(tmp_path / "a", petsird_header([ring()], exam=exam), []))
    assert opened.geometry.patient_position.code == "FFP"


def test_movements_give_a_sinogram_each(tmp_path: Path) -> None:
    """Of the bed, and of the gantry; a move back to where it stood is said again."""

    def moved(kind: str, z: float) -> Any:
        interval = petsird.TimeInterval(start=0, stop=0)
        if kind == "bed":
            block = petsird.BedMovementTimeBlock(time_interval=interval, transform=rigid(z=z))
            return petsird.TimeBlock.BedMovementTimeBlock(block)
        block = petsird.GantryMovementTimeBlock(time_interval=interval, transforms=[rigid(z=z)])
        return petsird.TimeBlock.GantryMovementTimeBlock(block)

    events = some_events(np.random.default_rng(3), 60)
    for kind in ("bed", "gantry"):
        blocks: list[Any] = []
        for number, z in enumerate((0.0, 50.0, 100.0)):
            blocks += [moved(kind, z), event_block(1000 * number, 1000 * number + 1000, events[: 10 + number])]
        path = write_petsird(tmp_path / kind, petsird_header([ring()]), blocks)
        frames, opened = binned(path)
        assert [frame.position for frame in frames] == [f"{kind} at (0.0, 0.0, {z:.1f}) mm" for z in (0, 50, 100)]
        with pytest.raises(PETDiffusionError, match=r"50.0\) mm from 1.0 to 2.0 s"):
            read_sinogram(path)
        (second,) = binned(path, "1-2")[0]
        assert second.prompts.equal(frames[1].prompts)


def test_singles_alone_are_named(tmp_path: Path) -> None:
    path = write_petsird(tmp_path / "a", petsird_header([ring()]), [event_block(0, 10, singles=7)])
    with pytest.raises(PETDiffusionError, match="7 singles and no coincidences"):
        binned(path)


def test_a_file_of_another_version_is_named(tmp_path: Path) -> None:
    whole = write_petsird(tmp_path / "a", petsird_header([ring()]), []).read_bytes()
    for mine, others, version in (
        (b"moduleSinglesUnitIdxLUTs", b"moduleSinglesUnitIdxLUTx", "PETSIRD 0.11"),
        (b"ModuleSinglesUnitIdxLUT", b"ModuleSinglesUnitIdxABC", "version"),
    ):
        (tmp_path / "b").write_bytes(whole.replace(mine, others))
        with pytest.raises(PETDiffusionError, match=version) as refused:
            open_list_mode(tmp_path / "b")
        assert "0.12 is read here" in refused.value.sentence or not petsird.__file__


@pytest.mark.parametrize("json", [False, True])
def test_a_cut_file_is_read_as_far_as_it_is_whole(json: bool, tmp_path: Path) -> None:
    """Wherever it ends: with what was whole and a warning, or refused in a sentence."""
    events = some_events(np.random.default_rng(5), 30)
    blocks = [event_block(10 * k, 10 * k + 10, events[k : k + 5], events[:2]) for k in range(6)]
    whole = write_petsird(tmp_path / "a", petsird_header([ring()]), blocks, json)
    (all_of_it,), opened = binned(whole)
    assert all_of_it.prompts.sum() == 30 and all_of_it.delayed.sum() == 12 and not opened.warnings
    data = whole.read_bytes()
    for length in [3, 40, 9000, *range(len(data) - 600, len(data) - 1, 97)]:
        (tmp_path / "b").write_bytes(data[:length])
        try:
            (frame,), opened = binned(tmp_path / "b")
        except PETDiffusionError as error:
            assert error.code in ("bad-file", "bad-format", "no-events")
        else:
            assert 0 < frame.prompts.sum() <= 30 and frame.prompts.sum() % 5 == 0
            assert frame.prompts.sum() == 30 or any("cut or damaged after" in one for one in opened.warnings)


def test_the_order_of_events_does_not_matter(tmp_path: Path) -> None:
    events = some_events(np.random.default_rng(6), 200)
    header = petsird_header([ring()])
    (one,), _ = binned(write_petsird(tmp_path / "a", header, [event_block(0, 10, events)]))
    (other,), _ = binned(write_petsird(tmp_path / "b", header, [event_block(0, 10, events[::-1])]))
    assert one.prompts.equal(other.prompts)
    frames, _ = binned(tmp_path / "a", "0-1")
    assert frames[0].prompts.equal(one.prompts)


def test_blocks_too_long_or_out_of_order_make_no_frames(tmp_path: Path) -> None:
    events = some_events(np.random.default_rng(6), 20)
    long = write_petsird(tmp_path / "a", petsird_header([ring()]), [event_block(0, 60000, events)])
    with pytest.raises(PETDiffusionError, match="blocks of up to 60 s.*frames of 30 s"):
        binned(long, "0-30,30-60")
    blocks = [event_block(start, start + 10, events) for start in (100, 0, 200)]
    mixed = write_petsird(tmp_path / "b", petsird_header([ring()]), blocks)
    with pytest.raises(PETDiffusionError, match="not in order of time"):
        binned(mixed, "0-0.1,0.1-0.21")
    (whole,), _ = binned(mixed)
    assert whole.prompts.sum() == 60


def test_bins_that_are_not_there_are_left_out_and_said(tmp_path: Path) -> None:
    events = [*some_events(np.random.default_rng(7), 3), (10**6, 0, 2), (120, 0, 99)]
    (frame,), opened = binned(write_petsird(tmp_path / "a", petsird_header([ring()]), [event_block(0, 1, events)]))
    assert frame.prompts.sum() == 3
    assert any("2 of 5 coincidences" in sentence for sentence in opened.warnings)
