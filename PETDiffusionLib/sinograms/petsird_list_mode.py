"""PETSIRD list mode: coincidences of detecting elements, binned on the cylinder that the elements form."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.binning import EventBinner
from PETDiffusionLib.sinograms.geometry import ScannerGeometry
from PETDiffusionLib.sinograms.list_mode import Batch
from PETDiffusionLib.sinograms.orientation import PatientPosition, position_in_codes
from PETDiffusionLib.sinograms.petsird_geometry import Elements, cylinder, pairs_of_elements
from PETDiffusionLib.sinograms.petsird_versions import is_json, is_petsird, schema_of, version_of

__all__ = ["PetsirdListMode", "is_petsird"]

EVENTS_AT_ONCE = 1 << 17
UNREADABLE = (
    OSError, RuntimeError, ValueError, EOFError, BufferError, struct.error, IndexError, KeyError, TypeError, MemoryError
)  # fmt: skip
UNUSED_BLOCKS = {
    "ExternalSignalTimeBlock": "external signals",
    "DeadTimeTimeBlock": "dead-time blocks",
    "SinglesHistogramTimeBlock": "blocks of counted singles",
}


class PetsirdListMode:
    """A PETSIRD file, binary or of JSON lines.

    PETSIRD does not define where the axes of its gantry point: they are taken as STIR takes them (PETSIRDInfo.cxx), for
    its own (see orientation.py). Raises PETDiffusionError for elements that form no cylinder, for a file of another
    version, and "no-petsird" where the package is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.warnings, self.half_life_s = path, [], None  # type: tuple[Path, list[str], float | None]
        self.facts: dict[str, Any] = {"format": "PETSIRD"}
        self._check_version()
        try:
            with _opened(path) as stream:
                header = _reader(path, stream).read_header()
        except UNREADABLE as error:
            raise PETDiffusionError(
                "bad-file", f"'{path}' cannot be read as PETSIRD: its header is cut or damaged ({_said(error)})."
            ) from error
        scanner = header.scanner
        geometry, self._elements = cylinder(scanner)
        self.geometry = replace(geometry, patient_position=_patient_position(header.exam))
        self._energies = np.array([edges.number_of_bins() for edges in scanner.event_energy_bin_edges])
        self.facts["energy_windows_kev"] = [
            [float(e.edges[0]), float(e.edges[-1])] for e in scanner.event_energy_bin_edges
        ]
        if all(window == self.facts["energy_windows_kev"][0] for window in self.facts["energy_windows_kev"]):
            self.facts["energy_window_kev"] = self.facts["energy_windows_kev"][0]
        self._tof_mm = [[_middles(edges.edges) for edges in row] for row in scanner.tof_bin_edges]
        self._weights = _efficiencies(scanner, self._elements, self._energies)
        self._say_what_is_not_used(scanner)

    def _check_version(self) -> None:
        try:
            import petsird
        except ImportError as error:
            raise PETDiffusionError(
                "no-petsird", "PETSIRD files need the package petsird. Install it: pip install petsird"
            ) from error
        mine, found = petsird.BinaryPETSIRDReader.schema, schema_of(self.path)
        if found == mine:
            return
        if not found:
            raise PETDiffusionError("bad-file", f"'{self.path}' cannot be read as PETSIRD: its schema is cut.")
        read = ".".join(metadata.version("petsird").split(".")[:2])
        raise PETDiffusionError(
            "other-version",
            f"'{self.path.name}' is of PETSIRD {version_of(found, mine, read)}, and version {read} is read here. "
            f"Write it again by PETSIRD {read}.",
        )

    def _say_what_is_not_used(self, scanner: Any) -> None:
        if scanner.gantry_alignment is not None and _place(scanner.gantry_alignment.matrix):
            self.warnings.append(
                f"The scanner's alignment to its reference {_place(scanner.gantry_alignment.matrix)} is not applied: "
                "the volume is about the PET scanner's own centre."
            )
        off_mm, pitch_mm = self._elements.largest_offset_mm, self._elements.width_mm
        if off_mm > pitch_mm / 4:
            self.warnings.append(
                f"The elements are taken for crystals of a cylinder, which puts lines up to {off_mm:.1f} mm off, where "
                f"elements are {pitch_mm:.1f} mm apart."
            )
        vectors = scanner.detection_efficiencies.module_pair_efficiencies_vectors
        if vectors and any(len(one) for row in vectors for one in row):
            self.warnings.append(
                "The file's efficiencies of single crystals are used, and those of pairs of modules are not."
            )
        resolutions = [value for row in scanner.tof_resolution for value in row]
        if self.geometry.tof is not None and max(resolutions) > 1.01 * min(resolutions):
            self.warnings.append("The types of modules differ in TOF resolution: that of the first pair is taken.")

    def pairs(self, geometry: ScannerGeometry) -> torch.Tensor:
        """See ListMode."""
        return pairs_of_elements(geometry, self._elements, self._weights)

    def batches(self, geometry: ScannerGeometry) -> Iterator[Batch]:
        """See ListMode. What is whole of a cut file is handed on, and a warning says where it ends."""
        blocks = _Blocks(self, EventBinner(geometry))
        size = max(1, self.path.stat().st_size)
        with _opened(self.path) as stream:
            reader = _reader(self.path, stream)
            reader.read_header()
            try:
                for block in reader.read_time_blocks():
                    position = blocks.position
                    blocks.take(block)
                    if blocks.events >= EVENTS_AT_ONCE or blocks.position != position:
                        yield blocks.batch(position, _tell(stream) / size)
            except UNREADABLE as error:
                self.warnings.append(
                    f"'{self.path.name}' is cut or damaged after {blocks.number} whole time blocks, at "
                    f"{blocks.last_s:.3f} s ({_said(error)}): these are read."
                )
        yield blocks.batch(blocks.position, 1.0)
        self.facts |= {"time_blocks": blocks.number, **blocks.found}


