"""Denoise a PET volume with the 3D DDPM of Yu et al. (EJNMMI 2025): their network, any shape, any number of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from PETDiffusionLib.devices import choose_device
from PETDiffusionLib.diffusion.absolute_noise import absolute_noise
from PETDiffusionLib.diffusion.fitting import FittedDenoiser, free_memory
from PETDiffusionLib.diffusion.gaussian import (
    ancestral,
    ddim,
    dpm_solver_2m,
    linear_alphas_cumprod,
    log_snr_times,
    noised,
    spaced_times,
)
from PETDiffusionLib.diffusion.noise_level import smoothed
from PETDiffusionLib.diffusion.prediction import PredictionDenoiser, back_to_suv, clipped_to_scale
from PETDiffusionLib.diffusion.residual import Denoiser, Noise
from PETDiffusionLib.diffusion.tiling import padded_to_multiple
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.catalogue.ddpm3d import DDPM3D as DECLARED
from PETDiffusionLib.methods.catalogue.ddpm3d import PRESETS
from PETDiffusionLib.methods.denoising import DenoiseResult, Progress, Warn, check_call, denoise_job
from PETDiffusionLib.models import find_model, list_models, load_weights
from PETDiffusionLib.models.card import ModelCard
from PETDiffusionLib.networks.ddpm3d import DDPM3D, from_state_dict
from PETDiffusionLib.networks.precision import fast_precision
from PETDiffusionLib.volumes import Volume
from PETDiffusionLib.volumes.model_grid import as_scanned, grid_pair, image_on_grid

ALPHAS_CUMPROD = linear_alphas_cumprod()
LAST_TIME, LOW_DOSE_TIME = len(ALPHAS_CUMPROD) - 1, 200
WINDOW = (96, 192, 288)
SHARE_OF_MEMORY = 0.6  # of what is free, for one evaluation; the rest is for the volumes and for what is not foreseen
SHARE_OF_GPU_MEMORY = 0.8  # there nobody else is in need of it
EMPTY_AIR = 0.01  # of the mean uptake: below it there is nothing to denoise
SMOOTHING_VOXELS = 2.0

Loaded = tuple[ModelCard, DDPM3D, torch.device]


@dataclass(frozen=True)
class Walk:
    """How x_0 is drawn: a sampler's name, its steps, where it starts ("noise" or "low-dose"), and DDIM's eta."""

    sampler: str
    steps: int
    start: str
    eta: float = 0.0

    @property
    def times(self) -> list[int]:
        """The times of the steps: at even distances, for DPM-Solver++ even in the signal-to-noise ratio's logarithm."""
        first = LAST_TIME if self.start == "noise" else LOW_DOSE_TIME
        if self.sampler == "dpm++":
            return log_snr_times(self.steps, ALPHAS_CUMPROD, first)
        return spaced_times(self.steps, first)


