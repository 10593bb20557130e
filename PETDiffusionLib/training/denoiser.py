"""Train the bundled denoiser: `petdiffusion train denoiser OUT`. Resumable, with an EMA and a curve on disk."""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from PETDiffusionLib.diffusion.noise_level import noise_scale
from PETDiffusionLib.diffusion.preconditioning import ResidualDenoiser, make_condition
from PETDiffusionLib.diffusion.residual import diffused
from PETDiffusionLib.models import find_model, load_weights
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.training.cases import TRAINING_SEED, VALIDATION_SEED, ensure_cases
from PETDiffusionLib.training.crops import CropSource
from PETDiffusionLib.training.export import export, training_facts

VOXEL_SIZE_MM = 1.65
KAPPA = 0.5  # the bridge's width in local noise scales
ONE_STEP_SHARE = 0.75  # how often t = 1, where `fast` works
EMA_DECAY = 0.998
CROP = (48, 64, 64)
VALIDATION_CASES, VALIDATION_CROPS = 16, 36


def losses(
    network: torch.nn.Module, pair: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared error of x_0 and negative log-likelihood of its stated variance, for crops [batch, 2, z, y, x].

    Errors are a share of the low dose's own, four fifths of it in SUV and one fifth relative to the local uptake. That
    share shrinks with the noise n about as n^-0.9, and the weight n^0.9 makes a decibel worth the same at every dose.
    """
    y, x0 = pair[:, :1], pair[:, 1:]
    noise = noise_scale(y, VOXEL_SIZE_MM)
    batch = len(pair)
    alpha = torch.rand(batch, generator=generator).clamp_(0.02).to(y.device)
    alpha[torch.rand(batch, generator=generator) < ONE_STEP_SHARE] = 1.0
    eps = torch.randn(y.shape, generator=generator).to(y.device)
    x_t = diffused(x0, y, alpha[:, None, None, None, None], KAPPA * noise.scale, eps)
    answer = ResidualDenoiser(network, noise.uptake, noise.level)(x_t, alpha, make_condition(y, noise))
    error, variance, given = answer[:, :1] - x0, answer[:, 1:], y - x0
    share = 0.8 * _squared(error) / _squared(given) + 0.2 * _squared(error / noise.scale) / _squared(
        given / noise.scale
    )
    amount = (_squared(given).sqrt() / noise.uptake).clamp(0.01, 2.0)
    occupied = noise.smooth > 0.05 * noise.uptake[:, None, None, None, None]
    likelihood = 0.5 * error.detach().square() / variance + 0.5 * (variance / noise.scale.square()).log()
    return (amount**0.9 * share).mean(), likelihood[occupied].mean()


def _squared(values: torch.Tensor) -> torch.Tensor:
    """The mean square of each volume of [batch, 1, z, y, x]: [batch]."""
    return values.square().mean((1, 2, 3, 4)).clamp_min(1e-12)


@torch.no_grad()
def validate(network: torch.nn.Module, crops: torch.Tensor) -> dict[str, float]:
    """The mean gain in dB over the low dose and the coverage of +-1.96 sd, one step, by terciles of the noise level."""
    rows = []
    for pair in crops.split(1):
        y, x0 = pair[:, :1], pair[:, 1:]
        noise = noise_scale(y, VOXEL_SIZE_MM)
        answer = ResidualDenoiser(network, noise.uptake, noise.level)(y, 1.0, make_condition(y, noise))
        occupied = noise.smooth > 0.1 * noise.uptake
        before, error = (y - x0)[occupied], (answer[:, :1] - x0)[occupied]
        gain = 10 * torch.log10(before.square().mean() / error.square().mean())
        covered = (error.abs() <= 1.96 * answer[:, 1:][occupied].sqrt()).float().mean()
        rows.append((float(noise.level), float(gain), float(covered)))
    rows.sort()
    thirds = np.array_split(np.asarray(rows), 3)
    report = {
        f"gain_{name}_noise": float(part[:, 1].mean())
        for name, part in zip(("low", "mid", "high"), thirds, strict=True)
    }
    return report | {
        "gain": float(np.mean([row[1] for row in rows])),
        "coverage": float(np.mean([row[2] for row in rows])),
    }


class Trainer:
    """The state that a checkpoint holds, and one step of it."""

    def __init__(self, arguments: argparse.Namespace, device: torch.device) -> None:
        torch.manual_seed(arguments.seed)
        self.arguments, self.device = arguments, device
        network = ResidualUNet3D()
        if arguments.start:
            network.load_state_dict(load_weights(find_model(arguments.start)))
        network = network.to(memory_format=torch.channels_last_3d).to(device)  # type: ignore[call-overload]
        self.network, self.average = network, copy.deepcopy(network).eval()
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=arguments.rate, betas=(0.9, 0.99), weight_decay=1e-4
        )
        self.step, self.seconds = 0, 0.0

    def train_step(self, pair: torch.Tensor) -> tuple[float, float]:
        """One optimiser step; returns the two losses."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.arguments.steps, self.arguments.rate)
        generator = torch.Generator().manual_seed(self.arguments.seed * 1_000_003 + self.step)
        squared, likelihood = losses(self.network, pair.to(self.device), generator)
        self.optimiser.zero_grad(set_to_none=True)
        (squared + 0.01 * likelihood).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        return float(squared.detach()), float(likelihood.detach())

    def save(self, path: Path) -> None:
        """Write the checkpoint whole or not at all."""
        temporary = path.with_suffix(".partial")
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, temporary)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]


