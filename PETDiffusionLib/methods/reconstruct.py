"""Reconstruct a sinogram classically: OSEM, MLEM, MAP-EM, the relative difference prior, filtered back-projection."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import SimpleITK as sitk
import torch

from PETDiffusionLib.devices import choose_device
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.catalogue.reconstruct import READING
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.reconstruction import BlurringProjector, fbp, map_em, mlem, osem, rdp
from PETDiffusionLib.reconstruction.measurement import (
    image_unit,
    not_list_mode,
    read_measurement,
    warn_of_the_data,
    with_estimates,
    with_terms,
)
from PETDiffusionLib.reconstruction.model import Callback, chosen_subsets
from PETDiffusionLib.reconstruction.reporting import reporting
from PETDiffusionLib.reconstruction.resolution import post_filtered
from PETDiffusionLib.reconstruction.self_check import closed
from PETDiffusionLib.sinograms import ImageGrid, Sinogram, default_grid
from PETDiffusionLib.sinograms.list_mode import is_list_mode
from PETDiffusionLib.sinograms.list_mode_reading import ListModeFrames, ListModeWindow
from PETDiffusionLib.volumes import Unit, Volume, read_volume, write_volume
from PETDiffusionLib.volumes.frame_writing import FrameWriter

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
        chosen = make_projector(sinogram.geometry, grid.shape, grid.voxel_size_mm, projector, where)
    else:
        progress("Preparing the projector", 0.0)
        chosen = make_projector(sinogram.geometry, grid.shape, grid.voxel_size_mm, projector, where)
        facts["projector"] = type(chosen).__name__
        if psf_mm > 0:
            chosen = BlurringProjector(chosen, psf_mm, grid.voxel_size_mm)
        first = None if start is None else torch.from_numpy(grid.from_image(start)).to(where)
        share = 1 if method == "mlem" else chosen_subsets(sinogram, subsets, warn)
        chosen = chosen.with_subsets(share)  # kept from here on, so that the closing check uses the same ones
        facts["subsets"] = share
        listen = reporting(progress, iterations, share, objectives)
        values = _iterate(method, chosen, sinogram, grid, iterations, share, beta, first, listen)
    factor, checked = closed(chosen, sinogram, values, warn, hold=method != "fbp")
    array = (factor * values).cpu().numpy()
    array = post_filtered(array, post_filter_mm, grid.voxel_size_mm)
    facts |= {"objective": [round(value, 3) for value in objectives], **checked}
    return Reconstruction(grid.to_image(array), image_unit(sinogram), facts)


def run(job: Any, progress: Progress, warn: Warn) -> dict[str, Any]:
    """Run a reconstruction job: read the sinogram and its terms, reconstruct, write. Returns the facts."""
    options = {name: value for name, value in job.options.items() if name not in (*READING, "frame_times", "overwrite")}
    if options.get("shape") is not None:
        options["shape"] = tuple(options["shape"])
    progress("Reading", 0.0)
    start = read_volume(job.inputs["start"]).image if "start" in job.inputs else None
    if job.options["frame_times"] is not None:
        return _run_frames(job, options | {"start": start}, progress, warn)
    sinogram = read_measurement(job.inputs, job.options, progress, warn, job.device)
    result = reconstruct(
        sinogram, job.method, **options, start=start, device=job.device, progress=progress, warn=warn
    )  # fmt: skip
    progress("Writing", 1.0)
    write_volume(Volume(result.image, result.unit, sinogram.volume_facts), job.outputs["image"])
    return result.facts | sinogram.frame_facts | sinogram.term_facts | {"unit": result.unit}


def _run_frames(job: Any, options: dict[str, Any], progress: Progress, warn: Warn) -> dict[str, Any]:
    """Reconstruct the time frames of list mode one after the other, each with its own estimated terms."""
    path, window = job.inputs["sinogram"], ListModeWindow.of(job.options)
    if not is_list_mode(path):
        raise not_list_mode(path)
    if "additive" in job.inputs:
        raise PETDiffusionError(
            "bad-frames",
            "An additive term is of one frame and not of several: leave --additive out, or reconstruct the frames one "
            "by one by --from-s and --to-s with the additive term of each.",
        )
    frames = ListModeFrames(path, window, with_pairs="normalisation" not in job.inputs)
    said: set[tuple[str, str]] = set()

    def warn_once(code: str, sentence: str) -> None:
        if (code, sentence) not in said:
            said.add((code, sentence))
            warn(code, sentence)

    results: list[dict[str, Any]] = []
    terms: Sinogram | None = None
    with contextlib.ExitStack() as stack:
        for number, counts in enumerate(frames.read(lambda stage, fraction: progress(stage, 0.0))):
            terms = terms or with_terms(counts, job.inputs, job.options, warn_once)
            share = partial(_share_of, progress, number, len(window.frames))
            sinogram = replace(
                terms, prompts=counts.prompts, delayed=counts.delayed, facts={**terms.facts, **counts.facts}
            )
            sinogram = with_estimates(sinogram, job.inputs, job.options, share, warn_once, job.device)
            result = reconstruct(sinogram, job.method, **options, device=job.device, progress=share, warn=warn_once)
            volume = Volume(result.image, result.unit, {})
            if not results:
                facts = {**sinogram.frame_facts, "source": path.name, "decay_corrected": False}
                writer = stack.enter_context(FrameWriter(job.outputs["image"], volume, window.frames, facts))
            writer.write(volume)
            results.append(result.facts | sinogram.frame_facts | sinogram.term_facts)
    for sentence in frames.opened.warnings:
        warn_once("list-mode", sentence)
    return results[0] | {"unit": result.unit, "frames": results}


def _share_of(progress: Progress, number: int, count: int, stage: str, fraction: float) -> None:
    """Report what is done of one of several frames as a share of the whole."""
    progress(stage, (number + fraction) / count)


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
