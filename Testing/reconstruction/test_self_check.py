"""A reconstruction names what is wrong with its terms, and keeps silent where they are complete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from PETDiffusionLib.methods.reconstruct import reconstruct
from PETDiffusionLib.projection.attenuation import WATER_MU_PER_MM
from PETDiffusionLib.reconstruction.measurement import with_attenuation_map
from PETDiffusionLib.reconstruction.self_check import _poisson_deviances
from PETDiffusionLib.simulation.phantom import empty_phantom
from PETDiffusionLib.simulation.sinogram import ExpectedSinogram, project_phantom
from PETDiffusionLib.sinograms import ScannerGeometry, Sinogram
from PETDiffusionLib.sinograms.geometry import segments_of_span

TILTED = ScannerGeometry("tilted", 200.0, 8, 128, 6.0, 32, 48, segments_of_span(8, 3, 4))
TERMS = frozenset({"normalisation", "randoms", "scatter"})


@pytest.fixture(scope="module")
def expected() -> ExpectedSinogram:
    """An ellipse beside the axis, in the lower half of the planes only: it differs from all its mirror images."""
    torch.set_num_threads(1)
    phantom = empty_phantom((16, 80, 80), (3.0, 3.0, 3.0))
    y, x = (np.indices((80, 80)) - 39.5) * 3.0
    lower = np.arange(16)[:, None, None] < 10
    phantom.paint(lower & (np.hypot((x - 30) / 50, (y + 5) / 35) < 1), "body", 1.0, WATER_MU_PER_MM)
    return project_phantom(phantom, TILTED)


def scan(
    expected: ExpectedSinogram,
    counts_a_line: float = 1.0,
    *,
    attenuation: torch.Tensor | None = None,
    efficiency: torch.Tensor | float = 1.0,
    additive: float = 1.0,
    prompts: float = 1.0,
) -> Sinogram:
    """Counts of the phantom, read with terms that may be wrong."""
    whole = expected.measured(seed=None)
    assert whole.additive is not None
    share = counts_a_line / float(whole.prompts.mean())
    counts = np.random.default_rng(2).poisson(whole.prompts.numpy() * share).astype(np.float32)
    sinogram = Sinogram(
        expected.geometry, torch.from_numpy(counts) * prompts, None, whole.additive * share * additive, TERMS
    )
    given = expected.attenuation if attenuation is None else attenuation
    return sinogram.with_factors(expected.normalisation * share * efficiency, "normalisation").with_factors(
        given, "attenuation"
    )


def codes(sinogram: Sinogram, method: str = "osem") -> set[str]:
    said: set[str] = set()
    reconstruct(sinogram, method, iterations=3, warn=lambda code, sentence: said.add(code))
    return {code for code in said if code.startswith("self-check")}


@pytest.mark.parametrize("counts_a_line", [10.0, 0.2, 0.02, 0.004])
def test_complete_terms_are_silent(expected: ExpectedSinogram, counts_a_line: float) -> None:
    assert codes(scan(expected, counts_a_line)) == set()


def a_third_without_attenuation(expected: ExpectedSinogram) -> torch.Tensor:
    middle = torch.from_numpy(expected.geometry.plane_middle_mm)
    return torch.where((middle > middle.quantile(0.67))[:, None, None], 1.0, expected.attenuation)


@pytest.mark.parametrize("counts_a_line", [10.0, 0.2, 0.02])
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (lambda e: {"attenuation": a_third_without_attenuation(e)}, "self-check-mu-map"),
        (lambda e: {"efficiency": e.attenuation}, "self-check-twice"),
        (
            lambda e: {"additive": float(e.measured(seed=None).prompts.sum() / e.background().sum())},
            "self-check-additive",
        ),
        (lambda e: {"additive": 2.0}, "self-check-additive"),
        (lambda e: {"prompts": 3.0, "additive": 3.0}, "self-check-deviance"),
    ],
    ids=["partial mu-map", "attenuation twice", "additive as large as the prompts", "additive twice", "scaled prompts"],
)
def test_an_error_is_named(
    expected: ExpectedSinogram, wrong: Callable[[ExpectedSinogram], dict], code: str, counts_a_line: float
) -> None:
    if (code, counts_a_line) == ("self-check-deviance", 0.02):
        pytest.skip("at few counts a noisy image explains its own noise: scaled prompts cannot be told")
    assert code in codes(scan(expected, counts_a_line, **wrong(expected)))


def test_a_mirrored_map_is_named(expected: ExpectedSinogram) -> None:
    said: list[str] = []
    mirrored = expected.attenuation.flip(0)
    reconstruct(scan(expected, attenuation=mirrored), warn=lambda code, sentence: said.append(sentence))
    assert any("mirrored head to feet" in sentence for sentence in said)


def test_how_much_of_the_field_of_view_the_map_covers(expected: ExpectedSinogram) -> None:
    image = expected.grid.to_image(expected.mu * 10)
    for part, share in ((image, 1.0), (image[:, :, : image.GetSize()[2] // 3], 1 / 3)):
        sinogram = with_attenuation_map(replace(scan(expected), multiplicative=None, corrected=TERMS), part, "per-cm")
        facts = reconstruct(sinogram, iterations=1).facts["self_check"]
        assert facts["mu_map_covers"] == pytest.approx(share, abs=0.1)
        assert "field of view" in facts["text"]


@pytest.mark.parametrize("counts_a_line", [1.0, 0.004])
@pytest.mark.parametrize(
    ("kept", "is_cut"),
    [((slice(None), slice(None), slice(6, None)), True), ((slice(24, None), slice(None), slice(None)), True),
     ((slice(4, 44), slice(10, 38), slice(None)), False)],
    ids=["axially", "across", "air alone"],
)  # fmt: skip
def test_a_map_that_ends_inside_the_body_is_named_at_any_count(
    expected: ExpectedSinogram, kept: tuple[slice, slice, slice], is_cut: bool, counts_a_line: float
) -> None:
    mu = expected.grid.to_image(expected.mu * 10)[kept]
    uncorrected = replace(scan(expected, counts_a_line), multiplicative=None, corrected=TERMS, air_lines=None)
    assert ("self-check-mu-map" in codes(with_attenuation_map(uncorrected, mu, "per-cm"))) == is_cut


def test_attenuation_is_found_in_a_real_looking_normalisation(expected: ExpectedSinogram) -> None:
    """Crystals that differ by a sixth, gaps, and a geometric factor that falls towards the edge as attenuation does."""
    shape = expected.attenuation.shape
    bins = torch.linspace(-1, 1, shape[2])
    crystals = torch.from_numpy(np.random.default_rng(4).lognormal(0, 0.15, shape).astype(np.float32))
    efficiency = crystals * (1 - 0.3 * bins.square())
    efficiency[:, :, ::9] = 0
    given = scan(expected, 10.0, efficiency=efficiency)
    given = replace(given, prompts=torch.where(efficiency > 0, given.prompts * efficiency, 0))
    assert "self-check-twice" not in codes(given)
    assert "self-check-twice" in codes(scan(expected, 10.0, efficiency=efficiency * expected.attenuation))


@pytest.mark.parametrize("mean", [0.002, 0.1, 3.0, 40.0])
def test_the_expected_deviance_is_that_of_drawn_counts(mean: float) -> None:
    counts = np.random.default_rng(3).poisson(mean, 400_000)
    drawn = 2 * (counts * np.log(np.maximum(counts, 1) / mean) * (counts > 0) - counts + mean)
    logarithms, means, variances = _poisson_deviances()
    assert np.interp(np.log(mean), logarithms, means) == pytest.approx(drawn.mean(), rel=0.08)
    assert np.interp(np.log(mean), logarithms, variances) == pytest.approx(drawn.var(), rel=0.1)
