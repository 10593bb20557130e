"""Seams of the 3D DDPM: `python -m Testing.benchmarks.ddpm3d_seams --model CARD`.

The published code samples six axial windows each on its own, with one seed, and blends ten slices linearly. Here the
windows of every step are blended before the next step. Both are made of one low-dose volume with the same network,
sampler and steps, and judged at the windows' borders against everywhere else, and against one window over all. The
network's normalisation looks at the whole of a window, so no scheme can be equal to that.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from PETDiffusionLib.diffusion.absolute_noise import absolute_noise
from PETDiffusionLib.diffusion.fitting import OVERLAP, FittedDenoiser
from PETDiffusionLib.diffusion.gaussian import ddim, noised
from PETDiffusionLib.diffusion.prediction import PredictionDenoiser, clipped_to_scale
from PETDiffusionLib.diffusion.tiling import padded_to_multiple
from PETDiffusionLib.methods.catalogue.ddpm3d import STARTS
from PETDiffusionLib.methods.ddpm3d import ALPHAS_CUMPROD, Walk, load_network
from PETDiffusionLib.models import find_model
from PETDiffusionLib.models.card import ModelCard
from PETDiffusionLib.networks.ddpm3d import DDPM3D
from PETDiffusionLib.simulation.acquisition import scan
from PETDiffusionLib.simulation.bodies import procedural_body
from PETDiffusionLib.simulation.scanners import SCANNERS
from PETDiffusionLib.volumes.resampling import isotropic_grid

WINDOWS, BLEND = 6, 10  # those of the published code: of 96 slices on 520
DRF, SEED = 20, 700_010


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a model's id or the path of its card")
    parser.add_argument("--window", type=int, default=32, help="slices of a window")
    parser.add_argument("--plane", type=int, default=64, help="side of the square of a plane that is looked at")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--start", choices=STARTS, default="noise", help="where the walks begin")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    card = find_model(arguments.model)
    network, device = load_network(card, arguments.device)
    depth = WINDOWS * arguments.window - (WINDOWS - 1) * BLEND
    low_dose = long_body(card, depth, arguments.plane).to(device)
    walk = Walk("ddim", arguments.steps, arguments.start)
    said = (
        f"{depth} x {arguments.plane} x {arguments.plane} voxels, DDIM {arguments.steps} steps from {arguments.start}"
    )
    print(f"{said}, windows of {arguments.window} slices, {arguments.draws} draws")
    whole = per_step(network, low_dose, walk, low_dose.shape[2] + network.multiple, arguments.draws)[0].cpu().numpy()
    print("scheme       jump at borders  elsewhere  ratio  spread between  elsewhere  ratio  from one window    s")
    for name, scheme in (("window-wise", window_wise), ("per step", per_step)):
        started = time.perf_counter()
        drawn, borders = scheme(network, low_dose, walk, arguments.window, arguments.draws)
        seconds, values, given = time.perf_counter() - started, drawn.cpu().numpy(), low_dose[0, 0].cpu().numpy()
        jumps, spreads = figures(values, given, borders)
        print(
            f"{name:<11}  {jumps[0]:15.4f}  {jumps[1]:9.4f}  {jumps[0] / jumps[1]:5.2f}  {spreads[0]:14.4f}  "
            f"{spreads[1]:9.4f}  {spreads[0] / spreads[1]:5.2f}  {difference(values, whole, given):15.4f}  "
            f"{seconds:3.0f}"
        )


@torch.inference_mode()
def window_wise(
    network: DDPM3D, low_dose: torch.Tensor, walk: Walk, window: int, draws: int
) -> tuple[torch.Tensor, list[slice]]:
    """Every window alone from the same seed's noise, then the linear blend of ten slices; where the blends are."""
    depth = low_dose.shape[2]
    starts = [index * (window - BLEND) for index in range(WINDOWS)]
    total = torch.zeros(draws, *low_dose.shape[1:], device=low_dose.device)
    weights = torch.zeros(depth, device=low_dose.device)
    for start in starts:
        cut = slice(start, start + window)
        x0 = _walked(PredictionDenoiser(network, ALPHAS_CUMPROD), low_dose[:, :, cut], walk, draws)
        slices = torch.arange(window, device=low_dose.device)
        weight = torch.ones(window, device=low_dose.device)
        if start > 0:
            weight = torch.minimum(weight, slices / (BLEND - 1))
        if start + window < depth:
            weight = torch.minimum(weight, (window - 1 - slices) / (BLEND - 1))
        total[:, :, cut] += weight[:, None, None] * x0
        weights[cut] += weight
    return (total / weights[:, None, None])[:, 0], [slice(start, start + BLEND) for start in starts[1:]]


