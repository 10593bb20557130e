"""Reconstruct a sinogram classically: OSEM, MLEM, MAP-EM, the relative difference prior, filtered back-projection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import SimpleITK as sitk
import torch

from PETDiffusionLib.devices import choose_device
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.reconstruction import BlurringProjector, fbp, map_em, mlem, osem, rdp
from PETDiffusionLib.reconstruction.measurement import image_unit, read_measurement, warn_of_the_data
from PETDiffusionLib.reconstruction.model import Callback, default_subsets
from PETDiffusionLib.reconstruction.reporting import reporting
from PETDiffusionLib.reconstruction.resolution import post_filtered
from PETDiffusionLib.sinograms import ImageGrid, Sinogram, default_grid
from PETDiffusionLib.volumes import Unit, Volume, read_volume, write_volume

READING = ("overwrite", "attenuation_unit", "patient_position")  # options of what comes before the reconstruction
Progress = Callable[[str, float], None]
Warn = Callable[[str, str], None]


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
    projector: str = "auto",
    device: str = "auto",
    progress: Progress | None = None,
    warn: Warn | None = None,
) -> Reconstruction:
    """Reconstruct by "osem", "mlem", "map-em", "rdp" or "fbp"; each takes those of the settings that it has.

    The grid is the scanner's field of view with voxels as wide as a bin, unless `voxel_mm` (transaxial) or `shape`
    (x, y, z) say otherwise. `projector` forces a back end of projection.choice. `progress(stage, fraction)` may raise
    Cancelled; `warn(code, sentence)` hears what was not corrected. Raises PETDiffusionError for settings that do not
    fit the sinogram.
    """
    progress = progress or (lambda stage, fraction: None)
    warn = warn or (lambda code, sentence: None)
    warn_of_the_data(sinogram, warn)
    where = choose_device(device, double=True)
    sinogram = sinogram.to(where)
    grid = default_grid(sinogram.geometry, voxel_mm, None if shape is None else shape[::-1])
    facts: dict[str, Any] = {
        "method": method,
        "scanner": sinogram.geometry.name,
        "grid": grid.described(),
        "device": str(where),
        "not_corrected": sinogram.not_corrected,
    }
    objectives: list[float] = []
    if method == "fbp":
        values = fbp(sinogram, grid, cutoff, partial(progress, "Reconstructing"))
    else:
        progress("Preparing the projector", 0.0)
        chosen = make_projector(sinogram.geometry, grid.shape, grid.voxel_size_mm, projector, where)
        facts["projector"] = type(chosen).__name__
        if psf_mm > 0:
            chosen = BlurringProjector(chosen, psf_mm, grid.voxel_size_mm)
        first = None if start is None else torch.from_numpy(grid.from_image(start)).to(where)
        share = 1 if method == "mlem" else subsets or default_subsets(sinogram.geometry.views)
        listen = reporting(progress, iterations, share, objectives)
        values = _iterate(method, chosen, sinogram, grid, iterations, share, beta, first, listen)
    array = values.cpu().numpy()
    array = post_filtered(array, post_filter_mm, grid.voxel_size_mm)
    facts["objective"] = [round(value, 3) for value in objectives]
    return Reconstruction(grid.to_image(array), image_unit(sinogram), facts)


def run(job: Any, progress: Progress, warn: Warn) -> dict[str, Any]:
    """Run a reconstruction job: read the sinogram and its terms, reconstruct, write. Returns the facts."""
    options = {name: value for name, value in job.options.items() if name not in READING}
    if options.get("shape") is not None:
        options["shape"] = tuple(options["shape"])
    progress("Reading", 0.0)
    sinogram = read_measurement(job.inputs, job.options["attenuation_unit"], job.options["patient_position"])
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
    callback: Callback,
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
