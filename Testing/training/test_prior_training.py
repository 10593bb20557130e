"""Training the reconstruction prior: it learns, knows what the anatomy is worth, and ends in a model that loads."""

import json

import numpy as np
import pytest
import torch

import PETDiffusionLib.training.prior as training
from PETDiffusionLib.models import ModelCard, load_weights
from PETDiffusionLib.simulation.anatomy import anatomical_image
from PETDiffusionLib.training.prior_cases import (
    TRAINING_SEED,
    VALIDATION_SEED,
    PriorCase,
    ensure_prior_cases,
    load_prior_case,
    make_prior_case,
    save_prior_case,
)
from Testing.training.arguments import arguments_of


def blob(seed):
    """A ball of activity that its anatomy shows: quick to make, and with something to learn."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((20, 22, 24)) - rng.uniform(8, 13, (3, 1, 1, 1))
    ball = (z**2 + y**2 + x**2 < 40).astype(np.float32)
    return PriorCase(ball * 1.2, ball * 0.7, (3.0, 3.0, 3.0))


@pytest.fixture
def data(tmp_path, monkeypatch):
    folder = tmp_path / "cases"
    folder.mkdir()
    for seed in (TRAINING_SEED, VALIDATION_SEED):
        save_prior_case(blob(seed), folder / f"prior_{seed:07d}.npz")
    monkeypatch.setattr(training, "CROP", (16, 16, 16))
    monkeypatch.setattr(training, "VALIDATION_CASES", 1)
    monkeypatch.setattr(training, "VALIDATION_CROPS", 4)
    return folder


def arguments(data, out, steps):
    sizes = ("--widths", 8, 8, 8, "--blocks", 1, 1, 1, "--batch", 2)
    plan = ("--cases", 1, "--steps", steps, "--rate", 2e-3, "--every", 5)
    return arguments_of(training, out, "--data", data, *sizes, *plan)


def test_the_error_falls_and_the_anatomy_helps(data, tmp_path) -> None:
    training.train(arguments(data, tmp_path / "run", 30))
    curve = [json.loads(line) for line in (tmp_path / "run" / "curve.jsonl").read_text().splitlines()]
    first, last = (np.mean([row["loss"] for row in rows]) for rows in (curve[:2], curve[-2:]))
    assert last < 0.9 * first
    assert curve[-1]["rmse_1_anatomy"] < curve[-1]["rmse_1"]


def test_the_end_is_a_model_with_a_card(data, tmp_path) -> None:
    options = arguments(data, tmp_path / "run", 2)
    options.id = "of-my-scanner"
    training.train(options)
    card = ModelCard.load(tmp_path / "run" / "model" / "of-my-scanner.json")
    assert card.task == "prior"
    assert card.training["tracers"] == ["FDG-like"]
    network = training.ResidualUNet3D(**card.architecture["arguments"])
    network.load_state_dict(load_weights(card))


def test_half_of_the_crops_come_without_their_anatomy(data) -> None:
    source = training.CropSource(sorted(data.glob("*.npz")), (16, 16, 16), torch.device("cpu"))
    crops = source.batch(60, np.random.default_rng(0))
    with_anatomy = (crops.anatomy.amax((1, 2, 3, 4)) > 0).float().mean()
    assert 0.25 < float(with_anatomy) < 0.75


def test_a_case_is_the_same_from_its_seed_has_a_mean_of_one_and_survives_its_file(tmp_path) -> None:
    paths = ensure_prior_cases(tmp_path, range(7, 8))
    case, again = load_prior_case(paths[0]), make_prior_case(7)
    assert case.activity == pytest.approx(again.activity, rel=2e-3, abs=1e-3)
    occupied = again.activity > 0.01 * again.activity.max()
    assert again.activity[occupied].mean() == pytest.approx(1, rel=0.1)
    assert again.anatomy.shape == again.activity.shape
    assert case.voxel_size_mm == pytest.approx(again.voxel_size_mm)


def test_the_anatomy_shows_labels_and_not_what_is_inside_them() -> None:
    labels = np.zeros((10, 20, 20), int)
    labels[:, 3:17, 3:10], labels[:, 3:17, 10:17] = 1, 2
    image = anatomical_image(labels, (2.0, 2.0, 2.0), np.random.default_rng(0), {1: 0.2, 2: 0.8})
    left, right = image[:, 5:15, 5:8], image[:, 5:15, 12:15]
    assert right.mean() / left.mean() == pytest.approx(4, rel=0.25)
    assert left.std() / left.mean() < 0.5
    assert image[labels > 0].mean() == pytest.approx(1)
