"""List mode made by hand: Siemens' words beside a header, and PETSIRD by its own package's writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

# A small scanner with mMR-like words: 3 rings, 6 views (12 crystals), 8 bins; segments 0, -1, +1.
HEADER = {
    "originating system": "2008",
    "%SMS-MI header name space": "PETLINK bin address",
    "data format": "CoincidenceList",
    "%LM event and tag words format (bits)": "32",
    "%patient orientation": "FFS",
    "isotope gamma halflife (sec)": "6586.2",
    "%axial compression": "1",
    "%maximum ring difference": "1",
    "number of rings": "3",
    "number of projections": "8",
    "number of views": "6",
    "%segment table": "{3,2,2}",
    "name of data file": "scan.l",
}
BINS = 7 * 6 * 8
PROMPT = 1 << 30


def siemens_files(folder: Path, words: Any, name: str = "scan.l.hdr", **changes: str) -> Path:
    """A header and its words; a change of "" leaves a key out, "_" in a key stands for a space."""
    lines = HEADER | {key.replace("_", " "): value for key, value in changes.items()}
    text = "!INTERFILE:=\r\n" + "".join(f"{key}:={value}\r\n" for key, value in lines.items() if value)
    (folder / name).write_text(text)
    np.asarray(words, np.uint32).astype("<u4").tofile(folder / "scan.l")
    return folder / name


def time_tag(milliseconds: int) -> int:
    return 0b100 << 29 | milliseconds


def bed_tag(position_mm: float, moving: bool = False) -> int:
    """The bed's horizontal position, in 0.01 mm with a sign in 20 bits."""
    return 0xC4 << 24 | moving << 20 | round(100 * position_mm) & 0xFFFFF


def rigid(turn: float = 0.0, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Any:
    """A turn about the axis, then a shift."""
    import petsird

    cosine, sine = np.cos(turn), np.sin(turn)
    rows = [[cosine, -sine, 0, x], [sine, cosine, 0, y], [0, 0, 1, z]]
    return petsird.RigidTransformation(matrix=np.array(rows, np.float32))


def module_type(modules: int, across: int, along: int, pitch_mm: float, radius_mm: float, start: float = 0.0) -> Any:
    """Flat modules about the axis; element a * along + b of a module is a-th across and b-th along."""
    import petsird

    sides = [(0, 20.0), (-0.5 * pitch_mm, 0.5 * pitch_mm), (-0.5 * pitch_mm, 0.5 * pitch_mm)]
    corners = [np.array((x, y, z), np.float32) for x in sides[0] for y in sides[1] for z in sides[2]]
    shape = petsird.BoxShape(corners=[petsird.Coordinate(c=corner) for corner in corners])
    elements = [
        rigid(x=radius_mm - 10, y=(a - (across - 1) / 2) * pitch_mm, z=(b - (along - 1) / 2) * pitch_mm)
        for a in range(across)
        for b in range(along)
    ]
    box = petsird.ReplicatedBoxSolidVolume(
        object=petsird.BoxSolidVolume(shape=shape, material_id=1), transforms=elements
    )
    turns = [rigid(start + 2 * np.pi * number / modules) for number in range(modules)]
    return petsird.ReplicatedDetectorModule(object=petsird.DetectorModule(detecting_elements=box), transforms=turns)


def petsird_header(types: list[Any], energies: int = 1, exam: Any = None) -> Any:
    """A scanner of types of modules, with 5 TOF bins of 30 mm."""
    import petsird

    kinds = range(len(types))
    edges = petsird.BinEdges(edges=np.array([-75, -45, -15, 15, 45, 75], np.float32))
    window = petsird.BinEdges(edges=np.linspace(430, 650, energies + 1).astype(np.float32))
    scanner = petsird.ScannerInformation(
        model_name="made",
        scanner_geometry=petsird.ScannerGeometry(replicated_modules=types),
        tof_bin_edges=[[edges] * (kind + 1) for kind in kinds],
        tof_resolution=[[47.0] * (kind + 1) for kind in kinds],
        event_energy_bin_edges=[window for _ in kinds],
        energy_resolution_at_511=[0.1 for _ in kinds],
    )
    return petsird.Header(scanner=scanner, exam=exam)


def event_block(
    start_ms: int, stop_ms: int, prompts: Any = (), delayed: Any = (), singles: int = 0, types: int = 1
) -> Any:
    """Events (bin, bin, tof), or such lists by pair of types of modules, {(1, 0): [...]}."""
    import petsird

    def listed(events: Any) -> list[Any]:
        by_pair = events if isinstance(events, dict) else {(0, 0): events}
        made = {
            pair: [petsird.CoincidenceEvent(detection_bins=[int(a), int(b)], tof_idx=int(t)) for a, b, t in some]
            for pair, some in by_pair.items()
        }
        return [[made.get((one, other), []) for other in range(one + 1)] for one in range(types)]

    return petsird.TimeBlock.EventTimeBlock(
        petsird.EventTimeBlock(
            time_interval=petsird.TimeInterval(start=start_ms, stop=stop_ms),
            prompt_events=listed(prompts),
            delayed_events=listed(delayed),
            single_events=[[petsird.SingleEvent(detection_bin=0)] * singles] if singles else [],
        )
    )


def write_petsird(path: Path, header: Any, blocks: list[Any], json: bool = False) -> Path:
    """A file by the package's own writer. Skips the test where it is not installed."""
    petsird = pytest.importorskip("petsird", reason="the optional package petsird is not installed")
    writer_of = petsird.NDJsonPETSIRDWriter if json else petsird.BinaryPETSIRDWriter
    with writer_of(str(path)) as writer:
        writer.write_header(header)
        writer.write_time_blocks(blocks)
    return path
