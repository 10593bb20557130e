"""Models: a card in JSON beside weights in safetensors, found by id, checked before use."""

from .card import ModelCard
from .catalogue import find_model, list_models, model_folders, user_folder
from .weights import file_is_intact, load_weights

__all__ = ["ModelCard", "file_is_intact", "find_model", "list_models", "load_weights", "model_folders", "user_folder"]
