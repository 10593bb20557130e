"""Train Residual Estimation Diffusion in its two stages: `petdiffusion train red OUT --stage ren`, then `--stage dcn`.

As published (Ai et al., Medical Image Analysis 2025), with what the paper and its code disagree on settled so:
- REN is always asked with the raw timestep t; the published DCN training asks it with t / T, unlike everything else.
- DCN is asked with the time that its state comes from, t (the code), not with t' (the paper's figure).
- The scale, each low-dose sinogram's maximum, is undone whole afterwards; the published code leaves out the maximum.
- SSIM has the range of its inputs, 2 for [-1, 1], so that its constants mean what they were made for.
- Learning rates rise over a hundred steps and fall as a cosine, and the weights are averaged (`loop`): the published
  25 epochs at constant rates are far longer than is needed for the data here. `--rate` takes the published 2e-5 (REN)
  and 5e-5 (DCN).
The third stage, "unet", trains the same network to answer with the whole residual at once: the comparison's U-Net.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from PETDiffusionLib.cli.arguments import whole_number_from
from PETDiffusionLib.diffusion.red import MAX_TIMESTEP, Normalisation, alphas, degraded, reverse
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.models.writing import write_model
from PETDiffusionLib.networks.red import RedUNet
from PETDiffusionLib.training.cases import TRAINING_SEED, VALIDATION_SEED
from PETDiffusionLib.training.loop import Losses, Plan, TrainingLoop
from PETDiffusionLib.training.options import add_case_options, add_model_options, add_plan_options
from PETDiffusionLib.training.sinogram_batches import TRUES_PER_BIN, SinogramSource
from PETDiffusionLib.training.sinogram_cases import ensure_cases
from PETDiffusionLib.training.sinogram_pairs import SinogramPairs, read_pairs
from PETDiffusionLib.training.structural_similarity import ssim

STAGES = ("ren", "dcn", "unet")
SSIM_WEIGHT = 1.0
LARGEST_DRIFT = 10.0
RANGE = 2.0  # of the networks' scale, [-1, 1]
VALIDATION_CASES, VALIDATION_BATCHES, VALIDATION_STEPS = 8, 6, 5
RATES = {"ren": 2e-4, "dcn": 5e-4, "unet": 2e-4}

Pair = tuple[torch.Tensor, torch.Tensor]  # x_T and x_0 on the networks' scale, [batch, 1, views, bins]


def ren_losses(network: nn.Module, pair: Pair, generator: torch.Generator) -> Losses:
    """MSE(REN(x_t, t), r) + 1 - SSIM(x_t - alpha_t REN(x_t, t), x_0)."""
    x_T, x0 = pair
    t = _timesteps(x_T, generator)
    share = alphas().to(x_T.device)[t]
    residual = x_T - x0
    x_t = degraded(x0, residual, share)
    return _residual_losses(network(x_t, t).float(), residual, x_t, share, x0)


def unet_losses(network: nn.Module, pair: Pair, generator: torch.Generator) -> Losses:
    """REN's loss at t = T alone."""
    x_T, x0 = pair
    ones = torch.ones(len(x_T), device=x_T.device)
    return _residual_losses(network(x_T, MAX_TIMESTEP * ones).float(), x_T - x0, x_T, ones, x0)


def _residual_losses(
    estimate: torch.Tensor, residual: torch.Tensor, x_t: torch.Tensor, share: torch.Tensor, x0: torch.Tensor
) -> Losses:
    with torch.autocast(x0.device.type, enabled=False):
        squared = (estimate - residual).square().mean()
        dissimilarity = 1 - ssim(x_t - share[:, None, None, None] * estimate, x0, RANGE)
    return {
        "loss": squared + SSIM_WEIGHT * dissimilarity,
        "squared": squared.detach(),
        "dissimilarity": dissimilarity.detach(),
    }


def dcn_losses(ren: nn.Module, network: nn.Module, pair: Pair, generator: torch.Generator) -> Losses:
    """MSE(DCN(x~_t, t), x_t - x~_t) for the drifted x~_t = x_0 + alpha_t u REN(x_T, t), u ~ U(0, 10); REN is frozen."""
    x_T, x0 = pair
    t = _timesteps(x_T, generator)
    share = alphas().to(x_T.device)[t]
    with torch.no_grad():
        estimate = ren(x_T, t).float()
    drift = LARGEST_DRIFT * torch.rand(len(x_T), generator=generator, device=x_T.device)
    drifted = degraded(x0, drift[:, None, None, None] * estimate, share)
    target = degraded(x0, x_T - x0, share) - drifted
    return {"loss": (network(drifted, t).float() - target).square().mean()}


