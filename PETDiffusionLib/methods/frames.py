"""Denoising the frames of a dynamic or gated acquisition: each as if it were alone, one at a time in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.methods.denoising import (
    Denoise,
    DenoiseResult,
    Progress,
    Warn,
    suv_facts_of,
    warn_of_negatives,
)
from PETDiffusionLib.volumes import Volume
from PETDiffusionLib.volumes.frame_warnings import FrameWarnings
from PETDiffusionLib.volumes.frame_writing import FrameWriter
from PETDiffusionLib.volumes.frames import FrameSeries
from PETDiffusionLib.volumes.plausibility import implausible_suvmax

NO_COUNTS = 0.1  # of the activity above zero: a frame whose sum is below it holds noise about zero alone


def denoise_frames(
    job: Any, series: FrameSeries, to_suv: Callable[[Volume], Volume], denoise: Denoise, progress: Progress, warn: Warn
) -> dict[str, Any]:
    """Denoise every frame of the series and write the outputs of the job. Returns the facts for its summary.

    Each frame of the result is, to the bit, what the frame alone gives with the same options and seed. A frame without
    counts passes through as it is, with an uncertainty of 0. Warnings come at the end, each once, with its frames.
    """
    told = FrameWarnings()
    facts: list[dict[str, Any]] = []
    highest: list[float] = []
    units: dict[str, Any] = {}
    with ExitStack() as stack:
        writers: dict[str, FrameWriter] = {}

        def write(role: str, frame: Volume) -> None:
            if role not in writers:
                writer = FrameWriter(job.outputs[role], frame, series.times, series.facts)
                writers[role] = stack.enter_context(writer)
            writers[role].write(frame)

        def denoise_frame(index: int) -> None:
            """A function of its own, so that nothing of a frame is held while the next one is read."""
            step = _part_of(progress, f"Frame {index + 1} of {len(series)}", index, len(series))
            step("Reading", 0.0)
            given = series.read(index)
            number = _number(given, index)
            volume = to_suv(given)
            units.update(unit="suvbw", input_unit=given.unit, suv=suv_facts_of(volume))
            del given
            for sentence in volume.warnings:
                told.add(number, "input", sentence)
            highest.append(float(sitk.GetArrayViewFromImage(volume.image).max()))
            result = _denoised(volume, denoise, step, partial(told.add, number))
            for role, image in (("image", result.image), ("uncertainty", result.uncertainty)):
                if role in job.outputs and image is not None:
                    write(role, Volume(image, "suvbw", volume.facts))
            facts.append({"number": number, **_time(series, index), **result.facts})

        for index in range(len(series)):
            denoise_frame(index)
        progress("Writing", 1.0)
    told.say(warn, len(series))
    for sentence in implausible_suvmax(max(highest)):
        warn("implausible-suv", sentence)
    shared, differing = _shared(facts)
    return {**shared, **units, "kind": series.kind, "frames": differing}


def _denoised(volume: Volume, denoise: Denoise, progress: Progress, warn: Warn) -> DenoiseResult:
    """The frame denoised, or as it is where there is nothing to denoise."""
    values = sitk.GetArrayViewFromImage(volume.image)
    above_zero = float(values.sum(where=values > 0, dtype=np.float64))
    if above_zero <= 0 or float(values.sum(dtype=np.float64)) < NO_COUNTS * above_zero:
        return _passed_through(volume, warn)
    warn_of_negatives(volume, warn)
    result = denoise(volume.image, progress, warn)
    if not np.isfinite(sitk.GetArrayViewFromImage(result.image)).all():
        return _passed_through(volume, warn)  # activity at the edge of single precision
    return result


def _passed_through(volume: Volume, warn: Warn) -> DenoiseResult:
    warn("no-counts", "There are no counts to denoise; the frame was passed through as it is.")
    nothing = volume.with_array(np.zeros(volume.image.GetSize()[::-1], np.float32))
    return DenoiseResult(volume.image, nothing.image, {"passed_through": True})


def _part_of(progress: Progress, stage: str, index: int, count: int) -> Progress:
    """The progress of one of `count` frames as that of all."""
    return lambda _, fraction: progress(stage, (index + min(fraction, 0.999)) / count)


def _number(volume: Volume, index: int) -> int:
    """The number from 1 that the frame has in its acquisition, of which the series may be a choice."""
    frame = volume.facts.get("frame")
    return int(frame["number"]) if isinstance(frame, dict) else index + 1


def _time(series: FrameSeries, index: int) -> dict[str, float]:
    time = series.times[index]
    return {} if time is None else {"start_s": time.start_s, "duration_s": time.duration_s}


def _shared(facts: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What all denoised frames have in common, and for each frame the rest."""
    denoised = [frame for frame in facts if not frame.get("passed_through")]
    shared = {}
    if denoised:
        shared = {
            name: value
            for name, value in denoised[0].items()
            if name != "number" and all(frame.get(name) == value for frame in facts if frame in denoised)
        }
    return shared, [{name: value for name, value in frame.items() if name not in shared} for frame in facts]
