"""A measured sinogram with the terms that its files give: what every reconstruction job starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.attenuation import attenuation_factors, mu_from_hounsfield
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.sinograms import Sinogram, default_grid
from PETDiffusionLib.sinograms.files import read_sinogram, read_term, with_additive
from PETDiffusionLib.sinograms.list_mode import is_list_mode
from PETDiffusionLib.sinograms.list_mode_reading import ListModeWindow, read_list_mode
from PETDiffusionLib.sinograms.orientation import position
from PETDiffusionLib.volumes import Unit, Volume, read_volume

# From the unit of a mu-map to 1/mm.
MU_UNITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "per-mm": lambda values: values,
    "per-cm": lambda values: values / 10,
    "hu": mu_from_hounsfield,
}
PLAUSIBLE_MU_PER_MM = (0.002, 0.05)  # where the largest value of a mu-map lies: plastic foam to dense metal


def with_attenuation_map(sinogram: Sinogram, image: sitk.Image, unit: str) -> Sinogram:
    """With the attenuation of a mu-map (or a CT, `unit` "hu") in LPS about the scanner's centre.

    Raises PETDiffusionError "bad-mu-map" for values that cannot be of that unit, or a map beside the field of view.
    """
    grid = default_grid(sinogram.geometry, voxel_mm=max(4.0, default_grid(sinogram.geometry).voxel_size_mm[0]))
    mu = np.maximum(MU_UNITS[unit](grid.from_image(image, outside=-1000.0 if unit == "hu" else 0.0)), 0)
    low, high = PLAUSIBLE_MU_PER_MM
    if not low <= mu.max() <= high:
        raise PETDiffusionError(
            "bad-mu-map",
            f"Read as {unit}, the mu-map reaches {mu.max():.4g} per mm in the field of view, where water has 0.0096. "
            "Give its unit by --attenuation-unit (per-cm, per-mm or hu), and the map about the scanner's centre.",
        )
    device = sinogram.prompts.device
    projector = make_projector(sinogram.geometry, grid.shape, grid.voxel_size_mm, device=device)
    with torch.no_grad():
        factors = attenuation_factors(torch.from_numpy(mu.astype(np.float32)).to(device), projector)
    inside = sitk.Image(image.GetSize(), sitk.sitkFloat32) + 1
    inside.CopyInformation(image)
    covered = {"mu_map_covers": float((grid.from_image(inside) > 0.5).mean())}
    return replace(sinogram, facts={**sinogram.facts, **covered}).with_factors(factors, "attenuation")


def read_measurement(
    inputs: dict[str, Path],
    options: Mapping[str, Any],
    progress: Callable[[str, float], None] | None = None,
) -> Sinogram:
    """The sinogram of a job's inputs, or its list mode binned, with the terms beside it.

    Of the job's `options` those count that say what the data are: the unit of a mu-map, how the patient lay, the time
    window of list mode, whether the additive term was divided by the factors. Raises PETDiffusionError where they do
    not fit.
    """
    window, path = ListModeWindow.of(options), inputs["sinogram"]
    if is_list_mode(path):
        binned = read_list_mode(path, window, _first_tenth(progress), with_pairs="normalisation" not in inputs)
        return with_terms(binned, inputs, options)
    if not window.is_default:
        raise not_list_mode(path)
    return with_terms(read_sinogram(path, options["additive_is"]), inputs, options)


def not_list_mode(path: Path) -> PETDiffusionError:
    """The refusal of what is asked of list mode, where a sinogram is given."""
    return PETDiffusionError(
        "not-list-mode",
        f"'{path.name}' is no list mode, and in a sinogram times and ring differences are summed already: leave out "
        "--from-s, --to-s, --frame-times and --span, or give list mode.",
    )


def _first_tenth(progress: Callable[[str, float], None] | None) -> Callable[[str, float], None] | None:
    """What binning reports to, as a tenth of the whole job."""
    return None if progress is None else lambda stage, fraction: progress(stage, fraction / 10)


def with_terms(sinogram: Sinogram, inputs: dict[str, Path], options: Mapping[str, Any]) -> Sinogram:
    """A sinogram with the terms of a job's other inputs. Raises PETDiffusionError where they do not fit."""
    attenuation_unit, patient_position = options["attenuation_unit"], options["patient_position"]
    if patient_position is not None:
        sinogram = replace(sinogram, geometry=sinogram.geometry.with_patient(patient_position))
    if "attenuation_factors" in inputs:
        factors = read_term(inputs["attenuation_factors"], sinogram)
        if factors.min() < 0 or factors.max() > 1.001:
            raise PETDiffusionError(
                "bad-factors",
                f"Attenuation factors are shares from 0 to 1; '{inputs['attenuation_factors'].name}' holds "
                f"{float(factors.min()):.3g} to {float(factors.max()):.3g}. Correction factors go in as 1 over them.",
            )
        sinogram = _without(sinogram, "attenuation").with_factors(factors, "attenuation")
    if "attenuation" in inputs:
        mu = read_volume(inputs["attenuation"])
        sinogram = with_attenuation_map(_without(sinogram, "attenuation"), mu.image, _mu_unit(mu, attenuation_unit))
    if "normalisation" in inputs:
        efficiency = read_term(inputs["normalisation"], sinogram)
        sinogram = _without(sinogram, "normalisation").with_factors(efficiency, "normalisation")
    if "additive" in inputs:
        background = read_term(inputs["additive"], sinogram)
        sinogram = with_additive(
            _without(sinogram, "randoms", "scatter"), background, options["additive_is"] or "counts"
        )
    return sinogram


