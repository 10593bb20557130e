"""Train the sinogram denoiser of the count bridge: `petdiffusion train counts OUT`. Resumable."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from PETDiffusionLib.diffusion.count_bridge import (
    CHANNELS,
    TWIN_FWHMS_MM,
    CountDenoiser,
    blurred,
    make_condition,
    padded,
    quick_image,
    unpadded,
)
from PETDiffusionLib.models.writing import write_model
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.training.cases import TRAINING_SEED, VALIDATION_SEED
from PETDiffusionLib.training.loop import Losses, Plan, TrainingLoop
from PETDiffusionLib.training.options import add_case_options, add_model_options, add_plan_options
from PETDiffusionLib.training.sinogram_batches import TRUES_PER_BIN, SinogramBatch, SinogramSource
from PETDiffusionLib.training.sinogram_cases import GRIDS, ensure_cases
from PETDiffusionLib.training.sinogram_errors import image_errors

ARCHITECTURE: dict[str, Any] = {"in_channels": CHANNELS, "out_channels": 1, "widths": [24, 40, 64], "blocks": [1, 1, 2]}
MODEL_ID, VERSION = "petdiffusion-counts", "2.0.0"
VALIDATION_CASES, VALIDATION_BATCHES = 8, 8


@dataclass(frozen=True)
class Conditioned:
    """A batch and what the denoiser knows of it, [stack, channel, plane, view, tangential]."""

    batch: SinogramBatch
    prompts: torch.Tensor
    condition: torch.Tensor

    @property
    def twin_error(self) -> torch.Tensor:
        """What the fine twin has wrong, in counts: [stack * plane, view, tangential]."""
        return self.condition[:, 0].flatten(0, 1) - self.batch.expected


@torch.inference_mode()
def conditioned(batch: SinogramBatch) -> Conditioned:
    """Reconstruct a batch quickly and project the filtered twins, each stack with its own voxel size."""
    image = batch.stacked(quick_image(batch.projector, batch.sinogram))
    twins = []
    for fwhm in TWIN_FWHMS_MM:
        filtered = [blurred(one, fwhm, size) for one, size in zip(image, batch.voxel_sizes_mm, strict=True)]
        twins.append(batch.projector.forward(torch.cat(filtered, dim=1)[0]))
    condition = make_condition(batch.sinogram, twins)
    prompts = batch.stacked(batch.sinogram.prompts)
    return Conditioned(batch, prompts, torch.cat([batch.stacked(one) for one in condition], dim=1))


def estimate(network: nn.Module, given: Conditioned) -> torch.Tensor:
    """The denoiser's expectation of the prompts, [stack * plane, view, tangential]."""
    prompts, condition = (padded(one, one) for one in (given.prompts, given.condition))
    answer = CountDenoiser(network)(prompts, 1.0, condition)
    return unpadded(answer, given.prompts.shape)[:, 0].flatten(0, 1)


def losses(network: nn.Module, given: Conditioned, generator: torch.Generator) -> Losses:
    """The logarithm of the image's error over that of the filtered twin: a decibel is worth the same at any dose."""
    error = estimate(network, given) - given.batch.expected
    share = image_errors(given.batch, error) / image_errors(given.batch, given.twin_error)
    counted = given.batch.stacked(error.square() / given.batch.expected.clamp_min(1e-3)).mean((1, 2, 3, 4))
    return {"loss": share.log().mean() + 0.1 * counted.log().mean(), "share": share.detach().mean()}


@torch.no_grad()
def validate(network: nn.Module, batches: list[Conditioned]) -> dict[str, float]:
    """The gain in dB in the image over the filtered twin, one step, by terciles of the counts."""
    rows = []
    for given in batches:
        error = estimate(network, given) - given.batch.expected
        share = image_errors(given.batch, error) / image_errors(given.batch, given.twin_error)
        counts = given.prompts.mean((1, 2, 3, 4))
        rows += list(zip(counts.tolist(), (-10 * share.log10()).tolist(), strict=True))
    rows.sort()
    thirds = np.array_split(np.asarray(rows), 3)
    figures = {
        f"gain_{name}_counts": float(part[:, 1].mean())
        for name, part in zip(("few", "mid", "many"), thirds, strict=True)
    }
    return figures | {"gain": float(np.mean([row[1] for row in rows]))}


