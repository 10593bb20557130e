"""The model card: everything about a model that is not in the code, as JSON beside the weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PETDiffusionLib.errors import PETDiffusionError

TASKS = ("denoise", "denoise-ddpm3d", "restore-sinogram", "prior")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _has(**fields: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A check that a value is an object with (at least) these fields."""
    return lambda value: (
        isinstance(value, dict) and all(name in value and ok(value[name]) for name, ok in fields.items())
    )


def _is_voxel_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(v, (int, float)) and v > 0 for v in value)


def is_model_id(value: Any) -> bool:
    """Whether a card may have this id: it is also a file's name."""
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9._-]+", value))


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "id": (is_model_id, "letters, digits, . _ -"),
    "version": (_is_text, "text"),
    "task": (lambda v: v in TASKS, "one of " + ", ".join(TASKS)),
    "title": (_is_text, "text"),
    "architecture": (_has(name=_is_text, arguments=lambda v: isinstance(v, dict)), "an object with name and arguments"),
    "input": (
        _has(unit=_is_text, scale=lambda v: isinstance(v, (int, float, dict)), voxel_size_mm=_is_voxel_size),
        "an object with unit, scale and voxel_size_mm (three lengths, x, y, z)",
    ),
    "training": (
        _has(**dict.fromkeys(("tracers", "dose_range", "data", "command", "seed", "steps", "date"), lambda v: True)),
        "an object with tracers, dose_range, data, command, seed, steps and date",
    ),
    "figures": (lambda v: isinstance(v, dict), "an object"),
    "licence": (
        _has(name=_is_text, url=_is_text, must_accept=lambda v: isinstance(v, bool)),
        "an object with name, url and must_accept (true or false)",
    ),
    "sha256": (lambda v: isinstance(v, str) and bool(re.fullmatch(r"[0-9a-f]{64}", v)), "64 hexadecimal digits"),
    "citation": (_is_text, "text"),
    "intended_use": (_is_text, "text"),
}


@dataclass(frozen=True)
class ModelCard:
    """A model as its card describes it; `path` is where the card lies, `sha256` is that of the weights' file."""

    path: Path
    id: str
    version: str
    task: str
    title: str
    architecture: dict[str, Any]
    input: dict[str, Any]
    training: dict[str, Any]
    figures: dict[str, Any]
    licence: dict[str, Any]
    sha256: str
    citation: str
    intended_use: str

    @property
    def weights_path(self) -> Path:
        """The safetensors file beside the card."""
        return self.path.with_name(f"{self.id}.safetensors")

    @classmethod
    def load(cls, path: Path) -> ModelCard:
        """The card in a JSON file. Raises PETDiffusionError "bad-card", naming the file and the field."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _bad_card(path, f"it cannot be read ({error})") from error
        if not isinstance(document, dict):
            raise _bad_card(path, "a JSON object was expected")
        for name, (accepts, expected) in _FIELDS.items():
            if name not in document:
                raise _bad_card(path, f'"{name}" is missing')
            if not accepts(document[name]):
                raise _bad_card(path, f'"{name}" should be {expected}')
        unknown = sorted(set(document) - set(_FIELDS))
        if unknown:
            raise _bad_card(path, f'"{unknown[0]}" is not a field of a card')
        if document["id"] != path.stem:
            raise _bad_card(path, f'its id is "{document["id"]}", so its name should be {document["id"]}.json')
        return cls(path=path, **document)

    def to_json(self) -> dict[str, Any]:
        """The document that the card's file holds."""
        return {name: getattr(self, name) for name in _FIELDS}


def _bad_card(path: Path, what: str) -> PETDiffusionError:
    return PETDiffusionError("bad-card", f"The model card {path} is not usable: {what}.")
