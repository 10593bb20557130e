"""A measured sinogram with the terms that its files give: what every reconstruction job starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from scipy.ndimage import binary_erosion

from PETDiffusionLib.corrections.compton import EnergyWindow
from PETDiffusionLib.corrections.randoms import estimated_randoms
from PETDiffusionLib.corrections.scatter_estimate import estimated_scatter
from PETDiffusionLib.corrections.siemens_normalisation import efficiencies, is_norm_header, read_norm
from PETDiffusionLib.devices import choose_device
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.attenuation import WATER_MU_PER_MM, attenuation_factors, mu_from_hounsfield
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.sinograms import ImageGrid, Sinogram, default_grid
from PETDiffusionLib.sinograms.files import read_sinogram, read_term, with_additive
from PETDiffusionLib.sinograms.list_mode import is_list_mode
from PETDiffusionLib.sinograms.list_mode_reading import ListModeWindow, read_list_mode
from PETDiffusionLib.sinograms.orientation import position
from PETDiffusionLib.volumes import Unit, Volume, read_volume

Progress = Callable[[str, float], None]
Warn = Callable[[str, str], None]

# From the unit of a mu-map to 1/mm.
MU_UNITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "per-mm": lambda values: values,
    "per-cm": lambda values: values / 10,
    "hu": mu_from_hounsfield,
}
PLAUSIBLE_MU_PER_MM = (0.002, 0.05)  # where the largest value of a mu-map lies: plastic foam to dense metal

BORDER_VOXELS = 2  # of a mu-map, where it ends: the outermost may be blurred by interpolation


def mu_on_grid(grid: ImageGrid, image: sitk.Image, unit: str) -> np.ndarray:
    """A mu-map or CT in LPS about the scanner's centre, in 1/mm on a grid: float32 [z, y, x], air outside of it."""
    outside = -1000.0 if unit == "hu" else 0.0
    return np.maximum(MU_UNITS[unit](grid.from_image(image, outside)), 0).astype(np.float32)


def with_attenuation_map(sinogram: Sinogram, image: sitk.Image, unit: str) -> Sinogram:
    """With the attenuation of a mu-map (or a CT, `unit` "hu") in LPS about the scanner's centre.

    Raises PETDiffusionError "bad-mu-map" for values that cannot be of that unit, or a map beside the field of view.
    """
    grid = default_grid(sinogram.geometry, voxel_mm=max(4.0, default_grid(sinogram.geometry).voxel_size_mm[0]))
    mu = mu_on_grid(grid, image, unit)
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
    covered = grid.from_image(inside) > 0.5
    facts = {"mu_map_covers": float(covered.mean()), "mu_map_cut_cm2": _tissue_on_the_border(mu, covered, grid)}
    return replace(sinogram, facts={**sinogram.facts, **facts}).with_factors(factors, "attenuation")


def _tissue_on_the_border(mu: np.ndarray, covered: np.ndarray, grid: ImageGrid) -> float:
    """The area in cm2 where a map that covers a part of the field of view ends in tissue and not in air."""
    border = covered & ~binary_erosion(covered, iterations=BORDER_VOXELS, border_value=1)
    voxels = int((mu[border] > WATER_MU_PER_MM / 2).sum())
    return voxels * float(np.prod(grid.voxel_size_mm)) ** (2 / 3) / BORDER_VOXELS / 100


def read_measurement(
    inputs: Mapping[str, Path],
    options: Mapping[str, Any],
    progress: Progress,
    warn: Warn,
    device: str = "auto",
) -> Sinogram:
    """The sinogram of a job's inputs, or its list mode binned, with its terms, those that are estimated too.

    Of the job's `options` those of READING count. Raises PETDiffusionError where they do not fit.
    """
    window, path = ListModeWindow.of(options), inputs["sinogram"]
    if is_list_mode(path):
        binned = read_list_mode(path, window, _first_tenth(progress), with_pairs="normalisation" not in inputs)
        sinogram = with_terms(binned, inputs, options, warn)
    elif window.is_default:
        sinogram = with_terms(
            read_sinogram(path, options["additive_is"], with_pairs="normalisation" not in inputs), inputs, options, warn
        )
    else:
        raise not_list_mode(path)
    return with_estimates(sinogram, inputs, options, progress, warn, device)


def not_list_mode(path: Path) -> PETDiffusionError:
    """The refusal of what is asked of list mode, where a sinogram is given."""
    return PETDiffusionError(
        "not-list-mode",
        f"'{path.name}' is no list mode, and in a sinogram times and ring differences are summed already: leave out "
        "--from-s, --to-s, --frame-times and --span, or give list mode.",
    )


def _first_tenth(progress: Progress) -> Progress:
    """What binning reports to, as a tenth of the whole job."""
    return lambda stage, fraction: progress(stage, fraction / 10)


