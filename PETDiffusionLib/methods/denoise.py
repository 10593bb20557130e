"""Denoise a PET volume with the bundled residual-plus-noise diffusion model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from PETDiffusionLib.diffusion.noise_level import NoiseScale, noise_scale
from PETDiffusionLib.diffusion.preconditioning import ResidualDenoiser, make_condition
from PETDiffusionLib.diffusion.residual import sample, uniform_times
from PETDiffusionLib.diffusion.tiling import mirrored, padded_to_multiple, plan_windows, tiled
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.catalogue.denoise import BUNDLED_MODEL, PRESETS, StepsPreset
from PETDiffusionLib.models import find_model, load_weights
from PETDiffusionLib.models.card import ModelCard
from PETDiffusionLib.networks.precision import FastPrecision
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.volumes import Volume, read_volume, to_suv, write_volume
from PETDiffusionLib.volumes.resampling import GridPair, isotropic_grid

WINDOW, OVERLAP = (96, 256, 256), 24
EMPTY_AIR = 0.01  # of the mean uptake: below it there is nothing to denoise

Progress = Callable[[str, float], None]
Warn = Callable[[str, str], None]


@dataclass(frozen=True)
class DenoiseResult:
    """The denoised volume and its voxelwise standard deviation, in the input's unit, and facts for the manifest."""

    image: sitk.Image
    uncertainty: sitk.Image
    facts: dict[str, Any]


