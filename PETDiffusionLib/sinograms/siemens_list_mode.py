"""Siemens 32-bit list mode (PETLINK): every event is the address of a bin in a sinogram."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.binning import merged_planes
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, Segment
from PETDiffusionLib.sinograms.interfile_facts import measured_facts
from PETDiffusionLib.sinograms.interfile_geometry import read_patient_position
from PETDiffusionLib.sinograms.interfile_header import InterfileHeader
from PETDiffusionLib.sinograms.list_mode import Batch
from PETDiffusionLib.sinograms.scanners import SCANNERS
from PETDiffusionLib.sinograms.siemens_files import Words
from PETDiffusionLib.sinograms.siemens_words import (
    ADDRESS,
    JUMP_MS,
    MILLISECONDS,
    TAG,
    TIME_TAG,
    Bed,
    Clock,
    Stretch,
    count_tags,
)

WORDS_AT_ONCE = 1 << 22
ENOUGH_EVENTS = 20  # of which none lies beyond the stated bins: then these are the bins
SCANNER_OF_SYSTEM = {"2008": "mmr", "siemens mmr": "mmr", "biograph mmr": "mmr", "biograph_mmr": "mmr"}


class SiemensListMode:
    """A header and its words. Raises PETDiffusionError for a header that does not state them, or another scanner."""

    def __init__(self, path: Path, header: InterfileHeader, words: Words) -> None:
        self.path, self.warnings = path, []  # type: tuple[Path, list[str]]
        self.facts: dict[str, Any] = {"format": "Siemens 32-bit list mode"}
        self._header, self._words = header, words
        self._check_words()
        self.geometry = self._geometry()
        half_life_s = header.number("isotope gamma halflife (sec)", 0)
        self.half_life_s = half_life_s if half_life_s > 0 else None
        if "isotope name" in header:
            self.facts["isotope"] = header.text("isotope name")
        self.facts |= measured_facts(header)
        self.warnings += header.warnings

    def _check_words(self) -> None:
        """That these are 32-bit coincidence words, and how many whole ones there are."""
        header = self._header
        bits = int(header.number("lm event and tag words format (bits)", 32))
        if bits != 32:
            raise header.error(f"its words have {bits} bits; list mode of 32-bit bin addresses is read")
        space = header.text("sms-mi header name space", "PETLINK bin address")
        if "bin address" not in space.lower():
            raise header.error(f'its words are "{space}"; PETLINK bin addresses are read')
        kind = header.text("data format", "CoincidenceList")
        if kind.lower() != "coincidencelist":
            raise header.error(f'it is of "{kind}" and not of coincidences (CoincidenceList)')
        if header.number("number of tof time bins", 1) > 1:
            raise header.error("its addresses have bins of time of flight, whose order is not known here")
        size = self._words.path.stat().st_size - self._words.offset if self._words.size is None else self._words.size
        self._count = size // 4
        stated = int(header.number("total listmode word counts", 0))
        if stated > self._count or size % 4:
            self.warnings.append(
                f"'{self._words.path.name}' is cut: its header states {stated or 'more'} words, and {self._count} "
                "whole ones are there. These are read."
            )

    def _geometry(self) -> ScannerGeometry:
        header = self._header
        system = header.text("originating system")
        if system.lower() not in SCANNER_OF_SYSTEM:
            raise header.error(f'"originating system" is "{system}", whose crystals are not known here')
        largest = header.whole("maximum ring difference")
        geometry = replace(
            SCANNERS[SCANNER_OF_SYSTEM[system.lower()]],
            rings=header.whole("number of rings"),
            views=header.whole("number of views"),
            tangential_bins=header.whole("number of projections"),
            segments=_segments(largest, 1),
            tof=None,
            patient_position=read_patient_position(header),
        )
        span = header.whole("axial compression") if "axial compression" in header else 1
        if span < 1 or span % 2 == 0 or span > 2 * largest + 1:
            raise header.error(f'"axial compression" should be an odd number up to {2 * largest + 1}, but is {span}')
        stated = replace(geometry, segments=_segments(largest, span))
        if "segment table" in header:
            spans = sorted(range(1, 2 * largest + 2, 2), key=lambda one: one != span)
            tables = ((one, replace(geometry, segments=_segments(largest, one))) for one in spans)
            table = header.whole_numbers("segment table")
            found = next(((one, tried) for one, tried in tables if _planes(tried) == table), None)
            if found is None:
                raise header.error('"segment table" is not that of "number of rings" and "maximum ring difference"')
            span, stated = found
        return geometry if span == 1 else self._as_addressed(stated, geometry, span)

    def _as_addressed(self, stated: ScannerGeometry, single: ScannerGeometry, span: int) -> ScannerGeometry:
        """Which of two sinograms the addresses are of: mMR headers state span 11, and their words are of span 1."""
        largest, events = -1, 0
        for words in self._chunks():
            addresses = words[words < TAG] & ADDRESS
            events += len(addresses)
            largest = max(largest, int(addresses.max(initial=0)))
            if largest >= np.prod(stated.data_shape):
                self.warnings.append(
                    f"The header states merged ring differences (span {span}), but the events' addresses are of "
                    "single ones (span 1), as mMR writes them: they are read so."
                )
                return single
        if events < ENOUGH_EVENTS:
            raise self._header.error(
                f'"axial compression" is {span}, which is not what the mMR\'s words are of, and {events} event(s) do '
                "not tell. Give a whole file, or a header with axial compression 1"
            )
        return stated

    def _chunks(self) -> Iterator[np.ndarray]:
        with open(self._words.path, "rb") as stream:
            stream.seek(self._words.offset)
            left = self._count
            while left and len(words := np.fromfile(stream, "<u4", min(WORDS_AT_ONCE, left))):
                left -= len(words)
                yield words

    def pairs(self, geometry: ScannerGeometry) -> torch.Tensor:
        """See ListMode."""
        return torch.as_tensor(geometry.ring_pairs, dtype=torch.float32)[:, None, None].expand(geometry.data_shape[:3])

    def batches(self, geometry: ScannerGeometry) -> Iterator[Batch]:
        """See ListMode. Raises PETDiffusionError "bad-file" for an address beyond the bins."""
        addresses = _Addresses(self, geometry)
        clock, bed, done = Clock(), Bed(), 0
        counts: dict[str, int] = {}
        for words in self._chunks():
            for stretch in bed.stretches(words):
                done += len(stretch.words)
                yield self._batch(stretch, addresses, clock, counts, done / self._count)
        self.facts |= {"words": self._count, **counts}
        self._say_what_was_found(clock, bed, counts)

    def _batch(
        self, stretch: Stretch, addresses: _Addresses, clock: Clock, counts: dict[str, int], read: float
    ) -> Batch:
        at = np.flatnonzero(stretch.words >= TAG)
        tags = stretch.words[at]
        count_tags(tags, counts)
        is_time = tags >> np.uint32(29) == TIME_TAG
        first = (at - np.arange(len(at)))[is_time]
        before = clock.now_ms
        clock_s = clock.ticks(tags[is_time] & MILLISECONDS) / 1000
        start_s = clock_s[0] if before is None and len(clock_s) else (before or 0) / 1000
        measured = None if clock.now_ms is None else (float(start_s), clock.now_ms / 1000)
        bins = addresses.bins(stretch.words[stretch.words < TAG] if len(at) else stretch.words)
        if stretch.moving:
            counts["events while the bed moved"] = counts.get("events while the bed moved", 0) + len(bins)
            return Batch(bins[:0], clock_s, np.zeros_like(first), None, "", read)
        position = "" if stretch.position_mm is None else f"bed at {stretch.position_mm:.1f} mm"
        return Batch(bins, clock_s, first, measured, position, read)

    def _say_what_was_found(self, clock: Clock, bed: Bed, counts: dict[str, int]) -> None:
        if clock.now_ms is None:
            self.warnings.append("The list mode has no time tags: how long was measured is not known.")
        else:
            self._say_how_long(clock.now_ms / 1000)
        if clock.first_ms > JUMP_MS:
            self.warnings.append(
                f"The first time tag is at {clock.first_ms / 1000:.3f} s: frames count from the scan's own start."
            )
        if clock.steps_back:
            self.warnings.append(
                f"{clock.steps_back} time tag(s) are out of order, by less than a second: the latest before counts."
            )
        for start_s, stop_s in clock.interruptions[:5]:
            self.warnings.append(f"There are no time tags from {start_s:.3f} to {stop_s:.3f} s: an interruption.")
        if len(bed.vertical) > 1:
            self.warnings.append("The bed was lowered or raised meanwhile, which is not taken into account.")
        for name in ("events while the bed moved", "lost events"):
            if counts.get(name):
                self.warnings.append(f"{counts[name]} {name} are left out.")

    def _say_how_long(self, last_s: float) -> None:
        stated_s = self._header.number("image duration (sec)", 0)
        if stated_s - last_s > 1:
            self.warnings.append(f"The header states {stated_s:g} s, and the last time tag is at {last_s:.3f} s.")


class _Addresses:
    """From addresses to the bins of a geometry."""

    def __init__(self, opened: SiemensListMode, geometry: ScannerGeometry) -> None:
        own = opened.geometry
        self._opened = opened
        self._own_size = int(np.prod(own.data_shape))
        self._size = int(np.prod(geometry.data_shape))
        self._per_plane = np.uint32(own.views * own.tangential_bins)
        target = np.arange(own.planes) if geometry == own else merged_planes(own, geometry)
        shift = (target - np.arange(own.planes)) * int(self._per_plane)
        # Rows: delayed, prompts. What has no plane is shifted far below zero, and moved to the last bin.
        shift = np.where(target < 0, -(1 << 40), shift)
        self._shift = np.stack([np.where(target < 0, -(1 << 40), shift + self._size), shift]).ravel()
        self._all_kept = bool((target >= 0).all())

    def bins(self, events: np.ndarray) -> np.ndarray:
        """As Batch has them, of words that are events."""
        addresses = events & ADDRESS
        if len(addresses) and addresses.max() >= self._own_size:
            raise PETDiffusionError(
                "bad-file",
                f"'{self._opened._words.path}' counts in bin {int(addresses.max())}, but "
                f"'{self._opened._header.path.name}' describes {self._own_size} bins. The header is not that of these "
                "data.",
            )
        rows = addresses // self._per_plane + (events >> np.uint32(30)) * np.uint32(len(self._shift) // 2)
        bins = self._shift[rows] + addresses
        return bins if self._all_kept else np.where(bins < 0, 2 * self._size, bins)


def _segments(largest: int, span: int) -> tuple[Segment, ...]:
    """In the maker's order 0, -1, +1, ... (STIR, stir_ecat_common.cxx); incomplete ones are left away."""
    half = span // 2
    count = (largest - half) // span
    numbers = [0, *(sign * k for k in range(1, count + 1) for sign in (-1, 1))]
    return tuple(Segment(k * span - half, k * span + half) for k in numbers)


def _planes(geometry: ScannerGeometry) -> list[int]:
    return [segment.planes(geometry.rings) for segment in geometry.segments]