@dataclass
class _Blocks:
    """Time blocks until there are enough events for a batch."""

    opened: PetsirdListMode
    binner: EventBinner
    position: str = ""
    number: int = 0
    events: int = 0
    last_s: float = 0.0
    found: dict[str, int] = field(default_factory=dict)
    _bins: list[np.ndarray] = field(default_factory=list)
    _ticks: list[tuple[float, int]] = field(default_factory=list)
    _measured: tuple[float, float] | None = None
    _bed: str = ""
    _gantry: str = ""

    def take(self, block: Any) -> None:
        """Add a block."""
        self.number += 1
        kind, value = type(block).__name__.split(".")[-1], block.value
        if kind == "EventTimeBlock":
            self._take_events(value)
        elif kind == "BedMovementTimeBlock":
            self._bed = f"bed at {_place(value.transform.matrix) or '(0.0, 0.0, 0.0) mm'}"
        elif kind == "GantryMovementTimeBlock":
            places = [_place(transform.matrix) for transform in value.transforms]
            self._gantry = "gantry at " + "; ".join(place or "(0.0, 0.0, 0.0) mm" for place in places)
        else:
            self._add(UNUSED_BLOCKS.get(kind, kind), 1)
        self.position = ", ".join(filter(None, (self._bed, self._gantry)))

    def _take_events(self, block: Any) -> None:
        start_s, stop_s = block.time_interval.start / 1000, block.time_interval.stop / 1000
        self._ticks.append(((start_s + stop_s) / 2, self.events))
        before = self._measured or (start_s, stop_s)
        self._measured = (min(before[0], start_s), max(before[1], stop_s))
        self.last_s = stop_s
        self.opened.facts["longest_block_s"] = max(stop_s - start_s, self.opened.facts.get("longest_block_s", 0.0))
        self._add("singles", sum(len(singles) for singles in block.single_events))
        self._add("triples or quadruples", _nested(block.triple_events) + _nested(block.quadruple_events))
        for delayed, by_type in enumerate((block.prompt_events, block.delayed_events)):
            for first_type, row in enumerate(by_type):
                for second_type, events in enumerate(row):
                    if events:
                        self._count(events, first_type, second_type, delayed)

    def _count(self, events: list[Any], first_type: int, second_type: int, delayed: int) -> None:
        numbers = np.array([(*event.detection_bins, event.tof_idx) for event in events], np.int64)
        opened, elements, size = self.opened, self.opened._elements, self.binner.size
        middles_mm = opened._tof_mm[first_type][second_type]
        known = numbers[:, 2] < len(middles_mm)
        both = []
        for end, kind in enumerate((first_type, second_type)):
            first, past = elements.first_of_type[kind : kind + 2]
            element = first + numbers[:, end] // opened._energies[kind]
            known &= element < past
            both.append(np.minimum(element, past - 1))
        # (t1 - t2) c / 2: positive is nearer to the second.
        tof_mm = middles_mm[np.minimum(numbers[:, 2], len(middles_mm) - 1)]
        crystals, rings = ((table[both[0]], table[both[1]]) for table in (elements.crystal, elements.ring))
        bins = np.where(known, self.binner.bins(crystals, rings, tof_mm), size)
        self._bins.append(np.where(bins == size, 2 * size, bins + delayed * size))
        self.events += len(events)

    def _add(self, name: str, count: int) -> None:
        if count:
            self.found[name] = self.found.get(name, 0) + count
            self.opened.facts[name] = self.found[name]

    def batch(self, position: str, read: float) -> Batch:
        """All since the last batch."""
        bins = np.concatenate([np.zeros(0, np.int64), *self._bins])
        ticks = np.array(self._ticks, np.float64).reshape(-1, 2)
        made = Batch(bins, ticks[:, 0], ticks[:, 1].astype(np.int64), self._measured, position, min(read, 1.0))
        self._bins, self._ticks, self._measured, self.events = [], [], None, 0
        return made


