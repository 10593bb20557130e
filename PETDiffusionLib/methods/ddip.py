"""Reconstruct a sinogram with a diffusion prior: DDIP (Hashimoto and Gong 2025), and its parents DDS and DPS.

The prior works in units of the mean activity, which carries it from one tracer, scanner or dose to another.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from PETDiffusionLib.devices import choose_device
from PETDiffusionLib.diffusion.absolute_noise import absolute_noise
from PETDiffusionLib.diffusion.activity_scale import activity_scale
from PETDiffusionLib.diffusion.gaussian import Denoiser, ddim, linear_alphas_cumprod, noised
from PETDiffusionLib.diffusion.prior import NETWORK_ARGUMENTS, PriorDenoiser
from PETDiffusionLib.diffusion.tiling import mirror, mirrored
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.catalogue import METHODS
from PETDiffusionLib.methods.catalogue.ddip import BUNDLED_PRIOR
from PETDiffusionLib.models import ModelCard, find_model, load_weights
from PETDiffusionLib.networks.low_rank import adapt_low_rank
from PETDiffusionLib.networks.precision import FastPrecision
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.reconstruction import BlurringProjector, osem
from PETDiffusionLib.reconstruction.cost import Cost, walk_cost
from PETDiffusionLib.reconstruction.measurement import image_unit, read_measurement, warn_of_the_data
from PETDiffusionLib.reconstruction.model import AcquisitionModel, chosen_subsets
from PETDiffusionLib.reconstruction.posterior import (
    AdaptingDenoiser,
    ReconstructionProblem,
    coupling,
    data_consistent,
    posterior_sampling,
)
from PETDiffusionLib.reconstruction.self_check import closed
from PETDiffusionLib.sinograms import ImageGrid, Sinogram, default_grid
from PETDiffusionLib.sinograms.orientation import in_patient_order, in_scanner_order
from PETDiffusionLib.volumes import Unit, Volume, read_volume, write_volume

ALPHAS_CUMPROD = linear_alphas_cumprod()
FIRST_TIME, LAST_TIME = 200, 20  # sigma 0.7: OSEM's noise is drowned; sigma 0.08: what is left is the data's to say
LONE_NOISE_SHARE = 0.1  # of the process' noise in a lone draw: it ends near the mean of many that have all of it
START_ITERATIONS = 2
DRAWS_FOR_UNCERTAINTY = 8
RANK = 4
ADAPTATION_RATES = {"low-rank": 1e-3, "full": 1e-4}
SYNONYMS = {"fdg": ("fluorodeoxyglucose", "fludeoxyglucose")}

Progress = Callable[[str, float], None]
Warn = Callable[[str, str], None]


@dataclass(frozen=True)
class Settings:
    """How the walk goes; each method takes those that it has (see methods/catalogue/ddip.py)."""

    method: str = "ddip"
    steps: int = 8
    mu: float = 4.0
    adapt: str = "low-rank"
    inner: int = 3
    guidance: float = 0.1

    @property
    def times(self) -> list[int]:
        """The times of the steps, evenly from FIRST_TIME to LAST_TIME."""
        return [round(time) for time in np.linspace(FIRST_TIME, LAST_TIME, self.steps)]

    @property
    def gradient_steps(self) -> int:
        """How often a step goes back through the network."""
        return {"ddip": 0 if self.adapt == "none" else self.inner, "dds": 0, "dps": 1}[self.method]


@dataclass(frozen=True)
class PriorReconstruction:
    """The mean over the draws, the standard deviation of the truth about it, the unit of both, and facts."""

    image: sitk.Image
    uncertainty: sitk.Image
    unit: Unit
    facts: dict[str, Any]


def reconstruct_with_prior(
    sinogram: Sinogram,
    settings: Settings,
    *,
    model: str = BUNDLED_PRIOR,
    anatomy: sitk.Image | None = None,
    samples: int = 1,
    subsets: int | None = None,
    psf_mm: float = 0.0,
    voxel_mm: float | None = None,
    shape: tuple[int, int, int] | None = None,
    tracer: str | None = None,
    projector: str = "auto",
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    warn: Warn | None = None,
) -> PriorReconstruction:
    """Reconstruct by "ddip", "dds" or "dps" with the prior `model`, starting from OSEM.

    The grid is that of `methods.reconstruct`. `anatomy` is an MR or CT in LPS about the scanner's centre.
    `progress(stage, fraction)` may raise Cancelled. Raises PETDiffusionError for a model that is no prior, or settings
    that do not fit.
    """
    progress = progress or (lambda stage, fraction: None)
    warn = warn or (lambda code, sentence: None)
    warn_of_the_data(sinogram, warn)
    card, where = find_model(model), choose_device(device, double=True)
    network = load_prior(card).to(where)
    sinogram = sinogram.to(where)
    grid = default_grid(sinogram.geometry, voxel_mm, None if shape is None else shape[::-1])
    _warn_of_the_prior(card, grid, tracer or sinogram.facts.get("tracer"), anatomy is not None, warn)
    progress("Preparing the projector", 0.0)
    lines = make_projector(sinogram.geometry, grid.shape, grid.voxel_size_mm, projector, where)
    if psf_mm > 0:
        lines = BlurringProjector(lines, psf_mm, grid.voxel_size_mm)
    shares = chosen_subsets(sinogram, subsets, warn)

    progress("OSEM to start from", 0.0)
    started = perf_counter()
    start = osem(lines, sinogram, START_ITERATIONS, shares).clone()
    pass_s = (perf_counter() - started) / START_ITERATIONS
    noise_share = LONE_NOISE_SHARE if samples == 1 else 1.0
    walk = _Walk(settings, network, grid, AcquisitionModel(lines, sinogram, shares), start, noise_share, seed)
    condition = _condition(anatomy, grid, where)
    cost = _said_cost(walk, condition, samples, pass_s, warn)
    draws = _draws(walk, samples, condition, partial(progress, f"Diffusion ({cost.text})"))
    # The data bind the draws more than the truth: the card's factor, found on other bodies, makes up for it.
    factor = float(card.architecture.get("spread_factor", 1.0))
    spread = factor * draws.std(0, correction=int(samples > 1))
    held, checked = closed(lines, sinogram, draws.mean(0), warn)
    mean, sd = held * draws.mean(0).cpu().numpy(), held * spread.cpu().numpy()
    facts = _facts(card, sinogram, grid, lines, walk, cost) | {
        "anatomy": anatomy is not None,
        "samples": samples,
        "seconds_a_pass": round(pass_s, 3),
        "subsets": shares,
        **checked,
    }
    return PriorReconstruction(grid.to_image(mean), grid.to_image(sd), image_unit(sinogram), facts)


def _said_cost(walk: _Walk, condition: torch.Tensor, samples: int, pass_s: float, warn: Warn) -> Cost:
    """What the draws will cost; by `warn`, that there is not the memory for it."""
    cost = walk_cost(
        walk.denoiser(walk.network),
        condition,
        time=FIRST_TIME,
        channels=walk.network.enter.out_channels,
        steps=samples * walk.settings.steps,
        gradient_steps=walk.settings.gradient_steps,
        pass_s=pass_s,
        bins=walk.model.bins,
    )
    if cost.memory_bytes > cost.free_bytes:
        warn(
            "memory",
            f"This takes {cost.text}, and {cost.free_bytes / 1e9:.1f} GB are free: choose larger voxels, a smaller "
            "shape, or --adapt none.",
        )
    return cost


def _facts(
    card: ModelCard, sinogram: Sinogram, grid: ImageGrid, projector: Projector, walk: _Walk, cost: Cost
) -> dict[str, Any]:
    """What the manifest says of a run."""
    has = METHODS[walk.settings.method].options
    return {
        **{name: value for name, value in asdict(walk.settings).items() if name == "method" or name in has},
        "model": card.id,
        "model_sha256": card.sha256,
        "scanner": sinogram.geometry.name,
        "projector": type(projector).__name__,
        "grid": grid.described(),
        "device": str(projector.device),
        "activity_scale": walk.scale,
        "seconds_an_evaluation": round(cost.evaluation_s, 3),
        "estimated_minutes": round(cost.seconds / 60, 2),
        "estimated_memory_gb": round(cost.memory_bytes / 1e9, 2),
    }


def _draws(walk: _Walk, samples: int, condition: torch.Tensor, report: Callable[[float], None]) -> torch.Tensor:
    """`samples` independent walks: [samples, z, y, x]."""

    def part(draw: int) -> Callable[[float], None]:
        return lambda share: report((draw + share) / samples)

    return torch.stack([walk.run(draw, condition, part(draw)) for draw in range(samples)])


class _Walk:
    """One sinogram's walks from noise to activity: `run(draw, ...)` gives the draw [z, y, x] in the sinogram's unit."""

    def __init__(
        self,
        settings: Settings,
        network: ResidualUNet3D,
        grid: ImageGrid,
        model: AcquisitionModel,
        start: torch.Tensor,
        noise_share: float,
        seed: int,
    ) -> None:
        self.settings, self.network, self.grid, self.model = settings, network, grid, model
        self.noise_share, self.seed = noise_share, seed
        self.scale = activity_scale(start)
        self.start = (start / self.scale)[None, None]
        self.problem = ReconstructionProblem(model, self.scale)

    def run(self, draw: int, condition: torch.Tensor, report: Callable[[float], None]) -> torch.Tensor:
        times = self.settings.times

        def noise(step: int) -> torch.Tensor:
            return self.noise_share * absolute_noise(self.start.shape, self.start.device, self.seed, draw, step)

        consistent = self._knowing_the_data(draw)

        def reported(x_t: torch.Tensor, t: float, condition: torch.Tensor) -> torch.Tensor:
            report(times.index(int(t)) / len(times))
            return consistent(x_t, t, condition)

        x_t = noised(self.start, times[0], ALPHAS_CUMPROD, noise(len(times)))
        with torch.no_grad():
            x0 = ddim(reported, x_t, condition, times, ALPHAS_CUMPROD, noise, eta=1.0)
        if self.settings.method == "ddip":  # the network spoke last; the data shall
            x0 = self.problem.solve(x0, coupling(ALPHAS_CUMPROD, self.settings.mu)(times[-1]))
        return x0[0, 0] * self.scale * self.model.visible()

    def denoiser(self, network: ResidualUNet3D, axes: tuple[int, ...] = ()) -> Denoiser:
        """The prior that `network` is, on this grid, through a mirror along `axes`."""
        prior = PriorDenoiser(FastPrecision(network), ALPHAS_CUMPROD, self.grid.voxel_size_mm[0])
        return _seeing_the_patient(mirrored(prior, axes), self.grid.position)

    def _knowing_the_data(self, draw: int) -> Denoiser:
        """The method's denoiser; an adapting one has a network of its own, so that draws do not learn from another."""
        chosen, mu, axes = self.settings, coupling(ALPHAS_CUMPROD, self.settings.mu), mirror(draw)
        if chosen.method == "dps":
            return posterior_sampling(self.denoiser(self.network, axes), self.model, self.scale, chosen.guidance)
        if chosen.method == "dds" or chosen.adapt == "none":
            return data_consistent(self.denoiser(self.network, axes), self.problem, mu)
        network = copy.deepcopy(self.network)
        trained = list(network.parameters())
        if chosen.adapt == "low-rank":
            seed = int(np.random.SeedSequence([self.seed, draw]).generate_state(1)[0])
            trained = adapt_low_rank(network, RANK, seed)
        rate = ADAPTATION_RATES[chosen.adapt]
        return AdaptingDenoiser(self.denoiser(network, axes), trained, rate, self.problem, mu, chosen.inner)


