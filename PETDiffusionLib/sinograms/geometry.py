"""Where the lines of a sinogram lie: cylindrical scanners and, as arc-corrected direct planes, parallel beams.

World coordinates are in mm with the origin at the scanner's centre: x to the right and y downwards as one faces the
scanner from the bed, z out of the gantry along the bed; orientation.py knows what that is in the patient. A bin (s,
phi) is the line x cos(phi) + y sin(phi) = s. It starts at detector 1, the upper one at phi = 0, and ends at detector 2;
a ring difference is the ring of 2 minus the ring of 1. All of this is STIR's: detector angle psi lies at
x = R sin(psi), y = -R cos(psi) (LORCoordinates.inl), detector 1 of a bin at psi = phi + beta, where s = R sin(beta),
and 2 at phi + pi - beta (ProjDataInfoCylindricalNoArcCorr.cxx).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.orientation import PatientPosition


@dataclass(frozen=True)
class TimeOfFlight:
    """Bins of position along a line: bin k is centred (k - (bins - 1) / 2) widths from its middle towards its end."""

    bins: int
    bin_width_mm: float
    sigma_mm: float  # of the position along the line: c / 2 times the standard deviation of the time difference
    truncation_sigmas: float = 3.0  # the response is zero beyond it, and its sum over the bins in between is one


@dataclass(frozen=True)
class Segment:
    """The ring differences, both included, whose lines share the segment's planes."""

    lowest: int
    highest: int

    @property
    def mean_difference(self) -> float:
        return (self.lowest + self.highest) / 2

    @property
    def smallest_tilt(self) -> int:
        """The smallest absolute ring difference: it decides how many planes fit the scanner."""
        return 0 if self.lowest <= 0 <= self.highest else min(abs(self.lowest), abs(self.highest))

    def planes(self, rings: int) -> int:
        """One plane for each middle of a ring pair: whole rings, and between them where differences are merged."""
        if self.lowest == self.highest:
            return rings - self.smallest_tilt
        return 2 * (rings - self.smallest_tilt) - 1


