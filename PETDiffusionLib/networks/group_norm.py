"""Group normalisation, scale and shift by time, and SiLU in one go: what takes a U-Net's time besides convolutions."""

from __future__ import annotations

from typing import Any

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
    y = _GroupNorm.apply(x, weight.to(x.dtype), bias.to(x.dtype), norm.num_groups, norm.eps)
    if film is not None:
        scale, shift = (values.to(x.dtype).reshape(*values.shape, *[1] * (x.dim() - 2)) for values in film)
        y = y * (1 + scale) + shift
    return F.silu(y, inplace=not torch.is_grad_enabled())


class _GroupNorm(torch.autograd.Function):
    """PyTorch's group normalisation; its gradient as sums over each channel and one pass over the voxels.

    PyTorch's own gradient takes several times as long as a convolution's on processors with channels last in memory.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int, eps: float
    ) -> torch.Tensor:
        batch, channels = x.shape[:2]
        y, mean, rstd = torch.native_group_norm(x, weight, bias, batch, channels, x[0, 0].numel(), groups, eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple:
        x, weight, mean, rstd = ctx.saved_tensors
        dy, space = gradients[0], tuple(range(2, x.dim()))
        (batch, channels), groups = x.shape[:2], mean.shape[1]
        members = channels // groups
        count = members * x[0, 0].numel()
        mean, rstd = (value.float().repeat_interleave(members, dim=1) for value in (mean, rstd))  # [batch, channel]
        of_shift = dy.sum(space, dtype=torch.float32)
        of_scale = rstd * ((dy * x).sum(space, dtype=torch.float32) - mean * of_shift)
        shared = torch.stack([of_scale, of_shift]) * weight.float()
        shared = shared.reshape(2, batch, groups, members).sum(-1).repeat_interleave(members, dim=2) / count
        slope = -rstd.square() * shared[0]
        constant = -slope * mean - rstd * shared[1]
        per_channel = (rstd * weight.float(), slope, constant)
        a, b, c = (value.to(x.dtype).reshape(batch, channels, *[1] * len(space)) for value in per_channel)
        return (
            torch.addcmul(torch.addcmul(c, b, x), a, dy),
            of_scale.sum(0).to(weight),
            of_shift.sum(0).to(weight),
            None,
            None,
        )
