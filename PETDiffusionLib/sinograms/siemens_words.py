"""The 32-bit words of Siemens' list mode (PETLINK guideline, revision J1, section 3): events, and tags between them.

Bit 31 is 0 for an event: bit 30 is 1 for a prompt and 0 for a delayed coincidence, bits 0 to 29 are the bin's address.
It is 1 for a tag: 100 and 29 bits of milliseconds; 101 dead time and lost events; 1100 gantry and bed, of which 0xC4 is
the bed's horizontal position, 20 bits with a sign in 0.01 mm, and bit 20 that it moves; 1110 gating; 1111 control.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from PETDiffusionLib.errors import PETDiffusionError

TAG, PROMPT, ADDRESS = np.uint32(1 << 31), np.uint32(1 << 30), np.uint32((1 << 30) - 1)
MILLISECONDS = np.uint32((1 << 29) - 1)
WRAP_MS = 1 << 29  # 149 hours: the clock begins at zero again
TIME_TAG, HORIZONTAL_BED, VERTICAL_BED = 0b100, 0xC4, 0xC3
BED_MOVING = 1 << 20
SAME_POSITION_MM = 1.0  # a bed that is read again and again trembles by less
JUMP_MS = 1000  # a longer step of the clock is an interruption, a longer step back another acquisition
OTHER_TAGS = {
    "dead-time words": (29, 0b101),
    "gantry and bed words": (28, 0b1100),
    "gating words": (28, 0b1110),
    "control words": (28, 0b1111),
}
LOST_EVENTS = (26, 0b101111)  # among those of dead time: how many events the electronics dropped


class Stretch(NamedTuple):
    """Words in a row while the bed stands, or moves, at one place."""

    words: np.ndarray
    position_mm: float | None
    moving: bool


@dataclass
class Clock:
    """The elapsed time over all words: it never falls; the counter's wrap-around is added."""

    now_ms: int | None = None
    first_ms: int = 0
    steps_back: int = 0
    interruptions: list[tuple[float, float]] = field(default_factory=list)
    _turns_ms: int = 0
    _counter: int = 0

    def ticks(self, counters: np.ndarray) -> np.ndarray:
        """The time of each tag, in ms, after those before. Raises PETDiffusionError where it starts anew."""
        if not len(counters):
            return np.zeros(0, np.int64)
        counters = counters.astype(np.int64)
        if self.now_ms is None:
            self.now_ms = self.first_ms = self._counter = int(counters[0])
        steps = np.diff(counters, prepend=self._counter)
        turns = self._turns_ms + WRAP_MS * np.cumsum(steps < -WRAP_MS / 2)
        times = np.maximum.accumulate(np.concatenate([[self.now_ms], counters + turns]))
        behind = times[1:] - (counters + turns)
        if behind.max() > JUMP_MS:
            at = int(np.argmax(behind > JUMP_MS))
            raise PETDiffusionError(
                "bad-time",
                f"The time in the list mode runs back from {times[at] / 1000:.3f} s to {counters[at] / 1000:.3f} s, as "
                "where two acquisitions follow each other in one file. Give each acquisition as a file of its own.",
            )
        self.steps_back += int(np.count_nonzero(behind))
        gaps = np.diff(times)
        for before in np.flatnonzero(gaps > JUMP_MS):
            self.interruptions.append((times[before] / 1000, times[before + 1] / 1000))
        self.now_ms, self._turns_ms, self._counter = int(times[-1]), int(turns[-1]), int(counters[-1])
        return times[1:]


@dataclass
class Bed:
    """Where the bed is, as the tags say it; the first of positions that differ by less than the tremble counts."""

    position_mm: float | None = None
    moving: bool = False
    moves: bool = False  # whether there was any change
    vertical: set[int] = field(default_factory=set)

    def stretches(self, words: np.ndarray) -> Iterator[Stretch]:
        """The words, cut where the bed begins to move, stops, or stands elsewhere."""
        kinds = words >> np.uint32(24)
        self.vertical.update(np.unique(words[kinds == VERTICAL_BED] & np.uint32(0x3FFF)).tolist()[:8])
        start = 0
        for at in np.flatnonzero(kinds == HORIZONTAL_BED):
            word = int(words[at])
            units = word & 0xFFFFF
            found_mm = (units - (1 << 20) if units & (1 << 19) else units) / 100
            moving = bool(word & BED_MOVING)
            stays = self.position_mm is not None and abs(found_mm - self.position_mm) < SAME_POSITION_MM
            if stays and moving == self.moving:
                continue
            if self.position_mm is not None and at > start:
                yield Stretch(words[start:at], self.position_mm, self.moving)
                start = int(at)
            self.moves |= self.position_mm is not None
            self.position_mm = self.position_mm if stays else found_mm
            self.moving = moving
        yield Stretch(words[start:], self.position_mm, self.moving)


def count_tags(tags: np.ndarray, counts: dict[str, int]) -> None:
    """Add how many tags there are of each kind that is not used, and how many events were lost."""
    for name, (shift, code) in OTHER_TAGS.items():
        found = int(np.count_nonzero(tags >> np.uint32(shift) == code))
        if found:
            counts[name] = counts.get(name, 0) + found
    lost = tags[tags >> np.uint32(LOST_EVENTS[0]) == LOST_EVENTS[1]] & np.uint32(0xFFFFF)
    if len(lost):
        counts["lost events"] = counts.get("lost events", 0) + int(lost.sum(dtype=np.int64))
