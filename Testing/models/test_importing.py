"""Importing published checkpoints: same weights, a card with their licence, and nothing run on the way."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch

from PETDiffusionLib.diffusion.red import alphas, betas
from PETDiffusionLib.models import find_model, load_weights
from PETDiffusionLib.networks.ddpm3d import DDPM3D, from_state_dict
from PETDiffusionLib.networks.red import PREFIXES, RedUNet, both_from_state_dict

ARGUMENTS = {"base": 32, "multipliers": [1, 2], "blocks": 1}


@pytest.fixture
def models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of models, empty."""
    monkeypatch.setenv("PETDIFFUSION_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small checkpoint of the published kind: a plain state dict."""
    torch.manual_seed(0)
    torch.save(DDPM3D(**ARGUMENTS).state_dict(), tmp_path / "ema_0.9999.pt")
    return tmp_path / "ema_0.9999.pt"


def test_a_checkpoint_becomes_a_model_with_the_same_weights(petdiffusion, checkpoint, models_folder) -> None:
    done = petdiffusion("models", "import", checkpoint, "--as", "ddpm3d", "--accept-licence")
    assert done.returncode == 0, done.stderr
    assert "CC BY-NC-SA 4.0" in done.stdout
    card = find_model("ddpm3d-yu2025")
    assert card.architecture["arguments"] == ARGUMENTS
    assert card.input["scale"] == 16 and card.input["voxel_size_mm"] == [1.65, 1.65, 1.65]
    assert card.licence["must_accept"] and hashlib.sha256(checkpoint.read_bytes()).hexdigest() in str(card.training)
    given, kept = torch.load(checkpoint, weights_only=True), from_state_dict(load_weights(card)).state_dict()
    assert all(torch.equal(given[name], kept[name]) for name in given)
    again = petdiffusion("models", "import", checkpoint, "--as", "ddpm3d", "--accept-licence")
    assert again.returncode == 2 and "already" in again.stderr


def test_nothing_is_imported_without_the_licence(petdiffusion, checkpoint, models_folder) -> None:
    done = petdiffusion("models", "import", checkpoint, "--as", "ddpm3d")
    assert done.returncode == 2 and "CC BY-NC-SA 4.0" in done.stderr and "--accept-licence" in done.stderr
    assert not models_folder.exists()


class Malicious:
    """A pickle of this would make a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_wants_to_run_code_is_refused(petdiffusion, tmp_path: Path, models_folder) -> None:
    torch.save({"time_embed.0.weight": Malicious(tmp_path / "owned")}, tmp_path / "bad.pt")
    done = petdiffusion("models", "import", "bad.pt", "--as", "ddpm3d", "--accept-licence")
    assert done.returncode == 2 and "code" in done.stderr
    assert not (tmp_path / "owned").exists() and not models_folder.exists()


def test_other_files_are_refused_in_one_sentence(petdiffusion, tmp_path: Path, models_folder) -> None:
    (tmp_path / "text.pt").write_text("not a checkpoint")
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pt")
    torch.save([1, 2, 3], tmp_path / "list.pt")
    for name, said in (
        ("text.pt", "damaged"),
        ("other.pt", "not a 3D DDPM"),
        ("list.pt", "no plain state dict"),
        ("none.pt", "no file"),
    ):
        done = petdiffusion("models", "import", name, "--as", "ddpm3d", "--accept-licence")
        assert done.returncode == 2 and said in done.stderr, name
    assert not models_folder.exists()


@pytest.fixture
def red_checkpoint(tmp_path: Path) -> Path:
    """A small checkpoint of RED as its authors' training writes it."""
    torch.manual_seed(0)
    content = {"training_step": 7, "max_T": 500, "alphas": alphas(), "betas": betas()}
    torch.save(content | {name: RedUNet(4).state_dict() for name in PREFIXES}, tmp_path / "red.pt")
    return tmp_path / "red.pt"


def test_a_checkpoint_of_red_becomes_a_model_with_both_networks(petdiffusion, red_checkpoint, models_folder) -> None:
    done = petdiffusion("models", "import", red_checkpoint, "--as", "red", "--accept-licence")
    assert done.returncode == 0, done.stderr
    assert "non-commercial" in done.stdout
    card = find_model("red-ai2025")
    assert card.task == "restore-sinogram" and card.training["steps"] == 7
    given = torch.load(red_checkpoint, weights_only=True)
    for prefix, network in zip(PREFIXES, both_from_state_dict(load_weights(card)), strict=True):
        assert all(torch.equal(given[prefix][name], value) for name, value in network.state_dict().items())


def test_a_red_of_other_schedules_or_networks_is_refused(petdiffusion, red_checkpoint, tmp_path, models_folder) -> None:
    content = torch.load(red_checkpoint, weights_only=True)
    del content["nn_dcn"]["mid_block1.ds_conv.bias"]
    for changed, said in (({"alphas": alphas() ** 2}, "schedules"), ({"max_T": 1000}, "schedules"), ({}, "nn_dcn")):
        torch.save(content | changed, tmp_path / "changed.pt")
        done = petdiffusion("models", "import", "changed.pt", "--as", "red", "--accept-licence")
        assert done.returncode == 2 and said in done.stderr
