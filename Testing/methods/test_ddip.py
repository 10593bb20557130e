"""Reconstruction with a diffusion prior: what the data say holds, what the prior lacks is said, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from PETDiffusionLib.diffusion.prior import NETWORK_ARGUMENTS, PriorDenoiser
from PETDiffusionLib.errors import Cancelled, PETDiffusionError
from PETDiffusionLib.methods.ddip import Settings, is_of, load_prior, reconstruct_with_prior
from PETDiffusionLib.methods.reconstruct import reconstruct
from PETDiffusionLib.models import ModelCard
from PETDiffusionLib.models.writing import write_model
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.projection.attenuation import WATER_MU_PER_MM
from PETDiffusionLib.simulation.phantom import empty_phantom
from PETDiffusionLib.simulation.sinogram import ExpectedSinogram, project_phantom
from PETDiffusionLib.sinograms import ScannerGeometry, Segment, Sinogram
from PETDiffusionLib.sinograms.files import read_sinogram
from PETDiffusionLib.sinograms.interfile import write_interfile
from PETDiffusionLib.volumes import read_volume

SCANNER = ScannerGeometry("planes", 150.0, 4, 96, 4.0, 48, 33, (Segment(0, 0),), bin_mm=4.0)
QUICK = Settings("ddip", steps=3, inner=1, mu=0.02)  # the data rule, as the prior was never trained


@pytest.fixture(scope="module")
def expected() -> ExpectedSinogram:
    """A warm cylinder with a hot rod in four planes."""
    torch.set_num_threads(1)
    phantom = empty_phantom((8, 64, 64), (2.0, 2.0, 2.0))
    y, x = (np.indices((64, 64)) - 31.5) * 2.0
    everywhere = np.ones((8, 1, 1), bool)
    phantom.paint(everywhere & (np.hypot(x, y) < 50), "body", 2.0, WATER_MU_PER_MM)
    phantom.paint(everywhere & (np.hypot(x - 20, y) < 10), "hot", 8.0)
    return project_phantom(phantom, SCANNER, trues_per_mm=2e4)


@pytest.fixture(scope="module")
def sinogram(expected: ExpectedSinogram) -> Sinogram:
    return expected.measured(drf=4, seed=1)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior that was never trained: its estimate is x_t shrunk as a Gaussian of the data's width asks."""
    torch.manual_seed(0)
    arguments = {**NETWORK_ARGUMENTS, "widths": [8, 8, 8], "blocks": [1, 1, 1]}
    card = {
        "id": "untrained-prior",
        "version": "1",
        "task": "prior",
        "title": "Never trained",
        "architecture": {"name": "residual_unet3d", "arguments": arguments},
        "input": {"unit": "mean activity", "scale": 1.0, "voxel_size_mm": [4.0, 4.0, 4.0]},
        "training": {
            **dict.fromkeys(("dose_range", "data", "command", "seed", "steps", "date"), "none"),
            "tracers": ["FDG-like"],
            "voxel_size_range_mm": [2.0, 4.2],
        },
        "figures": {},
        "citation": "none",
    }
    write_model(tmp_path_factory.mktemp("prior"), ResidualUNet3D(**arguments).state_dict(), card)
    return tmp_path_factory.getbasetemp() / "prior0" / "untrained-prior.json"


