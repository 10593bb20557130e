"""Models: a card in JSON beside weights in safetensors, found by id, checked before use."""

from PETDiffusionLib.models.card import ModelCard
from PETDiffusionLib.models.catalogue import find_model, list_models, model_folders, user_folder
from PETDiffusionLib.models.weights import file_is_intact, load_weights

__all__ = ["ModelCard", "file_is_intact", "find_model", "list_models", "load_weights", "model_folders", "user_folder"]
