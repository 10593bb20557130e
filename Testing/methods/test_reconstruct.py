"""`petdiffusion reconstruct`: a sinogram file in, a volume out, and what was not corrected said aloud."""

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

from PETDiffusionLib.errors import Cancelled, PETDiffusionError
from PETDiffusionLib.methods.reconstruct import reconstruct
from PETDiffusionLib.projection.attenuation import WATER_MU_PER_MM
from PETDiffusionLib.reconstruction.measurement import with_attenuation_map
from PETDiffusionLib.reconstruction.model import default_subsets
from PETDiffusionLib.simulation.phantom import Phantom, empty_phantom
from PETDiffusionLib.simulation.sinogram import ExpectedSinogram, project_phantom
from PETDiffusionLib.sinograms import ScannerGeometry, Segment
from PETDiffusionLib.sinograms.files import read_sinogram
from PETDiffusionLib.sinograms.interfile import write_interfile
from PETDiffusionLib.volumes import read_volume

SCANNER = ScannerGeometry("planes", 150.0, 3, 96, 8.0, 48, 41, (Segment(0, 0),), bin_mm=6.0)


def off_centre_ball() -> Phantom:
    """A cylinder of 60 mm radius at SUV 2, with a small hot rod to the right of and below the centre."""
    phantom = empty_phantom((12, 96, 96), (2.5, 2.5, 2.5))
    y, x = (np.indices((96, 96)) - 47.5) * 2.5
    everywhere = np.ones((12, 1, 1), bool)
    phantom.paint(everywhere & (np.hypot(x, y) < 60), "body", 2.0, WATER_MU_PER_MM)
    phantom.paint(everywhere & (np.hypot(x - 36, y - 18) < 8), "hot", 20.0)
    return phantom


@pytest.fixture(scope="module")
def expected() -> ExpectedSinogram:
    torch.set_num_threads(1)
    return project_phantom(off_centre_ball(), SCANNER)


@pytest.fixture
def files(expected: ExpectedSinogram, tmp_path: Path) -> Path:
    """A folder with the sinogram, its terms one by one, and the mu-map in 1/cm."""
    sinogram = expected.measured()
    assert sinogram.additive is not None
    for name, data in (
        ("counted", sinogram.prompts),
        ("factors", expected.attenuation),
        ("efficiency", expected.normalisation),
        ("background", sinogram.additive),
    ):
        write_interfile(data, expected.geometry, tmp_path / f"{name}.hs")
    sitk.WriteImage(expected.grid.to_image(expected.mu * 10), str(tmp_path / "mu.nrrd"))
    return tmp_path


TERMS = ("--normalisation", "efficiency.hs", "--additive", "background.hs")


