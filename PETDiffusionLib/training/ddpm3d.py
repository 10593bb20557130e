"""Train a 3D DDPM after Yu et al.: `petdiffusion train ddpm3d OUT`. Resumable, on one device or several (torchrun).

The recipe is the paper's: noise and variational loss, uniform times, random crops, AdamW without weight decay, an
average of the weights; the learning rate falls as in every training here. Data are pairs of volumes, or simulated.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import math
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from PETDiffusionLib.diffusion.gaussian import ddim, linear_alphas_cumprod, log_snr_times, noised
from PETDiffusionLib.diffusion.noise_prediction import NoiseDenoiser, clipped_to_scale
from PETDiffusionLib.models.writing import write_model
from PETDiffusionLib.networks.ddpm3d import DDPM3D, ResidualBlock
from PETDiffusionLib.networks.precision import fast_precision
from PETDiffusionLib.training.cases import TRAINING_SEED, VALIDATION_SEED, ensure_cases
from PETDiffusionLib.training.loop import Losses, Plan, TrainingLoop
from PETDiffusionLib.training.options import add_case_options, add_plan_options
from PETDiffusionLib.training.pairs import PairSource, groups_of_cases, groups_of_table
from PETDiffusionLib.training.processes import first_process_first, rank, training_device

MODEL_ID, VERSION = "petdiffusion-ddpm3d", "1.0.0"
EARLY_TIMES = 30
WEIGHTINGS = ("noise", "truncated-snr")
LARGEST_WEIGHT = 300.0  # of a noise error: at the last times x_0 counts as much as the noise does at the others
ALPHAS_CUMPROD = linear_alphas_cumprod()
VALIDATION_CASES, VALIDATION_CROPS, VALIDATION_STEPS, VALIDATION_START = 8, 8, 10, 200


def losses(network: nn.Module, crops: torch.Tensor, generator: torch.Generator, weighting: str = "noise") -> Losses:
    """Squared error of the noise, and the variational bound in bits with its mean held (Nichol and Dhariwal 2021).

    `crops` [batch, 2, z, y, x] are low dose and full dose on the network's scale. Small times, where there is most to
    learn, are drawn more often and count the less for it: the expected loss is that of uniform times. At t = 0, where
    the true step has no width, it is given that of t = 1, as the learned one's lower bound is.

    With the `weighting` "truncated-snr" (Salimans and Ho 2022) the squared error is that of the noise or of x_0,
    whichever is larger, and late times are drawn more often: a network that was trained for hours and not for weeks
    otherwise knows the noise of late times to a hundredth, and x_0, which is that over sqrt(abar), not at all.
    """
    low_dose, x0 = crops.split(1, dim=1)
    schedule = _schedule(x0.device, weighting)
    times = torch.multinomial(schedule[-1].expand(len(x0), -1), 1, generator=generator)[:, 0]
    abar, log_posterior, log_beta, weight, noise_weight, chance = schedule[:, times, None, None, None, None]
    importance = 1 / (len(ALPHAS_CUMPROD) * chance)
    eps = torch.randn(x0.shape, generator=generator, device=x0.device)
    answer = network(abar.sqrt() * x0 + (1 - abar).sqrt() * eps, times, low_dose)
    squared = (answer[:, :1] - eps).square()
    log_variance = log_posterior + (answer[:, 1:] + 1) / 2 * (log_beta - log_posterior)
    ratio = (log_posterior - log_variance).exp() + weight * squared.detach() * (-log_variance).exp()
    bits = 0.5 * (log_variance - log_posterior - 1 + ratio) / math.log(2)
    noise, bound = (importance * noise_weight * squared).mean(), (importance * bits).mean()
    return {"loss": noise + bound, "noise": noise, "bound": bound}


@lru_cache(maxsize=4)
def _schedule(device: torch.device, weighting: str) -> torch.Tensor:
    """[6, times], to be read only: abar, log posterior variance, log beta, a squared noise error in the posterior mean,
    that in the loss, and chance.

    The chance that a time is drawn falls as 1 / (t + 30); with "truncated-snr", half of the times are drawn uniformly.
    """
    abar = np.asarray(ALPHAS_CUMPROD)
    before = np.concatenate([[1.0], abar[:-1]])
    beta = 1 - abar / before
    posterior = beta * (1 - before) / (1 - abar)
    posterior[0] = posterior[1]
    weight = beta**2 / ((1 - abar) * (1 - beta))
    chance = 1 / (np.arange(len(abar)) + EARLY_TIMES)
    chance, noise_weight = chance / chance.sum(), np.ones_like(abar)
    if weighting == "truncated-snr":
        chance = (chance + 1 / len(abar)) / 2
        noise_weight = np.clip((1 - abar) / abar, 1.0, LARGEST_WEIGHT)
    rows = np.stack([abar, np.log(posterior), np.log(beta), weight, noise_weight, chance])
    return torch.tensor(rows, dtype=torch.float32, device=device)


@torch.no_grad()
def denoised(network: DDPM3D, low_dose: torch.Tensor) -> torch.Tensor:
    """A quick draw for volumes [batch, 1, z, y, x] on the network's scale: ten DDIM steps from the noised low dose."""
    generator = torch.Generator(low_dose.device).manual_seed(0)
    noise = torch.randn(low_dose.shape, generator=generator, device=low_dose.device)
    start = noised(low_dose, VALIDATION_START, ALPHAS_CUMPROD, noise)
    times = log_snr_times(VALIDATION_STEPS, ALPHAS_CUMPROD, VALIDATION_START)
    denoiser = NoiseDenoiser(network, ALPHAS_CUMPROD)
    return ddim(denoiser, start, low_dose, times, ALPHAS_CUMPROD, lambda step: torch.zeros(()))


