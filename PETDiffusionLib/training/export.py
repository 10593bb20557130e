"""A trained denoiser as a model: half-precision safetensors and the card beside it."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from PETDiffusionLib.diffusion.noise_level import noise_scale
from PETDiffusionLib.models import ModelCard
from PETDiffusionLib.training.crops import CropSource

MODEL_ID = "petdiffusion-denoiser"
VERSION = "1.0.0"


def export(
    weights: dict[str, torch.Tensor],
    folder: Path,
    training: dict[str, Any],
    kappa: float,
    voxel_size_mm: float,
) -> ModelCard:
    """Write `<id>.safetensors` and `<id>.json` into `folder`; `training` holds the card's facts of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.half().contiguous().cpu() for name, value in weights.items()}
    content = safetensors.torch.save(tensors)
    card = {
        "id": MODEL_ID,
        "version": VERSION,
        "task": "denoise",
        "title": "PETDiffusion denoiser (residual diffusion, simulated multi-tracer PET)",
        "architecture": {"name": "residual_unet3d", "arguments": {}, "kappa": kappa},
        "input": {"unit": "suvbw", "scale": 1.0, "voxel_size_mm": [voxel_size_mm] * 3},
        "training": training,
        "figures": {},
        "licence": {
            "name": "Apache-2.0",
            "url": "https://www.apache.org/licenses/LICENSE-2.0",
            "must_accept": False,
        },
        "sha256": hashlib.sha256(content).hexdigest(),
        "citation": "PETDiffusion contributors: PETDiffusion denoiser, trained on simulated PET.",
        "intended_use": "Research only. Not a medical device: not for diagnosis or treatment decisions.",
    }
    (folder / f"{MODEL_ID}.safetensors").write_bytes(content)
    path = folder / f"{MODEL_ID}.json"
    path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return ModelCard.load(path)


def training_facts(arguments: argparse.Namespace, steps: int, source: CropSource) -> dict[str, Any]:
    """What the card says of the training: data, command, seed, steps, and the noise levels that were seen."""
    crops = source.batch(64, np.random.default_rng(1))
    levels = [float(noise_scale(crop[None, :1], source.voxel_size_mm).level) for crop in crops]
    sizes = [size for _, _, spacing in source.cases for size in spacing]
    command = f"petdiffusion train denoiser OUT --cases {arguments.cases} --steps {arguments.steps}"
    command += f" --start {arguments.start}" if arguments.start else ""
    return {
        "tracers": ["FDG-like", "DOTATATE-like", "amyloid-negative-like", "random uptake"],
        "dose_range": [0.008, 1.2],
        "data": f"{arguments.cases} simulated phantoms (procedural bodies, heads, random shapes), three doses each, "
        "on random scanners; targets are the same reconstructions of noise-free data",
        "command": f"{command} --batch {arguments.batch} --rate {arguments.rate:g} --seed {arguments.seed}",
        "seed": arguments.seed,
        "steps": steps,
        "date": datetime.date.today().isoformat(),
        "voxel_size_range_mm": [round(min(sizes), 2), round(max(sizes), 2)],
        "noise_level_range": [round(float(np.quantile(levels, q)), 3) for q in (0.0, 1.0)],
    }
