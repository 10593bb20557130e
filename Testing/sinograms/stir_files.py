"""Sinograms of points as STIR would write them, and where these lie in the patient, by hand: nothing of our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

RADIUS_MM, CRYSTALS, RINGS, RING_MM, BINS = 200.0, 96, 8, 10.0, 61
VIEWS = CRYSTALS // 2
HIGHEST_DIFFERENCE = 2
TOF_BINS, TOF_PS = 9, 300.0

# (x, y, z) in LPS of a point (x, y, z) of the scanner: x to the right and y down as one faces it from the bed, z from
# its centre out of the gantry. The four without decubitus are those of STIR's DiscretisedDensity.inl.
BY_HAND: dict[str, Callable[[float, float, float], tuple[float, float, float]]] = {
    "HFS": lambda x, y, z: (x, y, -z),  # on the back, feet towards me: his left at my right
    "HFP": lambda x, y, z: (-x, -y, -z),  # the same, turned on the front
    "FFS": lambda x, y, z: (-x, y, z),  # head towards me, on the back: his right at my right
    "FFP": lambda x, y, z: (x, -y, z),
    "HFDR": lambda x, y, z: (-y, x, -z),  # right side down, feet towards me: his back at my right
    "HFDL": lambda x, y, z: (y, -x, -z),  # left side down, feet towards me: his front at my right
    "FFDR": lambda x, y, z: (-y, -x, z),  # right side down, head towards me: his front at my right
    "FFDL": lambda x, y, z: (y, x, z),
}
HEADERS = {
    "HFS": "patient orientation := head_in\npatient rotation := supine",
    "HFP": "patient orientation := head_in\npatient rotation := prone",
    "FFS": "patient orientation := feet_in\npatient rotation := supine",
    "FFP": "patient rotation := prone\n!patient orientation := feet_in",
    "HFDR": "%patient orientation:=HFDR",
    "HFDL": "patient orientation := head_in\npatient rotation := left",
    "FFDR": "patient orientation := feet_in\npatient rotation := right",
    "FFDL": "%patient orientation := FFDL",
}
# One in every octant and in every ring, each with a weight of its own: (x, y, ring, weight).
POINTS = [
    (-40.0, -24.0, 0, 1.0), (46.0, -28.0, 1, 2.0), (-52.0, 32.0, 2, 3.0), (58.0, 36.0, 3, 4.0),
    (-64.0, -40.0, 4, 5.0), (70.0, -44.0, 5, 6.0), (-76.0, 48.0, 6, 7.0), (82.0, 52.0, 7, 8.0),
]  # fmt: skip

HEADER = """!INTERFILE  :=
!imaging modality := PT
name of data file := points.s
originating system := by hand
!version of keys := STIR6.0
!GENERAL DATA :=
!GENERAL IMAGE DATA :=
!type of data := PET
{patient}
imagedata byte order := LITTLEENDIAN
!PET STUDY (General) :=
!PET data type := Emission
applied corrections := {{None}}
!number format := float
!number of bytes per pixel := 4
number of dimensions := {dimensions}
{tof}
matrix axis label [4] := segment
!matrix size [4] := {segments}
matrix axis label [3] := view
!matrix size [3] := {views}
matrix axis label [2] := axial coordinate
!matrix size [2] := {{ {planes} }}
matrix axis label [1] := tangential coordinate
!matrix size [1] := {bins}
minimum ring difference per segment := {{ {differences} }}
maximum ring difference per segment := {{ {differences} }}
Scanner parameters :=
Scanner type := by hand
Number of rings := {rings}
Number of detectors per ring := {crystals}
Inner ring diameter (cm) := 40
Average depth of interaction (cm) := 0
Distance between rings (cm) := 1
Default bin size (cm) := 0.65
View offset (degrees) := 0
Maximum number of non-arc-corrected bins := {bins}
Default number of arc-corrected bins := {bins}
{tof_scanner}
end scanner parameters :=
image scaling factor[1] := 1
data offset in bytes[1] := 0
number of time frames := 1
!END OF INTERFILE :=
"""


def place_in_lps(code: str, x: float, y: float, ring: int) -> np.ndarray:
    """The place of a point in a ring, about the scanner's centre, of a patient who lies so."""
    return np.array(BY_HAND[code](x, y, (ring - (RINGS - 1) / 2) * RING_MM))


