"""From a method's (stage, fraction) calls to events: monotone, not too many, with the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from PETDiffusionLib.errors import Cancelled
from PETDiffusionLib.jobs.reporters import Reporter

SECONDS_BETWEEN_EVENTS = 0.2
WINDOW_S = 20.0
SECONDS_BEFORE_A_GUESS = 1.0


class TimeLeft:
    """The time left, from the rate over the last twenty seconds: a slow start or a fast end is soon forgotten."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, float]] = deque()
        self._started: float | None = None

    def update(self, now_s: float, fraction: float) -> float | None:
        """Seconds left after reaching `fraction` of the work at `now_s`; None while unknown."""
        if self._started is None:
            self._started = now_s
        self._recent.append((now_s, fraction))
        while len(self._recent) > 2 and now_s - self._recent[1][0] >= WINDOW_S:
            self._recent.popleft()
        then_s, then_fraction = self._recent[0]
        gained = fraction - then_fraction
        if fraction >= 1:
            return 0.0
        if now_s - self._started < SECONDS_BEFORE_A_GUESS or gained <= 0:
            return None
        return (1 - fraction) * (now_s - then_s) / gained


class Progress:
    """The progress callback of a job: raises Cancelled when stopping is wished, and keeps the time of each stage."""

    def __init__(
        self, reporter: Reporter, is_cancelled: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reporter = reporter
        self._is_cancelled = is_cancelled
        self._clock = clock
        self._time_left = TimeLeft()
        self._stage: str | None = None
        self._stage_started = clock()
        self._last_event = float("-inf")
        self._fraction = 0.0
        self.timings_s: dict[str, float] = {}

    def begin(self, stage: str) -> None:
        """A stage starts. Raises Cancelled."""
        if self._is_cancelled():
            raise Cancelled
        if stage != self._stage:
            self._close_stage()
            self._stage = stage
            self._reporter.stage(stage)

    def __call__(self, stage: str, fraction: float) -> None:
        """`fraction` of the whole job is done, `stage` is running. Raises Cancelled."""
        self.begin(stage)
        self._fraction = min(max(fraction, self._fraction), 1.0)
        now = self._clock()
        left = self._time_left.update(now, self._fraction)
        if now - self._last_event >= SECONDS_BETWEEN_EVENTS or self._fraction == 1.0:
            self._last_event = now
            self._reporter.progress(stage, self._fraction, left)

    def finish(self) -> dict[str, float]:
        """Seconds spent in each stage."""
        self._close_stage()
        self._stage = None
        return self.timings_s

    def _close_stage(self) -> None:
        now = self._clock()
        if self._stage is not None:
            spent = self.timings_s.get(self._stage, 0.0) + now - self._stage_started
            self.timings_s[self._stage] = round(spent, 3)
        self._stage_started = now