def _seeing_the_patient(denoiser: Denoiser, position: str) -> Denoiser:
    """The denoiser of volumes along the scanner's axes; `denoiser` sees them as it was trained, along the patient's."""

    def seen(x_t: torch.Tensor, t: float, condition: torch.Tensor) -> torch.Tensor:
        x0 = denoiser(in_patient_order(x_t, position), t, in_patient_order(condition, position))
        return in_scanner_order(x0, position).contiguous()

    return seen


def load_prior(card: ModelCard) -> ResidualUNet3D:
    """The card's network with its weights. Raises PETDiffusionError "wrong-model" for a model that is no prior."""
    if card.task != "prior" or card.architecture["name"] != "residual_unet3d":
        raise PETDiffusionError("wrong-model", f'The model "{card.id}" is for {card.task}, not a reconstruction prior.')
    if card.architecture["arguments"].get("in_channels") != NETWORK_ARGUMENTS["in_channels"]:
        raise PETDiffusionError(
            "wrong-model", f'The prior "{card.id}" was trained by another version of PETDiffusion. Train it again.'
        )
    network = ResidualUNet3D(**card.architecture["arguments"])
    network.load_state_dict(load_weights(card))
    return network.eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def _condition(anatomy: sitk.Image | None, grid: ImageGrid, device: torch.device) -> torch.Tensor:
    """The anatomical image on the grid with a mean of one, [1, 1, z, y, x]; zero where there is none."""
    if anatomy is None:
        return torch.zeros(1, 1, *grid.shape, device=device)
    values = grid.from_image(anatomy, outside=float(sitk.GetArrayViewFromImage(anatomy).min()))
    values = values - min(0.0, float(values.min()))  # a CT begins at -1000 HU
    if not values.max() > 0:
        raise PETDiffusionError(
            "bad-anatomy",
            "The anatomical image shows nothing in the scanner's field of view. Give it about the scanner's centre.",
        )
    return torch.from_numpy(values / activity_scale(values)).to(device)[None, None]


