"""What the bundled denoiser's card says: what it is, and how it was trained."""

from __future__ import annotations

import argparse
import datetime
from typing import Any

from PETDiffusionLib.models import find_model
from PETDiffusionLib.training.crops import CropSource
from PETDiffusionLib.training.processes import process_count


def denoiser_card(
    arguments: argparse.Namespace,
    steps: int,
    source: CropSource,
    network: dict[str, Any],
    kappa: float,
    local_mean_share: float,
    voxel_size_mm: float,
) -> dict[str, Any]:
    """The card's own fields for a denoiser trained for `steps` on `source`."""
    return {
        "id": arguments.id,
        "version": arguments.version,
        "task": "denoise",
        "title": "PETDiffusion denoiser (residual diffusion, simulated multi-tracer PET)",
        "architecture": {
            "name": "residual_unet3d",
            "arguments": network,
            "kappa": kappa,
            "local_mean_share": local_mean_share,
        },
        "input": {"unit": "suvbw", "scale": 1.0, "voxel_size_mm": [voxel_size_mm] * 3},
        "training": _training_facts(arguments, steps, source),
        "figures": {},
        "citation": "PETDiffusion contributors: PETDiffusion denoiser, trained on simulated PET.",
    }


def _training_facts(arguments: argparse.Namespace, steps: int, source: CropSource) -> dict[str, Any]:
    """Data, command, seed, steps, what voxel sizes and noise levels were seen; the trainings before, the last first."""
    sizes = [size for case in source.cases for size in case.voxel_size_mm]
    command = f"petdiffusion train denoiser OUT --cases {arguments.cases} --steps {arguments.steps}"
    before = {}
    if arguments.start:
        card = find_model(arguments.start)
        command += f" --start {arguments.start}"
        facts = dict(card.training)
        earlier = facts.pop("earlier", [])
        model = {"id": card.id, "version": card.version, "sha256": card.sha256}
        before = {"earlier": [{"model": model} | facts, *earlier]}
    return {
        "tracers": ["FDG-like", "DOTATATE-like", "amyloid-negative-like", "random uptake"],
        "dose_range": [0.008, 1.2],
        "data": f"{arguments.cases} simulated phantoms (procedural trunks and heads, mosaics, random shapes, calm "
        f"bodies of many small lesions), {len(source.doses) / len(source.cases):g} doses each, on random scanners, "
        "three in ten post-filtered by another 2 to 8 mm with up to twice the noise; targets are the same "
        "reconstructions of noise-free data",
        "command": f"{command} --batch {arguments.batch} --rate {arguments.rate:g} --seed {arguments.seed}",
        "processes": process_count(),
        "seed": arguments.seed,
        "steps": steps,
        "date": datetime.date.today().isoformat(),
        "voxel_size_range_mm": [round(min(sizes), 2), round(max(sizes), 2)],
        "noise_level_range": [round(float(source.levels.min()), 3), round(float(source.levels.max()), 3)],
    } | before
