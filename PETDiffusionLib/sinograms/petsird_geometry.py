"""The detecting elements of a PETSIRD scanner as crystals and rings of a cylinder, with gaps where there are none.

Elements are put where they truly are: a cylinder's lines take the place of theirs only where these lie closer than half
an element to each other, and the refusal says how far off they would be.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.binning import EventBinner
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, Segment, TimeOfFlight
from PETDiffusionLib.sinograms.scanners import FWHM_TO_SIGMA

FIELD_OF_VIEW = 0.7  # of the ring's radius: the lines that are binned
MOST_GAPS = 8  # so many times as many places as elements are tried, along a ring and along the axis
FITS = 0.1  # of a step between places: an element so near to one is at it
SAME_MM, SAME_ANGLE = 0.05, 1e-4


class Elements(NamedTuple):
    """For every element, all types of modules one after the other: its crystal and ring; where each type begins."""

    crystal: np.ndarray
    ring: np.ndarray
    first_of_type: np.ndarray
    largest_offset_mm: float
    width_mm: float  # how far elements are apart in a ring


def cylinder(scanner: Any) -> tuple[ScannerGeometry, Elements]:
    """The cylinder of the scanner's elements. Raises PETDiffusionError "bad-geometry" where they form none."""
    modules = scanner.scanner_geometry.replicated_modules
    by_type = [_centres_mm(module) for module in modules]
    centres = np.concatenate(by_type)
    radius_mm = np.hypot(centres[:, 0], centres[:, 1])
    if len(centres) < 4 or radius_mm.min() < 1:
        raise _not_a_cylinder(f"{len(centres)} elements, the nearest {radius_mm.min():.1f} mm from the axis")
    ring, rings, spacing_mm = _places_along(centres[:, 2])
    angle = np.arctan2(centres[:, 0], -centres[:, 1]) % (2 * np.pi)  # from the top towards the right
    crystal, crystals, offset = _places_around(angle)
    radius = float(radius_mm.mean())
    aside_mm = radius * np.abs(_half_turn(angle - offset - crystal * 2 * np.pi / crystals))
    along_mm = np.abs(centres[:, 2] - centres[:, 2].min() - ring * spacing_mm) if rings > 1 else np.zeros(1)
    # An element nearer to the axis or farther from it shifts oblique lines: those at the edge of the field most.
    off_mm = np.hypot(aside_mm, along_mm) + FIELD_OF_VIEW * np.abs(radius_mm - radius)
    width_mm = _element_width_mm(centres, crystal, ring)
    if off_mm.max() > width_mm / 2:
        raise _not_a_cylinder(
            f"elements whose lines would lie up to {off_mm.max():.1f} mm (on average {off_mm.mean():.1f} mm) off, "
            f"where elements are {width_mm:.1f} mm apart ({len(modules)} type(s) of modules, {radius_mm.min():.1f} to "
            f"{radius_mm.max():.1f} mm from the axis)"
        )
    geometry = ScannerGeometry(
        name=scanner.model_name or "PETSIRD",
        radius_mm=radius,
        rings=rings,
        crystals=crystals,
        ring_spacing_mm=spacing_mm,
        views=crystals // 2,
        tangential_bins=2 * int(crystals / np.pi * np.arcsin(FIELD_OF_VIEW)) + 1,
        segments=tuple(Segment(d, d) for d in range(1 - rings, rings)),
        view_offset_deg=float(np.degrees(offset)),
        tof=_tof(scanner),
    )
    first = np.concatenate([[0], np.cumsum([len(one) for one in by_type])])
    return geometry, Elements(crystal, ring, first, float(off_mm.max()), width_mm)


