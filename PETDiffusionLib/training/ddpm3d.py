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

from PETDiffusionLib.cli.arguments import number_above, whole_number_from
from PETDiffusionLib.diffusion.gaussian import ddim, linear_alphas_cumprod, log_snr_times, noised
from PETDiffusionLib.diffusion.prediction import PredictionDenoiser, clipped_to_scale, x0_and_noise
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.ddpm3d import find_ddpm3d, network_of
from PETDiffusionLib.models.writing import write_model
from PETDiffusionLib.networks.ddpm3d import DDPM3D, GROUPS, ResidualBlock, architecture_of
from PETDiffusionLib.networks.precision import fast_precision
from PETDiffusionLib.training.cases import TRAINING_SEED, VALIDATION_SEED, ensure_cases
from PETDiffusionLib.training.loop import Losses, Plan, TrainingLoop
from PETDiffusionLib.training.options import add_case_options, add_model_options, add_plan_options
from PETDiffusionLib.training.pairs import PairSource, groups_of_cases, groups_of_table
from PETDiffusionLib.training.processes import rank, training_device

MODEL_ID, VERSION = "petdiffusion-ddpm3d", "1.0.0"
EARLY_TIMES = 30
PREDICTIONS = ("noise", "v")
ALPHAS_CUMPROD = linear_alphas_cumprod()
VALIDATION_CASES, VALIDATION_CROPS, VALIDATION_STEPS, VALIDATION_START = 8, 8, 10, 200


def losses(network: nn.Module, crops: torch.Tensor, generator: torch.Generator, predicts: str = "noise") -> Losses:
    """Squared error of what the network `predicts`, and the variational bound in bits with its mean held (Nichol and
    Dhariwal 2021).

    `crops` [batch, 2, z, y, x] are low dose and full dose on the network's scale. Half of the times are drawn
    uniformly; in the other half small times, where the bound is large, come more often. Each counts the less for it:
    the expected loss is that of uniform times. At t = 0, where the true step has no width, it is given that of t = 1,
    as the learned one's lower bound is.
    """
    low_dose, x0 = crops.split(1, dim=1)
    schedule = _schedule(x0.device)
    times = torch.multinomial(schedule[-1].expand(len(x0), -1), 1, generator=generator)[:, 0]
    abar, log_posterior, log_beta, weight, chance = schedule[:, times, None, None, None, None]
    importance = 1 / (len(ALPHAS_CUMPROD) * chance)
    eps = torch.randn(x0.shape, generator=generator, device=x0.device)
    signal, noise = abar.sqrt(), (1 - abar).sqrt()
    x_t = signal * x0 + noise * eps
    answer = network(x_t, times, low_dose)
    target = signal * eps - noise * x0 if predicts == "v" else eps
    squared = (importance * (answer[:, :1] - target).square()).mean()
    _, said = x0_and_noise(answer[:, :1].detach(), x_t, signal, noise, predicts)
    log_variance = log_posterior + (answer[:, 1:] + 1) / 2 * (log_beta - log_posterior)
    ratio = (log_posterior - log_variance).exp() + weight * (said - eps).square() * (-log_variance).exp()
    bits = 0.5 * (log_variance - log_posterior - 1 + ratio) / math.log(2)
    bound = (importance * bits).mean()
    return {"loss": squared + bound, "squared": squared, "bound": bound}


@lru_cache(maxsize=4)
def _schedule(device: torch.device) -> torch.Tensor:
    """[5, times], to be read only: abar, log posterior variance, log beta, a squared noise error in the posterior mean,
    and the chance that a time is drawn, half of which falls as 1 / (t + 30).
    """
    abar = np.asarray(ALPHAS_CUMPROD)
    before = np.concatenate([[1.0], abar[:-1]])
    beta = 1 - abar / before
    posterior = beta * (1 - before) / (1 - abar)
    posterior[0] = posterior[1]
    weight = beta**2 / ((1 - abar) * (1 - beta))
    early = 1 / (np.arange(len(abar)) + EARLY_TIMES)
    chance = (early / early.sum() + 1 / len(abar)) / 2
    rows = np.stack([abar, np.log(posterior), np.log(beta), weight, chance])
    return torch.tensor(rows, dtype=torch.float32, device=device)


