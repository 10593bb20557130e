"""The 2D U-Net of Residual Estimation Diffusion (Ai et al., Medical Image Analysis 2025), for its REN and its DCN.

ConvNeXt blocks (depthwise 7 x 7, then two 3 x 3 with GELU) with linear attention at every level. Parameter names are
those of the published checkpoints, so their weights load as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

PREFIXES = ("nn_ren", "nn_dcn")  # of the two networks' names in a checkpoint and in a model
TIME_CHANNELS = 32
HEADS, HEAD_CHANNELS = 4, 32


class RedUNet(nn.Module):
    """The residual (REN) or the drift (DCN) of sinograms `x_t` [batch, 1, views, bins] at `timesteps` [batch].

    Sides may be of any length: they are repeated at the far edge to a multiple of the deepest level's and cut again.
    """

    def __init__(self, width: int = 32, multipliers: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        super().__init__()
        widths = [1, *(width * multiplier for multiplier in multipliers)]
        levels = list(zip(widths[:-1], widths[1:], strict=True))
        self.time_mlp = nn.Sequential(
            TimeWaves(), nn.Linear(TIME_CHANNELS, 4 * TIME_CHANNELS), nn.GELU(),
            nn.Linear(4 * TIME_CHANNELS, TIME_CHANNELS),
        )  # fmt: skip
        self.downs = nn.ModuleList()
        for level, (before, after) in enumerate(levels):
            deepest = level == len(levels) - 1
            down = nn.Identity() if deepest else nn.Conv2d(after, after, 4, 2, 1)
            first = ConvNextBlock(before, after, normalised=level > 0)
            self.downs.append(nn.ModuleList([first, ConvNextBlock(after, after), _attention(after), down]))
        deep = widths[-1]
        self.mid_block1 = ConvNextBlock(deep, deep)
        self.mid_attn = _attention(deep)
        self.mid_block2 = ConvNextBlock(deep, deep)
        self.ups = nn.ModuleList()
        for before, after in reversed(levels[1:]):
            up = nn.ConvTranspose2d(before, before, 4, 2, 1)
            blocks = [ConvNextBlock(2 * after, before), ConvNextBlock(before, before), _attention(before), up]
            self.ups.append(nn.ModuleList(blocks))
        self.final_conv = nn.Sequential(ConvNextBlock(width, width, timed=False), nn.Conv2d(width, 1, 1))

    def forward(self, x_t: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        views, bins = x_t.shape[2:]
        multiple = 2 ** (len(self.downs) - 1)
        x = F.pad(x_t, (0, -bins % multiple, 0, -views % multiple), mode="replicate")
        time = self.time_mlp(timesteps)
        skips = []
        for level in self.downs:
            first, second, attend, down = level.children()
            x = attend(second(first(x, time), time))
            skips.append(x)
            x = down(x)
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, time)), time)
        for level in self.ups:
            first, second, attend, up = level.children()
            x = up(attend(second(first(torch.cat([x, skips.pop()], dim=1), time), time)))
        return self.final_conv(x)[..., :views, :bins]


def from_state_dict(state: Mapping[str, torch.Tensor]) -> RedUNet:
    """The network whose weights `state` holds, its width and depth read from their shapes.

    Raises RuntimeError (torch's own, with the names) where weights are missing or foreign.
    """
    width = state["final_conv.1.weight"].shape[1]
    widths: list[int] = []
    while (name := f"downs.{len(widths)}.1.ds_conv.weight") in state:
        widths.append(state[name].shape[0])
    network = RedUNet(width, tuple(after // width for after in widths))
    network.load_state_dict(state)
    return network


def both_from_state_dict(state: Mapping[str, torch.Tensor]) -> tuple[RedUNet, RedUNet]:
    """REN and DCN from one model's weights, whose names begin with `nn_ren.` and `nn_dcn.`."""
    ren, dcn = (
        from_state_dict({n.removeprefix(f"{prefix}."): v for n, v in state.items() if n.startswith(f"{prefix}.")})
        for prefix in PREFIXES
    )
    return ren, dcn


class TimeWaves(nn.Module):
    """Timesteps [batch] as TIME_CHANNELS sines and cosines, wavelengths from 1 to 10000 (Vaswani et al. 2017)."""

    def forward(self, timesteps: torch.Tensor) -> torch.Tensor:
        half = TIME_CHANNELS // 2
        exponents = torch.arange(half, device=timesteps.device) * (-math.log(10000) / (half - 1))
        angles = timesteps.float()[:, None] * exponents.exp()
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ConvNextBlock(nn.Module):
    """skip(x) + net(depthwise(x) + time): the time is one number a channel, the network doubles the width inside."""

    def __init__(self, before: int, after: int, normalised: bool = True, timed: bool = True) -> None:
        super().__init__()
        if timed:
            self.mlp = nn.Sequential(nn.GELU(), nn.Linear(TIME_CHANNELS, before))
        self.ds_conv = nn.Conv2d(before, before, 7, padding=3, groups=before)
        self.net = nn.Sequential(
            ChannelNorm(before) if normalised else nn.Identity(),
            nn.Conv2d(before, 2 * after, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(2 * after, after, 3, padding=1),
        )
        self.res_conv = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: torch.Tensor, time: torch.Tensor | None = None) -> torch.Tensor:
        hidden = self.ds_conv(x)
        if time is not None:
            hidden = hidden + self.mlp(time)[:, :, None, None]
        return self.net(hidden) + self.res_conv(x)


class ChannelNorm(nn.Module):
    """Zero mean and unit variance over the channels of each pixel, then scale `g` and shift `b`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        variance, mean = torch.var_mean(x, dim=1, unbiased=False, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + 1e-5) * self.g + self.b


class LinearAttention(nn.Module):
    """Attention whose cost is linear in the pixels: keys are a distribution over them (Katharopoulos et al. 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = HEADS * HEAD_CHANNELS
        self.to_qkv = nn.Conv2d(channels, 3 * inner, 1, bias=False)
        self.to_out = nn.Conv2d(inner, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = x.shape
        query, key, value = self.to_qkv(x).reshape(batch, 3, HEADS, HEAD_CHANNELS, height * width).unbind(1)
        context = key.softmax(dim=-1) @ value.transpose(-1, -2)  # [batch, head, key channel, value channel]
        out = context.transpose(-1, -2) @ (query * HEAD_CHANNELS**-0.5)
        return self.to_out(out.reshape(batch, -1, height, width))


class _Normalised(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fn = LinearAttention(channels)
        self.norm = ChannelNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fn(self.norm(x))


class _Added(nn.Module):
    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fn(x)


def _attention(channels: int) -> nn.Module:
    """Residual attention after a norm, nested as the published parameter names are (fn.fn, fn.norm)."""
    return _Added(_Normalised(channels))
