"""List mode: what every format's reader hands on, coincidences in the order in which they were measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, segments_of_span

MANY_BINS = 100_000_000  # above it, ring differences are merged where nobody asks for a span: 0.4 GB of counts
USUAL_SPAN = 11


class Batch(NamedTuple):
    """Coincidences that follow each other, all measured at one position of bed and gantry.

    With `size` bins in the geometry asked for, a prompt in bin b is b, a delayed coincidence size + b, and what lies
    in no bin 2 size. Before the first tick of this batch, the time is that of the last tick of the one before.
    """

    bins: np.ndarray  # int64 [event]
    clock_s: np.ndarray  # float64 [tick], never falling: when the time changed
    first: np.ndarray  # int64 [tick]: the event before which it did
    measured_s: tuple[float, float] | None  # the stretch of time that the batch covers, where there are ticks
    position: str  # of bed and gantry, in words; "" where none is stated
    read: float  # the share of the file that was read so far


class ListMode(Protocol):
    """An opened file. `warnings` and `facts` grow while it is read."""

    path: Path
    geometry: ScannerGeometry  # the finest sinogram that the events fit in
    half_life_s: float | None
    warnings: list[str]
    facts: dict[str, Any]  # JSON-able: words and blocks by name, used or not

    def pairs(self, geometry: ScannerGeometry) -> torch.Tensor:
        """How many pairs of crystals each bin sums, [plane, view, tangential], before their efficiencies are known."""
        ...

    def batches(self, geometry: ScannerGeometry) -> Iterator[Batch]:
        """All events from the start, as bins of `geometry`: this file's own, or one with merged ring differences."""
        ...


def open_list_mode(path: Path) -> ListMode:
    """Open a file or header of any format that is read, found by its content.

    Raises PETDiffusionError "bad-format" for what is none, and what the formats' readers raise.
    """
    from PETDiffusionLib.sinograms import petsird_list_mode, siemens_files, siemens_list_mode

    if petsird_list_mode.is_petsird(path):
        return petsird_list_mode.PetsirdListMode(path)
    found = siemens_files.list_mode_files(path)
    if found is None:
        raise PETDiffusionError(
            "bad-format",
            f"'{path.name}' is no list mode that is read here: PETSIRD, or 32-bit list mode of Siemens (its header, "
            "its data with the header beside them, or their DICOM file) is expected.",
        )
    return siemens_list_mode.SiemensListMode(path, *found)


def is_list_mode(path: Path) -> bool:
    """Whether the file is list mode, or the header of list mode, by its content."""
    from PETDiffusionLib.sinograms import petsird_list_mode, siemens_files

    if not path.is_file():
        return False
    return petsird_list_mode.is_petsird(path) or siemens_files.list_mode_files(path) is not None


def binned_geometry(geometry: ScannerGeometry, span: int | None) -> ScannerGeometry:
    """The geometry with ring differences merged to an odd `span`.

    None merges none where the sinogram is of moderate size, and to the usual span where it is not. Raises
    PETDiffusionError "bad-span" where they cannot be merged.
    """
    merged = any(segment.lowest != segment.highest for segment in geometry.segments)
    if span is None:
        span = 1 if merged or np.prod(geometry.data_shape) <= MANY_BINS else min(USUAL_SPAN, 2 * geometry.rings - 1)
        return geometry if span == 1 else binned_geometry(geometry, span)
    if merged and span != 1 + max(s.highest - s.lowest for s in geometry.segments):
        raise PETDiffusionError("bad-span", "The list mode has its ring differences merged already: leave --span out.")
    if merged or span == 1:
        return geometry
    largest = max(segment.highest for segment in geometry.segments)
    return replace(geometry, segments=segments_of_span(geometry.rings, span, largest))


def no_coincidences(path: Path, singles: int) -> PETDiffusionError:
    """The refusal of a file without coincidences."""
    if singles:
        return PETDiffusionError(
            "singles",
            f"'{path.name}' holds {singles} singles and no coincidences, so that there are no lines to reconstruct. "
            "Sort it into coincidences first.",
        )
    return PETDiffusionError("no-events", f"'{path.name}' holds no coincidences. Check that it is the right file.")