def pairs_of_elements(geometry: ScannerGeometry, elements: Elements, weight: np.ndarray) -> torch.Tensor:
    """The sum of w1 w2 over the pairs of elements in each bin, [plane, view, tangential]; none where there are gaps."""
    there = np.zeros((geometry.crystals, geometry.rings), np.float32)
    np.add.at(there, (elements.crystal, elements.ring), weight)
    position = np.round(geometry.tangential_positions).astype(int)[None, :]
    first = (np.arange(geometry.views)[:, None] + position // 2) % geometry.crystals
    second = (first - position + geometry.crystals // 2) % geometry.crystals
    rings = np.arange(geometry.rings)
    ring_1, ring_2 = (one.ravel() for one in np.meshgrid(rings, rings, indexing="ij"))
    plane, kept = EventBinner(geometry.without_tof()).planes_of(ring_1, ring_2)
    total = np.zeros(geometry.data_shape[:3], np.float32)
    for target, one, other in zip(plane[kept], ring_1[kept], ring_2[kept], strict=True):
        total[target] += there[first, one] * there[second, other]
    return torch.from_numpy(total)


def _places_along(heights_mm: np.ndarray) -> tuple[np.ndarray, int, float]:
    """The ring of every height, how many there are with those in gaps, and how far apart they are."""
    distinct = _distinct(heights_mm)
    if len(distinct) == 1:
        return np.zeros(len(heights_mm), np.int64), 1, 4.0
    length = distinct[-1] - distinct[0]
    best = (np.inf, len(distinct))
    for rings in range(len(distinct), MOST_GAPS * len(distinct) + 1):
        places = (distinct - distinct[0]) / length * (rings - 1)
        off = float(np.abs(places - np.round(places)).max())
        best = min(best, (off * length / (rings - 1), rings))
        if off < FITS:
            best = (off, rings)
            break
    spacing = length / (best[1] - 1)
    return np.round((heights_mm - distinct[0]) / spacing).astype(np.int64), best[1], float(spacing)


def _places_around(angle: np.ndarray) -> tuple[np.ndarray, int, float]:
    """The crystal of every angle, how many there are with those in gaps (an even number), and the first one's angle."""
    distinct = _distinct(angle, SAME_ANGLE)
    if distinct[0] + 2 * np.pi - distinct[-1] < SAME_ANGLE:
        distinct = distinct[:-1]
    start = max(4, len(distinct) + len(distinct) % 2)
    best = (np.inf, start, 0.0)
    for crystals in range(start, MOST_GAPS * start + 1, 2):
        offset = float(np.angle(np.exp(1j * distinct * crystals).mean()) / crystals)
        places = (distinct - offset) / (2 * np.pi) * crystals
        off = float(np.abs(places - np.round(places)).max())
        best = min(best, (off / crystals, crystals, offset))
        if off < FITS:
            best = (off, crystals, offset)
            break
    _, crystals, offset = best
    return np.round((angle - offset) / (2 * np.pi) * crystals).astype(np.int64) % crystals, crystals, offset


def _distinct(values: np.ndarray, tolerance: float = SAME_MM) -> np.ndarray:
    """The values in order, those closer than the tolerance as one."""
    ordered = np.sort(values)
    starts = np.flatnonzero(np.diff(ordered, prepend=-np.inf) > tolerance)
    return np.array([part.mean() for part in np.split(ordered, starts[1:])])


def _element_width_mm(centres: np.ndarray, crystal: np.ndarray, ring: np.ndarray) -> float:
    """The smallest distance of neighbours along a ring."""
    one_ring = centres[ring == ring[0]]
    order = np.argsort(crystal[ring == ring[0]], kind="stable")
    steps = np.linalg.norm(np.diff(one_ring[order][:, :2], axis=0), axis=1)
    steps = steps[steps > SAME_MM]
    return float(np.median(steps)) if len(steps) else 4.0


def _half_turn(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _centres_mm(replicated: Any) -> np.ndarray:
    """The middle of every element, [module * element, 3], in gantry coordinates."""
    elements = replicated.object.detecting_elements
    middle = np.mean([corner.c for corner in elements.object.shape.corners], axis=0, dtype=np.float64)
    local = np.array([t.matrix[:, :3] @ middle + t.matrix[:, 3] for t in elements.transforms])
    return np.concatenate([local @ t.matrix[:, :3].T + t.matrix[:, 3] for t in replicated.transforms])


def _tof(scanner: Any) -> TimeOfFlight | None:
    edges = np.asarray(scanner.tof_bin_edges[0][0].edges, np.float64)
    if len(edges) <= 2:
        return None
    widths = np.diff(edges)
    if widths.max() > 1.01 * widths.min() or abs(edges[0] + edges[-1]) > widths[0]:
        raise _not_a_cylinder("TOF bins of unequal width or not about zero")
    sigma_mm = float(scanner.tof_resolution[0][0]) * FWHM_TO_SIGMA
    return TimeOfFlight(len(widths), float(widths.mean()), sigma_mm)


def _not_a_cylinder(found: str) -> PETDiffusionError:
    return PETDiffusionError(
        "bad-geometry",
        f"A cylinder of evenly spaced rings of single crystals, with gaps or without, is expected in the PETSIRD file, "
        f"found {found}.",
    )
