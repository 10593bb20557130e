"""Restore a low-dose sinogram by the count bridge or by RED, and reconstruct it: `restore-sinogram` and `red`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from PETDiffusionLib.devices import choose_device
from PETDiffusionLib.diffusion.sinogram_restoration import CountRestoration, restored_by_red
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.catalogue.red import BUNDLED_MODEL, TASK
from PETDiffusionLib.models import ModelCard, find_model, load_weights
from PETDiffusionLib.networks.precision import FastPrecision
from PETDiffusionLib.networks.red import both_from_state_dict
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.reconstruction import osem
from PETDiffusionLib.reconstruction.measurement import image_unit, read_measurement, warn_of_the_data
from PETDiffusionLib.reconstruction.model import default_subsets
from PETDiffusionLib.reconstruction.reporting import reporting
from PETDiffusionLib.reconstruction.resolution import post_filtered
from PETDiffusionLib.reconstruction.self_check import closed
from PETDiffusionLib.sinograms import ImageGrid, Sinogram, default_grid
from PETDiffusionLib.sinograms.interfile import write_interfile
from PETDiffusionLib.volumes import Volume, write_volume

Progress = Callable[[str, float], None]
Warn = Callable[[str, str], None]

DRAW_STEPS = 5  # of a draw for the uncertainty
MOST_BRIDGE_STEPS = 20  # each doubles the dose, and a million times the counts is noise-free


class Restorer:
    """A model ready to restore one sinogram; `grid` is that of the images that it looks at on the way.

    Raises PETDiffusionError "wrong-model" for a model of another task, "time-of-flight" for data with TOF bins.
    """

    def __init__(self, sinogram: Sinogram, card: ModelCard, grid: ImageGrid, progress: Progress) -> None:
        if card.task != TASK or card.architecture["name"] not in ("red", "residual_unet3d"):
            raise PETDiffusionError("wrong-model", f'The model "{card.id}" is for {card.task}, not for sinograms.')
        if sinogram.geometry.tof is not None:
            raise PETDiffusionError(
                "time-of-flight",
                f"The restoration knows sinograms without time of flight; this one has {sinogram.geometry.tof.bins} "
                "TOF bins. Sum the prompts and the additive term over them first.",
            )
        self.sinogram, self.card = sinogram, card
        self.device = sinogram.prompts.device
        weights = load_weights(card)
        self.bridge: CountRestoration | None = None
        progress("Preparing the projector", 0.0)
        self.projector = make_projector(sinogram.geometry, grid.shape, grid.voxel_size_mm, device=self.device)
        if card.architecture["name"] == "red":
            self.networks = [FastPrecision(one.eval().to(self.device)) for one in both_from_state_dict(weights)]
        else:
            network = ResidualUNet3D(**card.architecture["arguments"])
            network.load_state_dict(weights)
            fast = FastPrecision(network.eval().to(self.device))
            self.bridge = CountRestoration(sinogram, self.projector, grid.voxel_size_mm, fast)

    def restored(self, steps: int | None, seed: int, progress: Progress) -> Sinogram:
        """The sinogram with the prompts' expectation in their place; more than one step on the bridge is a draw.

        Raises PETDiffusionError "bad-option" for more steps than the bridge takes.
        """
        report = partial(progress, "Restoring")
        if self.bridge is not None and (steps or 1) > MOST_BRIDGE_STEPS:
            raise PETDiffusionError(
                "bad-option",
                f'The model "{self.card.id}" doubles the dose with every step and takes at most {MOST_BRIDGE_STEPS}; '
                f"{steps} were asked for. Give fewer --steps.",
            )
        if self.bridge is None:
            walk = steps or int(self.card.architecture["steps"])
            ren, dcn = self.networks
            prompts = restored_by_red(self.sinogram, ren, dcn, walk, report)
        elif steps is None or steps == 1:
            prompts = self.bridge.mean(report)
        else:
            prompts = self.bridge.draw(steps, seed, report)
        facts = {**self.sinogram.facts, "restored_by": self.card.id}
        return replace(self.sinogram, prompts=prompts, facts=facts)


def restore_sinogram(
    sinogram: Sinogram,
    *,
    model: str = BUNDLED_MODEL,
    steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Sinogram:
    """The sinogram with its prompts restored; geometry and terms stay, so it is reconstructed as the prompts would be.

    `progress(stage, fraction)` may raise Cancelled. Raises PETDiffusionError for a model or data that do not fit.
    """
    given = sinogram.to(choose_device(device, double=True))
    report = progress or _silent
    return Restorer(given, find_model(model), default_grid(given.geometry), report).restored(steps, seed, report)


def _silent(stage: str, fraction: float) -> None:
    pass


def run(job: Any, progress: Progress, warn: Warn) -> dict[str, Any]:
    """Run a restoring job ("restore-sinogram"), or one that reconstructs afterwards ("red"). Returns the facts."""
    options = job.options
    progress("Reading", 0.0)
    sinogram = read_measurement(job.inputs, options, progress, warn, job.device)
    sinogram = sinogram.to(choose_device(job.device, double=True))
    warn_of_the_data(sinogram, warn)
    shape = options.get("shape")
    grid = default_grid(sinogram.geometry, options.get("voxel_mm"), None if shape is None else tuple(shape[::-1]))
    restorer = Restorer(sinogram, find_model(options["model"] or BUNDLED_MODEL), grid, progress)
    wants_spread = "uncertainty" in job.outputs
    if wants_spread and restorer.bridge is None:
        raise PETDiffusionError(
            "no-uncertainty",
            f'The model "{restorer.card.id}" is deterministic and states no uncertainty. Leave the uncertainty out, or '
            "use a model of the count bridge.",
        )
    _warn_outside_domain(sinogram, restorer.card, warn)
    # Restoring and reconstructing, once and for every draw, are alike long.
    parts = 2 * (1 + options["draws"] * wants_spread) if job.method == "red" else 1
    shares = (partial(_report_part, progress, part, parts) for part in range(parts))
    restored = restorer.restored(options["steps"], job.seed, next(shares))
    facts = {
        "model": restorer.card.id,
        "model_sha256": restorer.card.sha256,
        "device": str(restorer.device),
        "scanner": sinogram.geometry.name,
        "prompts": float(sinogram.prompts.sum(dtype=torch.float64)),
        "not_corrected": sinogram.not_corrected,
        **sinogram.frame_facts,
        **sinogram.term_facts,
    }
    if job.method == "restore-sinogram":
        progress("Writing", 1.0)
        write_interfile(restored.prompts, sinogram.geometry, job.outputs["sinogram"])
        return facts
    unit = image_unit(sinogram)
    image = _reconstructed(restorer, restored, options, next(shares))
    held, checked = closed(restorer.projector, sinogram, image, warn)
    images = {"image": held * image.cpu().numpy()}
    if wants_spread:
        images["uncertainty"] = held * _spread(restorer, options, job.seed, shares)
    progress("Writing", 1.0)
    for role, array in images.items():
        image_of = _image(grid, array, options["post_filter_mm"])
        write_volume(Volume(image_of, unit, sinogram.volume_facts), job.outputs[role])
    return facts | {"unit": unit, "grid": grid.described(), **checked}


def _report_part(progress: Progress, part: int, parts: int, stage: str, fraction: float) -> None:
    """Report `fraction` of part `part` of `parts`."""
    progress(stage, (part + fraction) / parts)


def _reconstructed(restorer: Restorer, sinogram: Sinogram, options: dict[str, Any], progress: Progress) -> torch.Tensor:
    """OSEM of a restored sinogram, [z, y, x]."""
    subsets = options["subsets"] or default_subsets(sinogram.geometry.views)
    report = reporting(progress, options["iterations"], subsets, [])
    return osem(restorer.projector, sinogram, options["iterations"], subsets, callback=report)


def _spread(restorer: Restorer, options: dict[str, Any], seed: int, shares: Iterator[Progress]) -> np.ndarray:
    """The standard deviation over reconstructions of draws, [z, y, x]; each draw takes two of the `shares`.

    Draws of few steps spread too little; the card's `spread_factor`, found on other bodies, makes up for it.
    """
    steps = max(2, options["steps"] or DRAW_STEPS)
    images = []
    for number in range(options["draws"]):
        draw = restorer.restored(steps, 1000 * seed + number, next(shares))
        images.append(_reconstructed(restorer, draw, options, next(shares)).cpu().numpy())
    factor = float(restorer.card.architecture.get("spread_factor", 1.0))
    return factor * np.std(images, axis=0, ddof=1)


def _image(grid: ImageGrid, array: np.ndarray, post_filter_mm: float) -> sitk.Image:
    return grid.to_image(post_filtered(array, post_filter_mm, grid.voxel_size_mm))


def _warn_outside_domain(sinogram: Sinogram, card: ModelCard, warn: Warn) -> None:
    """Say where there are fewer or more counts than the model was trained on."""
    low, high = card.training.get("trues_per_bin_range", (0.0, float("inf")))
    background = 0.0 if sinogram.additive is None else float(sinogram.additive.mean())
    trues = float(sinogram.prompts.mean()) - background
    if not low <= trues <= high:
        warn("counts", f"{trues:.3g} trues a bin lie outside the {low:g} to {high:g} that the model knows.")
