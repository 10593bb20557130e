"""An Interfile header of STIR's dialect, written out by hand, and its data: what the tests of dialects change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from PETDiffusionLib.sinograms import ScannerGeometry, Segment
from PETDiffusionLib.sinograms.orientation import position

RINGS, VIEWS, BINS = 3, 6, 5
SEGMENTS = (Segment(-2, -2), Segment(-1, 1), Segment(2, 2))
GEOMETRY = ScannerGeometry("unheard of", 100.0, RINGS, 48, 5.0, VIEWS, BINS, SEGMENTS, bin_mm=4.0)
GEOMETRY = replace(GEOMETRY, patient_position=position("HFS"))
VALUES = np.arange(7 * VIEWS * BINS, dtype=np.float32).reshape(7, VIEWS, BINS)  # [plane, view, tangential]

TEXT = """!INTERFILE :=
!imaging modality := PT
name of data file := a.s
originating system := unheard of
!GENERAL DATA :=
!GENERAL IMAGE DATA :=
!type of data := PET
patient orientation := head_in
patient rotation := supine
imagedata byte order := LITTLEENDIAN
!PET STUDY (General) :=
!PET data type := Emission
applied corrections := {arc correction}
!number format := float
!number of bytes per pixel := 4
number of dimensions := 4
matrix axis label [4] := segment
!matrix size [4] := 3
matrix axis label [3] := axial coordinate
!matrix size [3] := { 1,5,1}
matrix axis label [2] := view
!matrix size [2] := 6
matrix axis label [1] := tangential coordinate
!matrix size [1] := 5
minimum ring difference per segment := { -2,-1,2}
maximum ring difference per segment := { -2,1,2}
Scanner parameters :=
Number of rings := 3
Number of detectors per ring := 48
Inner ring diameter (cm) := 18.6
Average depth of interaction (cm) := 0.7
Distance between rings (cm) := 0.5
Default bin size (cm) := 0.4
View offset (degrees) := 0
end scanner parameters :=
number of time frames := 1
!END OF INTERFILE :=
"""


def written(folder: Path, *changes: tuple[str, str], values: np.ndarray = VALUES, name: str = "a.hs") -> Path:
    """The header with lines exchanged, and `values` as they are in a.s beside it."""
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (folder / name).write_text(text, encoding="utf-8")
    (folder / "a.s").write_bytes(np.ascontiguousarray(values).tobytes())
    return folder / name
