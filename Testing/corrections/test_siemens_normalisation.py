"""Siemens' component-based normalisation, worked out bin by bin in the order of STIR's BinNormalisationFromECAT8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from PETDiffusionLib.corrections.siemens_normalisation import efficiencies, is_norm_header, live_share, read_norm
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, Segment, segments_of_span
from PETDiffusionLib.sinograms.scanners import SCANNERS

RINGS, CRYSTALS, BINS, BLOCK = 8, 504, 344, 9
NAMES = (
    "geometric effects", "crystal interference", "crystal efficiencies", "axial effects",
    "paralyzing ring DT parameters", "non-paralyzing ring DT parameters", "TX crystal DT parameter",
)  # fmt: skip


def scanner(span: int = 3) -> ScannerGeometry:
    return replace(SCANNERS["mmr"], rings=RINGS, segments=segments_of_span(RINGS, span, 7))


def components(seed: int = 0) -> list[np.ndarray]:
    """Shapes as in the file, the last axis the fastest; axial effects of span 3 up to a ring difference of 4."""
    rng = np.random.default_rng(seed)
    planes = sum(segment.planes(RINGS) for segment in segments_of_span(RINGS, 3, 4))
    shapes = [(2 * RINGS - 1, BINS), (BINS, BLOCK), (RINGS, CRYSTALS), (planes,), (RINGS,), (RINGS,), (BLOCK,)]
    drawn = [rng.uniform(0.5, 1.5, shape) for shape in shapes]
    return [*drawn[:4], *(1e-6 * one for one in drawn[4:])]


def written(folder: Path, parts: list[np.ndarray], named: bool = True, cut: int = 0) -> Path:
    lines = ["!INTERFILE:=", "!originating system:=2008", "%axial compression:=3", "!name of data file:=norm.n\r"]
    lines += [f"%number of normalization components:={len(parts)}"]
    offset = 0
    for number, part in enumerate(parts, start=1):
        if named:
            lines.append(f"%normalization component [{number}]:={NAMES[number - 1]}")
        lines.append(f"%matrix size [{number}]:={{{','.join(str(side) for side in part.shape[::-1])}}}")
        lines.append(f"data offset in bytes [{number}]:={offset}")
        offset += 4 * part.size
    data = b"".join(part.astype("<f4").tobytes() for part in parts)
    (folder / "norm.n").write_bytes(data[: len(data) - cut])
    path = folder / "norm.n.hdr"
    path.write_bytes("\r\n".join(lines).encode() + b"\r\n")
    return path


def by_hand(parts: list[np.ndarray], ring_sum: int, lowest: int, highest: int, view: int, tangential: int) -> float:
    """The efficiency of one bin: the sum over its ring differences of all that belongs to the pair of crystals."""
    geometric, interference, crystals, axial = (part.astype(np.float32).astype(float) for part in parts[:4])
    crystals = np.roll(crystals, 1, axis=1)
    crystals[:, ::BLOCK] = 0
    position = tangential - BINS // 2
    one = (view + position // 2) % CRYSTALS
    other = (view - (position + 1) // 2 + CRYSTALS // 2) % CRYSTALS
    total = 0.0
    for difference in range(lowest, highest + 1):
        if (ring_sum - difference) % 2:
            continue
        a, b = (ring_sum - difference) // 2, (ring_sum + difference) // 2
        if not (0 <= a < RINGS and 0 <= b < RINGS):
            continue
        total += crystals[a, one] * crystals[b, other] / axial_by_hand(axial, difference, ring_sum)
    return total * geometric[ring_sum, tangential] * interference[tangential, view % BLOCK]


def axial_by_hand(axial: np.ndarray, difference: int, ring_sum: int) -> float:
    """Span 3, segments 0, -1, +1: 15, then 11 planes each (from a ring sum of 2); 1 beyond a ring difference of 4."""
    if abs(difference) <= 1:
        return float(axial[ring_sum])
    if abs(difference) > 4:
        return 1.0
    return float(axial[15 + (11 if difference > 0 else 0) + ring_sum - 2])


def test_efficiencies_are_those_of_the_components_multiplied_by_hand(tmp_path: Path) -> None:
    parts = components()
    geometry = scanner()
    found = efficiencies(read_norm(written(tmp_path, parts)), geometry).numpy()
    assert found.shape == geometry.data_shape
    rng = np.random.default_rng(5)
    plane = 0
    for segment in geometry.segments:
        for number in range(segment.planes(RINGS)):
            view, tangential = int(rng.integers(geometry.views)), int(rng.integers(BINS))
            ring_sum = segment.smallest_tilt + number
            expected = by_hand(parts, ring_sum, segment.lowest, segment.highest, view, tangential)
            assert found[plane, view, tangential] == pytest.approx(expected, rel=2e-5)
            plane += 1


def test_mashed_views_sum_the_efficiencies_of_unmashed_ones(tmp_path: Path) -> None:
    norm = read_norm(written(tmp_path, components()))
    few = replace(scanner(), segments=(Segment(2, 4), Segment(-1, 1)))
    mashed = efficiencies(norm, replace(few, views=126))
    single = efficiencies(norm, few)
    assert mashed.shape == replace(few, views=126).data_shape
    np.testing.assert_allclose(mashed, single[:, ::2] + single[:, 1::2], rtol=1e-6)


@pytest.mark.parametrize("segments", [(Segment(2, 2),), (Segment(-3, -3),), (Segment(0, 0), Segment(7, 7))])
def test_data_of_another_span_and_of_single_segments_are_normalised(
    segments: tuple[Segment, ...], tmp_path: Path
) -> None:
    parts = components()
    found = efficiencies(read_norm(written(tmp_path, parts)), replace(scanner(), segments=segments)).numpy()
    plane = 0
    for segment in segments:
        for number in range(segment.planes(RINGS)):
            ring_sum = segment.smallest_tilt + 2 * number
            expected = by_hand(parts, ring_sum, segment.lowest, segment.highest, 40, 150)
            assert found[plane, 40, 150] == pytest.approx(expected, rel=2e-5)
            plane += 1


def test_components_are_found_by_their_place_where_the_header_names_none(tmp_path: Path) -> None:
    parts = components()
    named, unnamed = (tmp_path / name for name in ("named", "unnamed"))
    for folder in (named, unnamed):
        folder.mkdir()
    one = read_norm(written(named, parts))
    other = read_norm(written(unnamed, parts[:4], named=False))
    np.testing.assert_array_equal(one.axial, other.axial)
    np.testing.assert_array_equal(one.crystals, other.crystals)
    assert one.paralyzing is not None
    assert other.paralyzing is None


def test_dead_time_is_of_the_bucket_in_front_of_the_crystal(tmp_path: Path) -> None:
    norm = read_norm(written(tmp_path, components()))
    rates = np.zeros(28)
    rates[3] = 2e5
    share = live_share(norm, rates, norm.crystals.shape)
    assert (share[:, :54] == 1).all()
    assert (share[:, 72:] == 1).all()
    assert norm.paralyzing is not None
    assert norm.non_paralyzing is not None
    slowed = 1 + norm.non_paralyzing[2] * 1e5
    assert share[2, 60] == pytest.approx(np.exp(norm.paralyzing[2] * 1e5 / slowed) / slowed)
    with pytest.raises(PETDiffusionError, match="28 rates of buckets"):
        live_share(norm, np.ones(5), norm.crystals.shape)


def test_a_normalisation_of_another_scanner_or_a_cut_one_is_refused_by_name(tmp_path: Path) -> None:
    norm = read_norm(written(tmp_path, components()))
    with pytest.raises(PETDiffusionError, match="rings x crystals"):
        efficiencies(norm, SCANNERS["mmr"])
    odd = replace(norm, axial=norm.axial[:-1])
    with pytest.raises(PETDiffusionError, match="axial effects"):
        efficiencies(odd, replace(scanner(), segments=(Segment(0, 0),)))
    with pytest.raises(PETDiffusionError, match="should hold"):
        read_norm(written(tmp_path, components(), cut=4))


def test_a_normalisation_header_is_known_by_its_keys(tmp_path: Path) -> None:
    assert is_norm_header(written(tmp_path, components()))
    other = tmp_path / "scan.hs"
    other.write_text("!INTERFILE :=\n!name of data file := scan.s\n")
    assert not is_norm_header(other)
