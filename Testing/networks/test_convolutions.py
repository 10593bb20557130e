"""The layers of our own against PyTorch's, in the precision that they replace."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from PETDiffusionLib.networks.convolutions import Conv3d, ConvTranspose3d
from PETDiffusionLib.networks.group_norm import normalised_silu


def gradients(layer: nn.Module, x: torch.Tensor, autocast: bool) -> list[torch.Tensor]:
    """The output and the gradients of the input and of every parameter, for the loss sum(y cos y)."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = layer(x)
    return [y.detach(), *torch.autograd.grad((y.float() * y.float().cos()).sum(), [x, *layer.parameters()])]


@pytest.mark.parametrize(
    ("layer", "plain"),
    [
        (Conv3d(8, 24, 3, padding=1), nn.Conv3d(8, 24, 3, padding=1)),
        (Conv3d(5, 2, 3, padding=1, bias=False), nn.Conv3d(5, 2, 3, padding=1, bias=False)),
        (Conv3d(48, 80, 2, stride=2), nn.Conv3d(48, 80, 2, stride=2)),
        (ConvTranspose3d(16, 8, 2, stride=2), nn.ConvTranspose3d(16, 8, 2, stride=2)),
    ],
)
def test_gradients_in_bfloat16_are_those_of_single_precision(layer: nn.Module, plain: nn.Module) -> None:
    plain.load_state_dict(layer.state_dict())
    channels = layer.in_channels
    assert isinstance(channels, int)
    x = torch.randn(2, channels, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    for ours, exact in zip(gradients(layer, x, True), gradients(plain, x, False), strict=True):
        assert (ours - exact).norm() < 0.02 * exact.norm()
        assert ours.shape == exact.shape


def test_the_layers_are_pytorchs_own_without_autocast() -> None:
    layer, plain = Conv3d(3, 4, 3, padding=1), nn.Conv3d(3, 4, 3, padding=1)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(1, 3, 4, 4, 4)
    torch.testing.assert_close(gradients(layer, x, False), gradients(plain, x, False))


@pytest.mark.parametrize("film", [False, True])
def test_the_gradient_of_the_group_normalisation_is_pytorchs(film: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    x = (3 + torch.randn(2, 12, 3, 4, 5, generator=generator, dtype=torch.float64)).requires_grad_()
    norm = nn.GroupNorm(4, 12).double()
    nn.init.normal_(norm.weight, generator=generator)
    scale, shift = torch.randn(2, 2, 12, generator=generator, dtype=torch.float64).requires_grad_()
    ours = normalised_silu(x, norm, (scale, shift) if film else None)
    y = norm(x)
    if film:
        y = y * (1 + scale[:, :, None, None, None]) + shift[:, :, None, None, None]
    exact = F.silu(y)
    parameters = [x, norm.weight, norm.bias]
    weights = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(ours, exact)
    for mine, theirs in zip(
        torch.autograd.grad((ours * weights).sum(), parameters),
        torch.autograd.grad((exact * weights).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
