"""From ten counts a line down to 0.002 no reconstruction diverges, empties, or loses the measured trues."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from PETDiffusionLib.methods.ddip import Settings, reconstruct_with_prior
from PETDiffusionLib.methods.reconstruct import reconstruct
from PETDiffusionLib.projection import Projector, make_projector
from PETDiffusionLib.projection.attenuation import WATER_MU_PER_MM
from PETDiffusionLib.reconstruction import osem, rdp
from PETDiffusionLib.reconstruction.few_counts import body_decides, supported_subsets
from PETDiffusionLib.reconstruction.model import AcquisitionModel, Update
from PETDiffusionLib.reconstruction.neighbours import Neighbourhood
from PETDiffusionLib.reconstruction.relative_difference import RelativeDifferencePrior
from PETDiffusionLib.simulation.phantom import empty_phantom
from PETDiffusionLib.simulation.sinogram import ExpectedSinogram, project_phantom
from PETDiffusionLib.sinograms import ScannerGeometry, Sinogram
from PETDiffusionLib.sinograms.geometry import segments_of_span

TILTED = ScannerGeometry("tilted", 200.0, 6, 128, 6.0, 32, 48, segments_of_span(6, 3, 4))  # three segments
LEVELS = (10.0, 0.2, 0.02, 0.002)


@pytest.fixture(scope="module")
def expected() -> ExpectedSinogram:
    """A warm cylinder with a hot rod beside its axis; of the prompts 40 % are trues."""
    torch.set_num_threads(1)
    phantom = empty_phantom((16, 80, 80), (3.0, 3.0, 3.0))
    y, x = (np.indices((80, 80)) - 39.5) * 3.0
    everywhere = np.ones((16, 1, 1), bool)
    phantom.paint(everywhere & (np.hypot(x, y) < 70), "body", 1.0, WATER_MU_PER_MM)
    phantom.paint(everywhere & (np.hypot(x - 30, y + 20) < 12), "hot", 6.0)
    return project_phantom(phantom, TILTED, randoms_fraction=1.0)


@pytest.fixture(scope="module")
def projector(expected: ExpectedSinogram) -> Projector:
    return make_projector(expected.geometry, expected.grid.shape, expected.grid.voxel_size_mm)


def counted(expected: ExpectedSinogram, counts_a_line: float) -> Sinogram:
    """The scan with so many counts a line on average; its terms are complete and the unit stays."""
    whole = expected.measured(seed=None)
    assert whole.multiplicative is not None and whole.additive is not None
    share = counts_a_line / float(whole.prompts.mean())
    prompts = np.random.default_rng(1).poisson(whole.prompts.numpy() * share).astype(np.float32)
    return replace(
        whole,
        prompts=torch.from_numpy(prompts),
        multiplicative=whole.multiplicative * share,
        additive=whole.additive * share,
    )


def expected_over_measured(projector: Projector, sinogram: Sinogram, image: sitk.Image) -> float:
    lines = projector.forward(torch.from_numpy(sitk.GetArrayFromImage(image)))
    assert sinogram.multiplicative is not None and sinogram.additive is not None
    return float(
        (sinogram.multiplicative * lines).double().sum() / (sinogram.prompts - sinogram.additive).double().sum()
    )


@pytest.mark.parametrize("counts_a_line", LEVELS)
@pytest.mark.parametrize("method", ["osem", "mlem", "map-em", "rdp", "ddip", "dds", "dps"])
def test_the_measured_trues_are_kept(
    expected: ExpectedSinogram, projector: Projector, method: str, counts_a_line: float
) -> None:
    sinogram = counted(expected, counts_a_line)
    said: list[str] = []

    def warn(code: str, sentence: str) -> None:
        said.append(code)

    if method in ("ddip", "dds", "dps"):
        image = reconstruct_with_prior(sinogram, Settings(method, 2, inner=1), warn=warn).image
    else:
        image = reconstruct(sinogram, method, iterations=4, warn=warn).image
    values = sitk.GetArrayFromImage(image)
    assert np.isfinite(values).all() and (values >= 0).all()
    assert 0.95 < expected_over_measured(projector, sinogram, image) < 1.05
    assert ("few-counts" in said) == (counts_a_line < 10)  # whatever held the trues
    assert not [code for code in said if code.startswith("self-check")]  # the model is complete


@pytest.mark.parametrize("counts_a_line", LEVELS)
def test_the_objective_of_rdp_never_falls(
    expected: ExpectedSinogram, projector: Projector, counts_a_line: float
) -> None:
    """What it says, and what the images are worth."""
    sinogram = counted(expected, counts_a_line)
    said: dict[int, float] = {}

    def listen(update: Update) -> None:
        said[update.iteration] = said.get(update.iteration, 0.0) + update.objective

    image = rdp(projector, sinogram, 0.001, 8, 8, expected.grid.voxel_size_mm, callback=listen)
    objectives = np.array([value for iteration, value in said.items() if iteration >= 0])
    assert len(objectives) == 8
    assert (np.diff(objectives) > -1e-6 * abs(objectives[0])).all() and objectives[-1] > objectives[0]
    model = AcquisitionModel(projector, sinogram)
    prior = RelativeDifferencePrior(
        Neighbourhood(image.shape, expected.grid.voxel_size_mm, image.device), 1e-3 * model.uniform_activity()
    )
    strength = 0.001 * float(model.sensitivity[model.visible()].mean())
    worth = model.likelihood(0, model.expected(0, image)) - strength * prior.value_and_gradient(image)[0]
    assert worth == pytest.approx(objectives[-1], rel=1e-4, abs=0.1)


def test_activity_is_kept_in_the_body_where_counts_are_few_and_the_map_is_whole(expected: ExpectedSinogram) -> None:
    air = expected.attenuation > 0.99
    few, many = counted(expected, 0.2), counted(expected, 20.0)
    assert body_decides(few) and not body_decides(many)
    assert not body_decides(replace(few, air_lines=None))
    assert not body_decides(replace(few, air_lines=torch.ones_like(air)))  # the map has no body where the trues are
    for method in ("osem", "rdp"):
        kept, free = (
            sitk.GetArrayFromImage(reconstruct(scan, method, iterations=6).image)
            for scan in (few, replace(few, air_lines=None))
        )
        assert (kept[:, 2, 2] == 0).all()
        inside = expected.truth > 0.5
        assert free[inside].mean() < kept[inside].mean() < 1.1 * expected.truth[inside].mean()


def test_osem_is_not_emptied_by_a_subset_without_counts(expected: ExpectedSinogram, projector: Projector) -> None:
    sinogram = counted(expected, 1.0)
    prompts = sinogram.prompts.clone()
    prompts[:, 3::8] = 0  # views that were lost
    image = osem(projector, replace(sinogram, prompts=prompts), 2, 8)
    assert torch.isfinite(image).all() and image.sum() > 0


def test_few_counts_are_shared_out_to_fewer_subsets(expected: ExpectedSinogram) -> None:
    taken = [supported_subsets(counted(expected, level), 16) for level in LEVELS]
    assert taken == sorted(taken, reverse=True) and taken[0] == 16 and taken[-1] == 1
    said: list[str] = []
    facts = reconstruct(counted(expected, 0.002), "osem", subsets=16, warn=lambda code, text: said.append(text)).facts
    assert facts["subsets"] == 1 and any("16 subsets" in text and "--iterations" in text for text in said)


def test_with_no_counts_at_all_there_is_an_image_of_nothing(expected: ExpectedSinogram) -> None:
    sinogram = counted(expected, 1.0)
    empty = replace(sinogram, prompts=torch.zeros_like(sinogram.prompts))
    for method in ("osem", "rdp"):
        values = sitk.GetArrayFromImage(reconstruct(empty, method, iterations=2).image)
        assert np.isfinite(values).all() and values.max() < 1e-3