def write_points(
    folder: Path, points: Sequence[tuple[float, float, float, float]], patient: str, tof: bool = False
) -> Path:
    """points.hs and points.s in `folder`: coincidences of points (x, y, z, weight) in STIR's coordinates.

    x to the right and y down as one faces the scanner, z in mm from the middle of ring 0 out of the gantry. `patient`
    are the header's lines about the patient.
    """
    differences = list(range(-HIGHEST_DIFFERENCE, HIGHEST_DIFFERENCE + 1))  # ring of detector 2 minus that of 1
    bins = _bins_of_crystals()
    counts = {
        difference: np.zeros((TOF_BINS if tof else 1, VIEWS, RINGS - abs(difference), BINS), "<f4")
        for difference in differences
    }
    for x, y, z, weight in points:
        for number in range(720):
            direction = np.array([np.cos(np.pi * number / 720), np.sin(np.pi * number / 720)])
            along, half = _chord(np.array([x, y]), direction)
            ends = [np.array([x, y]) + (sign * half - along) * direction for sign in (-1, 1)]
            crystals = [round(np.arctan2(end[0], -end[1]) / (2 * np.pi / CRYSTALS)) % CRYSTALS for end in ends]
            for tilt in differences:
                # The ring of each end, where the line of this tilt through the point meets the crystals.
                share = (along + half) / (2 * half)  # of the way from the first end to the second
                first = round(z / RING_MM - share * tilt)
                rings = (first, first + tilt)
                if min(rings) < 0 or max(rings) >= RINGS:
                    continue
                view, tangential, exchanged = bins[crystals[0], crystals[1]]
                if abs(tangential) > BINS // 2:
                    continue
                ring1, ring2 = rings[::-1] if exchanged else rings
                towards_first = (half - (along + half)) * (-1 if exchanged else 1)  # of the middle, to detector 1
                timing = round(towards_first / (TOF_PS * 0.149896)) + TOF_BINS // 2 if tof else 0
                if 0 <= timing < TOF_BINS:
                    plane = min(ring1, ring2)
                    counts[ring2 - ring1][timing, view, plane, tangential + BINS // 2] += weight
    _write(folder, counts, differences, patient, tof)
    return folder / "points.hs"


def _chord(point: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
    """How far the point lies from the chord's middle along `direction`, and half the chord's length."""
    along = float(point @ direction)
    return along, float(np.sqrt(RADIUS_MM**2 - point @ point + along**2))


def _bins_of_crystals() -> dict[tuple[int, int], tuple[int, int, bool]]:
    """View, bin, and whether the pair is (detector 2, detector 1), of every pair of crystals.

    STIR's rule: bin t of view v joins crystal v + floor(t / 2) with crystal v - ceil(t / 2) + half a turn.
    """
    table = {}
    for view in range(VIEWS):
        for tangential in range(-BINS // 2, BINS // 2 + 2):
            first = (view + tangential // 2) % CRYSTALS
            second = (view - (tangential + 1) // 2 + CRYSTALS // 2) % CRYSTALS
            table[first, second] = (view, tangential, False)
            table[second, first] = (view, tangential, True)
    outside = {(a, b): (0, BINS, False) for a in range(CRYSTALS) for b in range(CRYSTALS)}
    return outside | table


def _write(folder: Path, counts: dict[int, np.ndarray], differences: list[int], patient: str, tof: bool) -> None:
    """Segment by segment [view, plane, tangential], all of them for every TOF bin."""
    with open(folder / "points.s", "wb") as stream:
        for timing in range(TOF_BINS if tof else 1):
            for difference in differences:
                stream.write(counts[difference][timing].tobytes())
    header = HEADER.format(
        patient=patient,
        dimensions=5 if tof else 4,
        tof=f"matrix axis label [5] := timing positions\n!matrix size [5] := {TOF_BINS}\nTOF mashing factor := 1"
        if tof
        else "",
        tof_scanner=f"Maximum number of (unmashed) TOF time bins := {TOF_BINS}\n"
        f"Size of unmashed TOF time bins (ps) := {TOF_PS}\nTOF timing resolution (ps) := {TOF_PS}"
        if tof
        else "",
        segments=len(differences),
        views=VIEWS,
        planes=", ".join(str(RINGS - abs(difference)) for difference in differences),
        bins=BINS,
        differences=", ".join(map(str, differences)),
        rings=RINGS,
        crystals=CRYSTALS,
    )
    (folder / "points.hs").write_text(header)
