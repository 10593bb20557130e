"""Scanners by name. The "-like" ones resemble systems in use in size, crystals and timing, and no more than that."""

from __future__ import annotations

from dataclasses import replace

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import (
    ScannerGeometry,
    Segment,
    TimeOfFlight,
    parallel_beam,
    segments_of_span,
)

MM_PER_PS = 0.299792458 / 2  # of position along a line, for a difference in arrival times
FWHM_TO_SIGMA = 1 / 2.35482

# Radius (with the depth of interaction), rings, crystals, ring spacing, tangential bins: STIR's table of scanners and
# the makers' data sheets.
_ECAT_931 = ScannerGeometry("ECAT 931", 517.0, 8, 512, 13.5, 256, 192, (Segment(0, 0),))
_ECAT_962 = ScannerGeometry("ECAT 962", 419.0, 32, 576, 4.85, 288, 288, (Segment(0, 0),))
_MMR = ScannerGeometry("Siemens mMR", 335.0, 64, 504, 4.0625, 252, 344, (Segment(0, 0),))
_VISION = ScannerGeometry("Vision-like", 420.0, 80, 760, 3.29, 380, 520, (Segment(0, 0),))
_DMI = ScannerGeometry("DMI-like", 380.5, 36, 544, 5.52296, 272, 415, (Segment(0, 0),), view_offset_deg=-4.399)


def _timing(bins: int, bin_ps: float, resolution_ps: float) -> TimeOfFlight:
    """Bins of `bin_ps` at a coincidence timing resolution (FWHM) of `resolution_ps`."""
    return TimeOfFlight(bins, bin_ps * MM_PER_PS, resolution_ps * MM_PER_PS * FWHM_TO_SIGMA)


_WHOLE = {
    "ecat-931": replace(_ECAT_931, segments=segments_of_span(8, 3, 1)),
    "ecat-962": replace(_ECAT_962, segments=segments_of_span(32, 7, 24)),
    "mmr": replace(_MMR, segments=segments_of_span(64, 11, 60)),
    "vision-like": replace(_VISION, segments=segments_of_span(80, 19, 66), views=76, tof=_timing(33, 143.0, 214.0)),
    "dmi-like": replace(_DMI, segments=segments_of_span(36, 3, 34), tof=_timing(29, 169.0, 375.0)),
}
# Beside each whole scanner its direct planes alone, a stack of 2D problems: quick, and enough for many questions.
SCANNERS = {
    **_WHOLE,
    **{f"{name}-2d": geometry.direct_planes() for name, geometry in _WHOLE.items()},
    "parallel-beam": parallel_beam(),
}


def named_scanner(name: str) -> ScannerGeometry:
    """A scanner of SCANNERS. Raises PETDiffusionError "no-scanner"."""
    if name not in SCANNERS:
        raise PETDiffusionError("no-scanner", f'There is no scanner "{name}"; known: {", ".join(SCANNERS)}.')
    return SCANNERS[name]
