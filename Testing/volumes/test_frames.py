"""Which frames of an acquisition are meant, and their mean."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import Volume
from PETDiffusionLib.volumes.frames import FrameSelection, FrameSeries, FrameTime


def series(durations_s: tuple[float | None, ...]) -> FrameSeries:
    """Frames of the values 1, 2, 3 ... one after the other."""
    starts = np.cumsum([0.0, *(duration or 0 for duration in durations_s)])
    times = tuple(
        None if duration is None else FrameTime(float(start), duration)
        for start, duration in zip(starts, durations_s, strict=False)
    )

    def read(index: int) -> Volume:
        return Volume(sitk.Image([4, 3, 2], sitk.sitkFloat32) + (index + 1), "bqml")

    return FrameSeries("scan", "dynamic", times, read)


@pytest.mark.parametrize(
    ("text", "numbers"), [("3", [3]), ("3-5", [3, 4, 5]), ("1-2, 5", [1, 2, 5]), ("5,1", [5, 1]), ("2-2", [2])]
)
def test_frames_are_chosen_by_their_numbers_from_1(text: str, numbers: list[int]) -> None:
    chosen = series((10.0,) * 5).selected(FrameSelection.parse(text))
    assert [chosen.read(index).array.max() for index in range(len(chosen))] == numbers
    assert [time.start_s for time in chosen.times if time] == [10.0 * (number - 1) for number in numbers]


@pytest.mark.parametrize("text", ["", "0", "0-3", "5-3", "a", "mean:", "mean3", "3-", "1,,2", "mean:0", "-1", "1.5"])
def test_other_texts_are_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(PETDiffusionError, match="numbered from 1"):
        FrameSelection.parse(text)


@pytest.mark.parametrize("text", ["6", "2-9", "50-60", "mean:6", "1-999999999999"])
def test_a_frame_that_is_not_there_is_named(text: str) -> None:
    with pytest.raises(PETDiffusionError, match=r"'scan' has 5 frame\(s\), and frame \d+ was asked for"):
        series((10.0,) * 5).selected(FrameSelection.parse(text))


def test_the_mean_weighs_each_frame_by_its_length() -> None:
    mean = series((10.0, 20.0, 30.0)).selected(FrameSelection.parse("mean"))
    assert mean.times == (FrameTime(0.0, 60.0),)
    np.testing.assert_allclose(mean.read(0).array, (1 * 10 + 2 * 20 + 3 * 30) / 60, rtol=1e-6)
    part = series((10.0, 20.0, 30.0)).selected(FrameSelection.parse("mean:2-3"))
    np.testing.assert_allclose(part.read(0).array, (2 * 20 + 3 * 30) / 50, rtol=1e-6)


def test_the_mean_weighs_frames_alike_where_a_length_is_not_known() -> None:
    mean = series((10.0, None, 30.0)).selected(FrameSelection.parse("mean"))
    assert mean.times == (None,)
    np.testing.assert_allclose(mean.read(0).array, 2.0, rtol=1e-6)