def validate(crops: torch.Tensor, loop: TrainingLoop[torch.Tensor]) -> dict[str, float]:
    """The mean gain of the average's quick draw over the low dose in dB; the first crops as a picture in the log."""
    network = copy.deepcopy(loop.average)
    assert isinstance(network, DDPM3D)
    network.convolve_in(fast_precision(loop.device))
    drawn = torch.cat([denoised(network, crop[:, :1]) for crop in crops.split(1)])
    before, after = ((image - crops[:, 1:]).square().mean((1, 2, 3, 4)) for image in (crops[:, :1], drawn))
    if loop.log is not None:
        columns = torch.cat([crops[:, :1], drawn, crops[:, 1:]], dim=1)[:4, :, crops.shape[2] // 2]
        grey = _montage(columns) / columns.max()
        loop.log.picture("low dose, drawn, full dose", grey.cpu().numpy(), loop.step)
    return {"gain": float((10 * torch.log10(before / after)).mean())}


def _montage(planes: torch.Tensor) -> torch.Tensor:
    """Planes [rows, columns, y, x] as one."""
    return torch.cat([torch.cat(list(row), dim=1) for row in planes], dim=0)


def new_network(arguments: argparse.Namespace) -> DDPM3D:
    """The network at its start: every residual block and the output say nothing yet."""
    torch.manual_seed(arguments.seed)
    network = DDPM3D(arguments.base, arguments.multipliers, arguments.blocks)
    last = [module.out_layers[3] for module in network.modules() if isinstance(module, ResidualBlock)]
    for convolution in (*last, network.out[2]):
        assert isinstance(convolution, nn.Conv3d)
        nn.init.zeros_(convolution.weight)
    return network


def train(arguments: argparse.Namespace) -> None:
    """Go on from the last checkpoint if there is one, train to the last step, and write the model and its card."""
    folder = Path(arguments.out)
    with training_device() as device:
        source, unseen = _sources(arguments, device)

        def batch(source: PairSource, size: int, *seed: int) -> torch.Tensor:
            return clipped_to_scale(source.batch(size, np.random.default_rng(seed)), arguments.scale)

        crops = batch(unseen, VALIDATION_CROPS, 0)
        network = new_network(arguments)
        plan = Plan(arguments.steps, arguments.rate, arguments.every, arguments.seed, arguments.ema, weight_decay=0.0)
        loop: TrainingLoop[torch.Tensor] = TrainingLoop(network, folder, plan, device)
        loop.run(
            lambda step: batch(source, arguments.batch, arguments.seed, rank(), step),
            partial(losses, weighting=arguments.weighting),
            lambda average: validate(crops, loop),
        )
        if rank() == 0:
            card = _card(arguments, validate(crops, loop))
            write_model(folder / "model", loop.average.state_dict(), card)


def _sources(arguments: argparse.Namespace, device: torch.device) -> tuple[PairSource, PairSource]:
    """What is trained on, and what is only looked at: other cases, or of a table the last pair."""
    if arguments.pairs:
        groups = list(groups_of_table(Path(arguments.pairs), arguments.voxel_mm, "suvbw" if arguments.suv else None))
        seen, unseen = groups[:-1] or groups, groups[-1:]
        return PairSource(seen, arguments.crop, device), PairSource(unseen, arguments.crop, device)
    folder = Path(arguments.data or Path(arguments.out) / "cases")
    sources = []
    for first, count in ((TRAINING_SEED, arguments.cases), (VALIDATION_SEED, min(VALIDATION_CASES, arguments.cases))):
        with first_process_first():
            paths = ensure_cases(folder, range(first, first + count), arguments.workers)
        sources.append(PairSource(groups_of_cases(paths, arguments.voxel_mm), arguments.crop, device))
    return sources[0], sources[1]


def _card(arguments: argparse.Namespace, figures: dict[str, float]) -> dict[str, Any]:
    simulated = f"{arguments.cases} simulated phantoms, several doses each, on random scanners"
    command = f"petdiffusion train ddpm3d OUT --base {arguments.base} --blocks {arguments.blocks} "
    command += f"--multipliers {' '.join(map(str, arguments.multipliers))} --crop {' '.join(map(str, arguments.crop))} "
    command += f"--voxel-mm {arguments.voxel_mm:g} --scale {arguments.scale:g} --steps {arguments.steps} "
    command += f"--batch {arguments.batch} --rate {arguments.rate:g} --ema {arguments.ema:g} --seed {arguments.seed} "
    command += f"--weighting {arguments.weighting} " if arguments.weighting != "noise" else ""
    command += "--pairs PAIRS.csv" if arguments.pairs else f"--cases {arguments.cases}"
    return {
        "id": MODEL_ID,
        "version": VERSION,
        "task": "denoise-ddpm3d",
        "title": "3D DDPM after Yu et al.",
        "architecture": {
            "name": "ddpm3d",
            "arguments": {"base": arguments.base, "multipliers": arguments.multipliers, "blocks": arguments.blocks},
        },
        "input": {"unit": "suvbw", "scale": arguments.scale, "voxel_size_mm": [arguments.voxel_mm] * 3},
        "training": {
            "tracers": [] if arguments.pairs else ["FDG-like", "DOTATATE-like", "amyloid-negative-like", "random"],
            "dose_range": [] if arguments.pairs else [0.008, 1.2],
            "data": "pairs of low-dose and full-dose volumes" if arguments.pairs else simulated,
            "command": command,
            "seed": arguments.seed,
            "steps": arguments.steps,
            "date": datetime.date.today().isoformat(),
        },
        "figures": {"validation": figures},
        "citation": "Yu et al. 2025 (EJNMMI), the method; PETDiffusion contributors, this training.",
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `petdiffusion train ddpm3d`; the defaults are the paper's, but for the steps."""
    add_case_options(parser, cases=170)
    add_plan_options(parser, steps=200_000, rate=1e-4, every=500)
    parser.add_argument("--pairs", metavar="CSV", help="volumes to train on: columns low_dose and full_dose")
    parser.add_argument("--suv", action="store_true", help="the pairs are in SUV, where their files do not say it")
    parser.add_argument("--voxel-mm", type=float, default=1.65, help="the model's cubic voxels")
    parser.add_argument("--scale", type=float, default=16.0, help="the SUV that the network sees as 1, and the most")
    parser.add_argument("--base", type=int, default=128, help="channels at full resolution, a multiple of 32")
    parser.add_argument("--multipliers", type=int, nargs="+", default=[1, 1, 2, 3, 4], help="widths of the levels")
    parser.add_argument("--blocks", type=int, default=2, help="residual blocks a level")
    parser.add_argument("--crop", type=int, nargs=3, default=[96, 96, 96], metavar=("Z", "Y", "X"))
    parser.add_argument("--batch", type=int, default=1, help="crops a step and process")
    parser.add_argument("--weighting", choices=WEIGHTINGS, default="noise", help="of the squared error over the times")
    parser.add_argument("--ema", type=float, default=0.9999, help="decay of the average of the weights")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the training."""
    parser = argparse.ArgumentParser(prog="petdiffusion train ddpm3d", description=__doc__)
    add_arguments(parser)
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
