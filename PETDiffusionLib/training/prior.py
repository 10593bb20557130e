"""Train the reconstruction prior: `petdiffusion train prior OUT`. Resumable; FDG-like volumes, simulated on the way."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from PETDiffusionLib.cli.arguments import whole_number_from
from PETDiffusionLib.diffusion.prior import NETWORK_ARGUMENTS, SIGMA_DATA, denoised, edm_coefficients
from PETDiffusionLib.models import find_model, load_weights
from PETDiffusionLib.models.writing import write_model
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.training.loop import Losses, Plan, TrainingLoop
from PETDiffusionLib.training.options import add_case_options, add_model_options, add_plan_options
from PETDiffusionLib.training.prior_cases import (
    RESOLUTION_RANGE_MM,
    TRAINING_SEED,
    VALIDATION_SEED,
    VOXEL_RANGE_MM,
    ensure_prior_cases,
    load_prior_case,
)

MODEL_ID, VERSION = "petdiffusion-prior", "2.0.0"
CROP = (32, 48, 48)
LOG_SIGMA = (-0.8, 1.3)  # mean and standard deviation of the noise level's logarithm (EDM, table 1, for this scale)
SCALE_SPREAD = 0.15  # of the logarithm: the scale of a noisy OSEM image is not quite that of the truth
WITHOUT_ANATOMY = 0.5
VALIDATION_CASES, VALIDATION_CROPS, VALIDATION_SIGMAS = 6, 16, (0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Crops:
    """Activity and anatomy [batch, 1, z, y, x] in units of their means, anatomy 0 where absent; voxel size [batch]."""

    activity: torch.Tensor
    anatomy: torch.Tensor
    voxel_size_mm: torch.Tensor


class CropSource:
    """Random crops, flips and turns of cases that are held on `device` in half precision."""

    def __init__(self, paths: list[Path], crop: tuple[int, int, int], device: torch.device) -> None:
        self.crop, self.cases = crop, []
        for path in paths:
            case = load_prior_case(path)
            volumes = torch.from_numpy(np.stack([case.activity, case.anatomy])).to(device)
            self.cases.append((volumes, case.voxel_size_mm[1]))

    def batch(self, size: int, rng: np.random.Generator) -> Crops:
        """`size` crops, half of them without their anatomy."""
        pairs, sizes = zip(*(self._draw(rng) for _ in range(size)), strict=True)
        both = torch.stack(pairs)
        return Crops(both[:, :1], both[:, 1:], torch.tensor(sizes, dtype=torch.float32, device=both.device))

    def _draw(self, rng: np.random.Generator) -> tuple[torch.Tensor, float]:
        volumes, voxel_size_mm = self.cases[rng.integers(len(self.cases))]
        starts = [int(rng.integers(max(1, n - m + 1))) for n, m in zip(volumes.shape[1:], self.crop, strict=True)]
        box = tuple(slice(start, start + m) for start, m in zip(starts, self.crop, strict=True))
        pair = volumes[(slice(None), *box)].float()
        short = [m - n for n, m in zip(pair.shape[1:], self.crop, strict=True)]
        pair = F.pad(pair, (0, short[2], 0, short[1], 0, short[0]))
        pair = pair.flip([axis + 1 for axis in range(3) if rng.random() < 0.5])
        if rng.random() < 0.5:
            pair = pair.transpose(2, 3)
        factors = [float(np.exp(SCALE_SPREAD * rng.normal())), float(rng.random() >= WITHOUT_ANATOMY)]
        return pair * pair.new_tensor(factors)[:, None, None, None], voxel_size_mm


def losses(network: torch.nn.Module, crops: Crops, generator: torch.Generator) -> Losses:
    """The squared error of the network's own answer (EDM, eq. 8, lambda = 1 / c_out^2).

    Crops with a bladder or a kidney have many times the power of the others, so each counts at most as much as one of
    the data's usual power.
    """
    x0 = crops.activity
    mean, spread = LOG_SIGMA
    sigma = (mean + spread * torch.randn(len(x0), generator=generator, device=x0.device)).exp()
    noise = torch.randn(x0.shape, generator=generator, device=x0.device)
    y = x0 + sigma[:, None, None, None, None] * noise
    error = denoised(network, y, sigma, crops.voxel_size_mm, crops.anatomy) - x0
    power = (x0.square().mean((1, 2, 3, 4)) / SIGMA_DATA**2).clamp_min(1.0)
    return {"loss": (error.square().mean((1, 2, 3, 4)) / edm_coefficients(sigma)[1].square() / power).mean()}


@torch.no_grad()
def validate(network: torch.nn.Module, crops: Crops) -> dict[str, float]:
    """The root mean square error of the estimate at a few noise levels, with the anatomy and without."""
    figures = {}
    generator = torch.Generator(crops.activity.device).manual_seed(0)
    noise = torch.randn(crops.activity.shape, generator=generator, device=crops.activity.device)
    for level in VALIDATION_SIGMAS:
        sigma = torch.full_like(crops.voxel_size_mm, level)
        y = crops.activity + level * noise
        for name, anatomy in (("", torch.zeros_like(crops.anatomy)), ("_anatomy", crops.anatomy)):
            parts = zip(y.split(4), sigma.split(4), crops.voxel_size_mm.split(4), anatomy.split(4), strict=True)
            estimate = torch.cat([denoised(network, *part) for part in parts])
            figures[f"rmse_{level:g}{name}"] = round(float((estimate - crops.activity).square().mean().sqrt()), 4)
    return figures


def train(arguments: argparse.Namespace) -> TrainingLoop[Crops]:
    """Make what cases are missing, go on from the last checkpoint if there is one, and train to the last step."""
    folder = Path(arguments.out)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = Path(arguments.data or folder / "cases")
    paths = ensure_prior_cases(data, range(TRAINING_SEED, TRAINING_SEED + arguments.cases), arguments.workers)
    unseen = ensure_prior_cases(data, range(VALIDATION_SEED, VALIDATION_SEED + VALIDATION_CASES), arguments.workers)
    source = CropSource(paths, CROP, device)
    validation = CropSource(unseen, CROP, device).batch(VALIDATION_CROPS, np.random.default_rng(0))
    torch.manual_seed(arguments.seed)
    architecture: dict[str, Any] = {
        **NETWORK_ARGUMENTS,
        "widths": list(arguments.widths),
        "blocks": list(arguments.blocks),
    }
    network = ResidualUNet3D(**architecture)
    if arguments.start:
        network.load_state_dict(load_weights(find_model(arguments.start)))
    network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    plan = Plan(arguments.steps, arguments.rate, arguments.every, arguments.seed)
    loop: TrainingLoop[Crops] = TrainingLoop(network, folder, plan, device)
    loop.run(
        lambda step: source.batch(arguments.batch, np.random.default_rng([arguments.seed, step])),
        losses,
        lambda average: validate(average, validation),
    )
    write_model(
        folder / "model", loop.average.state_dict(), _card(arguments, architecture, validate(loop.average, validation))
    )
    return loop


def _card(arguments: argparse.Namespace, architecture: dict[str, Any], figures: dict[str, float]) -> dict[str, Any]:
    command = f"petdiffusion train prior OUT --cases {arguments.cases} --steps {arguments.steps} "
    command += f"--batch {arguments.batch} --rate {arguments.rate:g} --seed {arguments.seed}"
    for name in ("widths", "blocks"):
        command += f" --{name} {' '.join(map(str, getattr(arguments, name)))}"
    command += f" --start {arguments.start}" if arguments.start else ""
    return {
        "id": arguments.id,
        "version": arguments.version,
        "task": "prior",
        "title": "PETDiffusion reconstruction prior (FDG-like activity, with or without an anatomical image)",
        "architecture": {"name": "residual_unet3d", "arguments": architecture, "sigma_data": SIGMA_DATA},
        "input": {"unit": "mean activity", "scale": 1.0, "voxel_size_mm": [2.5, 2.5, 2.5]},
        "training": {
            "tracers": ["FDG-like"],
            "dose_range": [],
            "data": f"{arguments.cases} simulated phantoms (procedural heads and trunks): activity at a PET resolution "
            f"of {RESOLUTION_RANGE_MM[0]:g} to {RESOLUTION_RANGE_MM[1]:g} mm, and an image of the anatomy with random "
            "contrast that shows half of the lesions",
            "command": command,
            "seed": arguments.seed,
            "steps": arguments.steps,
            "date": datetime.date.today().isoformat(),
            "voxel_size_range_mm": list(VOXEL_RANGE_MM),
        },
        "figures": {"validation": figures},
        "citation": "PETDiffusion contributors: PETDiffusion reconstruction prior, trained on simulated activity.",
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `petdiffusion train prior`."""
    add_case_options(parser, cases=120)
    add_plan_options(parser, steps=4500, rate=1e-3, every=500)
    add_model_options(parser, MODEL_ID, VERSION)
    parser.add_argument("--batch", type=whole_number_from(1), default=2)
    parser.add_argument("--widths", type=int, nargs=3, default=(24, 48, 80), help="channels at three resolutions")
    parser.add_argument("--blocks", type=int, nargs=3, default=(1, 1, 2), help="residual blocks at three resolutions")
    parser.add_argument("--start", metavar="MODEL", help="start from the weights of this model instead of from nothing")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the training."""
    parser = argparse.ArgumentParser(prog="petdiffusion train prior", description=__doc__)
    add_arguments(parser)
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
