"""Simulated sinograms have the counts that were asked for, and thinning them is a lower dose."""

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

from PETDiffusionLib.cli.simulate_sinogram import SINOGRAMS
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.reconstruct import reconstruct
from PETDiffusionLib.projection.attenuation import WATER_MU_PER_MM
from PETDiffusionLib.simulation.phantom import Phantom, empty_phantom
from PETDiffusionLib.simulation.regridding import regridded
from PETDiffusionLib.simulation.sinogram import ExpectedSinogram, project_phantom, thinned
from PETDiffusionLib.sinograms import SCANNERS, ScannerGeometry, TimeOfFlight, segments_of_span
from PETDiffusionLib.sinograms.files import read_sinogram
from PETDiffusionLib.sinograms.interfile import write_interfile
from PETDiffusionLib.sinograms.orientation import SCANNER_AXES
from PETDiffusionLib.volumes import read_volume

SCANNER = ScannerGeometry("small", 150.0, 3, 48, 8.0, 24, 21, segments_of_span(3, 3, 1), bin_mm=10.0)


def scanned(scanner: ScannerGeometry = SCANNER) -> ExpectedSinogram:
    torch.set_num_threads(1)
    phantom = empty_phantom((6, 48, 48), (4.0, 4.0, 4.0))
    y, x = (np.indices((48, 48)) - 23.5) * 4.0
    phantom.paint(np.ones((6, 1, 1), bool) & (np.hypot(x, y) < 60), "water", 1.0, WATER_MU_PER_MM)
    return project_phantom(
        phantom, scanner, trues_per_mm=1e5, scatter_fraction=0.3, randoms_fraction=0.5, resolution_mm=4.0
    )


def asymmetric_phantom() -> Phantom:
    """Water with hot balls of three uptakes to the left, at the back and near the head."""
    phantom = empty_phantom((6, 48, 48), (4.0, 4.0, 4.0))
    z, y, x = (np.indices((6, 48, 48)) - np.array([2.5, 23.5, 23.5])[:, None, None, None]) * 4.0
    phantom.paint(np.hypot(x, y) < 70, "water", 1.0, WATER_MU_PER_MM)
    phantom.paint(np.hypot(x - 40, y) < 20, "left", 4.0)
    phantom.paint(np.hypot(x, y - 45) < 16, "back", 7.0)
    phantom.paint((np.hypot(x + 30, y + 30) < 20) & (z > 0), "head", 10.0)
    return phantom


@pytest.fixture(scope="module")
def expected() -> ExpectedSinogram:
    return scanned()


def test_counts_and_fractions_are_those_asked_for(expected: ExpectedSinogram) -> None:
    trues, scatter, randoms = (float(part.sum()) for part in (expected.trues, expected.scatter, expected.randoms))
    assert trues == pytest.approx(1e5 * 24, rel=1e-4)
    assert scatter / (trues + scatter) == pytest.approx(0.3, rel=1e-3)
    assert randoms / trues == pytest.approx(0.5, rel=1e-3)


def test_merged_planes_count_each_of_their_ring_pairs(expected: ExpectedSinogram) -> None:
    per_plane = expected.randoms[:, 0, 0]
    np.testing.assert_allclose(per_plane / per_plane[0], SCANNER.ring_pairs / SCANNER.ring_pairs[0], rtol=1e-5)


def test_attenuation_is_the_length_of_water(expected: ExpectedSinogram) -> None:
    assert float(expected.attenuation[2, 0, 10]) == pytest.approx(np.exp(-WATER_MU_PER_MM * 120), rel=0.05)
    assert float(expected.attenuation.max()) == pytest.approx(1.0)


def test_trues_and_scatter_fall_with_the_dose_and_randoms_with_its_square(expected: ExpectedSinogram) -> None:
    low = expected.measured(drf=4, seed=None)
    torch.testing.assert_close(low.prompts, (expected.trues + expected.scatter) / 4 + expected.randoms / 16)
    assert low.multiplicative is not None and low.not_corrected == ()


