"""Low-rank adapters: a trained network learns a little more through few parameters, in few operations."""

from __future__ import annotations

import torch
from torch import nn

from PETDiffusionLib.networks.convolutions import Conv3d


class LowRankConv3d(nn.Module):
    """A frozen 3 x 3 x 3 convolution W and B A beside it (Hu et al. 2022): W x + B (A x), A of `rank` channels.

    B starts at zero, so nothing changes yet. Beside W, and not added to it, the adapter costs a gradient of `rank`
    channels in place of one of all of W's, which on a processor is most of a gradient step.
    """

    def __init__(self, layer: nn.Conv3d, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layer = layer
        self.down = Conv3d(layer.in_channels, rank, 3, padding=1, bias=False, device=layer.weight.device)  # A
        self.up = Conv3d(rank, layer.out_channels, 1, bias=False, device=layer.weight.device)  # B
        drawn = torch.randn(self.down.weight.shape, generator=generator) / (27 * layer.in_channels) ** 0.5
        self.down.weight.data.copy_(drawn)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + self.up(self.down(x))


def adapt_low_rank(network: nn.Module, rank: int, seed: int) -> list[nn.Parameter]:
    """Freeze `network` but for its biases and a new adapter on every 3 x 3 x 3 convolution; returns what is trained."""
    generator = torch.Generator().manual_seed(seed)
    trained: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
        if parameter.requires_grad:
            trained.append(parameter)
    for module in list(network.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, nn.Conv3d) and layer.kernel_size == (3, 3, 3):
                adapted = LowRankConv3d(layer, rank, generator)
                setattr(module, name, adapted)
                trained += [*adapted.down.parameters(), *adapted.up.parameters()]
    return trained
