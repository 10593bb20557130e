"""The scanner's geometry in an Interfile header of STIR's dialect, and such a header for a geometry."""

from __future__ import annotations

import math

from PETDiffusionLib.sinograms.geometry import ScannerGeometry, Segment, TimeOfFlight
from PETDiffusionLib.sinograms.interfile_header import PRIVATE, InterfileHeader
from PETDiffusionLib.sinograms.interfile_layout import LARGEST_AXIS, Layout
from PETDiffusionLib.sinograms.known_scanners import KnownScanner, known_scanner
from PETDiffusionLib.sinograms.orientation import PatientPosition, position_in_words, words_of
from PETDiffusionLib.sinograms.scanners import FWHM_TO_SIGMA, MM_PER_PS

ARC = ("arc correction", "arc corrected", "radial arc-correction", "arc-correction")
CORRECTED = {  # words of "applied corrections" -> what the data are corrected for
    "attenuation": ("attenuation correction", "attenuation", "measured attenuation", "attenuation corrected"),
    "normalisation": ("normalization", "normalisation", "detector efficiency", "normalized", "normalised"),
    "randoms": ("randoms", "random", "randoms correction", "random correction", "randoms subtraction"),
    "scatter": ("scatter", "scatter correction", "scatter corrected"),
}
WITHOUT_EFFECT = ("decay", "decay correction", "dead time", "deadtime", "dead time correction")


def read_geometry(header: InterfileHeader, layout: Layout) -> ScannerGeometry:
    """The geometry that the header states. Raises PETDiffusionError, naming the key, where it states half of one."""
    name = header.text("originating system", header.text("scanner type", "Unknown"))
    rings = header.whole("number of rings", 1) if "number of rings" in header else None
    known = known_scanner(name, rings) or known_scanner(header.text("scanner type", ""), rings)
    _refuse_blocks(header, known)
    arc_corrected = is_arc_corrected(header)
    stated = _Stated(header, known)
    segments = len(layout.planes)
    lowest = header.whole_numbers("minimum ring difference per segment", segments)
    highest = header.whole_numbers("maximum ring difference per segment", segments)
    geometry = ScannerGeometry(
        name=name,
        radius_mm=stated.mm("inner ring diameter (cm)", 5.0, "inner_radius_mm")
        + stated.mm("average depth of interaction (cm)", 10.0, "depth_mm", lowest=0.0),
        rings=stated.whole("number of rings", "rings"),
        crystals=stated.whole("number of detectors per ring", "crystals"),
        ring_spacing_mm=stated.mm("distance between rings (cm)", 10.0, "ring_spacing_mm"),
        views=layout.views,
        tangential_bins=layout.tangential_bins,
        segments=tuple(Segment(low, high) for low, high in zip(lowest, highest, strict=True)),
        bin_mm=_bin_mm(header, stated) if arc_corrected else None,
        view_offset_deg=stated.view_offset_deg(),
        central_bin=header.number("petdiffusion central bin") if "petdiffusion central bin" in header else None,
        tof=_read_tof(header, layout, known),
        patient_position=read_patient_position(header),
    )
    _check(header, layout, geometry, known)
    stated.warn_where_they_differ()
    return geometry


