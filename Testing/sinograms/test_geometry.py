"""The lines of a scanner lie where its crystals and rings are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms import SCANNERS, ScannerGeometry, Segment, named_scanner, parallel_beam, segments_of_span

RING = ScannerGeometry("ring", 100.0, 4, 48, 5.0, 24, 21, (Segment(0, 0),))


def crystal(number: float) -> np.ndarray:
    """The place of a crystal: number 0 is at the top, and they go around from there to the right."""
    angle = 2 * np.pi * number / RING.crystals
    return 100.0 * np.array([np.sin(angle), -np.cos(angle)])


@pytest.mark.parametrize("view", [0, 1, 7, 12, 23])
@pytest.mark.parametrize("offset", [-8, -2, 0, 4])
def test_lines_join_pairs_of_crystals(view: int, offset: int) -> None:
    start, end = RING.in_plane_end_points_mm()
    middle = RING.tangential_bins // 2
    np.testing.assert_allclose(start[view, middle + offset], crystal(view + offset / 2), atol=1e-9)
    np.testing.assert_allclose(end[view, middle + offset], crystal(view + 24 - offset / 2), atol=1e-9)


def test_every_point_of_a_line_has_the_bins_distance() -> None:
    scanner = replace(RING, bin_mm=3.0, view_offset_deg=10.0)
    start, end = scanner.end_points_mm()
    for share in (0.0, 0.3, 1.0):
        point = start + share * (end - start)
        phi = scanner.view_angles[None, :, None]
        distance = point[..., 0] * np.cos(phi) + point[..., 1] * np.sin(phi)
        np.testing.assert_allclose(distance, np.broadcast_to(scanner.tangential_mm, distance.shape), atol=1e-9)
    assert np.degrees(scanner.view_angles[0]) == pytest.approx(10.0)
    assert scanner.tangential_mm[11] - scanner.tangential_mm[10] == pytest.approx(3.0)


def test_a_mashed_view_lies_in_the_middle_of_those_it_sums() -> None:
    mashed = replace(RING, views=8)
    np.testing.assert_allclose(mashed.view_angles, RING.view_angles.reshape(8, 3).mean(axis=1))


def test_oblique_planes_join_their_rings() -> None:
    scanner = replace(RING, segments=(Segment(-2, -2), Segment(0, 0), Segment(1, 1)))
    start, end = scanner.end_points_mm(views=np.array([0]))
    ring = (np.arange(4) - 1.5) * 5.0
    np.testing.assert_allclose(start[:, 0, 0, 2], np.concatenate([ring[2:], ring, ring[:3]]))
    np.testing.assert_allclose(end[:, 0, 0, 2], np.concatenate([ring[:2], ring, ring[1:]]))
    assert not scanner.is_direct and scanner.direct_planes().is_direct


def test_planes_of_the_mmr_are_those_of_its_maker() -> None:
    mmr = named_scanner("mmr")
    assert mmr.data_shape == (837, 252, 344)
    assert [segment.planes(64) for segment in mmr.segments][5:] == [127, 115, 93, 71, 49, 27]
    assert mmr.ring_pairs.sum() == 4084
    assert mmr.plane_middle_mm[mmr.plane_segment == 5].max() == pytest.approx(31.5 * 4.0625)


@pytest.mark.parametrize("name", list(SCANNERS))
def test_planes_sum_every_pair_of_rings_once(name: str) -> None:
    scanner = SCANNERS[name]
    pairs = {
        (first, first + difference)
        for segment in scanner.segments
        for difference in range(segment.lowest, segment.highest + 1)
        for first in range(max(0, -difference), min(scanner.rings, scanner.rings - difference))
    }
    assert scanner.ring_pairs.sum() == len(pairs)
    assert scanner.ring_pairs.min() >= 1


def test_parallel_beams_are_centred() -> None:
    beam = parallel_beam(views=6, bins=4, bin_mm=2.0, planes=3, plane_mm=5.0)
    np.testing.assert_allclose(beam.tangential_mm, [-3, -1, 1, 3])
    np.testing.assert_allclose(beam.plane_middle_mm, [-5, 0, 5])
    np.testing.assert_allclose(np.degrees(beam.view_angles), np.arange(6) * 30)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("radius_mm", 0.0),
        ("rings", 0),
        ("ring_spacing_mm", -1.0),
        ("bin_mm", 0.0),
        ("segments", ()),
        ("segments", (Segment(0, 4),)),
        ("tangential_bins", 97),
        ("bin_mm", 50.0),
    ],
)
def test_a_geometry_that_is_none_names_the_field(field: str, value: object) -> None:
    with pytest.raises(PETDiffusionError, match=field if value != 50.0 else "tangential_bins"):
        replace(RING, **{field: value})


def test_a_span_needs_ring_differences_to_fill_it() -> None:
    assert segments_of_span(8, 3, 1) == (Segment(-1, 1),)
    assert [s.lowest for s in segments_of_span(8, 3)] == [-7, -4, -1, 2, 5]
    with pytest.raises(PETDiffusionError, match="span"):
        segments_of_span(8, 4)
