"""Training the denoiser: it learns, it resumes on the same curve, and it ends in a model that loads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import PETDiffusionLib.training.crops as crops
import PETDiffusionLib.training.denoiser as training
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.models import ModelCard, find_model, load_weights
from PETDiffusionLib.training.cases import (
    MIXTURE,
    TRAINING_SEED,
    VALIDATION_SEED,
    Case,
    ensure_cases,
    load_case,
    make_case,
    save_case,
)
from PETDiffusionLib.training.crops import CropSource, Protocol
from PETDiffusionLib.training.loop import TrainingLoop
from PETDiffusionLib.volumes.resampling import inverse_collocation, spline_matrix
from Testing.training.arguments import arguments_of


def synthetic_case(seed):
    """A blob with noise: quick to make, and with something to learn."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((24, 26, 28)) - 13.0
    reference = (3 * np.exp(-(z**2 + y**2 + x**2) / 80)).astype(np.float32)
    low_dose = [(reference * rng.gamma(4, 1 / 4, reference.shape)).astype(np.float32) for _ in range(2)]
    return Case(reference, low_dose, (4.0, 4.0, 4.0))


@pytest.fixture
def data(tmp_path, monkeypatch):
    folder = tmp_path / "cases"
    folder.mkdir()
    for seed in (TRAINING_SEED, VALIDATION_SEED):
        save_case(synthetic_case(seed), folder / f"case_{MIXTURE}_{seed:06d}.npz")
    monkeypatch.setattr(training, "VALIDATION_CASES", 1)
    monkeypatch.setattr(training, "CROP", (16, 16, 16))
    monkeypatch.setattr(training, "VALIDATION_CROPS", 3)
    return folder


def arguments(data, out, steps):
    plan = ("--cases", 1, "--steps", steps, "--batch", 2, "--rate", 5e-4, "--every", 2)
    return arguments_of(training, out, "--data", data, *plan)


def test_it_learns(data, tmp_path) -> None:
    loop = training.train(arguments(data, tmp_path / "run", 24))
    curve = [json.loads(line) for line in (tmp_path / "run" / "curve.jsonl").read_text().splitlines()]
    assert loop.step == 24
    assert curve[-1]["gain"] > curve[0]["gain"] + 0.5  # dB on crops that are not trained on


def test_a_stopped_training_goes_on_along_the_same_curve(data, tmp_path, monkeypatch) -> None:
    whole = training.train(arguments(data, tmp_path / "whole", 8))
    original = TrainingLoop.save

    def stop_at_four(self) -> None:
        original(self)
        if self.step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "save", stop_at_four)
        with pytest.raises(KeyboardInterrupt):
            training.train(arguments(data, tmp_path / "parts", 8))
    resumed = training.train(arguments(data, tmp_path / "parts", 8))
    for left, right in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.allclose(left, right, atol=1e-6)


def test_the_end_is_a_model_with_a_card(data, tmp_path) -> None:
    training.train(arguments(data, tmp_path / "run", 2))
    card = ModelCard.load(next((tmp_path / "run" / "model").glob("*.json")))
    assert card.training["steps"] == 2
    assert "2 doses each" in card.training["data"]
    assert "--seed 0" in card.training["command"]
    assert set(load_weights(card)) == set(training.ResidualUNet3D(**training.NETWORK).state_dict())


def test_a_case_is_the_same_from_its_seed_and_survives_its_file(tmp_path) -> None:
    case = make_case(123, length_mm=30)
    again = make_case(123, length_mm=30)
    assert np.array_equal(case.low_dose[0], again.low_dose[0])
    save_case(case, tmp_path / "case.npz")
    loaded = load_case(tmp_path / "case.npz")
    assert loaded.reference == pytest.approx(case.reference, rel=1e-3, abs=1e-4)
    assert loaded.voxel_size_mm == case.voxel_size_mm


def test_crops_pair_the_same_place(data) -> None:
    source = CropSource(sorted(data.glob("*.npz")), (16, 16, 16), 1.65)
    pairs = source.batch(4, np.random.default_rng(0)).pair
    assert pairs.shape == (4, 2, 16, 16, 16)
    assert float(pairs.min()) >= 0
    smooth = torch.nn.functional.avg_pool3d(pairs, 8)
    assert float(torch.corrcoef(torch.stack([smooth[:, 0].ravel(), smooth[:, 1].ravel()]))[0, 1]) > 0.8


def test_a_crop_reads_the_spline_that_volumes_are_resampled_by() -> None:
    for count in (1, 2, 3, 7, 40):
        positions = np.linspace(-1, count + 1, 29)
        rows = torch.from_numpy(np.stack([positions, positions])).float()
        weights = crops._spline_weights(rows, torch.tensor([count, count + 3]))[0]
        assert not weights[:, count:].any()
        assert weights[:, :count].numpy() @ inverse_collocation(count) == pytest.approx(
            spline_matrix(count, positions), abs=1e-6
        )


