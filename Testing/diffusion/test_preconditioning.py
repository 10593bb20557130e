"""From a network's answer to x_0: exact linearity in activity, and bands that are taken away where the gates say."""

import torch

from PETDiffusionLib.diffusion.noise_level import CORRELATIONS, noise_scale, smoothed
from PETDiffusionLib.diffusion.preconditioning import BANDS, INPUTS, ResidualDenoiser, make_condition, without_bands
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D


def denoised(volume: torch.Tensor) -> torch.Tensor:
    """One step of a network of random weights."""
    torch.manual_seed(0)
    network = ResidualUNet3D(INPUTS, 2 + len(BANDS), (8, 8, 8), (1, 1, 1), facts=CORRELATIONS).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    noise = noise_scale(volume, 2.5)
    with torch.no_grad():
        return ResidualDenoiser(network, noise.whole)(volume, 1.0, make_condition(volume, noise))


def test_it_is_linear_in_activity() -> None:
    volume = torch.rand(1, 1, 16, 24, 24, generator=torch.Generator().manual_seed(1)) + 0.5
    once, thrice = denoised(volume), denoised(3 * volume)
    assert torch.allclose(3 * once[:, :1], thrice[:, :1], rtol=1e-3, atol=1e-3)
    assert torch.allclose(9 * once[:, 1:], thrice[:, 1:], rtol=1e-2, atol=1e-4)


def test_gates_of_none_keep_the_volume_and_gates_of_one_leave_the_smoothest_twin() -> None:
    volume = torch.rand(1, 1, 16, 24, 24)
    gates = torch.zeros(1, len(BANDS), 16, 24, 24)
    assert torch.equal(without_bands(volume, gates), volume)
    assert torch.allclose(without_bands(volume, gates + 1), smoothed(volume, BANDS[-1]), atol=1e-6)


def test_a_gate_works_where_it_is_open_alone() -> None:
    volume = torch.rand(1, 1, 16, 24, 24)
    gates = torch.zeros(1, len(BANDS), 16, 24, 24)
    gates[:, 0, :8] = 1
    result = without_bands(volume, gates)
    assert torch.equal(result[:, :, 8:], volume[:, :, 8:])
    assert torch.allclose(result[:, :, :8], smoothed(volume, BANDS[0])[:, :, :8], atol=1e-6)
