"""Training a 3D DDPM: its loss, its data, its log, one process, two processes, and going on after a stop."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from PETDiffusionLib.diffusion.prediction import clipped_to_scale
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.ddpm3d import load_network
from PETDiffusionLib.models import ModelCard, load_weights
from PETDiffusionLib.networks.ddpm3d import from_state_dict
from PETDiffusionLib.networks.precision import FastPrecision
from PETDiffusionLib.training import ddpm3d
from PETDiffusionLib.training.loop import GRADIENT_NORM, learning_rate
from PETDiffusionLib.training.pairs import PairSource, groups_of_table
from PETDiffusionLib.training.tensorboard import EventLog, crc32c
from PETDiffusionLib.volumes import Volume, write_volume

SMALL = ["--base", "32", "--multipliers", "1", "1", "--blocks", "1", "--crop", "4", "8", "8", "--voxel-mm", "3"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two pairs of volumes in SUV and the CSV file that lists them."""
    rng = np.random.default_rng(0)
    lines = ["low_dose,full_dose"]
    for number in range(2):
        full = np.zeros((8, 12, 12), np.float32)
        full[2:6, 3:9, 3:9] = 4.0
        for name, array in (("low", full + rng.normal(0, 0.8, full.shape).clip(-2, 2)), ("full", full)):
            image = sitk.GetImageFromArray(array.astype(np.float32).clip(0))
            image.SetSpacing((3.0, 3.0, 3.0))
            write_volume(Volume(image, "suvbw"), tmp_path / f"{name}{number}.nrrd")
        lines.append(f"low{number}.nrrd,full{number}.nrrd")
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "pairs.csv"


