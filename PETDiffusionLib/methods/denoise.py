"""Denoise a PET volume with the bundled residual-plus-noise diffusion model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from PETDiffusionLib.devices import choose_device
from PETDiffusionLib.diffusion.absolute_noise import absolute_noise
from PETDiffusionLib.diffusion.noise_level import NoiseScale, noise_scale, smoothed
from PETDiffusionLib.diffusion.preconditioning import INPUTS, ResidualDenoiser, make_condition
from PETDiffusionLib.diffusion.residual import sample, uniform_times
from PETDiffusionLib.diffusion.tiling import MIRRORS, mirror, mirrored, padded_to_multiple, plan_windows, tiled
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.catalogue.denoise import BUNDLED_MODEL, DENOISE, PRESETS, StepsPreset
from PETDiffusionLib.methods.denoising import DenoiseResult, Progress, Warn, check_call, denoise_job
from PETDiffusionLib.models import find_model, load_weights
from PETDiffusionLib.models.card import ModelCard
from PETDiffusionLib.networks.precision import FastPrecision
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.volumes import Volume
from PETDiffusionLib.volumes.model_grid import as_scanned, grid_pair, image_on_grid

WINDOW, OVERLAP = (96, 256, 256), 24
LOCAL_MEAN_SIGMA_MM = 4.25  # with the half resolution of `smoothed` it comes to 11 mm FWHM
EMPTY_AIR = 0.01  # of the mean uptake: below it there is nothing to denoise

Loaded = tuple[ModelCard, ResidualUNet3D, torch.device]


def denoise(
    image: sitk.Image,
    *,
    preset: str = "balanced",
    steps: int | None = None,
    samples: int | None = None,
    model: str = BUNDLED_MODEL,
    grid: str = "input",
    seed: int = 0,
    device: str = "auto",
    loaded: Loaded | None = None,
    progress: Progress | None = None,
    warn: Warn | None = None,
) -> DenoiseResult:
    """Denoise a 3D PET image of any unit that is proportional to activity (the model is linear in it).

    `steps` and `samples` are the preset's unless given. One step is the posterior mean, and its samples look through
    up to eight mirrors; more steps make each sample a draw, by the `seed`. The samples give the mean, and the standard
    deviation of the truth about it by the law of total variance. `grid` "input" returns the image's own geometry bit
    for bit, "model" the model's cubic voxels. The same seed gives the same result, whatever the windows.
    `loaded` stands for `model` and `device` where `load` was called before, for many images.
    `progress(stage, fraction)` may raise Cancelled.

    Raises PETDiffusionError for an image that is no PET volume, or an option, model or device that is not there.
    """
    progress = progress or (lambda stage, fraction: None)
    warn = warn or (lambda code, message: None)
    chosen = _preset(preset)
    check_call(image, DENOISE, {"steps": steps, "samples": samples, "grid": grid})
    volume = Volume(as_scanned(sitk.Cast(image, sitk.sitkFloat32)), "unknown")
    given = np.maximum(volume.array, 0)
    card, network, device_used = loaded or load(model, device)
    pair = grid_pair(volume, float(card.input["voxel_size_mm"][0]))
    progress("Resampling", 0.0)
    y = torch.from_numpy(pair.to_model(given, average=False)[None, None]).clamp_(min=0)
    walked, draws = steps or chosen.steps, samples or chosen.samples
    if walked == 1 and draws > MIRRORS:
        warn("few-mirrors", f"One step has {MIRRORS} mirrors to look through; {draws} samples need two steps or more.")
        draws = MIRRORS
    report = partial(progress, "Denoising")
    mean, sd, noise = restore(y.to(device_used), pair.model_spacing_mm[0], network, card, walked, draws, seed, report)
    _warn_outside_domain(volume, noise, card, warn)
    progress("Resampling", 1.0)
    arrays = [array.cpu().numpy() for array in (mean, sd)]
    if grid == "input":
        arrays = [np.maximum(pair.to_input(array), 0) for array in arrays]
    # OSEM's total is known from all the counts, far better than any voxel: the denoised volume keeps it.
    kept = (given if grid == "input" else y).sum() / max(float(arrays[0].sum()), 1e-12)
    denoised, uncertainty = (image_on_grid(float(kept) * array, volume, pair, grid, image) for array in arrays)
    facts = {
        "model": card.id,
        "model_sha256": card.sha256,
        "device": str(device_used),
        "preset": preset,
        "steps": walked,
        "samples": draws,
        "noise_level": round(float(noise.whole.level), 4),
        "model_grid": {"shape": pair.model_shape, "voxel_size_mm": pair.model_spacing_mm},
    }
    return DenoiseResult(denoised, uncertainty, facts)


@torch.inference_mode()
def restore(
    y: torch.Tensor,
    voxel_size_mm: float,
    network: torch.nn.Module,
    card: ModelCard,
    steps: int,
    draws: int,
    seed: int,
    progress: Callable[[float], None],
) -> tuple[torch.Tensor, torch.Tensor, NoiseScale]:
    """The mean and standard deviation over `draws` of x_0 given y [1, 1, z, y, x], both [z, y, x] on y's grid.

    Var(x_0) = mean of the stated variances + variance of the means. The card's share of the low dose's
    local mean is put back; that this hardly moves the error is measured, not stated.
    """
    shape = y.shape[2:]
    y = padded_to_multiple(y)
    noise = noise_scale(y, voxel_size_mm)
    condition = make_condition(y, noise)
    occupied = (noise.smooth > EMPTY_AIR * noise.whole.uptake)[0, 0].cpu().numpy()
    boxes = plan_windows(occupied, WINDOW, OVERLAP)
    spread = card.architecture["kappa"] * noise.scale
    ticks = _ticker(progress, max(1, len(boxes)) * steps * draws)
    total, square, variance = (torch.zeros_like(y) for _ in range(3))
    for draw in range(draws):
        looking = mirrored(ResidualDenoiser(FastPrecision(network), noise.whole), mirror(draw))
        denoiser = tiled(looking, boxes, OVERLAP, _untouched, lambda: next(ticks))
        gaussian = partial(absolute_noise, y.shape, y.device, seed, draw)
        estimate = sample(denoiser, y, condition, uniform_times(steps), spread, gaussian)
        x0 = estimate[:, :1].clamp_min(0)
        total, square, variance = total + x0, square + x0.square(), variance + estimate[:, 1:]
    mean = total / draws
    sd = (variance / draws + (square / draws - mean.square()).clamp_min(0)).sqrt()
    share = card.architecture.get("local_mean_share", 0.0)
    mean = (mean + share * smoothed(y - mean, LOCAL_MEAN_SIGMA_MM / voxel_size_mm)).clamp_min(0)
    depth, height, width = shape
    return mean[0, 0, :depth, :height, :width], sd[0, 0, :depth, :height, :width], noise


def load(model: str = BUNDLED_MODEL, device: str = "auto") -> Loaded:
    """A model's card, its network ready to infer, and the device that it is on."""
    card = find_model(model)
    return card, *load_network(card, device)


