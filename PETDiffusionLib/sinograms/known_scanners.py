"""Scanners that a header may name without describing them: the facts of STIR's table (Scanner.cxx, version 6.5).

Numbers are STIR's; where its authors doubt one they say so there. Several of a maker's systems share a name: the rings
that the header states tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from PETDiffusionLib.sinograms.interfile_header import plain


@dataclass(frozen=True)
class KnownScanner:
    """Lengths in mm, angles in degrees, times in ps. `tof`: unmashed bins, their width, the resolution's FWHM."""

    names: tuple[str, ...]
    rings: int
    crystals: int
    inner_radius_mm: float
    depth_mm: float
    ring_spacing_mm: float
    bin_mm: float
    most_bins: int  # without arc correction
    view_offset_deg: float = 0.0
    tof: tuple[int, float, float] | None = None
    blocks: bool = False  # crystals in flat blocks, not on a ring


_VISION_TOF = (264, 143.231 / 8, 214.0)
_DMI = (544, 371.1, 9.4, 5.52296, 2.206, 415, -4.399, (377, 13.0, 375.4))
_UPENN_TOF = (512, 19.53125, 272.55)

KNOWN_SCANNERS = (
    KnownScanner(("ECAT 931",), 8, 512, 510.0, 7.0, 13.5, 3.129, 192),
    KnownScanner(("ECAT 951",), 16, 512, 510.0, 7.0, 6.75, 3.12932, 192),
    KnownScanner(("ECAT 953",), 16, 384, 382.5, 7.0, 6.75, 3.12932, 160, -15.0),
    KnownScanner(("ECAT 921", "ECAT EXACT", "EXACT"), 24, 384, 412.5, 7.0, 6.75, 3.375, 192, -15.0),
    KnownScanner(("ECAT 925", "ECAT ART"), 24, 384, 412.5, 7.0, 6.75, 3.375, 192, -15.0),
    KnownScanner(("ECAT 961", "ECAT HR"), 24, 784, 412.0, 7.0, 6.25, 1.65, 336, -13.0),
    KnownScanner(("ECAT 962", "ECAT HR+"), 32, 576, 412.0, 7.0, 4.85, 2.25, 288),
    KnownScanner(("ECAT EXACT 3D", "EXACT 3D", "ECAT HR++", "ECAT 966"), 48, 576, 412.0, 7.0, 4.85, 2.25, 288),
    KnownScanner(("ECAT 1080", "Biograph 16", "1080"), 41, 672, 412.0, 7.0, 4.0, 2.0, 336),
    KnownScanner(("Siemens mMR", "mMR", "2008"), 64, 504, 328.0, 7.0, 4.0625, 2.08626, 344),
    KnownScanner(
        ("Siemens mCT", "mCT", "2011", "1104", "1094"), 55, 672, 421.0, 7.0, 4.054, 2.005, 400, tof=(13, 312.0, 555.0)
    ),
    KnownScanner(
        ("Siemens Vision 600", "Vision 600", "1208"), 80, 798, 410.0, 7.0, 3.29114, 1.6, 520, 1.8564, _VISION_TOF
    ),
    KnownScanner(("Siemens Quadra", "Quadra", "1232"), 323, 798, 410.0, 7.0, 3.29114, 1.6, 520, 1.8564, _VISION_TOF),
    KnownScanner(("PRT-1", "RPT"), 16, 384, 373.0, 7.0, 6.75, 3.1088, 128),
    KnownScanner(("RATPET",), 8, 112, 57.5, 7.0, 6.25, 1.65, 56),
    KnownScanner(("PANDA",), 1, 2048, 37.75, 10.0, 3.0, 0.1, 512),
    KnownScanner(("nanoPET",), 81, 468, 174.0, 5.0, 1.17, 1.17, 117),
    KnownScanner(("HYPERimage",), 22, 490, 103.97, 3.0, 1.4, 1.4, 239),
    KnownScanner(("GE Advance", "Advance"), 18, 672, 463.475, 8.4, 8.5, 1.970177, 283),
    KnownScanner(("GE Discovery LS", "Discovery LS"), 18, 672, 463.475, 8.4, 8.5, 1.970177, 283),
    KnownScanner(("GE Discovery ST", "Discovery ST"), 24, 420, 443.1, 8.4, 6.54, 3.195, 249, -4.5422),
    KnownScanner(("GE Discovery STE", "Discovery STE"), 24, 560, 443.1, 8.4, 6.54, 2.397, 329, -4.549),
    KnownScanner(("GE Discovery RX", "Discovery RX"), 24, 630, 443.1, 9.4, 6.54, 2.13, 367, -4.595),
    KnownScanner(("GE Discovery 600", "Discovery 600"), 24, 512, 404.95, 8.4, 6.54, 2.3974, 339, -4.549),
    KnownScanner(
        ("GE Discovery 690", "Discovery 690", "GE Discovery 710", "Discovery 710"),
        24, 576, 405.1, 9.4, 6.54, 2.1306, 381, -5.021, (55, 89.0, 550.0),
    ),
    KnownScanner(
        ("GE Signa PET/MR", "PET/MR Signa", "Signa PET/MR"),
        45, 448, 311.8, 8.5, 5.56, 2.01565, 357, -5.23, (351, 13.02, 390.0),
    ),
    *(
        KnownScanner((f"GE Discovery MI {blocks} rings", f"Discovery MI{blocks}", "Discovery MI"), 9 * blocks, *_DMI)
        for blocks in (3, 4, 5, 6)
    ),
    KnownScanner(("Positron HZL/R",), 32, 384, 780.0, 7.0, 5.1875, 2.0, 256),
    KnownScanner(("HRRT",), 104, 576, 234.765, 7.0, 2.4375, 1.21875, 288),
    KnownScanner(("Allegro", "Philips Allegro"), 29, 644, 430.05, 12.0, 6.3, 4.3, 295),
    KnownScanner(("GeminiTF", "Philips GeminiTF"), 44, 644, 450.17, 8.0, 4.0, 4.0, 322),
    KnownScanner(("SAFIRDualRingPrototype",), 16, 180, 64.05, 5.0, 2.2, 1.1, 150, blocks=True),
    KnownScanner(("UPENN_5rings",), 280, 594, 382.0, 7.0, 3.9655, 2.0, 331, tof=_UPENN_TOF),
    KnownScanner(("UPENN_6rings",), 336, 594, 382.0, 7.0, 3.9655, 2.02035, 331, tof=_UPENN_TOF),
    KnownScanner(("UPENN_5rings_no_gaps",), 200, 576, 382.0, 7.0, 3.9655, 2.08349, 301, tof=_UPENN_TOF),
    KnownScanner(("UPENN_6rings_no_gaps",), 240, 576, 382.0, 7.0, 3.9655, 2.08, 321, tof=_UPENN_TOF),
)  # fmt: skip


def known_scanner(name: str, rings: int | None = None) -> KnownScanner | None:
    """The scanner of that name (case and underscores do not matter), of several the one with so many rings."""
    named = [scanner for scanner in KNOWN_SCANNERS if plain(name) in map(plain, scanner.names)]
    return next((scanner for scanner in named if scanner.rings == rings), named[0] if named else None)