def array_of(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


@pytest.mark.parametrize(
    "settings",
    [QUICK, replace(QUICK, adapt="full"), replace(QUICK, adapt="none"), replace(QUICK, method="dds")],
    ids=["low-rank", "full", "none", "dds"],
)
def test_every_method_finds_the_rod_with_its_uptake(
    settings: Settings, sinogram: Sinogram, expected: ExpectedSinogram, prior: Path
) -> None:
    result = reconstruct_with_prior(sinogram, settings, model=str(prior))
    image = array_of(result.image)
    assert result.unit == "suvbw"
    assert image.min() >= 0
    assert image.shape == expected.grid.shape
    inner = (expected.labels == 2) & (expected.truth > 7.9)
    assert image[inner].mean() > 2 * image[(expected.labels == 1) & (expected.truth < 2.1)].mean()
    assert image.sum() == pytest.approx(expected.truth.sum(), rel=0.15)


def test_the_result_is_linear_in_the_unit(sinogram: Sinogram, prior: Path) -> None:
    assert sinogram.multiplicative is not None
    tenfold = replace(sinogram, multiplicative=sinogram.multiplicative / 10)
    settings = replace(QUICK, method="dds")
    once, ten = (array_of(reconstruct_with_prior(s, settings, model=str(prior)).image) for s in (sinogram, tenfold))
    assert ten == pytest.approx(10 * once, rel=0.02, abs=0.02 * float(once.max()))


def test_adaptation_brings_the_prior_to_the_data(sinogram: Sinogram, expected: ExpectedSinogram, prior: Path) -> None:
    def error(settings: Settings) -> float:
        image = array_of(reconstruct_with_prior(sinogram, settings, model=str(prior)).image)
        return float(np.abs(image - expected.truth)[expected.truth > 1].mean())

    assert error(Settings("ddip", 4, mu=30.0, inner=20)) < error(Settings("ddip", 4, mu=30.0, adapt="none"))


def test_the_guidance_of_dps_follows_the_data(sinogram: Sinogram, prior: Path) -> None:
    def deviance(guidance: float) -> float:
        result = reconstruct_with_prior(sinogram, Settings("dps", 3, guidance=guidance), model=str(prior))
        return result.facts["self_check"]["deviance_a_bin"]

    assert deviance(0.3) < 0.97 * deviance(0.0)


@pytest.mark.parametrize("settings", [Settings("dds", 3), replace(QUICK, steps=2)])
def test_draws_of_a_seed_repeat_and_their_spread_is_the_uncertainty(
    sinogram: Sinogram, prior: Path, settings: Settings
) -> None:
    first, again = (reconstruct_with_prior(sinogram, settings, model=str(prior), samples=3, seed=5) for _ in range(2))
    other = reconstruct_with_prior(sinogram, settings, model=str(prior), samples=3, seed=6)
    assert np.array_equal(array_of(first.image), array_of(again.image))
    assert not np.array_equal(array_of(first.image), array_of(other.image))
    assert array_of(first.uncertainty).max() > 0
    alone = reconstruct_with_prior(sinogram, settings, model=str(prior))
    assert not array_of(alone.uncertainty).any()


def test_what_the_prior_does_not_know_is_said(sinogram: Sinogram, prior: Path, expected: ExpectedSinogram) -> None:
    said: dict[str, str] = {}
    options = {"model": str(prior), "warn": said.__setitem__}
    reconstruct_with_prior(sinogram, Settings("dds", 2), tracer="FDG", **options)  # type: ignore[arg-type]
    assert not said
    mr = expected.grid.to_image(1.0 * (expected.labels > 0))
    reconstruct_with_prior(sinogram, Settings("dds", 2), tracer="DOTATATE", voxel_mm=6, anatomy=mr, **options)  # type: ignore[arg-type]
    assert set(said) == {"tracer", "voxel-size", "anatomy"}
    assert "FDG-like" in said["tracer"]
    assert "2 to 4.2 mm" in said["voxel-size"]


def test_tracers_are_known_by_the_names_that_users_and_dicom_give_them() -> None:
    for name in ("FDG", "18F-FDG", "F-18 fdg", "Fluorodeoxyglucose F^18^"):
        assert is_of(name, "FDG-like")
    for name in ("like", "DOTATATE", "FES"):
        assert not is_of(name, "FDG-like")


def test_an_anatomy_elsewhere_and_a_model_that_is_no_prior_are_refused(
    sinogram: Sinogram, prior: Path, expected: ExpectedSinogram, untrained_model: Path
) -> None:
    elsewhere = expected.grid.to_image(1.0 * (expected.labels > 0))
    elsewhere.SetOrigin((5000.0, 0.0, 0.0))
    with pytest.raises(PETDiffusionError, match="about the scanner's centre"):
        reconstruct_with_prior(sinogram, QUICK, model=str(prior), anatomy=elsewhere)
    with pytest.raises(PETDiffusionError, match="not a reconstruction prior"):
        reconstruct_with_prior(sinogram, QUICK, model=str(untrained_model))


@pytest.mark.parametrize("code", ["HFS", "FFP", "HFDR"])
def test_the_prior_and_its_anatomy_see_the_patient_upright(
    code: str, prior: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left, back and head as it was trained, whichever way the scanner's axes run; the result lies there too."""
    phantom = empty_phantom((8, 64, 64), (2.0, 2.0, 2.0))
    z, y, x = (np.indices((8, 64, 64)) - np.array([3.5, 31.5, 31.5])[:, None, None, None]) * 2.0
    phantom.paint(np.hypot(x, y) < 50, "body", 1.0, WATER_MU_PER_MM)
    phantom.paint((x > 20) & (y > 5) & (y < 20) & (z > 0) & (np.hypot(x, y) < 50), "hot", 9.0)
    expected = project_phantom(phantom, SCANNER.with_patient(code), trues_per_mm=2e4)
    anatomy = expected.grid.to_image(expected.labels)
    seen: list[torch.Tensor] = []
    network = PriorDenoiser.__call__

    def watched(self: PriorDenoiser, x_t: torch.Tensor, t: float, condition: torch.Tensor) -> torch.Tensor:
        seen.append(condition)
        return network(self, x_t, t, condition)

    monkeypatch.setattr(PriorDenoiser, "__call__", watched)
    monkeypatch.setattr("PETDiffusionLib.methods.ddip.mirror", lambda draw: ())
    settings = Settings("dds", steps=3, mu=0.02)
    result = reconstruct_with_prior(expected.measured(), settings, model=str(prior), anatomy=anatomy)
    labels = array_of(anatomy)
    hot = np.argwhere(labels == 2).mean(0) - (np.array(labels.shape) - 1) / 2
    assert (hot > 0).all()  # to the left, the back and the head
    for condition in seen:
        assert np.corrcoef(condition[0, 0].numpy().ravel(), labels.ravel())[0, 1] > 0.999
    image = array_of(result.image)
    assert image[labels == 2].mean() > 3 * image[labels == 1].mean()


def test_it_says_what_it_will_cost_and_can_be_stopped(sinogram: Sinogram, prior: Path) -> None:
    stages: list[str] = []

    def progress(stage: str, fraction: float) -> None:
        stages.append(stage)
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        reconstruct_with_prior(sinogram, QUICK, model=str(prior), progress=progress)
    assert any("about" in stage and "GB" in stage for stage in stages)


def test_the_command_line_writes_image_and_uncertainty(
    expected: ExpectedSinogram, prior: Path, tmp_path: Path, petdiffusion: Callable[..., CompletedProcess[str]]
) -> None:
    write_interfile(expected.measured(drf=4).prompts, SCANNER, tmp_path / "counted.hs")
    sitk.WriteImage(expected.grid.to_image(1.0 * (expected.labels > 0)), str(tmp_path / "mr.nrrd"))
    done = petdiffusion(
        "reconstruct", "counted.hs", "out.nrrd", "--method", "ddip", "--prior", prior, "--steps", 2, "--inner", 1,
        "--adapt", "low-rank", "--mu", 2, "--samples", 2, "--anatomy", "mr.nrrd", "--uncertainty", "sd.nrrd",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_volume(tmp_path / "out.nrrd").array.max() > 0
    assert read_volume(tmp_path / "sd.nrrd").array.max() > 0
    summary = json.loads((tmp_path / "out.nrrd.manifest.json").read_text())["summary"]
    assert summary["model"] == "untrained-prior"
    assert summary["estimated_minutes"] >= 0


def test_a_prior_that_does_not_see_the_filtered_input_is_refused(prior: Path) -> None:
    card = ModelCard.load(prior)
    older = {**card.architecture, "arguments": {**card.architecture["arguments"], "in_channels": 2}}
    with pytest.raises(PETDiffusionError, match="Train it again"):
        load_prior(replace(card, architecture=older))


def test_an_uncertainty_of_one_draw_is_refused(
    expected: ExpectedSinogram, prior: Path, tmp_path: Path, petdiffusion: Callable[..., CompletedProcess[str]]
) -> None:
    write_interfile(expected.measured(drf=4).prompts, SCANNER, tmp_path / "counted.hs")
    asked = ("--method", "dds", "--prior", prior, "--samples", 1, "--uncertainty", "sd.nrrd")
    done = petdiffusion("reconstruct", "counted.hs", "out.nrrd", *asked)
    assert done.returncode == 2 and "--samples 2" in done.stderr
    assert not (tmp_path / "out.nrrd").exists()


def test_a_sinogram_of_stirs_own_geometry_reconstructs(shared_data: Path, prior: Path) -> None:
    given = read_sinogram(shared_data / "sim_small_sinogram_STIR" / "smalllong.hs")
    result = array_of(reconstruct_with_prior(given, replace(QUICK, method="dds", steps=2), model=str(prior)).image)
    osem = array_of(reconstruct(given, "osem", iterations=2, post_filter_mm=6).image)
    seen = osem > 0.2 * osem.max()
    assert np.isfinite(result).all()
    assert np.corrcoef(result[seen], osem[seen])[0, 1] > 0.7