def _timesteps(x_T: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(1, MAX_TIMESTEP + 1, (len(x_T),), generator=generator, device=x_T.device)


@torch.no_grad()
def validate(restore: Callable[[torch.Tensor], torch.Tensor], pairs: list[Pair]) -> dict[str, float]:
    """The mean gain in dB over the low dose in the sinogram."""
    gains = []
    for x_T, x0 in pairs:
        before, after = ((one - x0).square().mean((1, 2, 3)) for one in (x_T, restore(x_T)))
        gains.append(10 * torch.log10(before / after))
    return {"gain": float(torch.cat(gains).mean())}


def network_of(folder: Path, width: int) -> RedUNet:
    """The averaged network of a stage's folder. Raises PETDiffusionError "no-stage" where it was not trained yet."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        raise PETDiffusionError("no-stage", f"There is no {path}: train --stage {folder.name} into this folder first.")
    network = RedUNet(width)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["average"])
    return network.eval()


def train(arguments: argparse.Namespace) -> TrainingLoop[Pair]:
    """Train a stage, or go on with it, in OUT/STAGE; after "dcn" the model lies in OUT/model."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out = Path(arguments.out)
    make_pair, validation = _data(arguments, device)
    torch.manual_seed(arguments.seed)
    network = RedUNet(arguments.width).to(device)
    losses: Callable[..., Losses] = unet_losses if arguments.stage == "unet" else ren_losses
    walk = partial(reverse, dcn=None, steps=1 if arguments.stage == "unet" else VALIDATION_STEPS)
    if arguments.stage == "dcn":
        ren = network_of(out / "ren", arguments.width).to(device)
        losses = partial(dcn_losses, ren)

    def check(average: nn.Module) -> dict[str, float]:
        networks = {"ren": ren, "dcn": average} if arguments.stage == "dcn" else {"ren": average}
        return validate(partial(walk, **networks), validation)

    plan = Plan(arguments.steps, arguments.rate or RATES[arguments.stage], arguments.every, arguments.seed)
    loop = TrainingLoop[Pair](network, out / arguments.stage, plan, device)
    loop.run(make_pair, losses, check)
    if arguments.stage == "dcn":
        weights = {f"nn_ren.{name}": value for name, value in ren.state_dict().items()}
        weights |= {f"nn_dcn.{name}": value for name, value in loop.average.state_dict().items()}
        write_model(out / "model", weights, _card(arguments, loop.step))
    return loop


def _card(arguments: argparse.Namespace, steps: int) -> dict[str, Any]:
    own = bool(arguments.pairs)
    simulated = f"{arguments.cases} simulated phantoms, counts drawn anew in every batch"
    return {
        "id": arguments.id,
        "version": arguments.version,
        "task": "restore-sinogram",
        "title": "Residual Estimation Diffusion (REN and DCN), trained on count data",
        "architecture": {"name": "red", "arguments": {}, "steps": 50},
        "input": {"unit": "counts", "scale": {"rule": "low-dose maximum"}, "voxel_size_mm": [4.3, 4.3, 3.0]},
        "training": {
            "tracers": [] if own else ["FDG-like", "DOTATATE-like", "amyloid-negative-like", "random uptake"],
            "dose_range": [] if own else [0.008, 1.2],
            "data": "pairs of low-dose and full-dose data" if own else simulated,
            "command": f"petdiffusion train red OUT --stage dcn --steps {arguments.steps} --batch {arguments.batch} "
            f"--width {arguments.width} --rate {arguments.rate or RATES['dcn']:g} --seed {arguments.seed} "
            f"{'--pairs PAIRS.csv' if own else f'--cases {arguments.cases}'}, after --stage ren",
            "seed": arguments.seed,
            "steps": steps,
            "date": datetime.date.today().isoformat(),
            **({} if own else {"trues_per_bin_range": list(TRUES_PER_BIN)}),
        },
        "figures": {},
        "citation": "Ai et al., Residual Estimation Diffusion, Medical Image Analysis 2025; weights by PETDiffusion.",
    }


def _data(arguments: argparse.Namespace, device: torch.device) -> tuple[Callable[[int], Pair], list[Pair]]:
    """A function that makes the pair of a step, and the pairs to validate on: other phantoms, or a table's last."""
    offset = arguments.seed * 1_000_003
    if arguments.pairs:
        read = read_pairs(Path(arguments.pairs))
        seen, unseen = (SinogramPairs(pairs, arguments.batch, device) for pairs in (read[:-1] or read, read[-1:]))
        return lambda step: _normalised(*seen.batch(offset + step)), [_normalised(*unseen.batch(VALIDATION_SEED))]
    data = Path(arguments.data) if arguments.data else Path(arguments.out) / "phantoms"
    paths = ensure_cases(data, range(TRAINING_SEED, TRAINING_SEED + arguments.cases), arguments.workers)
    checks = ensure_cases(data, range(VALIDATION_SEED, VALIDATION_SEED + VALIDATION_CASES), arguments.workers)
    planes = max(1, arguments.batch // 4)
    simulated, held_out = (SinogramSource(one, arguments.batch // planes, planes, device) for one in (paths, checks))
    return (
        lambda step: _simulated(simulated, offset + step),
        [_simulated(held_out, number) for number in range(VALIDATION_BATCHES)],
    )


def _simulated(source: SinogramSource, seed: int) -> Pair:
    batch = source.batch(seed)
    return _normalised(batch.sinogram.prompts[:, None], batch.expected[:, None])


def _normalised(low_dose: torch.Tensor, full_dose: torch.Tensor) -> Pair:
    scale = Normalisation.of(low_dose)
    return scale.apply(low_dose), scale.apply(full_dose)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `petdiffusion train red`."""
    add_case_options(parser, cases=200)
    add_plan_options(parser, steps=5000, rate=None)
    add_model_options(parser, "petdiffusion-red", "1.0.0")
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--pairs", metavar="CSV", help="train on the pairs of a table, not on simulation")
    parser.add_argument("--batch", type=whole_number_from(1), default=8, help="planes in a batch")
    parser.add_argument("--width", type=int, default=32, help="channels of the first level (published: 32)")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the training."""
    parser = argparse.ArgumentParser(prog="petdiffusion train red", description=__doc__)
    add_arguments(parser)
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