def _warn_of_the_prior(card: ModelCard, grid: ImageGrid, tracer: str | None, guided: bool, warn: Warn) -> None:
    """Say where the study lies outside what the prior was trained on."""
    smallest, largest = card.training.get("voxel_size_range_mm", (0.0, float("inf")))
    if min(grid.voxel_size_mm) < 0.95 * smallest or max(grid.voxel_size_mm) > 1.05 * largest:
        sizes = ", ".join(f"{size:.2f}" for size in grid.voxel_size_mm)
        warn(
            "voxel-size",
            f"Voxels of {sizes} mm lie outside the {smallest:g} to {largest:g} mm that the prior knows; "
            "choose others with --voxel-mm, or expect worse than OSEM.",
        )
    known = card.training["tracers"]
    if tracer and not any(is_of(tracer, name) for name in known):
        warn(
            "tracer",
            f"The prior was trained on {', '.join(known)} activity and not on {tracer}: a fixed prior can bias the "
            "uptake. Prefer ddip with adaptation, and compare with OSEM.",
        )
    if guided:
        warn(
            "anatomy", "With an anatomical image, a lesion that only PET sees can fade: compare with a run without it."
        )


def is_of(tracer: str, known: str) -> bool:
    """Whether a tracer as users and DICOM write it ("18F-FDG") is one as cards do ("FDG-like")."""
    name = known.lower().removesuffix("-like")
    return any(word in tracer.lower() for word in (name, *SYNONYMS.get(name, ())))