def train(table: Path, out: Path, steps: int, *options: str) -> list[dict]:
    ddpm3d.main(
        [str(out), "--pairs", str(table), *SMALL, "--steps", str(steps), "--batch", "2", "--every", "2", *options]
    )
    return [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("predicts", ddpm3d.PREDICTIONS)
def test_a_network_that_knows_the_noise_has_no_loss_but_the_variances(predicts: str) -> None:
    """With the true noise and the lower bound of the variance the variational term is zero, whatever the time."""
    crops = torch.rand(64, 2, 2, 4, 4)

    class Knowing(torch.nn.Module):
        off = 0.0

        def forward(self, x_t, times, low_dose):
            abar = torch.tensor(ddpm3d.ALPHAS_CUMPROD, dtype=torch.float64)[times][:, None, None, None, None]
            x0 = crops[:, 1:].double()
            eps = (x_t - abar.sqrt() * x0) / (1 - abar).sqrt()
            said = abar.sqrt() * eps - (1 - abar).sqrt() * x0 if predicts == "v" else eps
            return torch.cat([said + self.off, torch.full_like(x_t, -1.0)], dim=1).float()

    network = Knowing()
    terms = ddpm3d.losses(network, crops, torch.Generator().manual_seed(0), predicts)
    assert float(terms["squared"]) == pytest.approx(0, abs=1e-6)
    assert float(terms["bound"]) == pytest.approx(0, abs=1e-4)
    network.off = 0.5
    terms = ddpm3d.losses(network, crops, torch.Generator().manual_seed(0), predicts)
    assert 0.1 < float(terms["squared"]) < 0.5
    assert float(terms["bound"]) > 0


def test_the_expected_loss_is_that_of_uniform_times() -> None:
    crops, seen = torch.rand(20_000, 2, 1, 1, 1), []

    def listening(x_t, times, low_dose):
        seen.append(times)
        return torch.zeros(len(x_t), 2, 1, 1, 1)

    squared = ddpm3d.losses(listening, crops, torch.Generator().manual_seed(0))["squared"]
    assert float(squared) == pytest.approx(1.0, rel=0.05)  # a network that says nothing is wrong by the noise, always
    assert float((seen[0] < 60).float().mean()) > 0.15


def test_the_variational_bound_teaches_the_variance_and_not_the_mean() -> None:
    answer = torch.zeros(4, 2, 2, 4, 4, requires_grad=True)
    terms = ddpm3d.losses(lambda *inputs: answer, torch.rand(4, 2, 2, 4, 4), torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(terms["bound"], answer)
    assert float(gradient[:, 0].abs().max()) == 0
    assert float(gradient[:, 1].abs().max()) > 0


def test_training_writes_a_model_that_loads_and_goes_on_where_it_stopped(table: Path, tmp_path: Path) -> None:
    rows = train(table, tmp_path / "parts", 4)
    assert [row["step"] for row in rows] == [2, 4] and {"loss", "squared", "bound", "gain"} <= set(rows[0])
    resumed = train(table, tmp_path / "parts", 6)
    assert [row["step"] for row in resumed] == [2, 4, 6]
    card = ModelCard.load(tmp_path / "parts" / "model" / "petdiffusion-ddpm3d.json")
    network = from_state_dict(load_weights(card))
    average = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["average"]
    for name, value in network.state_dict().items():
        assert torch.allclose(value, average[name], atol=1e-3)
    assert card.input["scale"] == 16 and card.architecture["arguments"]["multipliers"] == [1, 1]


def test_a_training_starts_from_a_model_and_the_card_says_what_the_network_predicts(
    table: Path, tmp_path: Path
) -> None:
    train(table, tmp_path / "first", 2)
    first = tmp_path / "first" / "model" / "petdiffusion-ddpm3d.json"
    train(table, tmp_path / "second", 2, "--start", str(first), "--predicts", "v", "--rate", "1e-9")
    second = ModelCard.load(tmp_path / "second" / "model" / "petdiffusion-ddpm3d.json")
    for name, value in load_weights(ModelCard.load(first)).items():
        assert torch.allclose(load_weights(second)[name], value, atol=1e-3)
    assert load_network(second, "cpu")[0].predicts == "v"
    assert load_network(ModelCard.load(first), "cpu")[0].predicts == "noise"


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--predicts", "v"], "another network"), (["--multipliers", "1"], "another network"), (["--base", "48"], "32")],
)
def test_a_training_does_not_go_on_as_another(table: Path, tmp_path: Path, options: list[str], said: str) -> None:
    train(table, tmp_path / "out", 2)
    with pytest.raises(PETDiffusionError, match=said):
        train(table, tmp_path / "out", 4, *options)


def test_a_crop_that_the_levels_do_not_divide_is_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(PETDiffusionError, match="9 x 8"):
        train(table, tmp_path / "out", 2, "--crop", "4", "9", "8")


def test_two_processes_train_one_network_on_different_crops(
    table: Path, tmp_path: Path, engine_environment: dict[str, str]
) -> None:
    """One step of two processes with a crop each is one step along the mean of the two crops' gradients."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "--", "PETDiffusionLib", "train", "ddpm3d", str(tmp_path / "out"), "--pairs", str(table), *SMALL]
    done = subprocess.run(
        [*command, "--steps", "1"], env=engine_environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out" / "curve.jsonl").read_text().splitlines()) == 1  # one process keeps the files
    found = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["network"]

    network = ddpm3d.new_network(Namespace(base=32, multipliers=[1, 1], blocks=1, seed=0, predicts="noise", start=None))
    source = PairSource(list(groups_of_table(table, 3.0))[:1], (4, 8, 8))
    for rank in range(2):
        crops = clipped_to_scale(source.batch(1, np.random.default_rng([0, rank, 0])), 16)
        terms = ddpm3d.losses(FastPrecision(network), crops, torch.Generator().manual_seed(rank << 40))
        (terms["loss"] / 2).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
    torch.optim.AdamW(network.parameters(), lr=learning_rate(0, 1, 1e-4), betas=(0.9, 0.99), weight_decay=0).step()
    for name, value in network.state_dict().items():
        assert torch.allclose(found[name], value, atol=1e-7), name


def test_crops_lie_anywhere_and_small_volumes_are_continued_with_zeros() -> None:
    full = np.arange(10 * 9 * 8, dtype=np.float32).reshape(10, 9, 8) / 100
    source = PairSource([[full, full + 1, full + 2]], (4, 9, 12))
    crops = source.batch(200, np.random.default_rng(0))
    assert crops.shape == (200, 2, 4, 9, 12)
    offsets = (crops[:, 0] - crops[:, 1])[:, 0, 0, 0].round()
    assert set(offsets.tolist()) == {1.0, 2.0}
    assert len({float(crop[1, 0, 0, 0]) for crop in crops}) == 7
    assert float(crops[..., 8:].abs().max()) == 0


def test_a_table_that_is_not_one_is_refused(table: Path) -> None:
    assert len(list(groups_of_table(table, 3.0))) == 2
    table.write_text("low,full\na,b\n")
    with pytest.raises(PETDiffusionError, match="low_dose and full_dose"):
        list(groups_of_table(table, 3.0))


def test_pairs_on_different_grids_are_refused(table: Path) -> None:
    image = sitk.GetImageFromArray(np.ones((8, 12, 13), np.float32))
    image.SetSpacing((3.0, 3.0, 3.0))
    write_volume(Volume(image, "suvbw"), table.with_name("low1.nrrd"))
    with pytest.raises(PETDiffusionError, match="pair 2"):
        list(groups_of_table(table, 3.0))


def test_the_log_is_a_chain_of_checked_records_with_a_picture(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log")
    log.scalars({"loss": 0.5}, 300)
    log.picture("slices", np.linspace(0, 1, 12).reshape(3, 4), 300)
    content = log.path.read_bytes()
    events = []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = content[12 : 12 + length]
        for part, given in ((content[:8], content[8:12]), (event, content[12 + length : 16 + length])):
            crc = crc32c(part)
            assert struct.unpack("<I", given)[0] == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        events.append(event)
        content = content[16 + length :]
    assert crc32c(b"123456789") == 0xE3069283
    assert b"brain.Event:2" in events[0]
    assert b"loss" in events[1] and struct.pack("<f", 0.5) in events[1]
    picture = events[2][events[2].index(b"\x89PNG") :]
    assert zlib.crc32(picture[12:29]) == int.from_bytes(picture[29:33], "big")  # the PNG's header is whole
