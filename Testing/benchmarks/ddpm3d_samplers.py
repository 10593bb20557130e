"""Samplers of the 3D DDPM against steps: `python -m Testing.benchmarks.ddpm3d_samplers --model CARD`.

On pieces of bodies that no training saw: PSNR and SSIM in the body of the mean of the draws and of a single one, their
spread, evaluations of the network and seconds. Rows are kept in a file and never made twice.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from PETDiffusionLib.evaluation import metrics
from PETDiffusionLib.methods.ddpm3d import Walk, draw, load_network
from PETDiffusionLib.models import find_model
from PETDiffusionLib.volumes.resampling import isotropic_grid
from Testing.benchmarks.bodies import Body, scanned, test_bodies
from Testing.benchmarks.rows import read_rows

STEPS = (10, 20, 50, 100, 250, 1000)
SAMPLERS = ("ancestral", "ddim", "dpm++")
WALKS = [
    *(Walk(sampler, steps, "low-dose") for steps in STEPS[:3] for sampler in SAMPLERS),
    Walk("ancestral", 1000, "low-dose"),  # every time there is on the way
    *(Walk(sampler, steps, "noise") for steps in STEPS for sampler in SAMPLERS),
]
DRF = 20
FIGURES = ("psnr", "ssim", "psnr_one", "ssim_one", "spread", "evaluations", "seconds")


@dataclass(frozen=True)
class Piece:
    """The middle of a body on the model's grid: [z, y, x] in SUV."""

    reference: np.ndarray
    low_dose: np.ndarray
    body: np.ndarray


def main() -> None:
    """Make the rows that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a model's id or the path of its card")
    parser.add_argument("--rows", type=Path, default=Path("runs/ddpm3d_samplers.jsonl"), help="where rows are kept")
    parser.add_argument("--bodies", type=int, default=3, help="so many of the test bodies")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--piece", type=int, nargs=3, default=(32, 96, 96), help="z, y, x voxels of a body's middle")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    arguments.rows.parent.mkdir(parents=True, exist_ok=True)
    card = find_model(arguments.model)
    network, device = load_network(card, arguments.device)
    made_with = {"model": card.sha256, "draws": arguments.draws, "piece": list(arguments.piece)}
    bodies = test_bodies()[: arguments.bodies]
    pieces = {body.name: middle(body, card.input["voxel_size_mm"][0], tuple(arguments.piece)) for body in bodies}
    for walk in WALKS:
        for name, piece in pieces.items():
            row: dict[str, Any] = {"body": name, "sampler": walk.sampler, "start": walk.start, "steps": walk.steps}
            row |= made_with
            if any(row.items() <= known.items() for known in read_rows(arguments.rows)):
                continue
            low_dose = torch.from_numpy(piece.low_dose[None, None]).to(device)
            started = time.perf_counter()
            drawn, _ = draw(low_dose, network, float(card.input["scale"]), walk, arguments.draws, seed=0)
            row |= figures(piece, drawn.cpu().numpy(), len(walk.times), time.perf_counter() - started)
            with open(arguments.rows, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
    rows = [row for row in read_rows(arguments.rows) if made_with.items() <= row.items()]
    print(table(rows, arguments.draws))


def middle(body: Body, voxel_size_mm: float, shape: tuple[int, ...]) -> Piece:
    """The piece of `shape` (less where the body is smaller) about the middle, at a twentieth of the dose."""
    study = scanned(body, realisations=1)
    grid = isotropic_grid(study.reference.shape, study.voxel_size_mm[::-1], voxel_size_mm)
    mask = metrics.body_mask(study.reference, study.voxel_size_mm).astype(np.float32)
    volumes = [grid.to_model(volume) for volume in (study.reference, study.low_dose[DRF, 0], mask)]
    box = tuple(
        slice(max(0, n // 2 - m // 2), n // 2 - m // 2 + m) for n, m in zip(grid.model_shape, shape, strict=True)
    )
    reference, low_dose, inside = (np.ascontiguousarray(volume[box], np.float32) for volume in volumes)
    return Piece(reference, low_dose, inside > 0.5)


def figures(piece: Piece, drawn: np.ndarray, evaluations: int, seconds: float) -> dict[str, Any]:
    """The figures of `drawn` [draws, z, y, x], and the low dose's PSNR beside them."""
    mean = drawn.mean(0)
    ones = [
        (metrics.psnr(piece.reference, one, piece.body), metrics.ssim(piece.reference, one, piece.body))
        for one in drawn
    ]
    return {
        "psnr": metrics.psnr(piece.reference, mean, piece.body),
        "ssim": metrics.ssim(piece.reference, mean, piece.body),
        "psnr_one": float(np.mean([psnr for psnr, _ in ones])),
        "ssim_one": float(np.mean([ssim for _, ssim in ones])),
        "spread": float(drawn.std(0, ddof=1)[piece.body].mean()) if len(drawn) > 1 else 0.0,
        "low_dose_psnr": metrics.psnr(piece.reference, piece.low_dose, piece.body),
        "evaluations": evaluations,
        "seconds": seconds,
    }


def table(rows: list[dict[str, Any]], draws: int) -> str:
    """Means over the bodies as text; the difference is that to the mean of 1000 ancestral steps."""
    groups: dict[tuple[str, str, int], list[dict]] = defaultdict(list)
    for row in rows:
        groups[row["sampler"], row["start"], row["steps"]].append(row)
    means = {key: {name: np.mean([row[name] for row in group]) for name in FIGURES} for key, group in groups.items()}
    full = means.get(("ancestral", "noise", 1000))
    low = np.mean([row["low_dose_psnr"] for row in rows])
    lines = [
        f"{len({row['body'] for row in rows})} bodies at DRF {DRF}, mean of {draws} draws; the low dose: {low:.2f} dB"
    ]
    lines.append(
        "sampler    from      steps  PSNR of mean  difference    SSIM  PSNR of one    SSIM  spread  evaluations  s"
    )
    for (sampler, start, steps), f in means.items():
        difference = f"{f['psnr'] - full['psnr']:+10.2f}" if full else " " * 10
        lines.append(
            f"{sampler:<9}  {start:<8}  {steps:>5}  {f['psnr']:12.2f}  {difference}  {f['ssim']:.4f}  "
            f"{f['psnr_one']:11.2f}  {f['ssim_one']:.4f}  {f['spread']:6.3f}  {f['evaluations']:11.0f}"
            f"  {f['seconds']:.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