@torch.inference_mode()
def per_step(
    network: DDPM3D, low_dose: torch.Tensor, walk: Walk, window: int, draws: int
) -> tuple[torch.Tensor, list[slice]]:
    """The whole volume through windows that are blended at every step; where the blends are."""
    padded = padded_to_multiple(low_dose, network.multiple)
    size = (window, padded.shape[3], padded.shape[4])
    everywhere = np.ones(padded.shape[2:], bool)
    denoiser = FittedDenoiser(PredictionDenoiser(network, ALPHAS_CUMPROD), everywhere, size, network.multiple, 1 << 40)
    x0 = _walked(denoiser, padded, walk, draws)[:, 0, : low_dose.shape[2]]
    return x0, [slice(box[0].start, box[0].start + OVERLAP) for box in denoiser.boxes[1:]]


def _walked(denoiser, condition: torch.Tensor, walk: Walk, draws: int) -> torch.Tensor:
    fields = [absolute_noise(condition.shape, condition.device, 0, number, 0) for number in range(draws)]
    start = torch.cat(fields)
    if walk.start == "low-dose":
        start = noised(condition, walk.times[0], ALPHAS_CUMPROD, start)
    return ddim(denoiser, start, condition, walk.times, ALPHAS_CUMPROD, lambda step: torch.zeros(()))


def figures(
    drawn: np.ndarray, low_dose: np.ndarray, borders: list[slice]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """In the body, at the borders and elsewhere: the mean step to the next slice, and the mean spread of the draws.

    The border's jump is that into and out of a blend; the spread is that in the middle half of the blends, where two
    windows that saw different noise average it away.
    """
    body = low_dose.mean(0) > 0.1 * low_dose.mean()
    jumps = np.abs(np.diff(drawn, axis=1))[:, :, body].mean(axis=(0, 2))
    spread = drawn.std(0, ddof=1)[:, body].mean(1)
    edges = sorted({edge for cut in borders for edge in (cut.start - 1, cut.stop - 1)})
    blended = np.zeros(len(spread), bool)
    middles = blended.copy()
    for cut in borders:
        quarter = (cut.stop - cut.start) // 4
        blended[cut] = True
        middles[cut.start + quarter : cut.stop - quarter] = True
    return (
        (float(jumps[edges].mean()), float(np.delete(jumps, edges).mean())),
        (float(spread[middles].mean()), float(spread[~blended].mean())),
    )


def difference(drawn: np.ndarray, whole: np.ndarray, low_dose: np.ndarray) -> float:
    """The root mean square difference of the means of the draws in the body, over the mean there."""
    body = low_dose > 0.1 * low_dose.mean()
    off = (drawn.mean(0) - whole.mean(0))[body]
    return float(np.sqrt(np.square(off).mean()) / whole.mean(0)[body].mean())


def long_body(card: ModelCard, depth: int, plane: int) -> torch.Tensor:
    """A trunk of `depth` slices at a twentieth of the dose, its middle on the network's scale: [1, 1, z, y, x]."""
    voxel_size_mm = float(card.input["voxel_size_mm"][0])
    phantom = procedural_body(SEED, "fdg", 330, depth * voxel_size_mm, 3.3, lesions=8)
    result = scan(phantom, SCANNERS["whole-body-4.1"], [1 / DRF], np.random.default_rng(SEED))
    grid = isotropic_grid(result.reference.shape, result.voxel_size_mm, voxel_size_mm)
    volume = grid.to_model(result.low_dose[0])
    box = tuple(
        slice(max(0, n // 2 - m // 2), n // 2 - m // 2 + m)
        for n, m in zip(volume.shape, (depth, plane, plane), strict=True)
    )
    piece = torch.from_numpy(np.ascontiguousarray(volume[box], np.float32))[None, None]
    return clipped_to_scale(piece, float(card.input["scale"]))


if __name__ == "__main__":
    main()