def denoise(
    image: sitk.Image,
    *,
    preset: str = "balanced",
    samples: int | None = None,
    model: str = BUNDLED_MODEL,
    grid: str = "input",
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    warn: Warn | None = None,
) -> DenoiseResult:
    """Denoise a 3D PET image of any unit that is proportional to activity (the model is linear in it).

    `samples` draws (by default the preset's) give the mean, and the standard deviation of the truth about it by the law
    of total variance. `grid` "input" returns the image's own geometry bit for bit, "model" the model's cubic voxels.
    The same seed gives the same result, whatever the windows. `progress(stage, fraction)` may raise Cancelled.

    Raises PETDiffusionError for an image that cannot be denoised, an unknown preset, model or device.
    """
    progress = progress or (lambda stage, fraction: None)
    warn = warn or (lambda code, message: None)
    volume = Volume(sitk.Cast(image, sitk.sitkFloat32), "unknown")
    given = np.maximum(volume.array, 0)
    chosen = _preset(preset)
    card = find_model(model)
    network, device_used = load_network(card, device)
    pair = _grid_pair(volume, card)
    progress("Resampling", 0.0)
    y = torch.from_numpy(pair.to_model(given)[None, None]).clamp_(min=0)
    draws = samples or chosen.samples
    report = partial(progress, "Denoising")
    mean, sd, noise = restore(
        y.to(device_used), pair.model_spacing_mm[0], network, card, chosen.steps, draws, seed, report
    )
    _warn_outside_domain(volume, noise, card, warn)
    progress("Resampling", 1.0)
    arrays = [array.cpu().numpy() for array in (mean, sd)]
    if grid == "input":
        arrays = [np.maximum(pair.to_input(array), 0) for array in arrays]
    # OSEM's total is known from all the counts, far better than any voxel: the denoised volume keeps it.
    kept = (given if grid == "input" else y).sum() / max(float(arrays[0].sum()), 1e-12)
    denoised, uncertainty = (_to_image(float(kept) * array, volume, pair, grid) for array in arrays)
    facts = {
        "model": card.id,
        "model_sha256": card.sha256,
        "device": str(device_used),
        "preset": preset,
        "steps": chosen.steps,
        "samples": draws,
        "noise_level": round(float(noise.level), 4),
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

    Var(x_0) = mean of the stated variances + variance of the means.
    """
    shape = y.shape[2:]
    y = padded_to_multiple(y)
    noise = noise_scale(y, voxel_size_mm)
    condition = make_condition(y, noise)
    occupied = (noise.smooth > EMPTY_AIR * noise.uptake)[0, 0].cpu().numpy()
    boxes = plan_windows(occupied, WINDOW, OVERLAP)
    spread = card.architecture["kappa"] * noise.scale
    ticks = _ticker(progress, max(1, len(boxes)) * steps * draws)
    total, square, variance = (torch.zeros_like(y) for _ in range(3))
    for draw in range(draws):
        looking = mirrored(ResidualDenoiser(FastPrecision(network), noise.uptake, noise.level), _mirror(draw))
        denoiser = tiled(looking, boxes, OVERLAP, _untouched, lambda: next(ticks))
        gaussian = partial(_absolute_noise, y.shape, y.device, seed, draw)
        estimate = sample(denoiser, y, condition, uniform_times(steps), spread, gaussian)
        x0 = estimate[:, :1].clamp_min(0)
        total, square, variance = total + x0, square + x0.square(), variance + estimate[:, 1:]
    mean = total / draws
    sd = (variance / draws + (square / draws - mean.square()).clamp_min(0)).sqrt()
    depth, height, width = shape
    return mean[0, 0, :depth, :height, :width], sd[0, 0, :depth, :height, :width], noise


def load_network(card: ModelCard, device: str = "auto") -> tuple[ResidualUNet3D, torch.device]:
    """The card's network with its weights, ready to infer, and the device it is on."""
    if card.task != "denoise" or card.architecture["name"] != "residual_unet3d":
        raise PETDiffusionError("wrong-model", f'The model "{card.id}" is for {card.task}, not for this denoiser.')
    network = ResidualUNet3D(**card.architecture["arguments"])
    network.load_state_dict(load_weights(card))
    where = choose_device(device)
    return network.eval().to(memory_format=torch.channels_last_3d).to(where), where  # type: ignore[call-overload]


def choose_device(name: str) -> torch.device:
    """ "auto" is CUDA, then the CPU; a device that is not there is refused."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(name, False):
        usable = ", ".join(device for device, found in there.items() if found)
        raise PETDiffusionError("no-device", f'There is no device "{name}" here; usable: {usable}, or auto.')
    return torch.device(name)


def run(job: Any, progress: Progress, warn: Warn) -> dict[str, Any]:
    """Run a denoising job: read, bring to SUV, denoise, write the volumes. Returns the facts for its summary."""
    options = job.options
    progress("Reading", 0.0)
    given = read_volume(job.inputs["image"], options["unit"])
    volume = to_suv(given, options["weight_kg"], options["dose_mbq"], options["minutes"])
    for sentence in volume.warnings:
        warn("input", sentence)
    result = denoise(
        volume.image,
        preset=options["preset"],
        samples=options["samples"],
        model=options["model"] or BUNDLED_MODEL,
        grid=options["grid"],
        seed=job.seed,
        device=job.device,
        progress=progress,
        warn=warn,
    )
    progress("Writing", 1.0)
    for role, image in (("image", result.image), ("uncertainty", result.uncertainty)):
        if role in job.outputs:
            write_volume(Volume(image, "suvbw", volume.facts), job.outputs[role])
    return result.facts | {"unit": "suvbw", "input_unit": given.unit}


def _preset(name: str) -> StepsPreset:
    if name not in PRESETS:
        raise PETDiffusionError("no-preset", f'There is no preset "{name}"; presets: {", ".join(PRESETS)}.')
    return PRESETS[name]


def _grid_pair(volume: Volume, card: ModelCard) -> GridPair:
    x, y, z = volume.voxel_size_mm
    shape = tuple(int(side) for side in volume.image.GetSize()[::-1])
    return isotropic_grid(shape, (z, y, x), float(card.input["voxel_size_mm"][0]))


def _warn_outside_domain(volume: Volume, noise: NoiseScale, card: ModelCard, warn: Warn) -> None:
    """Say where the volume lies outside what the model was trained on."""
    smallest, largest = card.training.get("voxel_size_range_mm", (0.0, float("inf")))
    sizes = ", ".join(f"{size:.2f}" for size in volume.voxel_size_mm)
    if min(volume.voxel_size_mm) < smallest or max(volume.voxel_size_mm) > largest:
        warn("voxel-size", f"Voxels of {sizes} mm lie outside the {smallest} to {largest} mm that the model knows.")
    low, high = card.training.get("noise_level_range", (0.0, float("inf")))
    level = float(noise.level)
    if not low <= level <= high:
        warn("noise-level", f"The noise level {level:.2f} lies outside the {low} to {high} that the model knows.")


def _untouched(x_t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """Where there is only air the low-dose volume stays as it is, and all of it may be noise."""
    y = condition[:, :1]
    return torch.cat([y, y.square()], dim=1)


def _absolute_noise(shape: torch.Size, device: torch.device, seed: int, draw: int, step: int) -> torch.Tensor:
    """Standard normal noise of one step of one draw, by absolute voxel: the same on any device and for any windows."""
    state = np.random.SeedSequence([seed, draw, step]).generate_state(2, np.uint32)
    generator = torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))
    return torch.randn(shape, generator=generator).to(device)


def _mirror(draw: int) -> tuple[int, ...]:
    """One of the eight mirrors of [batch, channel, z, y, x], the unmirrored first."""
    every = [axes for count in range(4) for axes in combinations((2, 3, 4), count)]
    return every[draw % len(every)]


def _ticker(progress: Callable[[float], None], total: int) -> Iterator[None]:
    """Each `next` reports one more of `total` windows done."""
    for done in range(1, total + 1):
        progress(done / total)
        yield


def _to_image(array: np.ndarray, volume: Volume, pair: GridPair, grid: str) -> sitk.Image:
    """An image of values [z, y, x] with the input's geometry bit for bit, or that of the model's grid over it."""
    if grid == "input":
        return volume.with_array(array).image
    image = sitk.GetImageFromArray(array)
    image.SetDirection(volume.image.GetDirection())
    image.SetSpacing(pair.model_spacing_mm[::-1])
    counts = zip(pair.input_shape, pair.input_spacing_mm, pair.model_shape, pair.model_spacing_mm, strict=True)
    first = [((n - 1) / 2 - (m - 1) / 2 * spacing / size) for n, size, m, spacing in counts]  # in input voxels
    image.SetOrigin(volume.image.TransformContinuousIndexToPhysicalPoint(first[::-1]))
    return image