class _Stated:
    """What the header says of its scanner, and what STIR's table says of the scanner of that name."""

    def __init__(self, header: InterfileHeader, known: KnownScanner | None) -> None:
        self.header, self.known = header, known
        self.differing: list[str] = []

    def mm(self, key: str, scale: float, field: str, lowest: float | None = None, nearly: float = 0.01) -> float:
        """A length of the header in mm, else the known scanner's. `scale`: from the header's unit to mm."""
        usual = None if self.known is None else float(getattr(self.known, field))
        if key not in self.header or (usual is not None and self.header.number(key) < 0):
            if usual is None:
                raise self.header.error(f'it does not state "{key}"')
            return usual
        if lowest is None:
            value = self.header.positive(key) * scale
        elif (value := self.header.number(key) * scale) < lowest:
            raise self.header.error(f'"{key}" should be {lowest:g} or above, but is {value / scale:g}')
        if usual is not None and abs(value - usual) > nearly:
            self.differing.append(f"{key} {value / scale:g} and not {usual / scale:g}")
        return value

    def whole(self, key: str, field: str) -> int:
        usual = None if self.known is None else int(getattr(self.known, field))
        if usual is not None and key not in self.header:
            return usual
        value = self.header.whole(key, 1, LARGEST_AXIS)
        if usual is not None and value != usual:
            self.differing.append(f"{key} {value} and not {usual}")
        return value

    def view_offset_deg(self) -> float:
        """Of the first crystal. STIR takes 0 where a header says nothing, which the known scanner may contradict."""
        key = "view offset (degrees)"
        usual = 0.0 if self.known is None else self.known.view_offset_deg
        if usual and key not in self.header:
            self.header.warnings.append(
                f"'{self.header.path.name}' does not state \"{key}\": the {usual:g} of its scanner are taken."
            )
        return self.header.number(key, usual)

    def warn_where_they_differ(self) -> None:
        if self.differing and self.known is not None:
            self.header.warnings.append(
                f"'{self.header.path.name}' names the scanner {self.known.names[0]} but states "
                f"{', '.join(self.differing)}: what the header states is taken."
            )


def _bin_mm(header: InterfileHeader, stated: _Stated) -> float:
    """The width of arc-corrected bins: the header's own, else its scanner's default, else the known scanner's."""
    for key in ("effective central bin size (cm)", "default bin size (cm)"):
        if key in header and header.number(key) > 0:
            return stated.mm(key, 10.0, "bin_mm")
    if stated.known is None:
        raise header.error('its bins are arc-corrected, but it does not state "effective central bin size (cm)"')
    return stated.known.bin_mm


def _refuse_blocks(header: InterfileHeader, known: KnownScanner | None) -> None:
    """Crystals in flat blocks are not where the lines of a ring would have them."""
    key = "scanner geometry (blocksoncylindrical/cylindrical/generic)"
    usual = "blocksoncylindrical" if known is not None and known.blocks else "cylindrical"
    found = header.word(key) or usual
    if found != "cylindrical":
        raise header.error(
            f'"Scanner geometry" is {header.text(key, "BlocksOnCylindrical")}: its crystals lie in flat blocks or by a '
            "map of their own, and only rings of crystals (Cylindrical) are read. Rebin the data to a ring first"
        )


def is_arc_corrected(header: InterfileHeader) -> bool:
    """Whether bins are equally wide. STIR's rule: a header that says nothing of corrections has arc-corrected data."""
    if header.text("applied corrections", "").strip("{} \t"):
        return any(word in ARC for word in header.words("applied corrections"))
    header.warnings.append(
        f"'{header.path.name}' does not state \"applied corrections\": arc-corrected bins are taken, as STIR does. "
        'If they lie as the crystals do, write "applied corrections := {none}" into it.'
    )
    return True


def effects_corrected_before(header: InterfileHeader) -> frozenset[str]:
    """What was taken out of the data before, of sinogram.EFFECTS, and a warning of it, as "applied corrections" say."""
    words = [word for word in header.words("applied corrections") if word not in (*ARC, *WITHOUT_EFFECT)]
    effects = {effect for effect, names in CORRECTED.items() if any(word in names for word in words)}
    other = [word for word in words if not any(word in names for names in CORRECTED.values())]
    if effects:
        header.warnings.append(
            f"'{header.path.name}' holds data that were corrected before for {', '.join(sorted(effects))}: they are no "
            "counts any more, and a statistical reconstruction of them is not what it is for prompts."
        )
    if other:
        header.warnings.append(
            f"'{header.path.name}' states \"applied corrections\" that are not understood: {', '.join(other)}."
        )
    return frozenset(effects)