def run(job: Any, progress: Progress, warn: Warn) -> dict[str, Any]:
    """Run a job of ddip, dds or dps: read the sinogram, its terms and the anatomy, reconstruct, write."""
    options = job.options
    progress("Reading", 0.0)
    sinogram = read_measurement(job.inputs, options, progress, warn, job.device)
    anatomy = read_volume(job.inputs["anatomy"]).image if "anatomy" in job.inputs else None
    own = {name: options[name] for name in ("steps", "mu", "adapt", "inner", "guidance") if name in options}
    shape = None if options["shape"] is None else tuple(options["shape"])
    if "uncertainty" in job.outputs and options["samples"] == 1:
        raise PETDiffusionError("bad-option", "An uncertainty is the spread of draws: give --samples 2 or more.")
    result = reconstruct_with_prior(
        sinogram,
        Settings(job.method, **own),
        model=options["model"] or BUNDLED_PRIOR,
        anatomy=anatomy,
        samples=options["samples"] or (DRAWS_FOR_UNCERTAINTY if "uncertainty" in job.outputs else 1),
        **{name: options[name] for name in ("subsets", "psf_mm", "voxel_mm", "tracer", "projector")},
        shape=shape,
        seed=job.seed,
        device=job.device,
        progress=progress,
        warn=warn,
    )
    progress("Writing", 1.0)
    for role, image in (("image", result.image), ("uncertainty", result.uncertainty)):
        if role in job.outputs:
            write_volume(Volume(image, result.unit, sinogram.volume_facts), job.outputs[role])
    return result.facts | sinogram.frame_facts | sinogram.term_facts | {"unit": result.unit}
