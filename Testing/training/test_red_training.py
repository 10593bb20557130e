"""Training RED and the count bridge: they learn, they resume on the same curve, and they end in models that load."""

import json
from functools import partial

import numpy as np
import pytest
import torch

import PETDiffusionLib.training.counts as counts
import PETDiffusionLib.training.red as red
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.models import ModelCard, load_weights
from PETDiffusionLib.networks.red import RedUNet, both_from_state_dict
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.training.cases import TRAINING_SEED, VALIDATION_SEED
from PETDiffusionLib.training.loop import TrainingLoop
from PETDiffusionLib.training.sinogram_batches import SinogramSource
from PETDiffusionLib.training.sinogram_cases import SinogramCase, load_case, make_case, save_case
from PETDiffusionLib.training.sinogram_errors import image_errors
from PETDiffusionLib.training.structural_similarity import ssim
from Testing.training.arguments import arguments_of


def ball(seed):
    """A warm ball with a hot spot in the middle of 24 x 24 voxels: quick to project, and with something to learn."""
    z, y, x = np.indices((8, 24, 24)) - np.array([4, 12, 12 + seed % 3])[:, None, None, None]
    inside = y**2 + x**2 < 81
    hot = y**2 + x**2 + 4 * z**2 < 16
    return SinogramCase((inside + 3.0 * hot).astype(np.float32), 0.0096 * inside.astype(np.float32), 8.0, 4.0)


@pytest.fixture
def data(tmp_path, monkeypatch):
    folder = tmp_path / "phantoms"
    folder.mkdir()
    for first in (TRAINING_SEED, VALIDATION_SEED):
        for seed in range(first, first + 2):
            save_case(ball(seed), folder / f"phantom_{seed:06d}.npz")
    for module in (red, counts):
        monkeypatch.setattr(module, "VALIDATION_CASES", 2)
        monkeypatch.setattr(module, "VALIDATION_BATCHES", 2)
    monkeypatch.setattr(counts, "ARCHITECTURE", counts.ARCHITECTURE | {"widths": [8, 8, 8], "blocks": [1, 1, 1]})
    return folder


