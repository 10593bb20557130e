"""Which models there are: the bundled ones, and those in the user's folder."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.models.card import ModelCard


def user_folder() -> Path:
    """Where a user puts further models: PETDIFFUSION_MODELS, or ~/.petdiffusion/models."""
    return Path(os.environ.get("PETDIFFUSION_MODELS") or Path.home() / ".petdiffusion" / "models")


def model_folders() -> list[Path]:
    """The folders searched, in order: bundled in a wheel, bundled in a checkout, the user's."""
    package = Path(__file__).resolve().parent.parent
    bundled = (package / "Resources" / "Models", package.parent / "Resources" / "Models")
    return [folder for folder in bundled if folder.is_dir()] + [user_folder()]


def list_models() -> list[ModelCard]:
    """Every usable card, by id; of two with the same id the first found. A card that is not usable is warned about."""
    found: dict[str, ModelCard] = {}
    for folder in model_folders():
        for path in sorted(folder.glob("*.json")):
            try:
                found.setdefault(path.stem, ModelCard.load(path))
            except PETDiffusionError as error:
                warnings.warn(error.sentence, stacklevel=2)
    return [found[name] for name in sorted(found)]


def find_model(id_or_path: str | Path) -> ModelCard:
    """The model with an id, or that of a card's or weights' path.

    Raises PETDiffusionError "no-model" when there is none, "bad-card" when its card is not usable.
    """
    path = Path(id_or_path)
    if path.suffix in (".json", ".safetensors"):
        if not path.with_suffix(".json").is_file():
            raise PETDiffusionError("no-model", f"There is no model card {path.with_suffix('.json')}.")
        return ModelCard.load(path.with_suffix(".json"))
    for folder in model_folders():
        card = folder / f"{id_or_path}.json"
        if card.is_file():
            return ModelCard.load(card)
    known = ", ".join(card.id for card in list_models()) or "none"
    searched = " and ".join(str(folder) for folder in model_folders())
    raise PETDiffusionError("no-model", f'There is no model "{id_or_path}" in {searched}; known models: {known}.')
