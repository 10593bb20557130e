"""Train the bundled denoiser: `petdiffusion train denoiser OUT`. Resumable, with an EMA and a curve on disk."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from PETDiffusionLib.cli.arguments import whole_number_from
from PETDiffusionLib.diffusion.noise_level import noise_scale
from PETDiffusionLib.diffusion.preconditioning import ResidualDenoiser, make_condition
from PETDiffusionLib.diffusion.residual import diffused
from PETDiffusionLib.models import find_model, load_weights
from PETDiffusionLib.models.writing import write_model
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.training.cases import TRAINING_SEED, VALIDATION_SEED, ensure_cases
from PETDiffusionLib.training.crops import Crops, CropSource
from PETDiffusionLib.training.denoiser_card import denoiser_card
from PETDiffusionLib.training.loop import Losses, Plan, TrainingLoop
from PETDiffusionLib.training.options import add_case_options, add_model_options, add_plan_options

MODEL_ID, VERSION = "petdiffusion-denoiser", "3.1.0"
VOXEL_SIZE_MM = 2.5  # the reconstructions of the tuning bodies come back from this grid with 66 dB and more
WIDTHS = (48, 80, 96)
KAPPA = 0.5  # the bridge's width in local noise scales
ONE_STEP_SHARE = 0.7  # how often t = 1, where `fast` works
LEAST_GIVEN = 0.01  # of the uptake: a crop with less noise than that has nothing to teach
UPTAKE_JITTER = 0.4  # standard deviation of the logarithm: what else is in the field of view is not known
CROP = (40, 56, 56)
VALIDATION_CASES, VALIDATION_CROPS = 16, 36


def losses(network: torch.nn.Module, crops: Crops, generator: torch.Generator) -> Losses:
    """Squared error of x_0 and negative log-likelihood of its stated variance (beta-NLL, Seitzer et al. 2022).

    Errors are a share of the low dose's own, four fifths of it in SUV and one fifth relative to the local noise. That
    share shrinks with the noise n about as n^-0.9, and the weight n^0.9 makes a decibel worth the same at every dose.
    """
    y, x0 = crops.pair[:, :1], crops.pair[:, 1:]
    noise = noise_scale(y, VOXEL_SIZE_MM, (crops.uptake, crops.level))
    drawn = partial(torch.rand, len(y), generator=generator, device=y.device)
    alpha = torch.where(drawn() < ONE_STEP_SHARE, 1.0, drawn().clamp_(0.02))
    eps = torch.randn(y.shape, generator=generator, device=y.device)
    x_t = diffused(x0, y, alpha[:, None, None, None, None], KAPPA * noise.scale, eps)
    jitter = UPTAKE_JITTER * torch.randn(len(y), generator=generator, device=y.device)
    denoiser = ResidualDenoiser(network, noise.uptake * jitter.exp(), noise.level)
    answer = denoiser(x_t, alpha, make_condition(y, noise))
    error, variance, given = answer[:, :1] - x0, answer[:, 1:], y - x0
    relative = _mean_square(error / noise.scale) / (_mean_square(given / noise.scale) + LEAST_GIVEN**2)
    share = 0.8 * _mean_square(error) / (_mean_square(given) + (LEAST_GIVEN * noise.uptake) ** 2) + 0.2 * relative
    amount = (_mean_square(given).sqrt() / noise.uptake).clamp(0.01, 2.0)
    occupied = noise.smooth > 0.05 * noise.uptake[:, None, None, None, None]
    stated = variance / noise.scale.square()
    surprise = 0.5 * error.detach().square() / variance + 0.5 * stated.log()
    surprise = surprise * stated.detach().sqrt()  # or one too sure voxel would outweigh all others
    share = torch.where(share < 1, share, 1 + share.clamp_min(1).log())  # no single crop gone astray rules a step
    squared, likelihood = (amount**0.9 * share).mean(), (surprise * occupied).sum() / occupied.sum()
    return {"loss": squared + 0.01 * likelihood, "squared": squared, "likelihood": likelihood}


def _mean_square(values: torch.Tensor) -> torch.Tensor:
    """The mean square of each volume of [batch, 1, z, y, x]: [batch]."""
    return values.square().mean((1, 2, 3, 4))


@torch.no_grad()
def validate(crops: Crops, network: torch.nn.Module) -> dict[str, float]:
    """The mean gain in dB over the low dose and the coverage of +-1.96 sd, one step, by terciles of the noise level."""
    rows = []
    for pair, uptake, level in zip(crops.pair.split(1), crops.uptake.split(1), crops.level.split(1), strict=True):
        y, x0 = pair[:, :1], pair[:, 1:]
        noise = noise_scale(y, VOXEL_SIZE_MM, (uptake, level))
        answer = ResidualDenoiser(network, noise.uptake, noise.level)(y, 1.0, make_condition(y, noise))
        occupied = noise.smooth > 0.1 * noise.uptake
        before, error = (y - x0)[occupied], (answer[:, :1] - x0)[occupied]
        gain = 10 * torch.log10(before.square().mean() / error.square().mean())
        covered = (error.abs() <= 1.96 * answer[:, 1:][occupied].sqrt()).float().mean()
        rows.append((float(noise.level), float(gain), float(covered)))
    rows.sort()
    thirds = np.array_split(np.asarray(rows), 3)
    report = {
        f"gain_{name}_noise": float(t[:, 1].mean()) for name, t in zip(("low", "mid", "high"), thirds, strict=True)
    }
    return report | {"gain": float(np.mean([r[1] for r in rows])), "coverage": float(np.mean([r[2] for r in rows]))}


def train(arguments: argparse.Namespace) -> TrainingLoop[Crops]:
    """Make what cases are missing, go on from the last checkpoint if there is one, and train to the last step."""
    folder = Path(arguments.out)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = Path(arguments.data or folder / "cases")
    source = _crops(data, TRAINING_SEED, arguments.cases, arguments.workers, device)
    validation = _crops(data, VALIDATION_SEED, VALIDATION_CASES, arguments.workers, device)
    torch.manual_seed(arguments.seed)
    network = ResidualUNet3D(widths=WIDTHS)
    if arguments.start:
        network.load_state_dict(load_weights(find_model(arguments.start)))
    network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    plan = Plan(arguments.steps, arguments.rate, arguments.every, arguments.seed)
    loop = TrainingLoop[Crops](network, folder, plan, device)
    loop.run(
        lambda step: source.batch(arguments.batch, np.random.default_rng([arguments.seed, step])),
        losses,
        partial(validate, validation.batch(VALIDATION_CROPS, np.random.default_rng(0))),
    )
    card = denoiser_card(arguments, loop.step, source, WIDTHS, KAPPA, VOXEL_SIZE_MM)
    write_model(folder / "model", loop.average.state_dict(), card)
    return loop


def _crops(folder: Path, first_seed: int, count: int, workers: int, device: torch.device) -> CropSource:
    paths = ensure_cases(folder, range(first_seed, first_seed + count), workers)
    return CropSource(paths, CROP, VOXEL_SIZE_MM, device)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `petdiffusion train denoiser`."""
    add_case_options(parser, cases=280)
    add_plan_options(parser, steps=5400, rate=1e-3)
    add_model_options(parser, MODEL_ID, VERSION)
    parser.add_argument("--batch", type=whole_number_from(1), default=2)
    parser.add_argument("--start", metavar="MODEL", help="start from the weights of this model instead of from nothing")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the training."""
    parser = argparse.ArgumentParser(prog="petdiffusion train denoiser", description=__doc__)
    add_arguments(parser)
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
