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
from PETDiffusionLib.volumes import Volume, read_volume, to_suv, write_volume
from PETDiffusionLib.volumes.volume import check_geometry, check_values

SUV_FACTS = ("suv_per_bqml", "weight_kg", "dose_mbq", "minutes", "half_life_s")  # of the manifest
PLAUSIBLE_SUVMAX = (0.1, 1000.0)  # of a PET volume

Progress = Callable[[str, float], None]
Warn = Callable[[str, str], None]


@dataclass(frozen=True)
class DenoiseResult:
    """The denoised volume and its voxelwise standard deviation (None of one draw), in the input's unit, and facts."""

    image: sitk.Image
    uncertainty: sitk.Image | None
    facts: dict[str, Any]


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


def denoise_job(
    job: Any, denoise: Callable[[sitk.Image], DenoiseResult], progress: Progress, warn: Warn
) -> dict[str, Any]:
    """Read the job's volume, bring it to SUV, denoise, write what is asked for. Returns the facts for its summary."""
    options = job.options
    progress("Reading", 0.0)
    given = read_volume(job.inputs["image"], options["unit"])
    volume = to_suv(given, **stated_suv(options))
    for sentence in volume.warnings:
        warn("input", sentence)
    _warn_implausible(volume, warn)
    result = denoise(volume.image)
    progress("Writing", 1.0)
    for role, image in (("image", result.image), ("uncertainty", result.uncertainty)):
        if role in job.outputs:
            write_volume(Volume(image, "suvbw", volume.facts), job.outputs[role])
    suv = {name: volume.facts[name] for name in SUV_FACTS if volume.facts.get(name) is not None}
    return result.facts | {"unit": "suvbw", "input_unit": given.unit, "suv": suv}


def _warn_implausible(volume: Volume, warn: Warn) -> None:
    """Say where the values can hardly be SUV: a wrong unit, weight or dose, since the result would look the same."""
    hottest = float(sitk.GetArrayViewFromImage(volume.image).max())
    if not PLAUSIBLE_SUVMAX[0] <= hottest <= PLAUSIBLE_SUVMAX[1]:
        warn(
            "implausible-suv",
            f"The highest SUV is {hottest:.3g}: check the unit, the weight in kg and the dose in MBq.",
        )