@pytest.mark.parametrize("method", ["osem", "mlem", "map-em", "rdp", "fbp"])
def test_every_method_gives_the_activity_where_it_was(
    method: str, files: Path, expected: ExpectedSinogram, petdiffusion: Callable[..., CompletedProcess[str]]
) -> None:
    done = petdiffusion(
        "reconstruct", "counted.hs", "out.nrrd", "--method", method, "--attenuation-factors", "factors.hs", *TERMS
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    volume = read_volume(files / "out.nrrd")
    assert volume.unit == "counts"
    body = (expected.labels == 1) & (np.abs(expected.truth - 2) < 0.01)
    assert volume.array[body].mean() == pytest.approx(2.0, rel=0.05)
    hottest = np.unravel_index(volume.array[1].argmax(), volume.array[1].shape)
    assert np.hypot(hottest[1] * 6 - 120 - 36, hottest[0] * 6 - 120 - 18) < 9
    facts = json.loads((files / "out.nrrd.manifest.json").read_text())["summary"]
    assert facts["not_corrected"] == [] and facts["method"] == method
    assert facts.get("projector") == (None if method == "fbp" else "CylinderProjector")


def test_a_mu_map_stands_for_the_factors(
    files: Path, expected: ExpectedSinogram, petdiffusion: Callable[..., CompletedProcess[str]]
) -> None:
    assert petdiffusion("reconstruct", "counted.hs", "a.nrrd", "--attenuation", "mu.nrrd", *TERMS).returncode == 0
    assert (
        petdiffusion("reconstruct", "counted.hs", "b.nrrd", "--attenuation-factors", "factors.hs", *TERMS).returncode
        == 0
    )
    a, b = (read_volume(files / f"{name}.nrrd").array[expected.labels == 1] for name in "ab")
    assert a.mean() == pytest.approx(b.mean(), rel=0.02)


def test_the_projector_can_be_forced(files: Path, petdiffusion: Callable[..., CompletedProcess[str]]) -> None:
    done = petdiffusion("reconstruct", "counted.hs", "out.nrrd", "--iterations", 1, "--projector", "lines")
    assert done.returncode == 0, done.stderr
    assert json.loads((files / "out.nrrd.manifest.json").read_text())["summary"]["projector"] == "LineProjector"


def test_it_says_what_was_not_corrected(files: Path, petdiffusion: Callable[..., CompletedProcess[str]]) -> None:
    done = petdiffusion("reconstruct", "counted.hs", "out.nrrd", "--iterations", "1")
    assert done.returncode == 0
    assert "Not corrected for attenuation, normalisation, randoms and scatter" in done.stderr
    done = petdiffusion("reconstruct", "counted.hs", "b.nrrd", "--iterations", "1", *TERMS)
    assert "Not corrected for attenuation: the values are not quantitative" in done.stderr


def test_the_grid_the_filter_and_the_start_are_the_users(
    files: Path, petdiffusion: Callable[..., CompletedProcess[str]]
) -> None:
    options = ("--voxel-mm", "4", "--shape", "50", "40", "3", "--iterations", "1")
    assert petdiffusion("reconstruct", "counted.hs", "a.nrrd", *options).returncode == 0
    image = sitk.ReadImage(str(files / "a.nrrd"))
    assert image.GetSize() == (50, 40, 3) and image.GetSpacing() == pytest.approx((4, 4, 8))
    assert image.GetOrigin() == pytest.approx((-98, -78, -8))
    assert petdiffusion("reconstruct", "counted.hs", "b.nrrd", *options, "--post-filter-mm", "12").returncode == 0
    assert petdiffusion("reconstruct", "counted.hs", "c.nrrd", *options, "--start", "a.nrrd").returncode == 0
    a, b, c = (read_volume(files / f"{name}.nrrd").array for name in "abc")
    assert np.abs(np.diff(b)).mean() < 0.7 * np.abs(np.diff(a)).mean()
    first, second = (json.loads((files / f"{n}.nrrd.manifest.json").read_text())["summary"]["objective"] for n in "ac")
    assert second[0] > first[0] and not np.allclose(a, c)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("counted.hs", "out.nrrd", "--attenuation", "mu.nrrd", "--attenuation-unit", "per-mm"),
            "per-cm, per-mm or hu",
        ),
        (("counted.hs", "out.nrrd", "--attenuation-factors", "efficiency.hs"), "shares from 0 to 1"),
        (
            ("counted.hs", "out.nrrd", "--attenuation", "mu.nrrd", "--attenuation-factors", "factors.hs"),
            "Give it once",
        ),
        (("counted.hs", "out.nrrd", "--additive", "other.hs"), "same geometry"),
        (("counted.hs", "out.nrrd", "--subsets", "49"), "From 1 to 48"),
        (("counted.s", "out.nrrd"), "is no sinogram"),
        (("counted.hs", "out.nrrd", "--method", "fbp", "--beta", "1"), "beta"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    arguments: tuple[str, ...], sentence: str, files: Path, petdiffusion: Callable[..., CompletedProcess[str]]
) -> None:
    other = replace(SCANNER, tangential_bins=39)
    write_interfile(torch.zeros(other.data_shape), other, files / "other.hs")
    done = petdiffusion("reconstruct", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (files / "out.nrrd").exists()


def test_a_sinogram_folder_brings_its_terms_and_its_unit(files: Path, expected: ExpectedSinogram) -> None:
    folder = files / "scan"
    folder.mkdir()
    for old, new in (("counted", "prompts"), ("factors", "attenuation"), ("efficiency", "normalisation")):
        write_interfile(read_sinogram(files / f"{old}.hs").prompts, SCANNER, folder / f"{new}.hs")
    (folder / "sinogram.json").write_text('{"unit": "suvbw"}')
    sinogram = read_sinogram(folder)
    assert sinogram.not_corrected == ("randoms", "scatter")
    assert reconstruct(sinogram, iterations=1).unit == "counts"  # with their events in them the values are no SUV
    whole = sinogram.with_background(torch.zeros(SCANNER.data_shape), "randoms", "scatter")
    assert reconstruct(whole, iterations=1).unit == "suvbw"
    torch.testing.assert_close(sinogram.multiplicative, expected.attenuation * expected.normalisation)


def test_ct_numbers_become_attenuation(expected: ExpectedSinogram) -> None:
    hounsfield = np.where(expected.mu > WATER_MU_PER_MM / 2, 0.0, -1000.0)
    sinogram = with_attenuation_map(expected.measured(), expected.grid.to_image(hounsfield), "hu")
    plain = with_attenuation_map(expected.measured(), expected.grid.to_image(expected.mu), "per-mm")
    assert sinogram.multiplicative is not None and plain.multiplicative is not None
    assert float((sinogram.multiplicative - plain.multiplicative).abs().max() / plain.multiplicative.max()) < 0.15


@pytest.mark.parametrize("method", ["osem", "fbp"])
def test_progress_rises_and_can_stop_it(method: str, expected: ExpectedSinogram) -> None:
    fractions: list[float] = []

    def listen(stage: str, fraction: float) -> None:
        fractions.append(fraction)
        if fraction >= 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        reconstruct(expected.measured(), method, iterations=2, subsets=8, progress=listen)
    assert fractions == sorted(fractions) and fractions[-1] == 0.5


def test_an_unknown_method_is_refused(expected: ExpectedSinogram) -> None:
    with pytest.raises(PETDiffusionError, match="osem, mlem, map-em, rdp, fbp"):
        reconstruct(expected.measured(), "art")


@pytest.mark.parametrize(("views", "subsets"), [(252, 21), (360, 20), (64, 16), (7, 7), (84, 21)])
def test_default_subsets_are_equal_parts(views: int, subsets: int) -> None:
    assert default_subsets(views) == subsets
