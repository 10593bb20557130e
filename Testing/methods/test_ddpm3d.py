"""The 3D DDPM as a method: any grid, several draws at once, its start, and what it says when something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from PETDiffusionLib.diffusion.fitting import FittedDenoiser
from PETDiffusionLib.methods import ddpm3d
from PETDiffusionLib.methods.ddpm3d import Walk, draw
from PETDiffusionLib.models.writing import write_model
from PETDiffusionLib.networks.ddpm3d import DDPM3D
from PETDiffusionLib.volumes import read_volume

ARGUMENTS = {"base": 32, "multipliers": [1, 1], "blocks": 1}
STEPS = ("--sampler", "ddim", "--steps", 2, "--samples", 2)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of models with the card of a small 3D DDPM that was never trained."""
    torch.manual_seed(0)
    card = {
        "id": "small-ddpm3d",
        "version": "1",
        "task": "denoise-ddpm3d",
        "title": "Never trained",
        "architecture": {"name": "ddpm3d", "arguments": ARGUMENTS},
        "input": {"unit": "suvbw", "scale": 4.0, "voxel_size_mm": [4.0, 4.0, 4.0]},
        "training": dict.fromkeys(("tracers", "dose_range", "data", "command", "seed", "steps", "date"), "none"),
        "figures": {},
        "citation": "none",
    }
    monkeypatch.setenv("PETDIFFUSION_MODELS", str(tmp_path / "models"))
    return write_model(tmp_path / "models", DDPM3D(**ARGUMENTS).state_dict(), card).path


@pytest.fixture
def network() -> DDPM3D:
    """A small network that was never trained, in single precision."""
    torch.manual_seed(0)
    return DDPM3D(**ARGUMENTS).eval()


def test_the_command_denoises_on_the_inputs_grid_with_an_uncertainty(
    petdiffusion, small_pet: Path, model: Path
) -> None:
    arguments = ("denoise", small_pet, "out.nrrd", "--method", "ddpm3d", "--model", "small-ddpm3d", *STEPS)
    done = petdiffusion(*arguments, "--uncertainty", "sd.nrrd", "--seed", 3)
    assert done.returncode == 0, done.stderr
    given = sitk.ReadImage(str(small_pet))
    for name in ("out.nrrd", "sd.nrrd"):
        image = sitk.ReadImage(str(small_pet.with_name(name)))
        assert image.GetSize() == given.GetSize() and image.GetOrigin() == given.GetOrigin()
    assert read_volume(small_pet.with_name("sd.nrrd")).array.max() > 0
    summary = json.loads(small_pet.with_name("out.nrrd.manifest.json").read_text())["summary"]
    assert (summary["sampler"], summary["steps"], summary["start"]) == ("ddim", 2, "low-dose")
    assert "saturated" in done.stderr or "4 SUV" in done.stderr  # the hot spot is above the model's scale
    assert petdiffusion(*arguments, "--seed", 3, "--overwrite").returncode == 0
    again = read_volume(small_pet.with_name("out.nrrd")).array
    assert petdiffusion(*arguments, "--seed", 4, "--overwrite").returncode == 0
    assert not np.array_equal(again, read_volume(small_pet.with_name("out.nrrd")).array)


