"""Siemens' sinograms: the .s.hdr sub-header that the scanners and the e7 tools write, in Interfile of their own."""

from __future__ import annotations

from dataclasses import dataclass

from PETDiffusionLib.sinograms.geometry import ScannerGeometry, Segment, TimeOfFlight
from PETDiffusionLib.sinograms.interfile_geometry import is_arc_corrected, read_patient_position
from PETDiffusionLib.sinograms.interfile_header import InterfileHeader
from PETDiffusionLib.sinograms.interfile_layout import (
    AXIAL,
    LARGEST_AXIS,
    SEGMENT,
    TANGENTIAL,
    TIMING,
    VIEW,
    Layout,
)
from PETDiffusionLib.sinograms.known_scanners import KnownScanner, known_scanner
from PETDiffusionLib.sinograms.scanners import FWHM_TO_SIGMA, MM_PER_PS

BINS = ("bin", "x", "sinogram projections")
VIEWS = ("projection", "sinogram views")
PLANES = ("plane", "number of sinograms")
DEFAULT_TOF_MASHING = {"Siemens Vision 600": 8, "Siemens Quadra": 8}  # what the systems store (Scanner.cxx)
DELAYED = ("randoms", "random", "delayeds", "delayed", "delays")
NET = ("net trues", "trues", "net true")


@dataclass(frozen=True)
class DataSets:
    """Which data set of the file is which, counted from 1; None where there is none."""

    prompts: int
    delayed: int | None
    net: bool  # the prompts are less their delayed coincidences already
    count: int


def is_siemens(header: InterfileHeader) -> bool:
    """STIR's rule: the header states the version of Siemens' format."""
    return "sms-mi version number" in header


def read_siemens_layout(header: InterfileHeader) -> Layout:
    """The data's axes: bins fastest, then views, then the planes of all segments, then TOF bins.

    Raises PETDiffusionError for compressed data, and for sizes that contradict the segment table.
    """
    if header.word("compression") not in ("", "off", "none"):
        raise header.error(
            "its data are compressed (%compression := on), which only Siemens' tools can undo: uncompress them by the "
            "e7 tools' intfcompr"
        )
    dimensions = header.whole("number of dimensions")
    if dimensions not in (3, 4):
        raise header.error(f'"number of dimensions" should be 3, or 4 with TOF, but is {dimensions}')
    for number, labels in enumerate((BINS, VIEWS, PLANES, ("tof bin",))[:dimensions], start=1):
        if header.word(f"matrix axis label[{number}]") not in labels:
            found = header.text(f"matrix axis label[{number}]")
            raise header.error(f'"matrix axis label[{number}]" should be {" or ".join(labels)}, but is {found}')
    planes = header.whole_numbers("segment table", lowest=1, highest=LARGEST_AXIS)
    segments = header.whole("number of segments") if "number of segments" in header else len(planes)
    if segments != len(planes):
        raise header.error(f'"%number of segments" is {segments}, but "%segment table" has {len(planes)}')
    tof_bins = header.whole("number of tof time bins", 1) if "number of tof time bins" in header else 1
    if dimensions == 4:
        stored = header.whole("matrix size[4]", 1)
        if tof_bins not in (1, stored):
            raise header.error(f'"matrix size[4]" is {stored}, but "%number of TOF time bins" is {tof_bins}')
        tof_bins = stored
    total = header.whole("matrix size[3]", 1)
    if total not in (sum(planes), sum(planes) * (tof_bins if dimensions == 3 else 1)):
        raise header.error(f'"matrix size[3]" is {total}, but "%segment table" adds up to {sum(planes)} planes')
    middle = tof_bins // 2
    # The maker numbers TOF bins 0, -1, +1, ...: STIR's 0, +1, -1, ... (stir_ecat_common.cxx), whose last is the first
    # of the geometry.
    numbers = [0, *(sign * number for number in range(1, middle + 1) for sign in (1, -1))]
    return Layout(
        axes=(TIMING, SEGMENT, AXIAL, VIEW, TANGENTIAL),
        views=header.whole("matrix size[2]", 1, LARGEST_AXIS),
        tangential_bins=header.whole("matrix size[1]", 1, LARGEST_AXIS),
        planes=planes,
        tof_bins=tof_bins if tof_bins > 1 else None,
        tof_order=() if tof_bins == 1 else tuple(numbers.index(n) for n in range(middle, middle - tof_bins, -1)),
    )


def read_siemens_geometry(header: InterfileHeader, layout: Layout) -> ScannerGeometry:
    """The geometry of the scanner that "originating system" names, with the header's own segments.

    Segments are in the maker's order: 0, -1, +1, -2, ... Raises PETDiffusionError, with both values, where the header
    contradicts the scanner.
    """
    name = header.text("originating system")
    scanner = known_scanner(name)
    if scanner is None:
        raise header.error(f'"originating system" is "{name}", a scanner whose radius and crystals are not known here')
    if "number of rings" in header and header.whole("number of rings") != scanner.rings:
        raise header.error(
            f'"number of rings" is {header.whole("number of rings")}, but {scanner.names[0]} has {scanner.rings}'
        )
    segments = _segments(header, scanner, layout.planes)
    arc_corrected = "applied corrections" in header and is_arc_corrected(header)
    if not arc_corrected and not scanner.crystals // 2 >= layout.views >= 1:
        raise header.error(f"{layout.views} views are more than {scanner.crystals} crystals in a ring make")
    bin_mm = _bin_mm(header, scanner, arc_corrected)
    _check_planes(header, scanner)
    _check_views(header, layout.views)
    return ScannerGeometry(
        name=scanner.names[0],
        radius_mm=scanner.inner_radius_mm + scanner.depth_mm,
        rings=scanner.rings,
        crystals=scanner.crystals,
        ring_spacing_mm=scanner.ring_spacing_mm,
        views=layout.views,
        tangential_bins=layout.tangential_bins,
        segments=segments,
        bin_mm=bin_mm if arc_corrected else None,
        view_offset_deg=scanner.view_offset_deg,
        tof=_tof(header, scanner, layout.tof_bins),
        patient_position=read_patient_position(header),
    )


