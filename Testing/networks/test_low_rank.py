"""Adapters change nothing before they learn, and learn without touching the weights they sit beside."""

import copy

import torch

from PETDiffusionLib.networks.low_rank import adapt_low_rank
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D


def test_adapters_begin_as_nothing_and_learn_beside_frozen_weights() -> None:
    torch.manual_seed(0)
    network = ResidualUNet3D(in_channels=1, out_channels=1, widths=(8, 8, 8), blocks=(1, 1, 1))
    torch.nn.init.normal_(network.leave.weight, std=0.1)
    adapted = copy.deepcopy(network)
    trained = adapt_low_rank(adapted, rank=2, seed=0)
    inputs = (torch.randn(1, 1, 8, 8, 8), torch.tensor([0.5]), torch.tensor([0.1]))
    before = network(*inputs)
    assert torch.equal(adapted(*inputs), before)

    optimiser = torch.optim.SGD(trained, lr=0.1)
    for _ in range(2):  # the first step moves B alone, as A's gradient is B's
        optimiser.zero_grad()
        adapted(*inputs).square().mean().backward()
        optimiser.step()
    assert not torch.allclose(adapted(*inputs), before)
    assert adapted.enter.down.weight.grad.abs().sum() > 0
    assert torch.equal(adapted.enter.layer.weight, network.enter.weight)
    assert sum(one.numel() for one in trained) < 0.5 * sum(one.numel() for one in network.parameters())
