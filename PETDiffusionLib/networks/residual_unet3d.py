"""A small 3D U-Net that works on half-resolution blocks of voxels: quick on a laptop, no matter the volume's size.

Space-to-depth turns each 2 x 2 x 2 block into channels, so the convolutions run on an eighth of the voxels. There is no
normalisation over space: what a voxel becomes depends on its neighbourhood alone, so windows of any size agree.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from PETDiffusionLib.networks.convolutions import Conv3d, ConvTranspose3d


class ResidualUNet3D(nn.Module):
    """Three levels of residual blocks that hear of time and noise by per-channel scales and shifts.

    Forward: `x` [batch, in_channels, z, y, x] with sides that divide by 8; `time` and `noise_level` [batch]; for a
    network of so many `facts`, these too, [batch, facts]. Returns [batch, out_channels, z, y, x].
    """

    frequencies: torch.Tensor

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 2,
        widths: tuple[int, int, int] = (32, 64, 112),
        blocks: tuple[int, int, int] = (1, 2, 3),
        embedding: int = 64,
        facts: int = 0,
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.embed = nn.Sequential(
            nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.register_buffer(
            "frequencies", torch.exp(torch.linspace(0, math.log(30), embedding // 4)), persistent=False
        )
        self.facts = nn.Linear(facts, embedding, bias=False) if facts else None
        if self.facts is not None:
            _start_at_zero(self.facts)
        self.enter = Conv3d(8 * in_channels, first, 3, padding=1)
        self.encode1 = _blocks(first, embedding, blocks[0])
        self.down1 = Conv3d(first, second, 2, stride=2)
        self.encode2 = _blocks(second, embedding, blocks[1])
        self.down2 = Conv3d(second, third, 2, stride=2)
        self.middle = _blocks(third, embedding, blocks[2])
        self.up2 = ConvTranspose3d(third, second, 2, stride=2)
        self.decode2 = _blocks(second, embedding, blocks[1])
        self.up1 = ConvTranspose3d(second, first, 2, stride=2)
        self.decode1 = _blocks(first, embedding, blocks[0] + 1)
        self.leave = Conv3d(first, 8 * out_channels, 3, padding=1)
        _start_at_zero(self.leave)

    def forward(
        self, x: torch.Tensor, time: torch.Tensor, noise_level: torch.Tensor, facts: torch.Tensor | None = None
    ) -> torch.Tensor:
        waves = torch.cat([self._waves(time), self._waves(noise_level)], dim=1)
        embedded = self.embed(waves if self.facts is None else waves + self.facts(facts))
        top = _run(self.encode1, self.enter(space_to_depth(x)), embedded)  # [batch, first, z/2, y/2, x/2]
        mid = _run(self.encode2, self.down1(top), embedded)  # [batch, second, z/4, y/4, x/4]
        low = _run(self.middle, self.down2(mid), embedded)  # [batch, third, z/8, y/8, x/8]
        mid = _run(self.decode2, mid + self.up2(low), embedded)
        top = _run(self.decode1, top + self.up1(mid), embedded)
        return depth_to_space(self.leave(top))

    def _waves(self, value: torch.Tensor) -> torch.Tensor:
        angle = value[:, None] * self.frequencies
        return torch.cat([angle.cos(), angle.sin()], dim=1)


class ResidualBlock(nn.Module):
    """x + conv(relu(scale * conv(x) + shift)); the last convolution starts at zero, so the block starts as identity."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.first = Conv3d(channels, channels, 3, padding=1)
        self.second = Conv3d(channels, channels, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * channels)
        _start_at_zero(self.second)
        _start_at_zero(self.modulate)

    def forward(self, x: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        scale, shift = self.modulate(embedded)[:, :, None, None, None].chunk(2, dim=1)
        hidden = torch.addcmul(shift, self.first(x), 1 + scale)
        return x + self.second(torch.relu_(hidden))


def _start_at_zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _blocks(channels: int, embedding: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(ResidualBlock(channels, embedding) for _ in range(count))


def _run(blocks: nn.ModuleList, x: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
    for block in blocks:
        x = block(x, embedded)
    return x


def space_to_depth(x: torch.Tensor) -> torch.Tensor:
    """[batch, c, z, y, x] to [batch, 8 c, z/2, y/2, x/2], channels last in memory."""
    batch, channels, z, y, w = x.shape
    cells = x.reshape(batch, channels, z // 2, 2, y // 2, 2, w // 2, 2).permute(0, 2, 4, 6, 1, 3, 5, 7)
    flat = cells.reshape(batch, z // 2, y // 2, w // 2, 8 * channels)
    return flat.permute(0, 4, 1, 2, 3)


def depth_to_space(x: torch.Tensor) -> torch.Tensor:
    """The inverse of `space_to_depth`."""
    batch, channels, z, y, w = x.shape
    cells = x.reshape(batch, channels // 8, 2, 2, 2, z, y, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return cells.reshape(batch, channels // 8, 2 * z, 2 * y, 2 * w)