def train(arguments: argparse.Namespace) -> TrainingLoop[Conditioned]:
    """Train, or go on; leaves `checkpoint.pt`, `curve.jsonl` and the model in `arguments.out`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out = Path(arguments.out)
    data = Path(arguments.data) if arguments.data else out / "phantoms"
    paths = ensure_cases(data, range(TRAINING_SEED, TRAINING_SEED + arguments.cases), arguments.workers)
    checks = ensure_cases(data, range(VALIDATION_SEED, VALIDATION_SEED + VALIDATION_CASES), arguments.workers)
    source = SinogramSource(paths, arguments.stacks, arguments.planes, device)
    held_out = SinogramSource(checks, arguments.stacks, arguments.planes, device)
    validation = [conditioned(held_out.batch(number)) for number in range(VALIDATION_BATCHES)]
    torch.manual_seed(arguments.seed)
    network = ResidualUNet3D(**ARCHITECTURE).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    plan = Plan(arguments.steps, arguments.rate, arguments.every, arguments.seed)
    loop = TrainingLoop[Conditioned](network, out, plan, device)
    loop.run(
        lambda step: conditioned(source.batch(arguments.seed * 1_000_003 + step)),
        losses,
        lambda average: validate(average, validation),
    )
    write_model(
        out / "model", loop.average.state_dict(), _card(arguments, loop.step, validate(loop.average, validation))
    )
    return loop


def _card(arguments: argparse.Namespace, steps: int, figures: dict[str, float]) -> dict[str, Any]:
    command = f"petdiffusion train counts OUT --cases {arguments.cases} --steps {arguments.steps} "
    command += f"--stacks {arguments.stacks} --planes {arguments.planes} --rate {arguments.rate:g} "
    return {
        "id": arguments.id,
        "version": arguments.version,
        "task": "restore-sinogram",
        "title": "PETDiffusion sinogram denoiser (count bridge, simulated multi-tracer PET)",
        "architecture": {"name": "residual_unet3d", "arguments": ARCHITECTURE, "process": "count-bridge"},
        "input": {"unit": "counts", "scale": 1.0, "voxel_size_mm": [4.3, 4.3, 3.0]},
        "training": {
            "tracers": ["FDG-like", "DOTATATE-like", "amyloid-negative-like", "random uptake"],
            "dose_range": [0.008, 1.2],
            "data": f"{arguments.cases} simulated phantoms (procedural bodies, heads, random shapes) on parallel beams "
            f"of {', '.join(f'{size:g}' for size in GRIDS.values())} mm bins; {TRUES_PER_BIN[0]} to {TRUES_PER_BIN[1]} "
            "trues a bin, efficiencies, scatter and randoms drawn anew in every batch; targets are the expected counts",
            "command": command + f"--seed {arguments.seed}",
            "seed": arguments.seed,
            "steps": steps,
            "date": datetime.date.today().isoformat(),
            "trues_per_bin_range": list(TRUES_PER_BIN),
        },
        "figures": {"gain_over_filtered_twin_db": {name: round(value, 2) for name, value in figures.items()}},
        "citation": "PETDiffusion contributors: PETDiffusion sinogram denoiser, trained on simulated PET.",
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `petdiffusion train counts`."""
    add_case_options(parser, cases=200)
    add_plan_options(parser, steps=4000, rate=1e-3)
    add_model_options(parser, MODEL_ID, VERSION)
    parser.add_argument("--stacks", type=int, default=4, help="stacks of planes in a batch")
    parser.add_argument("--planes", type=int, default=16, help="planes of a stack")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the training."""
    parser = argparse.ArgumentParser(prog="petdiffusion train counts", description=__doc__)
    add_arguments(parser)
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
