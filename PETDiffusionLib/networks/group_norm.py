"""Group normalisation, scale and shift by time, and SiLU in one go: what takes a U-Net's time besides convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def normalised_silu(
    x: torch.Tensor, norm: nn.Module, film: tuple[torch.Tensor, torch.Tensor] | None = None
) -> torch.Tensor:
    """SiLU(norm(x) (1 + scale) + shift) of x [batch, channel, ...]; scale and shift are [batch or 1, channel]."""
    assert isinstance(norm, nn.GroupNorm)
    weight: torch.Tensor = norm.weight
    bias: torch.Tensor = norm.bias
    if film is not None and len(film[0]) == 1:  # one time for all: it goes into the normalisation's own weights
        scale, shift = film[0][0], film[1][0]
        weight, bias, film = weight * (1 + scale), bias * (1 + scale) + shift, None
    y = F.group_norm(x, norm.num_groups, weight.to(x.dtype), bias.to(x.dtype), norm.eps)
    if film is not None:
        scale, shift = (values.to(x.dtype).reshape(*values.shape, *[1] * (x.dim() - 2)) for values in film)
        y = y * (1 + scale) + shift
    return F.silu(y, inplace=not torch.is_grad_enabled())