def test_counts_are_poisson_and_repeat_with_their_seed(expected: ExpectedSinogram) -> None:
    mean = expected.measured(seed=None).prompts
    first, again, other = (expected.measured(seed=seed).prompts for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert float(((first - mean) ** 2 / mean).mean()) == pytest.approx(1.0, abs=0.05)


def test_tof_bins_add_up_to_the_line(expected: ExpectedSinogram) -> None:
    tof = scanned(replace(SCANNER, tof=TimeOfFlight(9, 40.0, 30.0)))
    assert tof.trues.shape == (*expected.trues.shape, 9)
    torch.testing.assert_close(tof.trues.sum(-1), expected.trues, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(tof.attenuation, expected.attenuation, rtol=1e-3, atol=1e-4)


def test_thinning_is_the_statistics_of_a_lower_dose(expected: ExpectedSinogram) -> None:
    whole = expected.measured()
    low = thinned(whole, 5, seed=3)
    mean = expected.measured(seed=None).prompts / 5
    assert float(((low.prompts - mean) ** 2 / mean).mean()) == pytest.approx(1.0, abs=0.05)
    assert low.multiplicative is not None and whole.multiplicative is not None
    torch.testing.assert_close(low.multiplicative, whole.multiplicative / 5)
    assert low.facts["drf"] == 5 and thinned(low, 2).facts["drf"] == 10


@pytest.mark.parametrize(("change", "sentence"), [(0.5, "whole numbers"), (-1e6, "whole numbers")])
def test_only_counts_can_be_thinned(change: float, sentence: str, expected: ExpectedSinogram) -> None:
    whole = expected.measured()
    with pytest.raises(PETDiffusionError, match=sentence):
        thinned(replace(whole, prompts=whole.prompts + change), 2)
    with pytest.raises(PETDiffusionError, match="1 or more"):
        thinned(whole, 0.5)


def test_the_command_line_knows_the_scanners() -> None:
    assert set(SINOGRAMS) == set(SCANNERS)


def test_simulate_writes_a_sinogram_that_reconstructs_in_suv(
    tmp_path: Path, petdiffusion: Callable[..., CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(SCANNERS["ecat-931-2d"], name="small", rings=2, views=32, tangential_bins=96, bin_mm=6.0)
    monkeypatch.setitem(SCANNERS, "ecat-931-2d", small)
    done = petdiffusion("simulate", "scan", "--sinogram", "ecat-931-2d", "--phantom", "nema-iq", "--drf", 2)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scan" / "prompts.s").exists()
    assert json.loads((tmp_path / "scan" / "sinogram.json").read_text())["drf"] == 2
    assert petdiffusion("simulate", "low", "--from", "scan", "--drf", 2).returncode == 0
    for folder, drf in (("scan", 2), ("low", 4)):
        sinogram = read_sinogram(tmp_path / folder)
        assert sinogram.facts["drf"] == drf and sinogram.not_corrected == ()
        done = petdiffusion("reconstruct", folder, f"{folder}.nrrd", "--post-filter-mm", 10)
        assert done.returncode == 0, done.stderr
        volume = read_volume(tmp_path / f"{folder}.nrrd")
        labels = read_volume(tmp_path / "scan" / "labels.nii.gz").array
        assert volume.unit == "suvbw"
        assert volume.array[labels == 1].mean() == pytest.approx(1.0, rel=0.05)
    assert petdiffusion("simulate", "low", "--from", "scan", "--drf", 2).returncode == 2  # exists already


@pytest.mark.parametrize("code", SCANNER_AXES)
def test_a_phantom_comes_back_where_it_lay_in_every_position(code: str, tmp_path: Path) -> None:
    """Through a file, by OSEM; the phantom's volume is that of a patient: left, back, head."""
    phantom = asymmetric_phantom()
    expected = project_phantom(phantom, SCANNER.with_patient(code), scatter_fraction=0, randoms_fraction=0)
    write_interfile(expected.trues, expected.geometry, tmp_path / "a.hs")
    factors = expected.attenuation * expected.normalisation
    sinogram = read_sinogram(tmp_path / "a.hs").with_factors(factors, "attenuation")
    image = sitk.GetArrayFromImage(reconstruct(sinogram, "osem", iterations=6, subsets=4).image)
    wanted = regridded(phantom.activity, phantom.voxel_size_mm, image.shape, expected.grid.voxel_size_mm[::-1])
    np.testing.assert_allclose(sitk.GetArrayFromImage(expected.grid.to_image(expected.truth)), wanted, atol=1e-3)

    def likeness(other: np.ndarray) -> float:
        return float(np.corrcoef(image.ravel(), other.ravel())[0, 1])

    assert likeness(wanted) > 0.98
    turned = [wanted.swapaxes(1, 2), *(np.flip(wanted, axes) for axes in (0, 1, 2, (0, 1), (0, 2), (1, 2)))]
    assert max(map(likeness, turned)) < 0.95


def test_simulate_takes_a_position_and_its_mu_map_fits(
    tmp_path: Path, petdiffusion: Callable[..., CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(SCANNERS["ecat-931-2d"], name="small", rings=2, views=32, tangential_bins=96, bin_mm=6.0)
    monkeypatch.setitem(SCANNERS, "ecat-931-2d", small)
    options = ("--sinogram", "ecat-931-2d", "--phantom", "nema-iq", "--drf", 1)
    assert petdiffusion("simulate", "scan", *options, "--patient-position", "HFP").returncode == 0
    terms = ("--attenuation", "scan/mu.nii.gz", "--normalisation", "scan/normalisation.hs")
    done = petdiffusion(
        "reconstruct", "scan/prompts.hs", "a.nrrd", *terms, "--additive", "scan/additive.hs", "--post-filter-mm", 10
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    labels = read_volume(tmp_path / "scan" / "labels.nii.gz").array
    values = read_volume(tmp_path / "a.nrrd").array
    assert values[labels == 1].mean() == pytest.approx(1.0, rel=0.05)
    summary = json.loads((tmp_path / "a.nrrd.manifest.json").read_text())["summary"]
    assert summary["grid"]["patient_position"] == "HFP"
    done = petdiffusion("simulate", "low", "--from", "scan", "--drf", 2, "--patient-position", "HFS")
    assert done.returncode == 2 and "--sinogram" in done.stderr


def test_what_an_earlier_version_simulated_is_warned_about(
    tmp_path: Path, expected: ExpectedSinogram, petdiffusion: Callable[..., CompletedProcess[str]]
) -> None:
    """Its headers say nothing of the patient, and its rings were numbered from the feet."""
    (tmp_path / "old").mkdir()
    write_interfile(expected.measured().prompts, SCANNER, tmp_path / "old" / "prompts.hs")
    (tmp_path / "old" / "sinogram.json").write_text('{"unit": "suvbw", "simulated": true}')
    done = petdiffusion("reconstruct", "old", "a.nrrd", "--iterations", 1, "--patient-position", "HFS")
    assert done.returncode == 0 and "Simulate it again" in done.stderr
    assert petdiffusion("simulate", "low", "--from", "old", "--drf", 2).returncode == 0
    assert "Simulate it again" in petdiffusion("reconstruct", "low", "b.nrrd", "--iterations", 1).stderr


def test_a_header_alone_is_thinned_too(
    tmp_path: Path, expected: ExpectedSinogram, petdiffusion: Callable[..., CompletedProcess[str]]
) -> None:
    whole = expected.measured().prompts
    write_interfile(whole, SCANNER, tmp_path / "counted.hs")
    assert petdiffusion("simulate", "low", "--from", "counted.hs", "--drf", 10).returncode == 0
    low = read_sinogram(tmp_path / "low")
    assert float(low.prompts.sum()) == pytest.approx(float(whole.sum()) / 10, rel=0.01)
    assert low.multiplicative is None