def test_without_a_model_it_says_where_to_get_one(petdiffusion, small_pet: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PETDIFFUSION_MODELS", str(tmp_path / "none"))
    monkeypatch.setattr(ddpm3d, "list_models", list)
    done = petdiffusion("denoise", small_pet, "out.nrrd", "--method", "ddpm3d")
    assert done.returncode == 2 and "models import" in done.stderr
    done = petdiffusion("denoise", small_pet, "out.nrrd", "--method", "ddpm3d", "--model", "petdiffusion-denoiser")
    assert done.returncode == 2 and "not a 3D DDPM" in done.stderr


def test_one_draw_has_no_uncertainty(petdiffusion, small_pet: Path, model: Path) -> None:
    arguments = ("denoise", small_pet, "out.nrrd", "--method", "ddpm3d", "--steps", 2, "--samples", 1)
    done = petdiffusion(*arguments, "--uncertainty", "sd.nrrd")
    assert done.returncode == 2 and "2 samples" in done.stderr


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm++"])
def test_draws_made_together_are_the_draws_made_alone(sampler: str, network: DDPM3D) -> None:
    low_dose = torch.rand(1, 1, 5, 18, 14) * 3
    walk = Walk(sampler, 2, "low-dose")
    together, windows = draw(low_dose, network, 4.0, walk, 3, seed=5)
    alone, _ = draw(low_dose, network, 4.0, walk, 1, seed=5)
    assert together.shape == (3, 5, 18, 14) and windows == 1
    assert torch.allclose(together[:1], alone, atol=1e-4)
    assert float((together[0] - together[1]).abs().mean()) > 0


def test_draws_that_do_not_fit_together_are_made_in_groups(network: DDPM3D, monkeypatch: pytest.MonkeyPatch) -> None:
    low_dose, told = torch.rand(1, 1, 6, 18, 14) * 3, []
    together, _ = draw(low_dose, network, 4.0, Walk("ancestral", 2, "low-dose"), 3, 5)
    monkeypatch.setattr(ddpm3d, "free_memory", lambda device: 2 * 6 * 18 * 14 * network.bytes_per_voxel / 0.6)
    grouped, _ = draw(low_dose, network, 4.0, Walk("ancestral", 2, "low-dose"), 3, 5, told.append)
    assert torch.allclose(together, grouped, atol=1e-4)
    assert len(told) == 4 and told[-1] == pytest.approx(1)  # two groups, two steps each


def test_what_of_a_walk_cannot_be_done_is_said(petdiffusion, small_pet: Path, model: Path) -> None:
    arguments = ("denoise", small_pet, "out.nrrd", "--method", "ddpm3d", "--samples", 1, "--eta", 0.5)
    done = petdiffusion(*arguments, "--sampler", "dpm++", "--start", "low-dose", "--steps", 20)
    assert done.returncode == 0
    assert "19 different times" in done.stderr and "Eta" in done.stderr


def test_noise_alone_knows_nothing_of_the_low_dose_but_through_the_network(network: DDPM3D) -> None:
    """From noise the first state is the seed's; from the low dose it holds the low dose."""
    first: dict[str, torch.Tensor] = {}

    class Listening(FittedDenoiser):
        def __call__(self, x_t, t, condition):
            first.setdefault("x_t", x_t)
            return super().__call__(x_t, t, condition)

    low_dose = torch.rand(1, 1, 8, 16, 16) * 3
    correlations = {}
    for start in ("noise", "low-dose"):
        first.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ddpm3d, "FittedDenoiser", Listening)
            draw(low_dose, network, 4.0, Walk("ddim", 2, start), 1, seed=0)
        x_t = first["x_t"][0, 0, :8].flatten()
        correlations[start] = float(torch.corrcoef(torch.stack([x_t, low_dose.flatten()]))[0, 1])
    assert abs(correlations["noise"]) < 0.1 < correlations["low-dose"]


def test_what_lies_above_the_scale_is_kept(network: DDPM3D) -> None:
    low_dose = torch.full((1, 1, 8, 16, 16), 1.0)
    low_dose[..., 4, 8, 8] = 9.0
    drawn, _ = draw(low_dose, network, 4.0, Walk("ddim", 2, "low-dose"), 1, seed=0)
    assert 5.0 <= float(drawn[0, 4, 8, 8]) <= 9.0
    assert float(drawn.min()) >= 0


def test_progress_runs_from_nothing_to_all_of_it(network: DDPM3D) -> None:
    told: list[float] = []
    draw(torch.rand(1, 1, 8, 16, 16), network, 4.0, Walk("dpm++", 3, "low-dose"), 1, 0, told.append)
    assert told == sorted(told) and told[-1] == pytest.approx(1.0)
