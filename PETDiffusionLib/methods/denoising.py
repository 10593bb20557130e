"""What the methods that denoise a volume share: their result, and the job's files around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.catalogue.method import Method
from PETDiffusionLib.methods.catalogue.rules import stated_suv
from PETDiffusionLib.volumes import Volume, to_suv, write_volume
from PETDiffusionLib.volumes.frames import FrameSelection
from PETDiffusionLib.volumes.reading import open_frames
from PETDiffusionLib.volumes.volume import check_geometry, check_values

SUV_FACTS = ("suv_per_bqml", "weight_kg", "dose_mbq", "minutes", "half_life_s")  # of the manifest

NEGATIVE_SHARE = 0.05  # of the activity; what voxels below zero may take off it unsaid

Progress = Callable[[str, float], None]
Warn = Callable[[str, str], None]


@dataclass(frozen=True)
class DenoiseResult:
    """The denoised volume and its voxelwise standard deviation (None of one draw), in the input's unit, and facts."""

    image: sitk.Image
    uncertainty: sitk.Image | None
    facts: dict[str, Any]


Denoise = Callable[[sitk.Image, Progress, Warn], DenoiseResult]  # of one image in SUV


def check_call(image: sitk.Image, method: Method, options: dict[str, Any]) -> None:
    """Refuse an image that is no PET volume, and options that `method` does not have; None is an option not given."""
    check_geometry(image, "The image")
    values = sitk.GetArrayViewFromImage(image)
    check_values(values, "the image")
    if values.sum(dtype=np.float64) <= 0:
        raise PETDiffusionError(
            "no-activity", "The values of the volume sum to nothing or less. Give a PET volume in SUV or Bq/ml."
        )
    for name, value in options.items():
        rule = method.options[name]
        if value is not None and not rule.accepts(value):
            raise PETDiffusionError("bad-option", f"{name}: {rule.expected} is expected, found {value}.")


def denoise_job(job: Any, denoise: Denoise, progress: Progress, warn: Warn) -> dict[str, Any]:
    """Read the job's volume or frames, bring them to SUV, denoise, write. Returns the facts for the job's summary."""
    options = job.options
    progress("Reading", 0.0)
    series = open_frames(job.inputs["image"], options["unit"])
    if options["frames"] is not None:
        series = series.selected(FrameSelection.parse(options["frames"]))
    stated = stated_suv(options)

    def in_suv(volume: Volume) -> Volume:
        return to_suv(volume, **stated)

    if len(series) > 1:
        from PETDiffusionLib.methods.frames import denoise_frames
        from PETDiffusionLib.volumes.frame_writing import check_frame_files

        if not options["overwrite"]:
            for place in job.places.values():
                check_frame_files(place, len(series))
        return denoise_frames(job, series, in_suv, denoise, progress, warn)
    given = series.read(0)
    volume = in_suv(given)
    for sentence in volume.warnings:
        warn("input", sentence)
    warn_of_negatives(volume, warn)
    result = denoise(volume.image, progress, warn)
    progress("Writing", 1.0)
    for role, image in (("image", result.image), ("uncertainty", result.uncertainty)):
        if role in job.outputs:
            write_volume(Volume(image, "suvbw", volume.facts), job.outputs[role])
    return result.facts | {"unit": "suvbw", "input_unit": given.unit, "suv": suv_facts_of(volume)}


def suv_facts_of(volume: Volume) -> dict[str, Any]:
    """What the manifest says of how the values became SUV."""
    return {name: volume.facts[name] for name in SUV_FACTS if volume.facts.get(name) is not None}


def warn_of_negatives(volume: Volume, warn: Warn) -> None:
    """Say where negative voxels make up for much of the activity: the denoisers take them as 0."""
    values = sitk.GetArrayViewFromImage(volume.image)
    above_zero = float(values.sum(where=values > 0, dtype=np.float64))
    total = float(values.sum(dtype=np.float64))
    if 0 < total < (1 - NEGATIVE_SHARE) * above_zero:
        warn(
            "negative-values",
            f"Voxels below zero take {100 * (1 - total / above_zero):.0f} % off the activity of the others; they are "
            "denoised as 0, so that the total of the result is that much too high.",
        )