def red_arguments(data, out, stage, steps, pairs=None):
    size = ("--cases", 2, "--batch", 4, "--width", 4)
    plan = ("--stage", stage, "--steps", steps, "--rate", 2e-3, "--every", max(2, steps // 2))
    given = ("--pairs", pairs) if pairs else ()
    return arguments_of(red, out, "--data", data, *size, *plan, *given)


def count_arguments(data, out, steps):
    plan = ("--cases", 2, "--steps", steps, "--stacks", 2, "--planes", 8, "--rate", 3e-3, "--every", 2)
    return arguments_of(counts, out, "--data", data, *plan)


def loss_on_one_batch(network, data, losses):
    source = SinogramSource(sorted(data.glob("*.npz")), 2, 4, torch.device("cpu"))
    pairs = [red._simulated(source, seed) for seed in range(3)]
    with torch.no_grad():
        return sum(float(losses(network, pair, torch.Generator().manual_seed(1))["loss"]) for pair in pairs)


def test_both_stages_lower_their_losses_and_end_in_one_model(data, tmp_path) -> None:
    torch.manual_seed(0)
    untrained = RedUNet(4).eval()
    ren = red.train(red_arguments(data, tmp_path / "run", "ren", 10)).network
    dcn = red.train(red_arguments(data, tmp_path / "run", "dcn", 8)).network
    dcn_losses = partial(red.dcn_losses, red.network_of(tmp_path / "run" / "ren", 4))
    for trained, losses in ((ren, red.ren_losses), (dcn, dcn_losses)):
        assert loss_on_one_batch(trained, data, losses) < 0.95 * loss_on_one_batch(untrained, data, losses)
    card = ModelCard.load(tmp_path / "run" / "model" / "petdiffusion-red.json")
    kept_ren, kept_dcn = both_from_state_dict(load_weights(card))
    assert kept_ren.final_conv[1].weight.shape == kept_dcn.final_conv[1].weight.shape == (1, 4, 1, 1)


def test_a_stopped_stage_goes_on_along_the_same_curve(data, tmp_path, monkeypatch) -> None:
    whole = red.train(red_arguments(data, tmp_path / "whole", "ren", 4))
    original = TrainingLoop.save

    def stop_at_two(self) -> None:
        original(self)
        if self.step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "save", stop_at_two)
        with pytest.raises(KeyboardInterrupt):
            red.train(red_arguments(data, tmp_path / "parts", "ren", 4))
    resumed = red.train(red_arguments(data, tmp_path / "parts", "ren", 4))
    for left, right in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.allclose(left, right, atol=1e-5)


def test_the_second_stage_needs_the_first(data, tmp_path) -> None:
    with pytest.raises(PETDiffusionError, match="train --stage ren"):
        red.train(red_arguments(data, tmp_path / "run", "dcn", 2))


def test_red_trains_on_pairs_of_files(data, tmp_path) -> None:
    sinograms = np.random.default_rng(0).poisson(5, (2, 16, 20)).astype(np.float32)
    np.savez(tmp_path / "pair.npz", sino_image=sinograms)
    (tmp_path / "pairs.csv").write_text("low_dose,full_dose\npair.npz,pair.npz\n")
    loop = red.train(red_arguments(data, tmp_path / "run", "ren", 2, pairs=str(tmp_path / "pairs.csv")))
    assert loop.step == 2


def test_the_last_pair_of_a_table_is_only_looked_at(data, tmp_path) -> None:
    for number in range(3):
        np.savez(tmp_path / f"{number}.npz", sino_image=np.tile(np.eye(20, dtype=np.float32)[number], (2, 16, 1)))
    (tmp_path / "pairs.csv").write_text("low_dose,full_dose\n0.npz,0.npz\n1.npz,1.npz\n2.npz,2.npz\n")
    arguments = red_arguments(data, tmp_path / "run", "ren", 2, pairs=str(tmp_path / "pairs.csv"))
    make_pair, looked_at = red._data(arguments, torch.device("cpu"))
    brightest = [int(low[0, 0, 0].argmax()) for low, _ in [*map(make_pair, range(20)), *looked_at]]
    assert set(brightest[:-1]) == {0, 1} and brightest[-1] == 2


def test_the_count_bridge_learns_and_ends_in_a_model(data, tmp_path) -> None:
    counts.train(count_arguments(data, tmp_path / "run", 16))
    rows = [json.loads(line) for line in (tmp_path / "run" / "curve.jsonl").read_text().splitlines()]
    assert rows[-1]["gain"] > rows[0]["gain"]
    card = ModelCard.load(tmp_path / "run" / "model" / "petdiffusion-counts.json")
    ResidualUNet3D(**card.architecture["arguments"]).load_state_dict(load_weights(card))
    assert "--seed 0" in card.training["command"]


def test_a_batch_is_the_same_from_its_seed_and_its_counts_are_poisson(data) -> None:
    source = SinogramSource(sorted(data.glob("*.npz")), 2, 8, torch.device("cpu"))
    batch, again = source.batch(5), source.batch(5)
    assert torch.equal(batch.sinogram.prompts, again.sinogram.prompts)
    deviation = (batch.sinogram.prompts - batch.expected) / batch.expected.sqrt()
    assert float(deviation.square().mean()) == pytest.approx(1, abs=0.1)
    trues = batch.expected - batch.sinogram.additive
    assert float(trues.min()) >= -1e-4


def test_errors_that_no_image_could_have_made_cost_little(data) -> None:
    batch = SinogramSource(sorted(data.glob("*.npz")), 1, 8, torch.device("cpu")).batch(3)
    spot = torch.zeros(batch.projector.image_shape)
    spot[:, 10:13, 13:16] = 1
    consistent = batch.sinogram.multiplicative * batch.projector.forward(spot)
    alternating = consistent * (-1.0) ** torch.arange(consistent.shape[1])[:, None]
    assert image_errors(batch, alternating) < 0.2 * image_errors(batch, consistent)


def test_a_case_is_the_same_from_its_seed_and_survives_its_file(tmp_path) -> None:
    case = make_case(123, length_mm=10)
    again = make_case(123, length_mm=10)
    assert np.array_equal(case.activity, again.activity)
    save_case(case, tmp_path / "case.npz")
    loaded = load_case(tmp_path / "case.npz")
    assert loaded.activity == pytest.approx(case.activity, rel=1e-3, abs=1e-4)
    assert (loaded.voxel_mm, loaded.plane_mm) == (case.voxel_mm, case.plane_mm)


def test_ssim_is_one_for_equal_images_and_agrees_with_scikit_image() -> None:
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    one, other = (rng.random((1, 1, 24, 28)).astype(np.float32) for _ in range(2))
    assert float(ssim(torch.from_numpy(one), torch.from_numpy(one), 2.0)) == pytest.approx(1)
    expected = structural_similarity(
        one[0, 0], other[0, 0], data_range=2.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )[1][5:-5, 5:-5].mean()
    assert float(ssim(torch.from_numpy(one), torch.from_numpy(other), 2.0)) == pytest.approx(float(expected), abs=1e-3)
