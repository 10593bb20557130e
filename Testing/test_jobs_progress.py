"""Progress: monotone, a few events a second, a time left that can be trusted, and the point where a job stops."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from PETDiffusionLib.errors import Cancelled
from PETDiffusionLib.jobs import JsonLinesReporter
from PETDiffusionLib.jobs.progress import Progress, TimeLeft
from PETDiffusionLib.jobs.reporters import plain


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def events_of(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_time_left_is_exact_for_steady_work() -> None:
    left = TimeLeft()
    for second in range(60):
        guess = left.update(second, second / 100)
    assert guess == pytest.approx(100 - 59, rel=1e-6)


def test_time_left_is_unknown_at_first() -> None:
    left = TimeLeft()
    assert left.update(0.0, 0.0) is None
    assert left.update(0.5, 0.1) is None
    assert left.update(5.0, 0.2) is not None


def test_time_left_forgets_a_slow_start() -> None:
    left = TimeLeft()
    left.update(0.0, 0.0)
    left.update(100.0, 0.01)  # a hundred seconds of loading
    for second in range(101, 131):
        guess = left.update(second, 0.01 + 0.01 * (second - 100))
    assert guess == pytest.approx(69.0, rel=0.05)


def test_time_left_never_divides_by_standing_still() -> None:
    left = TimeLeft()
    for second in range(50):
        assert left.update(second, 0.3) is None
    assert left.update(51.0, 1.0) == 0.0


def test_at_most_five_progress_events_a_second_and_always_the_last() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(JsonLinesReporter(stream), lambda: False, clock)
    for step in range(1001):
        progress("Denoising", step / 1000)
        clock.now += 0.01
    events = [event for event in events_of(stream) if event["event"] == "progress"]
    assert 40 <= len(events) <= 52
    assert events[-1]["fraction"] == 1.0 and events[-1]["seconds_left"] == 0.0


def test_fractions_never_go_back_and_stay_within_one() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(JsonLinesReporter(stream), lambda: False, clock)
    for fraction in (0.1, 0.5, 0.3, -1.0, 2.0):
        clock.now += 1
        progress("Denoising", fraction)
    fractions = [event["fraction"] for event in events_of(stream) if event["event"] == "progress"]
    assert fractions == [0.1, 0.5, 0.5, 0.5, 1.0]


def test_each_stage_is_announced_once_and_timed() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(JsonLinesReporter(stream), lambda: False, clock)
    for stage, seconds in (("Reading", 1.5), ("Denoising", 10.0), ("Denoising", 5.0)):
        progress(stage, 0.1)
        clock.now += seconds
    assert progress.finish() == {"Reading": 1.5, "Denoising": 15.0}
    assert [event["stage"] for event in events_of(stream) if event["event"] == "stage"] == ["Reading", "Denoising"]


def test_the_wish_to_stop_is_raised_by_the_next_call() -> None:
    wishes = iter([False, False, True])
    progress = Progress(JsonLinesReporter(io.StringIO()), lambda: next(wishes))
    progress("Denoising", 0.1)
    progress("Denoising", 0.2)
    with pytest.raises(Cancelled):
        progress("Denoising", 0.3)


def test_events_hold_only_what_json_can_hold() -> None:
    value = {
        "factor": np.float32(0.5),
        "size": np.array([1, 2]),
        "path": Path("a") / "b",
        "psnr": math.inf,
        "pair": (np.int64(3), math.nan),
    }
    expected = {"factor": 0.5, "size": [1, 2], "path": str(Path("a/b")), "psnr": None, "pair": [3, None]}
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected


def test_every_line_is_ascii() -> None:
    stream = io.StringIO()
    JsonLinesReporter(stream).result({"image": Path("Müller/肝.nii.gz")}, Path("m.json"), {"note": "ø\n"})
    assert stream.getvalue().isascii() and stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue())["outputs"]["image"].endswith("肝.nii.gz")
