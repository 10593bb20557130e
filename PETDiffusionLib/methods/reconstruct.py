"""Reconstruct a sinogram classically: OSEM, MLEM, MAP-EM, the relative difference prior, filtered back-projection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter

from PETDiffusionLib.devices import choose_device
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.attenuation import attenuation_factors, mu_from_hounsfield
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.reconstruction import BlurringProjector, Update, fbp, map_em, mlem, osem, rdp
from PETDiffusionLib.reconstruction.resolution import FWHM_TO_SIGMA
from PETDiffusionLib.sinograms import ImageGrid, Sinogram, default_grid
from PETDiffusionLib.sinograms.files import read_sinogram, read_term
from PETDiffusionLib.volumes import Unit, Volume, read_volume, write_volume

Progress = Callable[[str, float], None]
Warn = Callable[[str, str], None]

# From the unit of a mu-map to 1/mm.
MU_UNITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "per-mm": lambda values: values,
    "per-cm": lambda values: values / 10,
    "hu": mu_from_hounsfield,
}
PLAUSIBLE_MU_PER_MM = (0.002, 0.05)  # where the largest value of a mu-map lies: plastic foam to dense metal


@dataclass(frozen=True)
class Reconstruction:
    """The volume, the unit of its values, and facts for the manifest."""

    image: sitk.Image
    unit: Unit
    facts: dict[str, Any]


def reconstruct(
    sinogram: Sinogram,
    method: str = "osem",
    *,
    iterations: int = 4,
    subsets: int | None = None,
    beta: float = 0.001,
    cutoff: float = 1.0,
    psf_mm: float = 0.0,
    post_filter_mm: float = 0.0,
    voxel_mm: float | None = None,
    shape: tuple[int, int, int] | None = None,
    start: sitk.Image | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    warn: Warn | None = None,
) -> Reconstruction:
    """Reconstruct by "osem", "mlem", "map-em", "rdp" or "fbp"; each takes those of the settings that it has.

    The grid is the scanner's field of view with voxels as wide as a bin, unless `voxel_mm` (transaxial) or `shape`
    (x, y, z) say otherwise. `progress(stage, fraction)` may raise Cancelled; `warn(code, sentence)` hears what was not
    corrected. Raises PETDiffusionError for settings that do not fit the sinogram.
    """
    progress = progress or (lambda stage, fraction: None)
    warn = warn or (lambda code, sentence: None)
    _warn_of_the_data(sinogram, warn)
    where = choose_device(device)
    sinogram = sinogram.to(where)
    grid = default_grid(sinogram.geometry, voxel_mm, None if shape is None else shape[::-1])
    objectives: dict[int, float] = {}
    if method == "fbp":
        progress("Reconstructing", 0.0)
        values = fbp(sinogram, grid, cutoff)
    else:
        progress("Preparing the projector", 0.0)
        projector = make_projector(sinogram.geometry, grid.shape, grid.voxel_size_mm, device=where)
        if psf_mm > 0:
            projector = BlurringProjector(projector, psf_mm, grid.voxel_size_mm)
        first = None if start is None else torch.from_numpy(grid.from_image(start)).to(where)
        share = 1 if method == "mlem" else subsets or default_subsets(sinogram.geometry.views)
        ticks = count(1)
        total = iterations * share

        def step(update: Update) -> None:
            objectives[update.iteration] = objectives.get(update.iteration, 0.0) + update.objective
            progress("Reconstructing", next(ticks) / total)

        progress("Reconstructing", 0.0)
        values = _iterate(method, projector, sinogram, grid, iterations, share, beta, first, step)
    array = values.cpu().numpy()
    if post_filter_mm > 0:
        sigma = [post_filter_mm * FWHM_TO_SIGMA / side for side in grid.voxel_size_mm[::-1]]
        array = gaussian_filter(array, sigma, mode="nearest")
    facts = {
        "method": method,
        "scanner": sinogram.geometry.name,
        "grid": {"shape": grid.shape[::-1], "voxel_size_mm": grid.voxel_size_mm},
        "device": str(where),
        "not_corrected": sinogram.not_corrected,
        "objective": [round(objectives[n], 3) for n in sorted(objectives)],
    }
    return Reconstruction(grid.to_image(array), _unit(sinogram), facts)


def default_subsets(views: int) -> int:
    """The number of equal subsets of `views` that is nearest to twenty."""
    return min((n for n in range(1, views + 1) if views % n == 0), key=lambda n: abs(n - 20))


def with_attenuation_map(sinogram: Sinogram, image: sitk.Image, unit: str) -> Sinogram:
    """With the attenuation of a mu-map (or a CT, `unit` "hu") in the scanner's coordinates.

    Raises PETDiffusionError "bad-mu-map" for values that cannot be of that unit, or a map beside the field of view.
    """
    grid = default_grid(sinogram.geometry, voxel_mm=max(4.0, default_grid(sinogram.geometry).voxel_size_mm[0]))
    mu = np.maximum(MU_UNITS[unit](grid.from_image(image, outside=-1000.0 if unit == "hu" else 0.0)), 0)
    low, high = PLAUSIBLE_MU_PER_MM
    if not low <= mu.max() <= high:
        raise PETDiffusionError(
            "bad-mu-map",
            f"Read as {unit}, the mu-map reaches {mu.max():.4g} per mm in the field of view, where water has 0.0096. "
            "Give its unit by --attenuation-unit (per-cm, per-mm or hu), and the map in the scanner's coordinates.",
        )
    device = sinogram.prompts.device
    projector = make_projector(sinogram.geometry, grid.shape, grid.voxel_size_mm, device=device)
    with torch.inference_mode():
        factors = attenuation_factors(torch.from_numpy(mu.astype(np.float32)).to(device), projector)
    return sinogram.with_factors(factors, "attenuation")


def read_measurement(inputs: dict[str, Path], attenuation_unit: str) -> Sinogram:
    """The sinogram of a job's inputs with the terms beside it. Raises PETDiffusionError where they do not fit."""
    sinogram = read_sinogram(inputs["sinogram"])
    if "attenuation" in inputs and "attenuation_factors" in inputs:
        raise PETDiffusionError("twice", "Attenuation is given twice, as a map and as factors. Give one of them.")
    if "attenuation_factors" in inputs:
        factors = read_term(inputs["attenuation_factors"], sinogram)
        if factors.min() < 0 or factors.max() > 1.001:
            raise PETDiffusionError(
                "bad-factors",
                f"Attenuation factors are shares from 0 to 1; '{inputs['attenuation_factors'].name}' holds "
                f"{float(factors.min()):.3g} to {float(factors.max()):.3g}. Correction factors go in as 1 over them.",
            )
        sinogram = sinogram.with_factors(factors, "attenuation")
    if "normalisation" in inputs:
        sinogram = sinogram.with_factors(read_term(inputs["normalisation"], sinogram), "normalisation")
    if "additive" in inputs:
        sinogram = sinogram.with_background(read_term(inputs["additive"], sinogram), "randoms", "scatter")
    if "attenuation" in inputs:
        mu = read_volume(inputs["attenuation"])
        sinogram = with_attenuation_map(sinogram, mu.image, attenuation_unit)
    return sinogram


