"""3D convolutions whose weight gradients are right, and quick, on processors too.

In bfloat16, PyTorch 2.13 gets the weight gradients of 3D convolutions wrong on processors at some shapes (it reads
memory that nothing wrote). Here they are taken in single precision, while outputs and input gradients, two thirds of
the work of a training step, keep the fast one. State dictionaries are those of PyTorch's own layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d` with zero padding."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return _mixed(self, input) if _gradient_needs_care(input) else super().forward(input)


class ConvTranspose3d(nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` without a choice of output size."""

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        return _mixed(self, input) if _gradient_needs_care(input) else super().forward(input)


def _gradient_needs_care(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")


def _mixed(layer: Any, x: torch.Tensor) -> torch.Tensor:
    how = (layer.stride, layer.padding, layer.dilation, layer.transposed, layer.output_padding, layer.groups)
    return _MixedConvolution.apply(x, layer.weight, layer.bias, torch.get_autocast_dtype("cpu"), how)


class _MixedConvolution(torch.autograd.Function):
    """A convolution in `precision` whose weight gradient is taken in the weight's own."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, precision: torch.dtype, how: tuple
    ) -> torch.Tensor:
        x = x.to(precision)
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return torch.convolution(x, weight.to(precision), None if bias is None else bias.to(precision), *how)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].to(x.dtype)
        to_input, to_weight, to_bias = ctx.needs_input_grad[:3]
        backward = torch.ops.aten.convolution_backward
        of_x = of_weight = of_bias = None
        if to_input:
            of_x = backward(gradient, x, weight.to(x.dtype), None, *ctx.how, [True, False, False])[0]
        if to_weight:
            exact, seen = _never_alone(gradient.to(weight.dtype)), _never_alone(x.to(weight.dtype))
            of_weight = backward(exact, seen, weight, None, *ctx.how, [False, True, False])[1]
        if to_bias:
            of_bias = gradient.sum((0, 2, 3, 4), dtype=weight.dtype)
        return of_x, of_weight, of_bias, None, None


def _never_alone(batch: torch.Tensor) -> torch.Tensor:
    """A batch of one with an empty second: for one of few channels PyTorch takes a way that is six times slower."""
    return batch if len(batch) > 1 else torch.cat([batch, torch.zeros_like(batch)])
