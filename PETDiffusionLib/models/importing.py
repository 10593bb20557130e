"""Checkpoints of published models, turned once into safetensors and a card; nothing in them is ever run.

A kind is a function from what the file holds to the weights and the card's own fields.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.models.card import ModelCard
from PETDiffusionLib.models.writing import write_model

if TYPE_CHECKING:
    import torch

Import = tuple[dict[str, "torch.Tensor"], dict[str, Any]]

CC_BY_NC_SA = {
    "name": "CC BY-NC-SA 4.0",
    "url": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    "must_accept": True,
}
NON_COMMERCIAL = {
    "name": "non-commercial use only (Nanchang University)",
    "url": "https://www.sciencedirect.com/science/article/pii/S1361841525001057",
    "must_accept": True,
}


def ddpm3d(content: Any) -> Import:
    """The 3D DDPM of Yu et al.: a plain state dict."""
    # Imported here, so that the kinds can be listed where torch is not installed.
    from PETDiffusionLib.networks.ddpm3d import architecture_of

    weights = state_dict(content)
    arguments = architecture_of({name: tuple(value.shape) for name, value in weights.items()})
    return weights, {
        "id": "ddpm3d-yu2025",
        "version": "1.0.0",
        "task": "denoise-ddpm3d",
        "title": "3D DDPM of Yu et al. 2025 (imported)",
        "architecture": {"name": "ddpm3d", "arguments": arguments},
        "input": {"unit": "suvbw", "scale": 16.0, "voxel_size_mm": [1.65, 1.65, 1.65]},
        "training": {
            "tracers": ["FDG"],
            "dose_range": [],
            "data": "total-body PET of a Biograph Vision Quadra, by the authors",
            "command": "",
            "seed": None,
            "steps": None,
            "date": "2025",
        },
        "figures": {},
        "licence": CC_BY_NC_SA,
        "citation": "Yu B, Ozdemir S, Dong Y, Shao W, Pan T, Shi K, Gong K. Robust whole-body PET image denoising "
        "using 3D diffusion models. Eur J Nucl Med Mol Imaging 2025, doi:10.1007/s00259-025-07122-4",
    }


def red(content: Any) -> Import:
    """RED of Ai et al.: a dict with the state dicts `nn_ren` and `nn_dcn`, `max_T` and the two schedules."""
    from PETDiffusionLib.diffusion.red import MAX_TIMESTEP, has_schedules
    from PETDiffusionLib.networks.red import PREFIXES, from_state_dict

    if not isinstance(content, dict) or not set(PREFIXES) <= set(content):
        raise PETDiffusionError("wrong-model", "The file is no checkpoint of RED: it has no nn_ren and nn_dcn.")
    if not has_schedules(content):
        raise PETDiffusionError(
            "wrong-model",
            f"The checkpoint's schedules (alphas, betas) are not those of the published RED with {MAX_TIMESTEP} steps.",
        )
    weights: dict[str, torch.Tensor] = {}
    for prefix in PREFIXES:
        state = state_dict(content[prefix])
        try:
            from_state_dict(state)
        except (KeyError, RuntimeError) as error:
            raise PETDiffusionError("wrong-model", f"The checkpoint's {prefix} is no network of RED.") from error
        weights |= {f"{prefix}.{name}": value for name, value in state.items()}
    return weights, {
        "id": "red-ai2025",
        "version": "1.0.0",
        "task": "restore-sinogram",
        "title": "RED of Ai et al. 2025 (imported)",
        "architecture": {"name": "red", "arguments": {}, "steps": 50},
        "input": {"unit": "counts", "scale": {"rule": "low-dose maximum"}, "voxel_size_mm": [1.0, 1.0, 1.0]},
        "training": {
            "tracers": ["FDG"],
            "dose_range": [],
            "data": f"projections of reconstructed slices, by the authors; {content.get('training_step')} steps",
            "command": "",
            "seed": None,
            "steps": content.get("training_step"),
            "date": "2025",
        },
        "figures": {},
        "licence": NON_COMMERCIAL,
        "citation": "Ai X, Huang B, Chen F, Shi L, Li B, Wang S, Liu Q. Residual Estimation Diffusion for low-dose PET "
        "sinogram reconstruction. Medical Image Analysis 2025, S1361841525001057",
    }


KINDS: dict[str, Callable[[Any], Import]] = {"ddpm3d": ddpm3d, "red": red}


def import_checkpoint(path: Path, kind: str, folder: Path, accept: Callable[[dict[str, Any]], bool]) -> ModelCard:
    """Write the model of a `kind`'s checkpoint into `folder`: float32 safetensors and the card.

    `accept(licence)` is asked first, with the card's licence. The card says which file the weights came from, by its
    hash. Raises PETDiffusionError "missing-file", "bad-checkpoint" for a file that is none or that would run code,
    "wrong-model", "licence" when it is not accepted, or "exists".
    """
    weights, card = KINDS[kind](read_checkpoint(path))
    target = folder / f"{card['id']}.json"
    if target.exists():
        raise PETDiffusionError("exists", f"The model {target} is there already. Remove it first to import it anew.")
    if not accept(card["licence"]):
        raise PETDiffusionError(
            "licence",
            f"The licence of this model, {card['licence']['name']} ({card['licence']['url']}), was not accepted, so it "
            "was not imported. Read it, then accept it with --accept-licence.",
        )
    card["training"]["command"] = f"imported on {datetime.date.today().isoformat()} from a file of sha256 {_hash(path)}"
    return write_model(folder, weights, card, half_precision=False)


def read_checkpoint(path: Path) -> Any:
    """What a file of torch.save holds: tensors and plain values only. Raises PETDiffusionError."""
    import torch

    if not path.is_file():
        raise PETDiffusionError("missing-file", f"There is no file '{path}'. Check the path.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is none may cause: an unpickler, a zip or an end of file error
        raise PETDiffusionError(
            "bad-checkpoint",
            f"'{path}' is refused: a PyTorch file with nothing but tensors was expected, and this one is damaged, is "
            "something else, or holds code that loading would run.",
        ) from error


def state_dict(content: Any) -> dict[str, torch.Tensor]:
    """The tensors by name, in float32. Raises PETDiffusionError "bad-checkpoint" for anything else."""
    import torch

    if not isinstance(content, dict) or not content or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise PETDiffusionError("bad-checkpoint", "The file holds no plain state dict (names and tensors).")
    return {str(name): value.float() for name, value in content.items()}


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
