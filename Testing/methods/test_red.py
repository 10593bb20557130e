"""Restoring sinograms as jobs: 3D scanner data go in, restored prompts or a volume with its uncertainty come out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import save

from PETDiffusionLib.diffusion.count_bridge import CHANNELS
from PETDiffusionLib.jobs.document import Job
from PETDiffusionLib.methods.red import run
from PETDiffusionLib.networks.red import PREFIXES, RedUNet
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.sinograms import ScannerGeometry, Segment, TimeOfFlight, default_grid
from PETDiffusionLib.sinograms.files import read_sinogram
from PETDiffusionLib.sinograms.interfile import write_interfile

SCANNER = ScannerGeometry("small", 100.0, 4, 48, 8.0, 24, 21, (Segment(-1, 1), Segment(-3, -2), Segment(2, 3)))


def model(folder: Path, name: str, architecture: dict, weights: dict[str, torch.Tensor]) -> Path:
    """The card of a model that was never trained."""
    content = save({key: value.half().contiguous() for key, value in weights.items()})
    card = {
        "id": name,
        "version": "1",
        "task": "restore-sinogram",
        "title": "Never trained",
        "architecture": architecture,
        "input": {"unit": "counts", "scale": 1.0, "voxel_size_mm": [1.0, 1.0, 1.0]},
        "training": dict.fromkeys(("tracers", "dose_range", "data", "command", "seed", "steps", "date"), "none"),
        "figures": {},
        "licence": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0", "must_accept": False},
        "sha256": hashlib.sha256(content).hexdigest(),
        "citation": "none",
        "intended_use": "Tests.",
    }
    (folder / f"{name}.safetensors").write_bytes(content)
    (folder / f"{name}.json").write_text(json.dumps(card))
    return folder / f"{name}.json"


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arguments = {"in_channels": CHANNELS, "out_channels": 1, "widths": [8, 8, 8], "blocks": [1, 1, 1]}
    torch.manual_seed(0)
    network = ResidualUNet3D(**arguments)
    torch.nn.init.normal_(network.leave.weight, std=0.02)  # the last layer starts at zero
    architecture = {"name": "residual_unet3d", "arguments": arguments, "process": "count-bridge"}
    return model(tmp_path_factory.mktemp("models"), "untrained-bridge", architecture, network.state_dict())


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    weights = {f"{prefix}.{name}": value for prefix in PREFIXES for name, value in RedUNet(4).state_dict().items()}
    architecture = {"name": "red", "arguments": {}, "steps": 3}
    return model(tmp_path_factory.mktemp("models"), "untrained-red", architecture, weights)


@pytest.fixture
def measured(tmp_path: Path) -> dict[str, object]:
    """A warm cylinder in a small 3D scanner with its terms on disk, and its true activity: in counts of one unit."""
    grid = default_grid(SCANNER)
    _, y, x = np.indices(grid.shape)
    middle = (np.array(grid.shape) - 1) / 2
    truth = ((y - middle[1]) ** 2 + (x - middle[2]) ** 2 < (0.3 * grid.shape[1]) ** 2).astype(np.float32)
    factors = torch.full(SCANNER.data_shape, 0.3)
    projector = make_projector(SCANNER, grid.shape, grid.voxel_size_mm)
    expected = factors * projector.forward(torch.from_numpy(truth)) + 1
    prompts = torch.poisson(expected, generator=torch.Generator().manual_seed(0))
    for name, data in (("prompts", prompts), ("normalisation", factors), ("additive", torch.ones_like(prompts))):
        write_interfile(data, SCANNER, tmp_path / f"{name}.hs")
    return {"prompts": prompts, "expected": expected, "truth": truth}


TERMS = ("--normalisation", "normalisation.hs", "--additive", "additive.hs")


def test_a_sinogram_is_restored_to_interfile_with_its_geometry_and_counts(petdiffusion, measured, bridge) -> None:
    done = petdiffusion("restore-sinogram", "prompts.hs", "restored.hs", *TERMS, "--model", bridge)
    assert done.returncode == 0, done.stderr
    restored = read_sinogram("restored.hs")
    assert restored.geometry.data_shape == SCANNER.data_shape
    prompts, expected = measured["prompts"], measured["expected"]
    assert float(restored.prompts.sum()) == pytest.approx(float(prompts.sum()), rel=1e-3)
    assert (restored.prompts - expected).square().mean() < 0.5 * (prompts - expected).square().mean()
    manifest = json.loads(next(Path.cwd().glob("restored*.json")).read_text())
    assert manifest["summary"]["model"] == "untrained-bridge"


def test_a_reconstruction_keeps_the_activity_and_states_its_uncertainty(petdiffusion, measured, bridge) -> None:
    done = petdiffusion(
        "reconstruct", "prompts.hs", "image.nii.gz", "--method", "red", *TERMS, "--model", bridge,
        "--iterations", 2, "--subsets", 6, "--uncertainty", "sd.nii.gz", "--draws", 2, "--steps", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    image, sd = (sitk.GetArrayFromImage(sitk.ReadImage(name)) for name in ("image.nii.gz", "sd.nii.gz"))
    inside = measured["truth"] > 0
    assert image.shape == sd.shape == measured["truth"].shape
    assert float(image[inside].mean()) == pytest.approx(1, abs=0.1)
    assert 0 < float(sd[inside].mean()) < 1


def test_a_model_of_red_walks_its_own_steps_and_has_no_uncertainty(petdiffusion, measured, red) -> None:
    done = petdiffusion("restore-sinogram", "prompts.hs", "restored.hs", *TERMS, "--model", red)
    assert done.returncode == 0, done.stderr
    assert read_sinogram("restored.hs").prompts.isfinite().all()
    asked = petdiffusion(
        "reconstruct", "prompts.hs", "image.nii.gz", "--method", "red", *TERMS, "--model", red,
        "--iterations", 1, "--subsets", 6, "--uncertainty", "sd.nii.gz",
    )  # fmt: skip
    assert asked.returncode == 2 and "deterministic" in asked.stderr
    assert "Restoring" not in asked.stderr  # it is known before the work begins
    assert not Path("image.nii.gz").exists()


def test_progress_counts_every_draw_and_its_reconstruction(measured, bridge, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[tuple[str, float]] = []
    options = {"model": str(bridge), "iterations": 2, "subsets": 6, "draws": 2, "steps": 2}
    inputs = {"sinogram": Path("prompts.hs"), "normalisation": Path("normalisation.hs")}
    job = Job("red", inputs, {"image": Path("image.nrrd"), "uncertainty": Path("sd.nrrd")}, options)
    run(job, lambda stage, fraction: said.append((stage, fraction)), lambda code, sentence: None)
    fractions = [fraction for _, fraction in said]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    first_restored = max(fraction for stage, fraction in said[: len(said) // 4] if stage == "Restoring")
    assert first_restored == pytest.approx(1 / 6)


def test_the_bridge_refuses_steps_that_nothing_could_count(petdiffusion, measured, bridge) -> None:
    done = petdiffusion("restore-sinogram", "prompts.hs", "restored.hs", *TERMS, "--model", bridge, "--steps", 21)
    assert done.returncode == 2 and "at most 20" in done.stderr


def test_the_data_beside_a_header_are_not_overwritten(petdiffusion, measured, bridge) -> None:
    header = Path("prompts.hs").rename("scan.hdr")
    before = Path("prompts.s").read_bytes()
    done = petdiffusion("restore-sinogram", header, "prompts.hs", *TERMS, "--model", bridge, "--overwrite")
    assert done.returncode == 2 and "'prompts.s' is an input" in done.stderr
    assert Path("prompts.s").read_bytes() == before and not Path("prompts.hs").exists()


def test_a_sinogram_folder_is_not_overwritten_by_what_is_made_of_it(petdiffusion, measured, bridge) -> None:
    before = Path("prompts.s").read_bytes()
    restored = petdiffusion("restore-sinogram", ".", "prompts.hs", "--model", bridge, "--overwrite")
    thinned = petdiffusion("simulate", ".", "--from", ".", "--drf", 2, "--overwrite")
    for done in (restored, thinned):
        assert done.returncode == 2 and "'prompts.hs' is an input" in done.stderr
    assert Path("prompts.s").read_bytes() == before


def test_what_does_not_fit_is_refused_in_one_sentence(petdiffusion, measured, bridge, untrained_model) -> None:
    wrong = petdiffusion("restore-sinogram", "prompts.hs", "restored.hs", "--model", untrained_model)
    assert wrong.returncode == 2 and "not for sinograms" in wrong.stderr
    timed = ScannerGeometry("timed", 100.0, 2, 48, 8.0, 4, 21, (Segment(0, 0),), tof=TimeOfFlight(3, 60.0, 30.0))
    write_interfile(torch.ones(timed.data_shape), timed, Path("timed.hs"))
    refused = petdiffusion("restore-sinogram", "timed.hs", "restored.hs", "--model", bridge)
    assert refused.returncode == 2 and "TOF" in refused.stderr