def with_terms(sinogram: Sinogram, inputs: Mapping[str, Path], options: Mapping[str, Any], warn: Warn) -> Sinogram:
    """A sinogram with the terms of a job's other inputs. Raises PETDiffusionError where they do not fit."""
    if options["patient_position"] is not None:
        sinogram = replace(sinogram, geometry=sinogram.geometry.with_patient(options["patient_position"]))
    said = partial(warn, "term")
    if "attenuation_factors" in inputs:
        factors = read_term(inputs["attenuation_factors"], sinogram, said)
        if factors.min() < 0 or factors.max() > 1.001:
            raise PETDiffusionError(
                "bad-factors",
                f"Attenuation factors are shares from 0 to 1; '{inputs['attenuation_factors'].name}' holds "
                f"{float(factors.min()):.3g} to {float(factors.max()):.3g}. Correction factors go in as 1 over them.",
            )
        sinogram = _without(sinogram, "attenuation").with_factors(factors, "attenuation")
    if "attenuation" in inputs:
        mu = read_volume(inputs["attenuation"])
        sinogram = with_attenuation_map(
            _without(sinogram, "attenuation"), mu.image, _mu_unit(mu, options["attenuation_unit"])
        )
    if "normalisation" in inputs:
        sinogram = _with_normalisation(_without(sinogram, "normalisation"), inputs["normalisation"], warn)
    if "additive" in inputs:
        background = read_term(inputs["additive"], sinogram, said)
        sinogram = with_additive(
            _without(sinogram, "randoms", "scatter"), background, options["additive_is"] or "counts"
        )
    if "delayed" in inputs:
        sinogram = replace(_without(sinogram, "randoms"), delayed=read_term(inputs["delayed"], sinogram, said))
    return sinogram


def _mu_unit(mu: Volume, stated: str) -> str:
    """The unit of a mu-map, where its own file says it; it may not contradict an option other than the default."""
    own = str(mu.facts.get("mu_unit", stated))
    if stated not in (own, "per-cm"):
        raise PETDiffusionError(
            "bad-mu-map", f"--attenuation-unit is {stated}, but the mu-map itself says {own}. Leave the option out."
        )
    return own


def with_estimates(
    sinogram: Sinogram,
    inputs: Mapping[str, Path],
    options: Mapping[str, Any],
    progress: Progress,
    warn: Warn,
    device: str = "auto",
) -> Sinogram:
    """With the terms that the scan itself tells: randoms where there are delayeds, scatter where it is asked for."""
    if sinogram.delayed is not None and "randoms" not in sinogram.corrected and bool(sinogram.delayed.any()):
        randoms = estimated_randoms(sinogram.delayed, sinogram.geometry, partial(progress, "Estimating randoms"))
        if randoms.ndim < sinogram.prompts.ndim:  # delayeds without TOF, which randoms do not know anyway
            randoms = (randoms / sinogram.prompts.shape[3])[..., None].expand(sinogram.prompts.shape)
        counted = {"randoms_from_delayed": float(sinogram.delayed.sum(dtype=torch.float64))}
        sinogram = replace(sinogram, facts={**sinogram.facts, **counted}).with_background(randoms, "randoms")
    if options["scatter"] == "estimate":
        sinogram = _with_estimated_scatter(sinogram, inputs, options, progress, warn, device)
    return sinogram


def _with_normalisation(sinogram: Sinogram, path: Path, warn: Warn) -> Sinogram:
    """With the efficiency of every bin from a sinogram of it, or from a component file."""
    if not is_norm_header(path):
        return sinogram.with_factors(read_term(path, sinogram, partial(warn, "term")), "normalisation")
    norm = read_norm(path)
    singles = sinogram.facts.get("bucket_singles")
    if norm.paralyzing is not None and singles is None:
        warn(
            "dead-time",
            "The sinogram does not state the singles rates of all its buckets, so the dead time in the normalisation "
            "is left out: at high activity the values are too low.",
        )
    facts: dict[str, Any] = {"normalisation_components": list(norm.names)}
    facts["dead_time"] = "none in the file" if norm.paralyzing is None else "left out" if singles is None else "applied"
    efficiency = efficiencies(norm, sinogram.geometry, singles)
    return replace(sinogram, facts={**sinogram.facts, **facts}).with_factors(efficiency, "normalisation")


def _with_estimated_scatter(
    sinogram: Sinogram,
    inputs: Mapping[str, Path],
    options: Mapping[str, Any],
    progress: Progress,
    warn: Warn,
    device: str,
) -> Sinogram:
    if "attenuation" not in inputs:
        raise PETDiffusionError(
            "no-scatter", "An estimate of scatter needs the mu-map as a volume: give it by --attenuation."
        )
    mu = read_volume(inputs["attenuation"])
    limits = options["energy_window_kev"] or sinogram.facts.get("energy_window_kev")
    if limits is None:
        limits = (EnergyWindow.lowest_kev, EnergyWindow.highest_kev)
        warn(
            "energy-window",
            f"The sinogram does not state its energy window; {limits[0]:g} to {limits[1]:g} keV are taken for the "
            "scatter. If that is not so, give --energy-window-kev.",
        )
    on_device = sinogram.to(choose_device(device, double=True))
    estimate = estimated_scatter(
        on_device,
        partial(mu_on_grid, image=mu.image, unit=_mu_unit(mu, options["attenuation_unit"])),
        EnergyWindow(*limits),
        progress=partial(progress, "Estimating scatter"),
    )
    if not estimate.is_plausible:
        warn(
            "scatter-scale",
            f"Beside the body there are {estimate.scale:.2f} times the simulated scatter, where 1 to 1.5 is usual. "
            "Check the mu-map, its place, the randoms and the energy window.",
        )
    facts = {"scatter_fraction": round(estimate.fraction, 4), "scatter_scale": round(estimate.scale, 4)}
    sinogram = sinogram.with_background(estimate.counts.to(sinogram.prompts.device), "scatter")
    return replace(sinogram, facts={**sinogram.facts, **facts})


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


def warn_of_the_data(sinogram: Sinogram, warn: Warn) -> None:
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
