"""Dynamic, gated and multi-bed DICOM series: frames in their order, on one grid, with their times, or a refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import FrameSelection, FrameTime, open_frames, read_volume, to_suv
from Testing.volumes.dicom_series import HALF_LIFE_S, stored_values

MakeSeries = Callable[..., Path]
SLICES = 3


def frame_values(frame: int) -> np.ndarray:
    """Stored values [z, y, x] of a frame that `in_frames` makes."""
    return np.stack([stored_values(SLICES * frame + z) for z in range(SLICES)]).astype(np.float32)


def in_frames(dataset: Dataset, index: int) -> None:
    """Slice `index` of a dynamic series of 3 slices a frame, each of 60 s, the first at the series' time."""
    frame, z = divmod(index, SLICES)
    dataset.SeriesType = ["DYNAMIC", "IMAGE"]
    dataset.ImagePositionPatient = [-10, -20, 30 + 4 * z]
    dataset.NumberOfSlices, dataset.ImageIndex = SLICES, index + 1
    dataset.AcquisitionTime = f"11{frame:02}00"
    dataset.ActualFrameDuration, dataset.FrameReferenceTime = 60000, 60000 * frame + 29913


def without(*keywords: str) -> Callable[[Dataset, int], None]:
    def bend(dataset: Dataset, index: int) -> None:
        in_frames(dataset, index)
        for keyword in keywords:
            delattr(dataset, keyword)

    return bend


def refusal(path: Path, code: str) -> str:
    with pytest.raises(PETDiffusionError) as caught:
        read_volume(path)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "missing",
    [
        (),
        ("ImageIndex",),
        ("FrameReferenceTime",),
        ("AcquisitionTime", "AcquisitionDate"),
        ("ImageIndex", "FrameReferenceTime"),
        ("AcquisitionTime", "FrameReferenceTime"),
    ],
)
def test_frames_are_told_apart_by_whatever_the_vendor_writes(make_series: MakeSeries, missing: tuple[str, ...]) -> None:
    series = open_frames(make_series(without(*missing), slices=12))
    assert len(series) == 4 and series.kind == "dynamic"
    for frame in range(4):
        np.testing.assert_array_equal(series.read(frame).array, frame_values(frame))
    json.dumps(series.facts)


def test_frame_times_count_from_what_the_decay_is_corrected_to(make_series: MakeSeries) -> None:
    series = open_frames(make_series(in_frames, slices=9))
    assert series.times == tuple(FrameTime(60.0 * frame, 60.0) for frame in range(3))
    assert series.facts["time_zero"] == "2024-01-05T11:00:00" == series.facts["decay_corrected_to"]


def test_a_static_series_is_one_frame(make_series: MakeSeries) -> None:
    folder = make_series()
    series = open_frames(folder)
    assert len(series) == 1 and series.kind == "static"
    np.testing.assert_array_equal(series.read(0).array, read_volume(folder).array)


def test_a_frame_or_the_mean_can_be_chosen_and_several_frames_are_no_volume(make_series: MakeSeries) -> None:
    folder = make_series(in_frames, slices=12)
    assert "4 time frames" in refusal(folder, "dynamic")
    np.testing.assert_array_equal(read_volume(folder, frames="3").array, frame_values(2))
    mean = np.mean([frame_values(frame) for frame in range(4)], axis=0)
    np.testing.assert_allclose(read_volume(folder, frames="mean").array, mean, rtol=1e-6)
    assert len(open_frames(folder).selected(FrameSelection.parse("2-3"))) == 2
    with pytest.raises(PETDiffusionError, match="has 4 frame"):
        read_volume(folder, frames="5")


def test_uncorrected_frames_are_brought_to_one_moment(make_series: MakeSeries) -> None:
    """The frames of an uncorrected series at rest show one SUV: what decayed between them is put back."""

    def bend(dataset: Dataset, index: int) -> None:
        in_frames(dataset, index)
        dataset.DecayCorrection, dataset.CorrectedImage = "NONE", ["ATTN"]
        dataset.AcquisitionTime = f"1{1 + index // SLICES}0000"
        dataset.PixelData = np.full((6, 8), 8000, np.int16).tobytes()
        dataset.RescaleSlope = 2.0 ** (-3600 * (index // SLICES) / HALF_LIFE_S)

    series = open_frames(make_series(bend, slices=9))
    means = [to_suv(series.read(frame)).array.mean() for frame in range(3)]
    np.testing.assert_allclose(means, means[0], rtol=1e-6)
    assert any("brought to the earliest acquisition" in warning for warning in series.read(2).warnings)