def denoise_ddpm3d(
    image: sitk.Image,
    *,
    model: str | None = None,
    preset: str = "balanced",
    sampler: str | None = None,
    steps: int | None = None,
    start: str | None = None,
    eta: float = 0.0,
    samples: int | None = None,
    grid: str = "input",
    seed: int = 0,
    device: str = "auto",
    loaded: Loaded | None = None,
    progress: Progress | None = None,
    warn: Warn | None = None,
) -> DenoiseResult:
    """Denoise a 3D PET image in SUV. What is None is the preset's; `model` None is the only DDPM there is.

    `grid` "input" returns the image's own geometry bit for bit, "model" the model's cubic voxels. The same seed gives
    the same result. `loaded` stands for `model` and `device` where `load` was called before, for many images.
    `progress(stage, fraction)` may raise Cancelled.

    Raises PETDiffusionError for an image that is no PET volume, an option or device that is not there, or a model that
    is no 3D DDPM.
    """
    progress = progress or (lambda stage, fraction: None)
    warn = warn or (lambda code, message: None)
    asked = {"sampler": sampler, "steps": steps, "start": start, "eta": eta, "samples": samples, "grid": grid}
    check_call(image, DECLARED, asked)
    chosen = PRESETS[preset]
    walk = Walk(sampler or chosen.sampler, steps or chosen.steps, start or chosen.start, eta)
    card, network, used = loaded or load(model, device)
    volume = Volume(as_scanned(sitk.Cast(image, sitk.sitkFloat32)), "suvbw")
    _warn_outside_domain(volume, card, warn)
    _warn_of_the_walk(walk, warn)
    pair = grid_pair(volume, float(card.input["voxel_size_mm"][0]))
    progress("Resampling", 0.0)
    y = torch.from_numpy(pair.to_model(np.maximum(volume.array, 0))[None, None]).clamp_(min=0)
    scale, draws = float(card.input["scale"]), samples or chosen.samples
    drawn, windows = draw(y.to(used), network, scale, walk, draws, seed, lambda done: progress("Denoising", done))
    mean = drawn.mean(0)
    arrays = [mean] + ([drawn.std(0)] if draws > 1 else [])
    progress("Resampling", 1.0)
    on_grid = [array.numpy() for array in arrays]
    if grid == "input":
        on_grid = [np.maximum(pair.to_input(array), 0) for array in on_grid]
    images = [image_on_grid(array, volume, pair, grid, image) for array in on_grid]
    facts = {
        "model": card.id,
        "model_sha256": card.sha256,
        "device": str(used),
        "sampler": walk.sampler,
        "steps": len(walk.times),
        "start": walk.start,
        "samples": draws,
        "windows": windows,
        "model_grid": {"shape": pair.model_shape, "voxel_size_mm": pair.model_spacing_mm},
    }
    return DenoiseResult(images[0], images[1] if draws > 1 else None, facts)