def run(job: Any, progress: Progress, warn: Warn) -> dict[str, Any]:
    """Run a reconstruction job: read the sinogram and its terms, reconstruct, write. Returns the facts."""
    options = {name: value for name, value in job.options.items() if name not in ("overwrite", "attenuation_unit")}
    if options.get("shape") is not None:
        options["shape"] = tuple(options["shape"])
    progress("Reading", 0.0)
    sinogram = read_measurement(job.inputs, job.options["attenuation_unit"])
    start = read_volume(job.inputs["start"]).image if "start" in job.inputs else None
    result = reconstruct(
        sinogram, job.method, **options, start=start, device=job.device, progress=progress, warn=warn
    )  # fmt: skip
    progress("Writing", 1.0)
    write_volume(Volume(result.image, result.unit, {}), job.outputs["image"])
    return result.facts | {"unit": result.unit}


def _iterate(
    method: str,
    projector: Projector,
    sinogram: Sinogram,
    grid: ImageGrid,
    iterations: int,
    subsets: int,
    beta: float,
    start: torch.Tensor | None,
    callback: Callable[[Update], None],
) -> torch.Tensor:
    if method == "osem":
        return osem(projector, sinogram, iterations, subsets, start, callback)
    if method == "mlem":
        return mlem(projector, sinogram, iterations, start, callback)
    with_prior = {"map-em": map_em, "rdp": rdp}
    if method not in with_prior:
        known = ", ".join(("osem", "mlem", *with_prior, "fbp"))
        raise PETDiffusionError("no-method", f'There is no reconstruction "{method}"; known: {known}.')
    return with_prior[method](projector, sinogram, beta, iterations, subsets, grid.voxel_size_mm, start, callback)


def _unit(sinogram: Sinogram) -> Unit:
    """The unit that the sinogram's terms were made for, if they are all there."""
    whole = {"attenuation", "normalisation"} <= sinogram.corrected
    return sinogram.facts.get("unit", "counts") if whole else "counts"


def _warn_of_the_data(sinogram: Sinogram, warn: Warn) -> None:
    if sinogram.not_corrected:
        missing = " and ".join(", ".join(sinogram.not_corrected).rsplit(", ", 1))
        warn("not-corrected", f"Not corrected for {missing}: the values are not quantitative.")
    negative = int((sinogram.prompts < 0).sum())
    if negative:
        warn(
            "negative-prompts",
            f"{negative} of {sinogram.prompts.numel()} bins are below zero, as in precorrected data; they count as 0.",
        )