def _opened(path: Path) -> IO[Any]:
    return open(path, encoding="utf-8") if is_json(path) else open(path, "rb")


def _tell(stream: IO[Any]) -> int:
    return stream.buffer.tell() if hasattr(stream, "buffer") else stream.tell()


def _reader(path: Path, stream: IO[Any]) -> Any:
    import petsird

    kind = petsird.NDJsonPETSIRDReader if is_json(path) else petsird.BinaryPETSIRDReader
    return kind(stream, skip_completed_check=True)


def _efficiencies(scanner: Any, elements: Elements, energies: np.ndarray) -> np.ndarray:
    """The efficiency of every element, the mean over its energy bins; ones where the file states none."""
    stated = scanner.detection_efficiencies.detection_bin_efficiencies or []
    weights = np.ones(elements.first_of_type[-1], np.float32)
    for kind, values in enumerate(stated):
        first, past = elements.first_of_type[kind : kind + 2]
        if len(values) == (past - first) * energies[kind]:
            weights[first:past] = np.asarray(values, np.float32).reshape(past - first, -1).mean(axis=1)
    return weights


def _patient_position(exam: Any) -> PatientPosition:
    """What the file says of how the patient lay; nothing where it has no examination."""
    if exam is None:
        return PatientPosition()
    said = exam.patient_orientation
    return position_in_codes(
        said.patient_gantry_relationship_code_sequence.code_value,
        said.patient_orientation_modifier_code_sequence.code_value,
    )


def _place(matrix: np.ndarray) -> str:
    """Where a rigid transformation moves the origin, in words; "" for one that moves nothing."""
    x, y, z = (float(v) for v in matrix[:, 3])
    turned = not np.allclose(matrix[:, :3], np.eye(3), atol=1e-4)
    if not turned and max(abs(x), abs(y), abs(z)) < 0.05:
        return ""
    return f"({x + 0:.1f}, {y + 0:.1f}, {z + 0:.1f}) mm{', turned' if turned else ''}"


def _middles(edges: np.ndarray) -> np.ndarray:
    return (np.asarray(edges[1:], np.float64) + edges[:-1]) / 2


def _nested(events: Any) -> int:
    return sum(map(_nested, events)) if isinstance(events, list) else 1


def _said(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
