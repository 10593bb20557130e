"""Dynamic, gated and multi-bed DICOM series: frames in their order, on one grid, with their times, or a refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import FrameSelection, FrameTime, open_frames, read_volume, to_suv
from Testing.volumes.dicom_series import HALF_LIFE_S, pet_slice, stored_values

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


def test_uncorrected_frames_with_one_time_for_all_are_refused(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        in_frames(dataset, index)
        dataset.DecayCorrection, dataset.AcquisitionTime = "NONE", "110000"

    assert "1 times for 3 frames" in refusal(make_series(bend, slices=9), "bad-times")


def test_frames_that_are_a_series_each_are_listed_as_that(make_series: MakeSeries) -> None:
    for minute in (0, 10):
        folder = make_series(lambda d, _, minute=minute: setattr(d, "AcquisitionTime", f"11{minute:02}00"))
    assert "look like the frames of one acquisition" in refusal(folder, "mixed-series")
    assert read_volume(next(folder.iterdir())).array.shape == (5, 6, 8)


def gated(dataset: Dataset, index: int) -> None:
    """Slice `index` of a gated series of 3 slices a gate, all acquired over the same minutes."""
    in_frames(dataset, index)
    dataset.SeriesType, dataset.AcquisitionTime = ["GATED", "IMAGE"], "110000"
    dataset.FrameReferenceTime, dataset.ActualFrameDuration = 60000, 600000
    dataset.TriggerTime, dataset.FrameTime = 125 * (index // SLICES), 125


@pytest.mark.parametrize("missing", [(), ("ImageIndex",), ("TriggerTime",), ("TriggerTime", "ImageIndex")])
def test_gates_are_told_apart_by_whatever_the_vendor_writes(make_series: MakeSeries, missing: tuple[str, ...]) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        gated(dataset, index)
        dataset.InstanceNumber = index + 1
        for keyword in missing:
            delattr(dataset, keyword)

    folder = make_series(bend, slices=12)
    series = open_frames(folder)
    assert series.kind == "gated" and len(series) == 4
    for frame in range(4):
        np.testing.assert_array_equal(series.read(frame).array, frame_values(frame))
    assert "gates" in refusal(folder, "gated")
    if not missing:
        assert series.facts["gates"] == [{"TriggerTime": 125.0 * gate} for gate in range(4)]


def test_gates_with_nothing_that_tells_them_apart_are_refused(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        gated(dataset, index)
        del dataset.TriggerTime, dataset.ImageIndex

    assert "TriggerTime" in refusal(make_series(bend, slices=12), "gated")


def test_beds_that_overlap_are_not_taken_for_time_frames(make_series: MakeSeries) -> None:
    """Two bed positions of five slices that share two; each slice of a bed has the bed's time."""

    def bend(dataset: Dataset, index: int) -> None:
        bed, z = divmod(index, 5)
        dataset.ImagePositionPatient = [-10, -20, 4 * (z + 3 * bed)]
        dataset.AcquisitionTime = f"11{5 * bed:02}00"

    assert "2 bed positions that overlap" in refusal(make_series(bend, slices=10), "overlapping-beds")


def test_beds_that_do_not_overlap_are_one_volume(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        dataset.AcquisitionTime = f"11{5 * (index // 3):02}00"

    series = open_frames(make_series(bend, slices=6))
    assert len(series) == 1 and series.kind == "static"


def test_passes_over_several_beds_are_frames(make_series: MakeSeries) -> None:
    """Three passes over two bed positions: no tag has one value a frame, but the passes follow each other in time."""

    def bend(dataset: Dataset, index: int) -> None:
        sweep, z = divmod(index, 4)
        dataset.SeriesType, dataset.ActualFrameDuration = ["DYNAMIC", "IMAGE"], 60000
        dataset.ImagePositionPatient = [-10, -20, 4 * z]
        dataset.AcquisitionTime = f"11{2 * sweep + z // 2:02}00"

    series = open_frames(make_series(bend, slices=12))
    assert series.times == tuple(FrameTime(120.0 * sweep, 120.0) for sweep in range(3))
    np.testing.assert_array_equal(series.read(1).array, np.stack([stored_values(index) for index in range(4, 8)]))


def test_a_frame_that_lacks_a_slice_is_named(make_series: MakeSeries) -> None:
    folder = make_series(in_frames, slices=12)
    sorted(folder.iterdir())[4].unlink()  # names run against the order: slice 7, the second of frame 3
    assert "frame 3 of 4 lacks 1" in refusal(folder, "missing-slices")


def test_frames_that_lie_elsewhere_are_refused(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        in_frames(dataset, index)
        if index >= 6:
            dataset.ImagePositionPatient = [-8, -20, dataset.ImagePositionPatient[2]]

    assert "frame 3" in refusal(make_series(bend, slices=9), "frames-differ")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(9)))
def test_the_order_of_files_changes_no_frame(tmp_path: Path, order: list[int]) -> None:
    uid = generate_uid()
    folder = tmp_path / uid[-12:]
    folder.mkdir()
    for name, index in enumerate(order):
        dataset = pet_slice(index, uid)
        in_frames(dataset, index)
        dataset.save_as(folder / f"{name}.dcm")
    series = open_frames(folder)
    for frame in range(3):
        np.testing.assert_array_equal(series.read(frame).array, frame_values(frame))