@dataclass(frozen=True)
class ScannerGeometry:
    """The lines of a sinogram [plane, view, tangential], the planes of all segments one after the other.

    Raises PETDiffusionError "bad-geometry", naming the field, for numbers that describe no scanner.
    """

    name: str
    radius_mm: float  # effective: inner radius plus the average depth of interaction
    rings: int
    crystals: int  # in a ring, with those that gaps stand for
    ring_spacing_mm: float
    views: int  # over pi
    tangential_bins: int
    segments: tuple[Segment, ...]  # in the order of their planes
    bin_mm: float | None = None  # the distance of arc-corrected bins; None: bins lie as the crystals do
    view_offset_deg: float = 0.0  # the angle of crystal 0; half a mash is added where views are mashed
    central_bin: float | None = None  # the bin through the centre; None: tangential_bins // 2
    tof: TimeOfFlight | None = None
    patient_position: PatientPosition = PatientPosition()  # what is stated about it

    def __post_init__(self) -> None:
        for field in ("radius_mm", "rings", "crystals", "ring_spacing_mm", "views", "tangential_bins"):
            if not getattr(self, field) > 0:
                raise _bad(field, f"above 0 is expected, found {getattr(self, field)}")
        if self.bin_mm is not None and not self.bin_mm > 0:
            raise _bad("bin_mm", f"above 0 is expected, found {self.bin_mm}")
        if not self.segments:
            raise _bad("segments", "at least one is expected, found none")
        for segment in self.segments:
            if segment.lowest > segment.highest or max(abs(segment.lowest), abs(segment.highest)) >= self.rings:
                raise _bad(
                    "segments",
                    f"ring differences in order and below the {self.rings} rings are expected, "
                    f"found {segment.lowest} to {segment.highest}",
                )
        if np.abs(self.tangential_positions).max() > (self.crystals / 2 if self.bin_mm is None else np.inf):
            raise _bad("tangential_bins", f"{self.tangential_bins} reach around a ring of {self.crystals} crystals")
        if np.abs(self.tangential_mm).max() >= self.radius_mm:
            raise _bad("tangential_bins", f"{self.tangential_bins} reach beyond the radius of {self.radius_mm:g} mm")

    @property
    def planes(self) -> int:
        return sum(segment.planes(self.rings) for segment in self.segments)

    @property
    def data_shape(self) -> tuple[int, ...]:
        """(planes, views, tangential bins), and TOF bins where there are any."""
        shape = (self.planes, self.views, self.tangential_bins)
        return shape if self.tof is None else (*shape, self.tof.bins)

    @property
    def mashing(self) -> int:
        """How many of the scanner's own views are summed into one; 1 where the views are not of its crystals."""
        unmashed = self.crystals // 2
        return unmashed // self.views if self.crystals % 2 == 0 and unmashed % self.views == 0 else 1

    @property
    def is_direct(self) -> bool:
        """Whether no line is tilted, so that planes are independent of each other."""
        return all(segment.mean_difference == 0 for segment in self.segments)

    @property
    def tangential_positions(self) -> np.ndarray:
        """The bins counted from the one through the centre, [tangential]."""
        central = self.tangential_bins // 2 if self.central_bin is None else self.central_bin
        return np.arange(self.tangential_bins) - central

    @cached_property
    def tangential_mm(self) -> np.ndarray:
        """s: the signed distance of every line from the axis, [tangential], mm."""
        if self.bin_mm is not None:
            return self.tangential_positions * self.bin_mm
        return self.radius_mm * np.sin(np.pi * self.tangential_positions / self.crystals)

    @cached_property
    def view_angles(self) -> np.ndarray:
        """phi of every view, [views], radians. A mashed view lies in the middle of those that it sums."""
        half_mash = (self.mashing - 1) / 2 * 2 * np.pi / self.crystals
        return math.radians(self.view_offset_deg) + half_mash + np.arange(self.views) * np.pi / self.views

    @cached_property
    def plane_segment(self) -> np.ndarray:
        """The index into `segments` of every plane, [planes]."""
        return np.repeat(np.arange(len(self.segments)), [segment.planes(self.rings) for segment in self.segments])

    @cached_property
    def plane_middle_mm(self) -> np.ndarray:
        """z of the middle of every plane's lines, [planes], mm."""
        middles = []
        for segment in self.segments:
            count = segment.planes(self.rings)
            spacing = self.ring_spacing_mm / (1 if segment.lowest == segment.highest else 2)
            middles.append((np.arange(count) - (count - 1) / 2) * spacing)
        return np.concatenate(middles)

    @cached_property
    def plane_tilt_mm(self) -> np.ndarray:
        """z of a line's end minus that of its start, [planes], mm."""
        differences = np.array([segment.mean_difference for segment in self.segments])
        return differences[self.plane_segment] * self.ring_spacing_mm

    def plane_end_points_z_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """z of the start and of the end of every plane's lines, [planes] each, mm."""
        return self.plane_middle_mm - self.plane_tilt_mm / 2, self.plane_middle_mm + self.plane_tilt_mm / 2

    @cached_property
    def ring_pairs(self) -> np.ndarray:
        """How many pairs of rings each plane sums, [planes]: its sensitivity before any other."""
        counts = []
        for segment in self.segments:
            differences = range(segment.lowest, segment.highest + 1)
            step = 2 if segment.lowest == segment.highest else 1
            lowest = segment.smallest_tilt  # the sum of the two rings in the segment's first plane
            sums = lowest + step * np.arange(segment.planes(self.rings))
            fits = [
                (sums % 2 == abs(d) % 2) & (sums >= abs(d)) & (sums <= 2 * (self.rings - 1) - abs(d))
                for d in differences
            ]
            counts.append(np.sum(fits, axis=0))
        return np.concatenate(counts)

    def in_plane_end_points_mm(self, views: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Start and end (x, y) of the lines of `views` (default: all), shared by all planes: [views, tangential, 2]."""
        phi = self.view_angles[:, None] if views is None else self.view_angles[views][:, None]
        s = self.tangential_mm[None, :]
        half_chord = np.sqrt(self.radius_mm**2 - s**2)
        cosine, sine = np.cos(phi), np.sin(phi)
        start = np.stack([s * cosine + half_chord * sine, s * sine - half_chord * cosine], axis=-1)
        end = np.stack([s * cosine - half_chord * sine, s * sine + half_chord * cosine], axis=-1)
        return start, end

    def end_points_mm(
        self, views: np.ndarray | None = None, planes: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Start and end (x, y, z) of the lines of `views`, `planes` (default: all): [planes, views, tangential, 3]."""
        chosen = np.arange(self.planes) if planes is None else np.asarray(planes)
        ends = []
        for in_plane, z in zip(self.in_plane_end_points_mm(views), self.plane_end_points_z_mm(), strict=True):
            shape = (len(chosen), *in_plane.shape[:2])
            xy = np.broadcast_to(in_plane, (*shape, 2))
            ends.append(np.concatenate([xy, np.broadcast_to(z[chosen, None, None, None], (*shape, 1))], axis=-1))
        return ends[0], ends[1]

    def direct_planes(self) -> ScannerGeometry:
        """The same scanner with direct planes alone and without TOF: small, quick, a stack of 2D problems."""
        return replace(self, segments=(Segment(0, 0),), tof=None)

    def with_patient(self, code: str) -> ScannerGeometry:
        """The same with a patient in this position. Raises PETDiffusionError where another is stated."""
        return replace(self, patient_position=self.patient_position.said(code))

    def without_tof(self) -> ScannerGeometry:
        """The same lines without bins of time of flight."""
        return replace(self, tof=None)


def segments_of_span(rings: int, span: int, largest_difference: int | None = None) -> tuple[Segment, ...]:
    """Segments of an odd `span` (ring differences in each), from the most negative to the most positive.

    All whole segments whose ring differences stay within `largest_difference` (rings - 1 by default).
    """
    limit = rings - 1 if largest_difference is None else largest_difference
    if span < 1 or span % 2 == 0:
        raise _bad("span", f"an odd number from 1 up is expected, found {span}")
    half = span // 2
    count = (limit - half) // span if limit >= half else -1
    if count < 0:
        raise _bad("span", f"a span of {span} needs a largest ring difference of {half} or more, found {limit}")
    return tuple(Segment(k * span - half, k * span + half) for k in range(-count, count + 1))


def parallel_beam(
    views: int = 360, bins: int = 360, bin_mm: float = 2.0, planes: int = 1, plane_mm: float = 2.0
) -> ScannerGeometry:
    """Parallel lines for a stack of `planes`: `bins` of `bin_mm`, centred on the axis, in each of `views` over pi."""
    return ScannerGeometry(
        name="parallel beam",
        radius_mm=bins * bin_mm,  # anything that holds the field of view
        rings=planes,
        crystals=2 * views,
        ring_spacing_mm=plane_mm,
        views=views,
        tangential_bins=bins,
        segments=(Segment(0, 0),),
        bin_mm=bin_mm,
        central_bin=(bins - 1) / 2,
    )


def _bad(field: str, what: str) -> PETDiffusionError:
    return PETDiffusionError("bad-geometry", f'The geometry\'s "{field}" describes no scanner: {what}.')
