"""Low-rank adapters: a trained network learns a little more through few parameters, and can always go back."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """weight + B A (Hu et al. 2022), the weight's later axes seen as one; B starts at zero, so nothing changes yet."""

    def __init__(self, weight: torch.Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        self.down = nn.Parameter(torch.randn(rank, columns, device=weight.device) / columns**0.5)  # A
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))  # B

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + (self.up @ self.down).reshape(weight.shape)


def adapt_low_rank(network: nn.Module, rank: int) -> list[nn.Parameter]:
    """Freeze `network` but for its biases and a new adapter on every 3 x 3 x 3 convolution; returns what is trained."""
    trained: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
        if parameter.requires_grad:
            trained.append(parameter)
    for layer in [module for module in network.modules() if isinstance(module, nn.Conv3d)]:
        if layer.kernel_size == (3, 3, 3):
            adapter = LowRank(layer.weight, rank)
            parametrize.register_parametrization(layer, "weight", adapter)
            trained += [adapter.down, adapter.up]
    return trained
