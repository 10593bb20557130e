"""A trained network as a model: half-precision safetensors and the card beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PETDiffusionLib.models.card import ModelCard

if TYPE_CHECKING:
    import torch

APACHE = {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0", "must_accept": False}
RESEARCH_ONLY = "Research only. Not a medical device: not for diagnosis or treatment decisions."


def write_model(
    folder: Path, weights: Mapping[str, torch.Tensor], card: Mapping[str, Any], half_precision: bool = True
) -> ModelCard:
    """Write `<id>.safetensors` and `<id>.json` into `folder`. `card` has the fields that are the model's own.

    The hash is filled in, and where the card does not say them the licence (the project's) and the intended use.
    """
    import safetensors.torch

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: (value.half() if half_precision else value).contiguous().cpu() for name, value in weights.items()}
    content = safetensors.torch.save(tensors)
    (folder / f"{card['id']}.safetensors").write_bytes(content)
    complete = {
        "licence": APACHE,
        "intended_use": RESEARCH_ONLY,
        **card,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    path = folder / f"{card['id']}.json"
    path.write_text(json.dumps(complete, indent=2) + "\n", encoding="utf-8")
    return ModelCard.load(path)