def test_a_crop_that_is_turned_and_read_in_place_is_the_volume_itself(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(crops, "FILTERED_SHARE", 0.0)
    case = synthetic_case(1)
    save_case(case, tmp_path / "case.npz")
    held = crops.CropSource([tmp_path / "case.npz"], (8, 8, 8), 4.0).cases[0]
    backwards = crops._Place((np.arange(24.0)[::-1], np.arange(26.0), np.arange(28.0)), swapped=True)
    low_dose, reference = crops._read([held.pairs[1]], [backwards])[0].numpy()
    for found, given in ((low_dose, case.low_dose[1]), (reference, case.reference)):
        assert found.transpose(0, 2, 1)[::-1] == pytest.approx(given, rel=5e-3, abs=5e-3)


def test_the_noisier_dose_is_drawn_more_often(tmp_path) -> None:
    calm = synthetic_case(1)
    noisy = calm.reference + 4 * (calm.low_dose[1] - calm.reference).clip(-calm.reference / 4)
    save_case(Case(calm.reference, [calm.low_dose[0], noisy], calm.voxel_size_mm), tmp_path / "case.npz")
    source = CropSource([tmp_path / "case.npz"], (8, 8, 8), 4.0)
    low, high = sorted(source.cases[0].whole.level.tolist())
    drawn = source.batch(600, np.random.default_rng(0)).whole.level
    assert high > 1.5 * low
    times = float((drawn > (low + high) / 2).sum() / (drawn < (low + high) / 2).sum())
    assert times == pytest.approx((high / low) ** 0.5, rel=0.25)


def test_a_protocol_filters_both_alike_and_turns_the_noise_up() -> None:
    volume = np.zeros(41, np.float32)
    volume[20] = 1.0
    filtered = Protocol(post_filter_mm=8.0).filtered(np.eye(41), size_mm=2.0) @ torch.from_numpy(volume)
    assert float(filtered.sum()) == pytest.approx(1, rel=1e-3)
    assert float(filtered[18]) == pytest.approx(0.5 * float(filtered[20]), rel=1e-3)
    low_dose, reference = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 2.0, 2.0])
    assert Protocol(noise_factor=2.0).noisier(low_dose, reference).tolist() == [-1.0, 2.0, 6.0]


def test_some_doses_stay_as_simulated_and_some_are_filtered() -> None:
    rng = np.random.default_rng(0)
    filters = np.array([Protocol.random(rng).post_filter_mm for _ in range(400)])
    assert 0.2 < (filters > 0).mean() < 0.4
    assert filters[filters > 0].min() >= 2 and filters.max() <= 8


def test_a_training_can_start_from_a_model(data, tmp_path) -> None:
    first = training.train(arguments(data, tmp_path / "first", 2))
    options = arguments(data, tmp_path / "second", 0)
    options.start = str(next((tmp_path / "first" / "model").glob("*.json")))
    second = training.train(options)
    for left, right in zip(first.average.parameters(), second.network.parameters(), strict=True):
        assert torch.allclose(left, right, atol=1e-3)


def test_a_card_lists_the_trainings_before_it_the_last_first(data, tmp_path) -> None:
    options, cards = arguments(data, tmp_path / "0", 0), []
    for number in range(3):
        options.out, options.version = str(tmp_path / str(number)), f"{number}.0.0"
        training.train(options)
        options.start = str(next((tmp_path / str(number) / "model").glob("*.json")))
        cards.append(ModelCard.load(Path(options.start)))
    assert "earlier" not in cards[0].training
    earlier = cards[2].training["earlier"]
    assert [facts["model"]["version"] for facts in earlier] == ["1.0.0", "0.0.0"]
    assert [facts["model"]["sha256"] for facts in earlier] == [cards[1].sha256, cards[0].sha256]
    assert all("earlier" not in facts and facts["seed"] == options.seed for facts in earlier)


def test_a_training_can_start_from_a_model_of_fewer_blocks(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(training.NETWORK, "blocks", (1, 2, 3))
    shallow = training.train(arguments(data, tmp_path / "shallow", 2)).average
    monkeypatch.undo()
    deep = training.ResidualUNet3D(**training.NETWORK)
    training._start_from(deep, find_model(str(next((tmp_path / "shallow" / "model").glob("*.json")))))
    assert len(list(deep.parameters())) > len(list(shallow.parameters()))
    inputs = (torch.randn(1, 7, 16, 16, 16), torch.ones(1), torch.zeros(1), torch.zeros(1, 6))
    with torch.no_grad():
        assert torch.allclose(deep(*inputs), shallow(*inputs), atol=1e-2)  # weights are kept in half precision


def test_a_start_from_another_network_is_refused_by_name(data, tmp_path) -> None:
    options = arguments(data, tmp_path / "run", 0)
    options.start = "petdiffusion-counts"
    with pytest.raises(PETDiffusionError, match=r'"petdiffusion-counts" .* is another network'):
        training.train(options)


def test_cases_made_by_two_processes_are_those_of_one(tmp_path) -> None:
    seeds = range(20_002, 20_003)  # one that is quick to make
    for folder, workers in (("one", 1), ("two", 2)):
        ensure_cases(tmp_path / folder, seeds, workers)
    one, two = (load_case(tmp_path / folder / f"case_{MIXTURE}_020002.npz") for folder in ("one", "two"))
    assert two.low_dose[0] == pytest.approx(one.low_dose[0], rel=1e-2, abs=1e-3)