def load_network(card: ModelCard, device: str = "auto") -> tuple[ResidualUNet3D, torch.device]:
    """The card's network with its weights, ready to infer, and the device it is on.

    Raises PETDiffusionError "wrong-model" for a model that is no denoiser of this kind and version.
    """
    if card.task != "denoise" or card.architecture["name"] != "residual_unet3d":
        raise PETDiffusionError("wrong-model", f'The model "{card.id}" is for {card.task}, not for this denoiser.')
    if card.architecture["arguments"].get("in_channels") != INPUTS:
        raise PETDiffusionError(
            "wrong-model", f'The denoiser "{card.id}" was trained by another version of PETDiffusion. Train it again.'
        )
    network = ResidualUNet3D(**card.architecture["arguments"])
    network.load_state_dict(load_weights(card))
    where = choose_device(device)
    return network.eval().to(memory_format=torch.channels_last_3d).to(where), where  # type: ignore[call-overload]


def run(job: Any, progress: Progress, warn: Warn) -> dict[str, Any]:
    """Run a denoising job: read, bring to SUV, denoise, write the volumes. Returns the facts for its summary."""
    options = job.options

    loading = cache(partial(load, options["model"] or BUNDLED_MODEL, job.device))

    def denoised(image: sitk.Image, progress: Progress, warn: Warn) -> DenoiseResult:
        return denoise(
            image,
            preset=options["preset"],
            steps=options["steps"],
            samples=options["samples"],
            grid=options["grid"],
            seed=job.seed,
            loaded=loading(),
            progress=progress,
            warn=warn,
        )

    return denoise_job(job, denoised, progress, warn)


def _preset(name: str) -> StepsPreset:
    if name not in PRESETS:
        raise PETDiffusionError("no-preset", f'There is no preset "{name}"; presets: {", ".join(PRESETS)}.')
    return PRESETS[name]


def _warn_outside_domain(volume: Volume, noise: NoiseScale, card: ModelCard, warn: Warn) -> None:
    """Say where the volume lies outside what the model was trained on."""
    smallest, largest = card.training.get("voxel_size_range_mm", (0.0, float("inf")))
    sizes = ", ".join(f"{size:.2f}" for size in volume.voxel_size_mm)
    if min(volume.voxel_size_mm) < smallest or max(volume.voxel_size_mm) > largest:
        warn("voxel-size", f"Voxels of {sizes} mm lie outside the {smallest} to {largest} mm that the model knows.")
    low, high = card.training.get("noise_level_range", (0.0, float("inf")))
    level = float(noise.whole.level)
    if not low <= level <= high:
        warn("noise-level", f"The noise level {level:.2f} lies outside the {low} to {high} that the model knows.")


def _untouched(x_t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """Where there is only air the low-dose volume stays as it is, and all of it may be noise."""
    y = condition[:, :1]
    return torch.cat([y, y.square()], dim=1)


def _ticker(progress: Callable[[float], None], total: int) -> Iterator[None]:
    """Each `next` reports one more of `total` windows done."""
    for done in range(1, total + 1):
        progress(done / total)
        yield
