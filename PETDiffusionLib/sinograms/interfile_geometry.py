"""The scanner's geometry in an Interfile header of STIR's dialect, and such a header for a geometry."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PETDiffusionLib.sinograms.geometry import ScannerGeometry, Segment, TimeOfFlight
from PETDiffusionLib.sinograms.interfile_header import PRIVATE, InterfileHeader
from PETDiffusionLib.sinograms.orientation import PatientPosition, position_in_words, words_of
from PETDiffusionLib.sinograms.scanners import FWHM_TO_SIGMA, MM_PER_PS

AXES = ("tangential coordinate", "view", "axial coordinate", "segment", "timing positions")


@dataclass(frozen=True)
class _KnownScanner:
    """What a header may leave out when it names the scanner (STIR's table). Lengths in mm, angles in degrees."""

    rings: int
    crystals: int
    inner_radius_mm: float
    depth_mm: float
    ring_spacing_mm: float
    bin_mm: float
    view_offset_deg: float = 0.0


KNOWN_SCANNERS = {
    "ECAT 931": _KnownScanner(8, 512, 510.0, 7.0, 13.5, 3.129),
    "ECAT 962": _KnownScanner(32, 576, 412.0, 7.0, 4.85, 2.25),
    "PRT-1": _KnownScanner(16, 384, 373.0, 7.0, 6.75, 3.1088),
    "Siemens mMR": _KnownScanner(64, 504, 328.0, 7.0, 4.0625, 2.08626),
    "GE Discovery MI 4 rings": _KnownScanner(36, 544, 371.1, 9.4, 5.52296, 2.206, -4.399),
}


@dataclass(frozen=True)
class Layout:
    """How the data lie in the file: sizes, and whether all planes of a view are together or all views of a plane."""

    views: int
    tangential_bins: int
    planes: list[int]  # of every segment, in the file's order
    planes_inside_views: bool
    tof_bins: int | None


def read_layout(header: InterfileHeader) -> Layout:
    """The order and sizes of the data's axes."""
    dimensions = header.whole("number of dimensions")
    if dimensions not in (4, 5):
        raise header.error(f'"number of dimensions" should be 4, or 5 with TOF, but is {dimensions}')
    axis_of = {header.text(f"matrix axis label[{i}]").lower(): i for i in range(1, dimensions + 1)}
    for label in AXES[:dimensions]:
        if label not in axis_of:
            raise header.error(f'no "matrix axis label" is "{label}"')
    fixed = {"tangential coordinate": 1, "segment": 4, "timing positions": 5}
    for label, place in fixed.items():
        if axis_of.get(label, place) != place:
            raise header.error(f'"matrix axis label[{place}]" should be "{label}"')
    segments = header.whole("matrix size[4]")
    return Layout(
        views=header.whole(f"matrix size[{axis_of['view']}]"),
        tangential_bins=header.whole("matrix size[1]"),
        planes=header.whole_numbers(f"matrix size[{axis_of['axial coordinate']}]", segments),
        planes_inside_views=axis_of["view"] > axis_of["axial coordinate"],
        tof_bins=header.whole("matrix size[5]") if dimensions == 5 else None,
    )


def read_geometry(header: InterfileHeader, layout: Layout) -> ScannerGeometry:
    """The geometry that the header states. Raises PETDiffusionError, naming the key, where it states half of one."""
    name = header.text("scanner type", header.text("originating system", "Unknown"))
    known = KNOWN_SCANNERS.get(name)

    def stated(key: str, scale: float, field: str) -> float:
        return header.number(key, None if known is None else getattr(known, field) / scale) * scale

    bin_mm = None
    if _is_arc_corrected(header):
        bin_mm = stated("effective central bin size (cm)", 10.0, "bin_mm")
    inner = stated("inner ring diameter (cm)", 5.0, "inner_radius_mm")
    depth = stated("average depth of interaction (cm)", 10.0, "depth_mm")
    segments = len(layout.planes)
    lowest = header.whole_numbers("minimum ring difference per segment", segments)
    highest = header.whole_numbers("maximum ring difference per segment", segments)
    geometry = ScannerGeometry(
        name=name,
        radius_mm=inner + depth,
        rings=int(stated("number of rings", 1, "rings")),
        crystals=int(stated("number of detectors per ring", 1, "crystals")),
        ring_spacing_mm=stated("distance between rings (cm)", 10.0, "ring_spacing_mm"),
        views=layout.views,
        tangential_bins=layout.tangential_bins,
        segments=tuple(Segment(low, high) for low, high in zip(lowest, highest, strict=True)),
        bin_mm=bin_mm,
        view_offset_deg=header.number("view offset (degrees)", known.view_offset_deg if known else 0.0),
        central_bin=header.number("petdiffusion central bin") if "petdiffusion central bin" in header else None,
        tof=_read_tof(header, layout),
        patient_position=read_patient_position(header),
    )
    expected = [segment.planes(geometry.rings) for segment in geometry.segments]
    if expected != layout.planes:
        raise header.error(
            f'"matrix size" of the axial coordinate is {layout.planes}, but {geometry.rings} rings and the ring '
            f"differences per segment make it {expected}"
        )
    return geometry


def read_patient_position(header: InterfileHeader) -> PatientPosition:
    """What the header says of how the patient lies: STIR's two keys, or Siemens' "%patient orientation"."""
    try:
        return position_in_words(header.text("patient orientation", ""), header.text("patient rotation", ""))
    except ValueError as error:
        raise header.error(
            f'"patient orientation" should be head_in, feet_in or a position like HFS, "patient rotation" supine, '
            f"prone, left or right: {error}"
        ) from error


def _is_arc_corrected(header: InterfileHeader) -> bool:
    """STIR's rule: a header that says nothing of arc correction has none."""
    return any(
        word.strip() in ("arc correction", "arc corrected")
        for word in header.text("applied corrections", "none").lower().strip("{}").split(",")
    )


def _read_tof(header: InterfileHeader, layout: Layout) -> TimeOfFlight | None:
    if layout.tof_bins is None:
        return None
    width_ps = header.number("size of unmashed tof time bins (ps)") * header.number("tof mashing factor")
    sigma_mm = header.number("tof timing resolution (ps)") * MM_PER_PS * FWHM_TO_SIGMA
    return TimeOfFlight(layout.tof_bins, width_ps * MM_PER_PS, sigma_mm)


def header_lines(geometry: ScannerGeometry, data_file: str) -> list[str]:
    """A header in STIR's dialect for float32, little-endian data, planes of a view after each other."""
    known = KNOWN_SCANNERS.get(geometry.name)
    depth_mm = known.depth_mm if known else 0.0  # STIR's table of scanners keeps it apart from the radius
    planes = ", ".join(str(segment.planes(geometry.rings)) for segment in geometry.segments)
    arc = "arc correction" if geometry.bin_mm is not None else "none"
    central_mm = geometry.bin_mm or math.pi * geometry.radius_mm / geometry.crystals
    tof = geometry.tof
    axes = [
        f"number of dimensions := {4 if tof is None else 5}",
        *([] if tof is None else ["matrix axis label [5] := timing positions", f"!matrix size [5] := {tof.bins}"]),
        "matrix axis label [4] := segment",
        f"!matrix size [4] := {len(geometry.segments)}",
        "matrix axis label [3] := view",
        f"!matrix size [3] := {geometry.views}",
        "matrix axis label [2] := axial coordinate",
        f"!matrix size [2] := {{ {planes} }}",
        "matrix axis label [1] := tangential coordinate",
        f"!matrix size [1] := {geometry.tangential_bins}",
        *([] if tof is None else ["TOF mashing factor := 1"]),
        f"minimum ring difference per segment := {{ {', '.join(str(s.lowest) for s in geometry.segments)} }}",
        f"maximum ring difference per segment := {{ {', '.join(str(s.highest) for s in geometry.segments)} }}",
    ]
    scanner = [
        "Scanner parameters :=",
        f"Scanner type := {geometry.name}",
        f"Number of rings := {geometry.rings}",
        f"Number of detectors per ring := {geometry.crystals}",
        f"Inner ring diameter (cm) := {(geometry.radius_mm - depth_mm) / 5!r}",
        f"Average depth of interaction (cm) := {depth_mm / 10!r}",
        f"Distance between rings (cm) := {geometry.ring_spacing_mm / 10!r}",
        f"Default bin size (cm) := {central_mm / 10!r}",
        f"View offset (degrees) := {geometry.view_offset_deg!r}",
        f"Maximum number of non-arc-corrected bins := {geometry.tangential_bins}",
        f"Default number of arc-corrected bins := {geometry.tangential_bins}",
        *([] if tof is None else [
            f"Maximum number of (unmashed) TOF time bins := {tof.bins}",
            f"Size of unmashed TOF time bins (ps) := {tof.bin_width_mm / MM_PER_PS!r}",
            f"TOF timing resolution (ps) := {tof.sigma_mm / MM_PER_PS / FWHM_TO_SIGMA!r}",
        ]),
        "end scanner parameters :=",
    ]  # fmt: skip
    private = [] if geometry.central_bin is None else [f"{PRIVATE}central bin := {geometry.central_bin!r}"]
    return [
        "!INTERFILE :=",
        "!imaging modality := PT",
        f"name of data file := {data_file}",
        f"originating system := {geometry.name}",
        "!GENERAL DATA :=",
        "!GENERAL IMAGE DATA :=",
        "!type of data := PET",
        *(f"{key} := {word}" for key, word in words_of(geometry.patient_position).items()),
        "imagedata byte order := LITTLEENDIAN",
        "!PET STUDY (General) :=",
        "!PET data type := Emission",
        f"applied corrections := {{{arc}}}",
        "!number format := float",
        "!number of bytes per pixel := 4",
        *axes,
        *scanner,
        *private,
        f"effective central bin size (cm) := {central_mm / 10!r}",
        "image scaling factor[1] := 1",
        "data offset in bytes[1] := 0",
        "number of time frames := 1",
        "!END OF INTERFILE :=",
    ]
