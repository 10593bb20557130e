"""Train the bundled denoiser: `petdiffusion train denoiser OUT`. Resumable, with an EMA and a curve on disk."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from PETDiffusionLib.cli.arguments import whole_number_from
from PETDiffusionLib.diffusion.noise_level import CORRELATIONS, noise_scale
from PETDiffusionLib.diffusion.preconditioning import BANDS, INPUTS, ResidualDenoiser, make_condition
from PETDiffusionLib.diffusion.residual import diffused
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.models import ModelCard, find_model, load_weights
from PETDiffusionLib.models.writing import write_model
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.training.cases import TRAINING_SEED, VALIDATION_SEED, ensure_cases
from PETDiffusionLib.training.crops import Crops, CropSource
from PETDiffusionLib.training.denoiser_card import denoiser_card
from PETDiffusionLib.training.loop import Losses, Plan, TrainingLoop
from PETDiffusionLib.training.options import add_case_options, add_model_options, add_plan_options
from PETDiffusionLib.training.processes import process_count, rank, training_device

MODEL_ID, VERSION = "petdiffusion-denoiser", "5.1.0"
VOXEL_SIZE_MM = 2.5  # the reconstructions of the tuning bodies come back from this grid with 66 dB and more
NETWORK: dict[str, Any] = {
    "widths": (48, 80, 96),
    "blocks": (2, 2, 3),
    "in_channels": INPUTS,
    "out_channels": 2 + len(BANDS),
    "facts": CORRELATIONS,
}
KAPPA = 0.5  # the bridge's width in local noise scales
# Of the low dose's own local mean, put back into the estimate: the posterior mean lends thin organs their neighbours'
# uptake, and the price of a small share goes with its square. A fifth takes 5 to 9 % of their bias for 0.06 to 0.18 dB.
LOCAL_MEAN_SHARE = 0.2
ONE_STEP_SHARE = 0.85  # how often t = 1, where the presets work
LEAST_GIVEN = 0.01  # of the uptake: a crop with less noise than that has nothing to teach
LEAST_SHARE = 0.003  # of the low dose's error: 25 dB is enough
UPTAKE_JITTER = 0.4  # standard deviation of the logarithm: what else is in the field of view is not known
CROP = (48, 80, 80)
VALIDATION_CASES, VALIDATION_CROPS = 16, 36
BLOCK = re.compile(r"(encode|middle|decode)\d?\.\d+\.")  # a residual block's parameters in the network's state


def losses(network: torch.nn.Module, crops: Crops, generator: torch.Generator) -> Losses:
    """Squared error of x_0 and negative log-likelihood of its stated variance (beta-NLL, Seitzer et al. 2022).

    Errors are a share of the low dose's own, four fifths of it in SUV and one fifth relative to the local noise. The
    logarithm makes a decibel worth the same in a calm liver at a hundredth of the dose as in a brain at a quarter.
    """
    y, x0 = crops.pair[:, :1], crops.pair[:, 1:]
    noise = noise_scale(y, VOXEL_SIZE_MM, crops.whole)
    drawn = partial(torch.rand, len(y), generator=generator, device=y.device)
    alpha = torch.where(drawn() < ONE_STEP_SHARE, 1.0, drawn().clamp_(0.02))
    eps = torch.randn(y.shape, generator=generator, device=y.device)
    x_t = diffused(x0, y, alpha[:, None, None, None, None], KAPPA * noise.scale, eps)
    jitter = UPTAKE_JITTER * torch.randn(len(y), generator=generator, device=y.device)
    denoiser = ResidualDenoiser(network, replace(crops.whole, uptake=crops.whole.uptake * jitter.exp()))
    answer = denoiser(x_t, alpha, make_condition(y, noise))
    error, variance, given = answer[:, :1] - x0, answer[:, 1:], y - x0
    relative = _mean_square(error / noise.scale) / (_mean_square(given / noise.scale) + LEAST_GIVEN**2)
    uptake = crops.whole.uptake
    share = 0.8 * _mean_square(error) / (_mean_square(given) + (LEAST_GIVEN * uptake) ** 2) + 0.2 * relative
    occupied = noise.smooth > 0.05 * uptake[:, None, None, None, None]
    stated = variance / noise.scale.square()
    surprise = 0.5 * error.detach().square() / variance + 0.5 * stated.log()
    surprise = surprise * stated.detach().sqrt()  # or one too sure voxel would outweigh all others
    squared, likelihood = (share + LEAST_SHARE).log().mean(), (surprise * occupied).sum() / occupied.sum()
    return {"loss": squared + 0.1 * likelihood, "squared": squared, "likelihood": likelihood}


def _mean_square(values: torch.Tensor) -> torch.Tensor:
    """The mean square of each volume of [batch, 1, z, y, x]: [batch]."""
    return values.square().mean((1, 2, 3, 4))


@torch.no_grad()
def validate(crops: Crops, network: torch.nn.Module) -> dict[str, float]:
    """The mean gain in dB over the low dose and the coverage of +-1.96 sd, one step, by terciles of the noise level."""
    rows = []
    for crop in crops.one_by_one():
        y, x0 = crop.pair[:, :1], crop.pair[:, 1:]
        noise = noise_scale(y, VOXEL_SIZE_MM, crop.whole)
        answer = ResidualDenoiser(network, crop.whole)(y, 1.0, make_condition(y, noise))
        occupied = noise.smooth > 0.1 * crop.whole.uptake
        before, error = (y - x0)[occupied], (answer[:, :1] - x0)[occupied]
        gain = 10 * torch.log10(before.square().mean() / error.square().mean())
        covered = (error.abs() <= 1.96 * answer[:, 1:][occupied].sqrt()).float().mean()
        rows.append((float(crop.whole.level), float(gain), float(covered)))
    rows.sort()
    thirds = np.array_split(np.asarray(rows), 3)
    report = {
        f"gain_{name}_noise": float(t[:, 1].mean()) for name, t in zip(("low", "mid", "high"), thirds, strict=True)
    }
    return report | {"gain": float(np.mean([r[1] for r in rows])), "coverage": float(np.mean([r[2] for r in rows]))}


def train(arguments: argparse.Namespace) -> TrainingLoop[Crops]:
    """Make what cases are missing, go on from the last checkpoint if there is one, and train to the last step."""
    folder = Path(arguments.out)
    data = Path(arguments.data or folder / "cases")
    with training_device() as device:
        seen = range(TRAINING_SEED, TRAINING_SEED + arguments.cases)
        unseen = range(VALIDATION_SEED, VALIDATION_SEED + VALIDATION_CASES)
        unseen_paths, paths = (ensure_cases(data, seeds, arguments.workers, device) for seeds in (unseen, seen))
        share = paths[rank() % len(paths) :: process_count()]  # each process keeps cases of its own in memory
        source = CropSource(share, CROP, VOXEL_SIZE_MM, device)
        validation = CropSource(unseen_paths, CROP, VOXEL_SIZE_MM, device)
        torch.manual_seed(arguments.seed)
        network = ResidualUNet3D(**NETWORK)
        if arguments.start:
            _start_from(network, find_model(arguments.start))
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        plan = Plan(arguments.steps, arguments.rate, arguments.every, arguments.seed)
        loop = TrainingLoop[Crops](network, folder, plan, device)
        loop.run(
            lambda step: source.batch(arguments.batch, np.random.default_rng([arguments.seed, step, rank()])),
            losses,
            partial(validate, validation.batch(VALIDATION_CROPS, np.random.default_rng(0))),
        )
        if rank() == 0:
            card = denoiser_card(arguments, loop.step, source, NETWORK, KAPPA, LOCAL_MEAN_SHARE, VOXEL_SIZE_MM)
            write_model(folder / "model", loop.average.state_dict(), card)
        return loop


def _start_from(network: ResidualUNet3D, card: ModelCard) -> None:
    """Take the card's weights; blocks that its network lacks start as what they are at first, the identity."""
    try:
        known = network.load_state_dict(load_weights(card), strict=False)
    except RuntimeError as error:  # other shapes
        raise _other_network(card) from error
    if known.unexpected_keys or not all(BLOCK.match(name) for name in known.missing_keys):
        raise _other_network(card)


def _other_network(card: ModelCard) -> PETDiffusionError:
    return PETDiffusionError(
        "other-network",
        f'"{card.id}" {card.version} is another network than this training makes. Leave out --start, or give a '
        "denoiser that was trained by this version.",
    )


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
