"""The count bridge: its states are scans of higher doses, and a sinogram goes through it whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from PETDiffusionLib.diffusion.count_bridge import CHANNELS, TWIN_FWHMS_MM, blurred, padded, unpadded
from PETDiffusionLib.diffusion.sinogram_restoration import CountRestoration, restored_by_red
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.sinograms import ScannerGeometry, Segment, Sinogram, default_grid, parallel_beam

SCANNER = ScannerGeometry("small", 100.0, 4, 48, 8.0, 24, 21, (Segment(-1, 1), Segment(-3, -2), Segment(2, 3)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = ResidualUNet3D(CHANNELS, 1, (8, 8, 8), (1, 1, 1)).eval()
    torch.nn.init.normal_(network.leave.weight, std=0.02)  # the last layer starts at zero
    return network


@pytest.fixture(scope="module")
def scanned():
    """A hot ball in a small 3D scanner, counted: the sinogram, its expectation, the projector and the voxel size."""
    grid = default_grid(SCANNER, 8.0)
    projector = make_projector(SCANNER, grid.shape, grid.voxel_size_mm)
    z, y, x = np.indices(grid.shape)
    middle = (np.array(grid.shape) - 1) / 2
    ball = (y - middle[1]) ** 2 + (x - middle[2]) ** 2 < (0.3 * grid.shape[1]) ** 2
    expected = 0.2 * projector.forward(torch.from_numpy(ball.astype(np.float32))) + 1
    prompts = torch.poisson(expected, generator=torch.Generator().manual_seed(0))
    factors, additive = torch.full_like(prompts, 0.2), torch.ones_like(prompts)
    return Sinogram(SCANNER, prompts, factors, additive), expected, projector, grid.voxel_size_mm


def test_counting_on_gives_a_scan_of_the_higher_dose() -> None:
    """For one bin with a gamma prior the expectation is known: many small steps must end in its posterior.

    Its variance is short of what a scan of the last dose would still leave open.
    """
    shape, rate, prompts, steps, top = 4.0, 0.5, 6.0, 60, 30.0
    generator = torch.Generator().manual_seed(0)
    counts, dose = torch.full((100_000,), prompts), 1.0
    growth = top ** (1 / steps)
    for _ in range(steps):
        expectation = (shape + counts) / (rate + dose)
        counts = counts + torch.poisson((growth - 1) * dose * expectation, generator=generator)
        dose *= growth
    drawn = (shape + counts) / (rate + dose)
    posterior_mean, posterior_variance = (shape + prompts) / (rate + 1), (shape + prompts) / (rate + 1) ** 2
    assert float(drawn.mean()) == pytest.approx(posterior_mean, rel=0.01)
    assert float(drawn.var()) == pytest.approx(posterior_variance * (1 - (rate + 1) / (rate + top)), rel=0.07)


def test_views_go_on_around_as_the_scanner_does() -> None:
    """The views before the first and after the last are those that the projector itself would see there."""
    geometry = parallel_beam(views=16, bins=20, bin_mm=4.0, planes=3, plane_mm=4.0)
    turned = replace(geometry, view_offset_deg=90.0)
    image = blurred(torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(1)), 16.0, (4.0, 4.0, 4.0))
    data, later = (make_projector(one, image.shape, (4.0, 4.0, 4.0)).forward(image) for one in (geometry, turned))
    around = padded(data[None, None], data[None, None])
    assert torch.equal(unpadded(around, data.shape)[0, 0], data)
    assert torch.allclose(around[0, 0, :3, 24:32, :20], later[:, 8:], rtol=1e-2)  # the views from 180 to 270 degrees


def test_a_blur_keeps_the_middle_and_is_as_wide_as_it_says() -> None:
    image = torch.zeros(41, 41, 41)
    image[20, 20, 20] = 1
    smooth = blurred(image, 12.0, (3.0, 3.0, 2.0))
    assert float(smooth.sum()) == pytest.approx(1, abs=1e-3)
    for axis, size in ((0, 2.0), (1, 3.0)):
        profile = smooth.sum([other for other in range(3) if other != axis])
        spread = float((profile * ((torch.arange(41) - 20) * size) ** 2).sum()) ** 0.5
        assert 2.3548 * spread == pytest.approx(12.0, rel=0.02)


def test_an_untrained_network_says_what_the_filtered_reconstruction_says(scanned) -> None:
    sinogram, _, projector, voxel = scanned
    untrained = ResidualUNet3D(CHANNELS, 1, (8, 8, 8), (1, 1, 1))
    restoration = CountRestoration(sinogram, projector, voxel, untrained)
    twin, restored = restoration.condition(sinogram)[0], restoration.mean()
    assert torch.allclose(restored / restored.sum(), twin / twin.sum(), rtol=0.05, atol=1e-7)
    assert len(TWIN_FWHMS_MM) == 3


def test_every_segment_is_restored_with_the_counts_it_had(scanned, network) -> None:
    sinogram, expected, projector, voxel = scanned
    said = []
    restored = CountRestoration(sinogram, projector, voxel, network).mean(said.append)
    assert restored.shape == sinogram.prompts.shape
    assert float(restored.sum()) == pytest.approx(float(sinogram.prompts.sum()), rel=1e-3)
    noise = (sinogram.prompts - expected).square().mean()
    for planes in (slice(0, 7), slice(7, 10), slice(10, 13)):
        assert float((restored - expected)[planes].square().mean()) < 0.5 * float(noise)
    assert said == sorted(said) and said[-1] == 1


def test_a_draw_is_the_same_from_its_seed_and_another_from_another(scanned, network) -> None:
    sinogram, _, projector, voxel = scanned
    restoration = CountRestoration(sinogram, projector, voxel, network)
    assert torch.equal(restoration.draw(2, 5), restoration.draw(2, 5))
    assert not torch.equal(restoration.draw(2, 5), restoration.draw(2, 6))


def test_more_counts_leave_less_between_draws(scanned, network) -> None:
    sinogram, expected, projector, voxel = scanned
    spreads = []
    for factor in (1.0, 100.0):
        more = replace(
            sinogram,
            prompts=torch.poisson(factor * expected, generator=torch.Generator().manual_seed(1)),
            multiplicative=factor * sinogram.multiplicative,
            additive=factor * sinogram.additive,
        )
        restoration = CountRestoration(more, projector, voxel, network)
        spreads.append(float((restoration.draw(2, 0) - restoration.draw(2, 1)).std() / (factor * expected.mean())))
    assert spreads[1] < 0.2 * spreads[0]


def test_red_restores_every_plane_of_a_3d_scanner_on_its_own_scale(scanned) -> None:
    """A residual network that knows the truth of one scale brings every plane there, whatever its counts."""
    sinogram, _, _, _ = scanned
    bright = replace(sinogram, prompts=sinogram.prompts * torch.linspace(1, 50, SCANNER.planes)[:, None, None])
    flat = restored_by_red(bright, lambda x_t, t: (x_t - x_t.mean((2, 3), keepdim=True)) / 1.0, None, steps=1)
    assert flat.shape == bright.prompts.shape
    kept = flat.mean((1, 2)) / bright.prompts.mean((1, 2))
    assert torch.allclose(kept, kept[0].expand_as(kept), rtol=0.2)
    assert float(flat.sum()) == pytest.approx(float(bright.prompts.sum()), rel=1e-3)
