"""Sinograms: scanner geometry, the data class, files and list mode."""

from PETDiffusionLib.sinograms.geometry import (
    ScannerGeometry,
    Segment,
    TimeOfFlight,
    parallel_beam,
    segments_of_span,
)
from PETDiffusionLib.sinograms.scanners import SCANNERS, named_scanner

__all__ = [
    "SCANNERS",
    "ScannerGeometry",
    "Segment",
    "TimeOfFlight",
    "named_scanner",
    "parallel_beam",
    "segments_of_span",
]
