"""Weights: read from safetensors only after the file's sha256 is the card's."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.models.card import ModelCard

if TYPE_CHECKING:
    import torch


def load_weights(card: ModelCard) -> dict[str, torch.Tensor]:
    """The model's weights by name, on the CPU, floating point as float32.

    Raises PETDiffusionError "bad-weights", naming the file, when it is missing, cut short or not the card's.
    """
    # Imported here, so that models can be listed where torch is not installed.
    import safetensors.torch

    content = _checked_content(card)
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:
        raise _bad_weights(card, f"they are not in the safetensors format ({error})") from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def file_is_intact(card: ModelCard) -> bool:
    """Whether the weights are there and are the card's."""
    try:
        _checked_content(card)
    except PETDiffusionError:
        return False
    return True


def _checked_content(card: ModelCard) -> bytes:
    try:
        content = card.weights_path.read_bytes()
    except OSError as error:
        raise _bad_weights(card, f"the file cannot be read ({error.strerror})") from error
    found = hashlib.sha256(content).hexdigest()
    if found != card.sha256:
        raise _bad_weights(
            card,
            f"the file is cut short, changed or another model's ({len(content)} bytes, "
            f"sha256 {found[:12]}... where the card says {card.sha256[:12]}...); get it again",
        )
    return content


def _bad_weights(card: ModelCard, what: str) -> PETDiffusionError:
    return PETDiffusionError("bad-weights", f"The weights {card.weights_path} of model {card.id} are refused: {what}.")
