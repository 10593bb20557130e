"""Which precision a network runs in: bfloat16 where the hardware multiplies in it, single precision elsewhere."""

from __future__ import annotations

import torch
from torch import nn


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies in bfloat16: CUDA GPUs from Ampere on, processors with AVX-512 BF16 or AMX.

    On such a processor a 3D convolution is about three times as fast as in single precision.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and supported is not None and supported()


def fast_precision(device: torch.device) -> torch.dtype:
    """The precision that convolutions on `device` should run in."""
    return torch.bfloat16 if has_bfloat16(device) else torch.float32


class FastPrecision(nn.Module):
    """`network` in the fast precision of the device that its inputs are on; single precision goes in and comes out.

    Where gradients are wanted on a processor, a volume's network must be of the layers of `convolutions`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        device = inputs[0].device
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
            return self.network(*inputs).float()
