"""Sinograms: scanner geometry, the data class, files and list mode."""

from PETDiffusionLib.sinograms.geometry import (
    ScannerGeometry,
    Segment,
    TimeOfFlight,
    parallel_beam,
    segments_of_span,
)
from PETDiffusionLib.sinograms.grid import ImageGrid, default_grid
from PETDiffusionLib.sinograms.scanners import SCANNERS, named_scanner
from PETDiffusionLib.sinograms.sinogram import Sinogram

__all__ = [
    "SCANNERS",
    "ImageGrid",
    "ScannerGeometry",
    "Segment",
    "Sinogram",
    "TimeOfFlight",
    "default_grid",
    "named_scanner",
    "parallel_beam",
    "segments_of_span",
]