def learning_rate(step: int, steps: int, peak: float) -> float:
    """A hundred steps up, then a cosine down to a hundredth."""
    warm = min(1.0, (step + 1) / 100)
    return peak * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def train(arguments: argparse.Namespace) -> Trainer:
    """Make what cases are missing, go on from the last checkpoint if there is one, and train to the last step."""
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    data = Path(arguments.data or folder / "cases")
    source = _crops(data, TRAINING_SEED, arguments.cases)
    validation = _crops(data, VALIDATION_SEED, VALIDATION_CASES).batch(VALIDATION_CROPS, np.random.default_rng(0))
    trainer = Trainer(arguments, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        trainer.load(checkpoint)
    with open(folder / "curve.jsonl", "a", encoding="ascii") as curve:
        _run_steps(trainer, source, validation, checkpoint, curve)
    facts = training_facts(arguments, trainer.step, source)
    export(trainer.average.state_dict(), folder / "model", facts, KAPPA, VOXEL_SIZE_MM)
    return trainer


def _crops(folder: Path, first_seed: int, count: int) -> CropSource:
    return CropSource(ensure_cases(folder, range(first_seed, first_seed + count)), CROP, VOXEL_SIZE_MM)


def _run_steps(trainer: Trainer, source: CropSource, validation: torch.Tensor, checkpoint: Path, curve: TextIO) -> None:
    arguments = trainer.arguments
    recent: list[tuple[float, float]] = []
    while trainer.step < arguments.steps:
        started = time.perf_counter()
        pair = source.batch(arguments.batch, np.random.default_rng([arguments.seed, trainer.step]))
        recent.append(trainer.train_step(pair))
        trainer.seconds += time.perf_counter() - started
        if trainer.step % arguments.every == 0 or trainer.step == arguments.steps:
            squared, likelihood = np.mean(recent, axis=0)
            recent.clear()
            row = {"step": trainer.step, "seconds": round(trainer.seconds, 1), "squared": float(squared)}
            row |= {"likelihood": float(likelihood)} | validate(trainer.average, validation.to(trainer.device))
            curve.write(json.dumps(row) + "\n")
            curve.flush()
            print(json.dumps(row), flush=True)
            trainer.save(checkpoint)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `petdiffusion train denoiser`."""
    parser.add_argument("out", help="folder of the checkpoint, the curve and the simulated cases")
    parser.add_argument("--data", help="folder of the cases, made where missing (default: OUT/cases)")
    parser.add_argument("--cases", type=int, default=170, help="phantoms to train on, three doses each")
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-3, help="the highest learning rate")
    parser.add_argument("--every", type=int, default=200, help="steps between validations and checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", metavar="MODEL", help="start from the weights of this model instead of from nothing")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the training."""
    parser = argparse.ArgumentParser(prog="petdiffusion train denoiser", description=__doc__)
    add_arguments(parser)
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