def _mu_unit(mu: Volume, stated: str) -> str:
    """The unit of a mu-map, where its own file says it; it may not contradict an option other than the default."""
    own = str(mu.facts.get("mu_unit", stated))
    if stated not in (own, "per-cm"):
        raise PETDiffusionError(
            "bad-mu-map", f"--attenuation-unit is {stated}, but the mu-map itself says {own}. Leave the option out."
        )
    return own


def _without(sinogram: Sinogram, *effects: str) -> Sinogram:
    """The sinogram, if none of `effects` is accounted for yet."""
    for effect in effects:
        if effect in sinogram.corrected:
            raise PETDiffusionError(
                "twice", f"The {effect} is given twice, by two files or by the sinogram's own folder. Give it once."
            )
    return sinogram


def image_unit(sinogram: Sinogram) -> Unit:
    """The unit that the sinogram's terms were made for, if they are all there."""
    return "counts" if sinogram.not_corrected else sinogram.facts.get("unit", "counts")


def warn_of_the_data(sinogram: Sinogram, warn: Callable[[str, str], None]) -> None:
    """Say by `warn(code, sentence)` what nothing corrects, what a Poisson model cannot take, what is assumed."""
    for sentence in sinogram.warnings:
        warn("sinogram", sentence)
    stated = sinogram.geometry.patient_position
    if stated.code is None:
        assumed = position(stated.taken)
        warn(
            "patient-position",
            f"The sinogram does not say how the patient lay: {assumed.entry} first, {assumed.rotation} "
            f"({assumed.code}) is assumed. If that is not so, the volume's left and right, front and back or head and "
            "feet are exchanged, and a mu-map does not fit: give --patient-position.",
        )
    if sinogram.not_corrected:
        missing = " and ".join(", ".join(sinogram.not_corrected).rsplit(", ", 1))
        warn("not-corrected", f"Not corrected for {missing}: the values are not quantitative.")
    negative = int((sinogram.prompts < 0).sum())
    if negative:
        warn(
            "negative-prompts",
            f"{negative} of {sinogram.prompts.numel()} bins are below zero, as in precorrected data; they count as 0.",
        )