@torch.inference_mode()
def draw(
    low_dose: torch.Tensor,
    network: DDPM3D,
    scale: float,
    walk: Walk,
    samples: int,
    seed: int,
    progress: Callable[[float], None] = lambda done: None,
) -> tuple[torch.Tensor, int]:
    """`samples` draws [samples, z, y, x] in SUV, on the CPU, given `low_dose` [1, 1, z, y, x] in SUV, and the windows.

    All draws go through the network together, as far as memory allows; window for window where it is short.
    """
    depth, height, width = low_dose.shape[2:]
    condition = padded_to_multiple(clipped_to_scale(low_dose, scale), network.multiple)
    share = SHARE_OF_GPU_MEMORY if low_dose.is_cuda else SHARE_OF_MEMORY
    voxels = int(share * free_memory(low_dose.device) / network.bytes_per_voxel)
    together = max(1, voxels // condition.numel())
    groups = [range(first, min(first + together, samples)) for first in range(0, samples, together)]
    steps_done, steps = 0, len(walk.times) * len(groups)
    fitted = FittedDenoiser(
        PredictionDenoiser(network, ALPHAS_CUMPROD),
        occupied(condition),
        (min(WINDOW[0], condition.shape[2]), min(WINDOW[1], condition.shape[3]), min(WINDOW[2], condition.shape[4])),
        network.multiple,
        voxels,
        lambda done: progress((steps_done + done) / steps),
    )

    def stepping(x_t: torch.Tensor, t: float, condition: torch.Tensor) -> torch.Tensor:
        nonlocal steps_done
        estimate = fitted(x_t, t, condition)
        steps_done += 1
        return estimate

    def noise(group: range, step: int) -> torch.Tensor:
        return torch.cat([absolute_noise(condition.shape, condition.device, seed, number, step) for number in group])

    drawn = []
    for group in groups:
        start = noise(group, len(walk.times))
        if walk.start == "low-dose":
            start = noised(condition, walk.times[0], ALPHAS_CUMPROD, start)
        x0 = _sampled(walk, stepping, start, condition, partial(noise, group))
        drawn.append(back_to_suv(x0[:, 0, :depth, :height, :width], low_dose[:, 0], scale).cpu())
    return torch.cat(drawn), len(fitted.boxes)


def _sampled(
    walk: Walk,
    denoiser: Denoiser,
    start: torch.Tensor,
    condition: torch.Tensor,
    noise: Noise,
) -> torch.Tensor:
    arguments = (denoiser, start, condition, walk.times, ALPHAS_CUMPROD)
    if walk.sampler == "ancestral":
        return ancestral(*arguments, noise)
    if walk.sampler == "ddim":
        return ddim(*arguments, noise, walk.eta)
    return dpm_solver_2m(*arguments)


def occupied(condition: torch.Tensor) -> np.ndarray:
    """Where there is more than air: boolean [z, y, x]."""
    near = smoothed(condition, SMOOTHING_VOXELS).clamp_(min=0)
    uptake = near.square().sum() / near.sum().clamp_min(1e-12)
    return (near > EMPTY_AIR * uptake)[0, 0].cpu().numpy()


def find_ddpm3d(model: str | None) -> ModelCard:
    """The card of a 3D DDPM; without a name that of the only one. Raises PETDiffusionError."""
    if model is None:
        known = [card for card in list_models() if card.task == DECLARED.task]
        if len(known) == 1:
            return known[0]
        sentence = "There is no 3D DDPM yet: import the authors' (petdiffusion models import) or train one."
        if known:
            sentence = f"There are several 3D DDPMs; say which with --model: {', '.join(card.id for card in known)}."
        raise PETDiffusionError("no-model", sentence)
    card = find_model(model)
    if card.architecture["name"] != "ddpm3d":
        raise PETDiffusionError("wrong-model", f'The model "{card.id}" is for {card.task}, not a 3D DDPM.')
    return card


def network_of(card: ModelCard, predicts: str | None = None) -> DDPM3D:
    """The card's network with its weights; what it `predicts` is what the card says, unless it is to learn another."""
    known = card.architecture["arguments"].get("predicts", "noise")
    return from_state_dict(load_weights(card), predicts or known)


def load(model: str | None, device: str = "auto") -> Loaded:
    """A model's card, its network ready to infer, and the device that it is on."""
    card = find_ddpm3d(model)
    return card, *load_network(card, device)


def load_network(card: ModelCard, device: str = "auto") -> tuple[DDPM3D, torch.device]:
    """The card's network with its weights in the device's fast precision, ready to infer, and the device it is on."""
    used = choose_device(device)
    network = network_of(card).eval().requires_grad_(False)
    network = network.convolve_in(fast_precision(used))
    return network.to(memory_format=torch.channels_last_3d).to(used), used  # type: ignore[call-overload]


def run(job: Any, progress: Progress, warn: Warn) -> dict[str, Any]:
    """Run a denoising job: read, bring to SUV, denoise, write the volumes. Returns the facts for its summary."""
    names = ("preset", "sampler", "steps", "start", "eta", "samples", "grid")
    asked = {name: job.options[name] for name in names}
    if "uncertainty" in job.outputs and (asked["samples"] or PRESETS[asked["preset"]].samples) < 2:
        raise PETDiffusionError("bad-job", "The uncertainty is the spread of several draws; ask for 2 samples or more.")

    loading = cache(partial(load, job.options["model"], job.device))

    def denoised(image: sitk.Image, progress: Progress, warn: Warn) -> DenoiseResult:
        return denoise_ddpm3d(image, **asked, seed=job.seed, loaded=loading(), progress=progress, warn=warn)

    return denoise_job(job, denoised, progress, warn)


def _warn_of_the_walk(walk: Walk, warn: Warn) -> None:
    """Say what of the asked-for walk cannot be done."""
    if len(walk.times) < walk.steps:
        said = f"The {walk.sampler} sampler has {len(walk.times)} different times from here and takes as many steps"
        warn("fewer-steps", f"{said}, not {walk.steps}.")
    if walk.eta and walk.sampler != "ddim":
        warn("eta-unused", f"Eta is an option of the sampler ddim; {walk.sampler} has none.")


def _warn_outside_domain(volume: Volume, card: ModelCard, warn: Warn) -> None:
    """Say what of the volume the network does not see."""
    scale = float(card.input["scale"])
    share = float((volume.array > scale).mean())
    if share > 0:
        said = f"{100 * share:.2g} % of the voxels exceed the model's {scale:g} SUV; above it they stay as they are."
        warn("saturated", said)