def read_data_sets(header: InterfileHeader) -> DataSets:
    """Which data sets the file holds: prompts, delayed coincidences, or what is left of one less the other."""
    key = "number of scan data types"
    count = header.whole(key, 1, 100) if key in header else 1
    names = [header.word(f"scan data type description[{number}]") for number in range(1, count + 1)]
    if count == 1 and not names[0]:
        names = [header.word("scan data type description")]
    delayed = [number for number, name in enumerate(names, start=1) if name in DELAYED]
    others = [number for number in range(1, count + 1) if number not in delayed]
    if not others:
        raise header.error("it holds delayed coincidences alone: give the prompts")
    prompts = next((number for number in others if names[number - 1] in ("prompts", "prompt")), others[0])
    if names[prompts - 1] not in ("", "prompts", "prompt", "emission", *NET):
        header.warnings.append(
            f"'{header.path.name}' calls its data \"{names[prompts - 1]}\": they are read as prompts."
        )
    return DataSets(prompts, delayed[0] if delayed else None, names[prompts - 1] in NET, count)


def _segments(header: InterfileHeader, scanner: KnownScanner, planes: list[int]) -> tuple[Segment, ...]:
    span = header.whole("axial compression", 1, scanner.rings)
    largest = header.whole("maximum ring difference", 0, scanner.rings - 1)
    if span % 2 == 0:
        raise header.error(f'"%axial compression" should be an odd number, but is {span}')
    segments = [Segment(-(span // 2), span // 2)]
    while segments[-1].highest < largest:  # the last may be narrower, as in STIR (ProjDataInfo.cxx)
        low = segments[-1].highest + 1
        high = min(low + span - 1, largest)
        segments += [Segment(-high, -low), Segment(low, high)]
    expected = [_planes(segment, scanner.rings, span) for segment in segments]
    if planes != expected:
        raise header.error(
            f'"%segment table" is {planes}, but "%axial compression" {span} and "%maximum ring difference" {largest} '
            f"make it {expected}"
        )
    return tuple(segments)


def _planes(segment: Segment, rings: int, span: int) -> int:
    return rings - segment.smallest_tilt if span == 1 else 2 * (rings - segment.smallest_tilt) - 1


def _bin_mm(header: InterfileHeader, scanner: KnownScanner, arc_corrected: bool) -> float:
    """The width of a bin. Makers state it at the inner radius or at the depth where photons interact."""
    key = _scale_key(header, 1)
    if key is None:
        return scanner.bin_mm
    value = header.positive(key)
    if abs(value / scanner.bin_mm - 1) > 0.03:
        header.warnings.append(
            f"'{header.path.name}' states bins of {value:g} mm (\"{key}\"), but {scanner.names[0]} has "
            f"{scanner.bin_mm:g} mm: the "
            + ("header's are taken." if arc_corrected else "scanner's are taken, as its bins lie as its crystals do.")
        )
    return value


def _check_planes(header: InterfileHeader, scanner: KnownScanner) -> None:
    key = _scale_key(header, 3)
    if key is None:
        return
    value = header.positive(key)
    if min(abs(value / scanner.ring_spacing_mm - 1), abs(2 * value / scanner.ring_spacing_mm - 1)) > 0.03:
        raise header.error(
            f'"{key}" is {value:g}, but {scanner.names[0]} has rings every {scanner.ring_spacing_mm:g} mm'
        )


def _check_views(header: InterfileHeader, views: int) -> None:
    key = "scale factor (degree/pixel)[2]"
    if key in header and abs(header.number(key) * views / 180 - 1) > 0.01:
        raise header.error(
            f'"{key}" is {header.number(key):g}, but {views} views over half a turn make {180 / views:g}'
        )


def _scale_key(header: InterfileHeader, axis: int) -> str | None:
    keys = (f"scale factor (mm/pixel)[{axis}]", f"scaling factor (mm/pixel)[{axis}]")
    return next((key for key in keys if key in header and header.number(key) != 0), None)


def _tof(header: InterfileHeader, scanner: KnownScanner, bins: int | None) -> TimeOfFlight | None:
    key = "tof mashing factor"
    mashing = header.whole(key, 1) if key in header else DEFAULT_TOF_MASHING.get(scanner.names[0], 1)
    if bins is None:
        return None
    if scanner.tof is None:
        raise header.error(f"it has {bins} bins of time of flight, but {scanner.names[0]} has none")
    unmashed, width_ps, resolution_ps = scanner.tof
    if bins * mashing != unmashed:
        raise header.error(
            f"{bins} TOF bins of {mashing} of the scanner's each make {bins * mashing}, but {scanner.names[0]} has "
            f"{unmashed}"
        )
    return TimeOfFlight(bins, width_ps * mashing * MM_PER_PS, resolution_ps * MM_PER_PS * FWHM_TO_SIGMA)