def _check(header: InterfileHeader, layout: Layout, geometry: ScannerGeometry, known: KnownScanner | None) -> None:
    """Raises PETDiffusionError, with both values, where the header contradicts itself or its scanner."""
    ordered = sorted(geometry.segments, key=lambda segment: segment.lowest)
    for one, next_one in zip(ordered, ordered[1:], strict=False):
        if next_one.lowest <= one.highest:
            raise header.error(
                f"two segments share ring differences: {one.lowest} to {one.highest} and "
                f"{next_one.lowest} to {next_one.highest}"
            )
    expected = [segment.planes(geometry.rings) for segment in geometry.segments]
    if expected != layout.planes:
        raise header.error(
            f'"matrix size" of the axial coordinate is {layout.planes}, but {geometry.rings} rings and the ring '
            f"differences per segment make it {expected}"
        )
    if geometry.bin_mm is not None:
        return
    key = "maximum number of non-arc-corrected bins"
    most = header.whole(key) if key in header else (known.most_bins if known else 0)
    if 0 < most < layout.tangential_bins:
        raise header.error(
            f"it has {layout.tangential_bins} tangential bins without arc correction, its scanner at most {most}"
        )
    if geometry.crystals % (2 * geometry.views):
        header.warnings.append(
            f"'{header.path.name}' has {geometry.views} views, not what {geometry.crystals} crystals in a ring make, "
            "whole or mashed: they are taken as equally spaced."
        )


def read_patient_position(header: InterfileHeader) -> PatientPosition:
    """What the header says of how the patient lies: STIR's two keys, or Siemens' "%patient orientation"."""
    try:
        return position_in_words(header.text("patient orientation", ""), header.text("patient rotation", ""))
    except ValueError as error:
        raise header.error(
            f'"patient orientation" should be head_in, feet_in or a position like HFS, "patient rotation" supine, '
            f"prone, left or right: {error}"
        ) from error


def _first_stated(header: InterfileHeader, *keys: str) -> str | None:
    return next((key for key in keys if key in header), None)


def _read_tof(header: InterfileHeader, layout: Layout, known: KnownScanner | None) -> TimeOfFlight | None:
    """The stored bins of time of flight: unmashed ones of the header or the known scanner, so many to one."""
    if layout.tof_bins is None:
        return None
    usual = None if known is None else known.tof
    keys = (
        ("maximum number of (unmashed) tof time bins", "number of tof time bins"),
        ("size of unmashed tof time bins (ps)", "size of timing bin (ps)"),
        ("tof timing resolution (ps)", "timing resolution (ps)"),
    )
    values = []
    for number, names in enumerate(keys):
        key = _first_stated(header, *names)
        if key is None and usual is None and number > 0:
            raise header.error(f'it has bins of time of flight, but does not state "{names[0]}"')
        own = None if key is None else header.positive(key)
        if own is not None and usual is not None and abs(own - usual[number]) > 0.01:
            header.warnings.append(
                f"'{header.path.name}' states \"{key}\" {own:g}, its scanner has {usual[number]:g}: the header's "
                "is taken."
            )
        values.append(own if own is not None or usual is None else float(usual[number]))
    unmashed, width_ps, resolution_ps = values
    mashing = _tof_mashing(header, layout.tof_bins, unmashed)
    assert width_ps is not None and resolution_ps is not None
    return TimeOfFlight(layout.tof_bins, width_ps * mashing * MM_PER_PS, resolution_ps * MM_PER_PS * FWHM_TO_SIGMA)


def _tof_mashing(header: InterfileHeader, bins: int, unmashed: float | None) -> int:
    """How many of the scanner's bins each stored one sums; where it is not stated, what makes so many of them."""
    key = "tof mashing factor"
    if key in header:
        mashing = header.whole(key, 1)
    else:
        mashing = 1 if unmashed is None or unmashed < bins else round(unmashed / bins)
        if mashing != 1:
            header.warnings.append(
                f"'{header.path.name}' does not state \"TOF mashing factor\": {mashing} is taken, as {unmashed:g} bins "
                f"of the scanner make {bins}."
            )
    if unmashed is not None and bins * mashing != unmashed:
        raise header.error(
            f"{bins} TOF bins of {mashing} of the scanner's make {bins * mashing}, but the scanner has {unmashed:g}"
        )
    return mashing


def header_lines(geometry: ScannerGeometry, data_file: str) -> list[str]:
    """A header in STIR's dialect for float32, little-endian data, planes of a view after each other."""
    known = known_scanner(geometry.name, geometry.rings)
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
