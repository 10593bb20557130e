"""Models are found by id or path, listed, and refused by name when they are not what they say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.models import ModelCard, file_is_intact, find_model, list_models, load_weights, model_folders

WEIGHTS = {"layer.weight": torch.linspace(-1, 1, 12, dtype=torch.float16).reshape(3, 4), "steps": torch.tensor([7])}


def card_of(identity: str, content: bytes) -> dict:
    return {
        "id": identity,
        "version": "1",
        "task": "denoise",
        "title": "A small one",
        "architecture": {"name": "unet", "arguments": {"width": 4}},
        "input": {"unit": "suvbw", "scale": 1.0, "voxel_size_mm": [1.65, 1.65, 1.65]},
        "training": {
            "tracers": ["FDG"],
            "dose_range": [1, 100],
            "data": "simulated",
            "command": "petdiffusion train denoiser out",
            "seed": 0,
            "steps": 10,
            "date": "2026-11-21",
        },
        "figures": {},
        "licence": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0", "must_accept": False},
        "sha256": hashlib.sha256(content).hexdigest(),
        "citation": "PETDiffusion",
        "intended_use": "Research.",
    }


def put_model(folder: Path, identity: str) -> ModelCard:
    content = save(WEIGHTS)
    (folder / f"{identity}.safetensors").write_bytes(content)
    path = folder / f"{identity}.json"
    path.write_text(json.dumps(card_of(identity, content)), encoding="utf-8")
    return ModelCard.load(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of models, empty."""
    monkeypatch.setenv("PETDIFFUSION_MODELS", str(tmp_path))
    return tmp_path


def test_a_model_is_found_by_id_and_by_either_path(folder: Path) -> None:
    card = put_model(folder, "small-1.0")
    for name in ("small-1.0", folder / "small-1.0.json", str(folder / "small-1.0.safetensors")):
        assert find_model(name) == card


def test_weights_come_as_float32_and_whole_numbers_as_they_are(folder: Path) -> None:
    weights = load_weights(put_model(folder, "small"))
    assert weights["layer.weight"].dtype == torch.float32 and weights["steps"].dtype == torch.int64
    assert torch.equal(weights["layer.weight"].half(), WEIGHTS["layer.weight"])


def test_the_list_has_every_usable_card_and_a_warning_for_the_others(folder: Path) -> None:
    put_model(folder, "one")
    put_model(folder, "two")
    (folder / "broken.json").write_text("{")
    with pytest.warns(UserWarning, match="broken.json"):
        listed = list_models()
    assert {"one", "two"} <= {card.id for card in listed}


def test_an_unknown_model_is_named_with_those_that_are_there(folder: Path) -> None:
    put_model(folder, "here")
    with pytest.raises(PETDiffusionError, match="there-is-none.*here") as caught:
        find_model("there-is-none")
    assert caught.value.code == "no-model"
    with pytest.raises(PETDiffusionError):
        find_model(folder / "nowhere.json")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, Path.unlink, lambda path: path.write_bytes(b"")])
def test_damaged_weights_are_refused_by_name(folder: Path, damage) -> None:
    card = put_model(folder, "small")
    assert file_is_intact(card)
    damage(card.weights_path)
    assert not file_is_intact(card)
    with pytest.raises(PETDiffusionError, match="small.safetensors") as caught:
        load_weights(card)
    assert caught.value.code == "bad-weights"


def test_weights_that_are_a_pickle_are_refused_even_with_the_right_hash(folder: Path) -> None:
    torch.save(WEIGHTS, folder / "pickle.safetensors")
    content = (folder / "pickle.safetensors").read_bytes()
    (folder / "pickle.json").write_text(json.dumps(card_of("pickle", content)))
    with pytest.raises(PETDiffusionError, match="not in the safetensors format"):
        load_weights(find_model("pickle"))


@pytest.mark.parametrize("field", sorted(card_of("x", b"")))
def test_a_card_without_a_field_is_refused_with_its_name(folder: Path, field: str) -> None:
    document = card_of("x", b"")
    del document[field]
    (folder / "x.json").write_text(json.dumps(document))
    with pytest.raises(PETDiffusionError, match=f'"{field}" is missing') as caught:
        find_model("x")
    assert caught.value.code == "bad-card"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": "../x"}, "id"),
        ({"id": "other"}, "other.json"),
        ({"task": "segment"}, "task"),
        ({"sha256": "abc"}, "sha256"),
        ({"architecture": {"name": "unet"}}, "architecture"),
        ({"input": {"unit": "suvbw", "scale": 1, "voxel_size_mm": [0, 1, 1]}}, "input"),
        ({"licence": {"name": "MIT", "url": "x", "must_accept": "no"}}, "licence"),
        ({"training": {}}, "training"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_card_with_a_wrong_field_is_refused_with_its_name(folder: Path, change: dict, named: str) -> None:
    (folder / "x.json").write_text(json.dumps(card_of("x", b"") | change))
    with pytest.raises(PETDiffusionError, match=named):
        find_model("x")


def test_every_bundled_model_is_intact_small_and_has_a_complete_card() -> None:
    bundled = [path for folder in model_folders()[:-1] for path in folder.glob("*.json")]
    for path in bundled:
        card = ModelCard.load(path)
        assert load_weights(card)
        assert card.weights_path.stat().st_size <= 8_000_000
        assert card.training["command"].startswith("petdiffusion train")