@torch.no_grad()
def denoised(network: DDPM3D, low_dose: torch.Tensor) -> torch.Tensor:
    """A quick draw for volumes [batch, 1, z, y, x] on the network's scale: ten DDIM steps from the noised low dose."""
    generator = torch.Generator(low_dose.device).manual_seed(0)
    noise = torch.randn(low_dose.shape, generator=generator, device=low_dose.device)
    start = noised(low_dose, VALIDATION_START, ALPHAS_CUMPROD, noise)
    times = log_snr_times(VALIDATION_STEPS, ALPHAS_CUMPROD, VALIDATION_START)
    denoiser = PredictionDenoiser(network, ALPHAS_CUMPROD)
    return ddim(denoiser, start, low_dose, times, ALPHAS_CUMPROD, lambda step: torch.zeros(()))


def validate(crops: torch.Tensor, loop: TrainingLoop[torch.Tensor]) -> dict[str, float]:
    """The gain of the average's quick draw over the low dose, all crops in one, in dB; the first ones as a picture."""
    network = copy.deepcopy(loop.average)
    assert isinstance(network, DDPM3D)
    network.convolve_in(fast_precision(loop.device))
    drawn = torch.cat([denoised(network, crop[:, :1]) for crop in crops.split(1)])
    before, after = (float((image - crops[:, 1:]).square().mean()) for image in (crops[:, :1], drawn))
    if loop.log is not None:
        columns = torch.cat([crops[:, :1], drawn, crops[:, 1:]], dim=1)[:4, :, crops.shape[2] // 2]
        grey = _montage(columns) / columns.max().clamp_min(1e-6)
        loop.log.picture("low dose, drawn, full dose", grey.cpu().numpy(), loop.step)
    return {"gain": 10 * math.log10(max(before, 1e-12) / max(after, 1e-12))}


def _montage(planes: torch.Tensor) -> torch.Tensor:
    """Planes [rows, columns, y, x] as one."""
    return torch.cat([torch.cat(list(row), dim=1) for row in planes], dim=0)


def new_network(arguments: argparse.Namespace) -> DDPM3D:
    """The network at its start: another model's, or one of which every residual block and the output say nothing."""
    torch.manual_seed(arguments.seed)
    if arguments.start:
        return network_of(find_ddpm3d(arguments.start), arguments.predicts)
    network = DDPM3D(arguments.base, arguments.multipliers, arguments.blocks, predicts=arguments.predicts or "noise")
    last = [module.out_layers[3] for module in network.modules() if isinstance(module, ResidualBlock)]
    for convolution in (*last, network.out[2]):
        assert isinstance(convolution, nn.Conv3d)
        nn.init.zeros_(convolution.weight)
    return network


def train(arguments: argparse.Namespace) -> None:
    """Go on from the last checkpoint if there is one, train to the last step, and write the model and its card."""
    _check(arguments)
    folder = Path(arguments.out)
    with training_device() as device:
        source, unseen = _sources(arguments, device)

        def batch(source: PairSource, size: int, *seed: int) -> torch.Tensor:
            return clipped_to_scale(source.batch(size, np.random.default_rng(seed)), arguments.scale)

        crops = batch(unseen, VALIDATION_CROPS, 0)
        network = new_network(arguments)
        plan = Plan(arguments.steps, arguments.rate, arguments.every, arguments.seed, arguments.ema, weight_decay=0.0)
        loop: TrainingLoop[torch.Tensor] = TrainingLoop(network, folder, plan, device, meaning=network.predicts)
        loop.run(
            lambda step: batch(source, arguments.batch, arguments.seed, rank(), step),
            partial(losses, predicts=network.predicts),
            lambda average: validate(crops, loop),
        )
        if rank() == 0:
            card = _card(arguments, network, validate(crops, loop))
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
        paths = ensure_cases(folder, range(first, first + count), arguments.workers)
        sources.append(PairSource(groups_of_cases(paths, arguments.voxel_mm), arguments.crop, device))
    return sources[0], sources[1]


def _check(arguments: argparse.Namespace) -> None:
    """Raise PETDiffusionError for sizes that no network of this kind has."""
    multiple = 2 ** (len(arguments.multipliers) - 1)
    if arguments.base % GROUPS:
        raise PETDiffusionError("bad-option", f"--base {arguments.base} is not a multiple of {GROUPS}.")
    if any(side % multiple for side in arguments.crop[1:]):
        sides = " x ".join(map(str, arguments.crop[1:]))
        raise PETDiffusionError(
            "bad-option", f"The plane of --crop, {sides}, is not a multiple of {multiple}, as the --multipliers ask."
        )


def _card(arguments: argparse.Namespace, network: DDPM3D, figures: dict[str, float]) -> dict[str, Any]:
    architecture = architecture_of({name: tuple(value.shape) for name, value in network.state_dict().items()})
    simulated = f"{arguments.cases} simulated phantoms, several doses each, on random scanners"
    shape = f"--base {arguments.base} --blocks {arguments.blocks} --multipliers {_spaced(arguments.multipliers)}"
    command = f"petdiffusion train ddpm3d OUT {f'--start {arguments.start}' if arguments.start else shape} "
    command += f"--predicts {network.predicts} --crop {_spaced(arguments.crop)} "
    command += f"--voxel-mm {arguments.voxel_mm:g} --scale {arguments.scale:g} --steps {arguments.steps} "
    command += f"--batch {arguments.batch} --rate {arguments.rate:g} --ema {arguments.ema:g} --seed {arguments.seed} "
    command += "--pairs PAIRS.csv" if arguments.pairs else f"--cases {arguments.cases}"
    return {
        "id": arguments.id,
        "version": arguments.version,
        "task": "denoise-ddpm3d",
        "title": "3D DDPM after Yu et al.",
        "architecture": {"name": "ddpm3d", "arguments": architecture | {"predicts": network.predicts}},
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


def _spaced(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `petdiffusion train ddpm3d`; the defaults are the paper's, but for the steps."""
    positive, count = number_above(0), whole_number_from(1)
    add_case_options(parser, cases=170)
    add_plan_options(parser, steps=200_000, rate=1e-4, every=500)
    add_model_options(parser, MODEL_ID, VERSION)
    parser.add_argument("--pairs", metavar="CSV", help="volumes to train on: columns low_dose and full_dose")
    parser.add_argument("--suv", action="store_true", help="the pairs are in SUV, where their files do not say it")
    parser.add_argument("--voxel-mm", type=positive, default=1.65, help="the model's cubic voxels")
    parser.add_argument("--scale", type=positive, default=16.0, help="the SUV that the network sees as 1, and the most")
    parser.add_argument("--base", type=count, default=128, help="channels at full resolution, a multiple of 32")
    parser.add_argument("--multipliers", type=count, nargs="+", default=[1, 1, 2, 3, 4], help="widths of the levels")
    parser.add_argument("--blocks", type=count, default=2, help="residual blocks a level")
    parser.add_argument("--crop", type=count, nargs=3, default=[96, 96, 96], metavar=("Z", "Y", "X"))
    parser.add_argument("--batch", type=count, default=1, help="crops a step and process")
    parser.add_argument("--predicts", choices=PREDICTIONS, help="what the network says (default: noise, or as --start)")
    parser.add_argument("--start", metavar="MODEL", help="start from the weights of this model instead of from nothing")
    parser.add_argument("--ema", type=float, default=0.9999, help="decay of the average of the weights")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the training."""
    parser = argparse.ArgumentParser(prog="petdiffusion train ddpm3d", description=__doc__)
    add_arguments(parser)
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
