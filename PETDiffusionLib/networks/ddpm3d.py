"""The 3D U-Net of Yu et al. (EJNMMI 2025), of the guided-diffusion family, by the parameter names of its checkpoints.

Tensors are [batch, channel, z, y, x]. The published code calls the axes z, x, y, but its planes are 192 x 288 voxels of
1.65 mm: a body is 317 mm deep and 475 mm wide, so its x runs from front to back and is the y of this project.
Resolution is halved in the plane alone, so y and x must divide by `multiple`, and z may be anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.networks.convolutions import Conv3d
from PETDiffusionLib.networks.group_norm import normalised_silu

GROUPS = 32
Film = tuple[torch.Tensor, torch.Tensor]


class DDPM3D(nn.Module):
    """Noise (or what else it `predicts`) and variance interpolant from a noisy volume, its timestep and the low dose.

    `base` channels times `multipliers` are the levels' widths, each a multiple of 32; `blocks` residual blocks a level.
    """

    def __init__(
        self,
        base: int = 128,
        multipliers: Sequence[int] = (1, 1, 2, 3, 4),
        blocks: int = 2,
        channels: int = 2,
        predicts: str = "noise",
    ) -> None:
        super().__init__()
        self.base, self.multiple, self.predicts = base, 2 ** (len(multipliers) - 1), predicts
        embedding = 4 * base
        self.time_embed = nn.Sequential(nn.Linear(base, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        width = base * multipliers[0]
        self.input_blocks = nn.ModuleList([nn.ModuleList([Conv3d(channels, width, 3, padding=1)])])
        skips = [width]
        for level, multiplier in enumerate(multipliers):
            if level > 0:
                self.input_blocks.append(nn.ModuleList([ResidualBlock(width, width, embedding, "down")]))
                skips.append(width)
            for _ in range(blocks):
                self.input_blocks.append(nn.ModuleList([ResidualBlock(width, base * multiplier, embedding)]))
                width = base * multiplier
                skips.append(width)
        self.middle_block = nn.ModuleList([ResidualBlock(width, width, embedding) for _ in range(2)])
        self.output_blocks = nn.ModuleList()
        for level in reversed(range(len(multipliers))):
            for block in range(blocks + 1):
                skip = skips.pop()
                after = skips[-1] if skips else width  # as wide as the next skip connection
                layers = [ResidualBlock(width + skip, after, embedding)]
                width = after
                if level > 0 and block == blocks:
                    layers.append(ResidualBlock(width, width, embedding, "up"))
                self.output_blocks.append(nn.ModuleList(layers))
        self.out = nn.Sequential(nn.GroupNorm(GROUPS, width), nn.SiLU(), Conv3d(width, 2, 3, padding=1))

    def forward(
        self, x_t: torch.Tensor, timesteps: torch.Tensor, low_dose: torch.Tensor, film: list[Film] | None = None
    ) -> torch.Tensor:
        """[batch, 2, z, y, x]: the noise in `x_t` [batch, 1, z, y, x], or v, and the variance interpolant (-1 to 1).

        `timesteps` [batch], or [1] where all are the same, count from 0; `film` is what `self.film(timesteps)` said
        of the same timesteps, if it is known already. float32, whatever the precision of the weights.
        """
        scales = iter(self.film(timesteps) if film is None else film)
        encoders: Any = self.input_blocks  # a list of lists, which the types of torch cannot say
        decoders: Any = self.output_blocks
        enter = encoders[0][0]
        h = enter(torch.cat([x_t, low_dose.expand_as(x_t)], dim=1).to(enter.weight.dtype))
        skips = [h]
        for (block,) in encoders[1:]:
            h = block(h, next(scales))
            skips.append(h)
        for block in self.middle_block:
            h = block(h, next(scales))
        for layers in decoders:
            h = torch.cat([h, skips.pop()], dim=1)  # the skip is freed as soon as it is read
            for block in layers:
                h = block(h, next(scales))
        norm, _, leave = self.out
        return leave(normalised_silu(h, norm)).float()

    def film(self, timesteps: torch.Tensor) -> list[Film]:
        """Every block's (scale, shift), each [batch, channels], in the order in which the blocks run."""
        embedded = F.silu(self.time_embed(sinusoidal_embedding(timesteps, self.base)))
        blocks = [module for module in self.modules() if isinstance(module, ResidualBlock)]
        return [block.emb_layers[1](embedded).chunk(2, dim=1) for block in blocks]

    @property
    def bytes_per_voxel(self) -> int:
        """What an evaluation without gradients holds at its peak: the skips of the finest level, and a block there."""
        encoders: Any = self.input_blocks
        weight = encoders[0][0].weight
        return (len(self.output_blocks) // self.multiple.bit_length() + 8) * len(weight) * weight.element_size()

    def convolve_in(self, precision: torch.dtype) -> DDPM3D:
        """Convolutions and what lies between them in `precision`; time and the normalisations' weights stay float32."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                module.to(precision)
        return self


class ResidualBlock(nn.Module):
    """Two convolutions with scale and shift by time between; `resize` ("", "down", "up") is by two in the plane."""

    def __init__(self, width: int, after: int, embedding: int, resize: str = "") -> None:
        super().__init__()
        self.resize = resize
        self.in_layers = nn.Sequential(nn.GroupNorm(GROUPS, width), nn.SiLU(), Conv3d(width, after, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * after))
        # The identity stands where the published network has its unused dropout, so that names agree.
        self.out_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, after), nn.SiLU(), nn.Identity(), Conv3d(after, after, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if width == after else Conv3d(width, after, 1)

    def forward(self, x: torch.Tensor, film: Film) -> torch.Tensor:
        h = self._resized(normalised_silu(x, self.in_layers[0]))
        h = self.in_layers[2](h)
        h = self.out_layers[3](normalised_silu(h, self.out_layers[0], film))
        return self.skip_connection(self._resized(x)) + h

    def _resized(self, x: torch.Tensor) -> torch.Tensor:
        if self.resize == "down":
            left, right = x[..., 0::2, :], x[..., 1::2, :]
            return (left[..., 0::2] + left[..., 1::2] + right[..., 0::2] + right[..., 1::2]) / 4
        return F.interpolate(x, scale_factor=(1, 2, 2), mode="nearest") if self.resize == "up" else x


def sinusoidal_embedding(timesteps: torch.Tensor, width: int) -> torch.Tensor:
    """[batch, width]: cosines, then sines, of the timesteps at frequencies from 1 down to 1/10000."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(width // 2, device=timesteps.device) / (width // 2))
    angles = timesteps.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def architecture_of(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The arguments of `DDPM3D` that give parameters of these names and shapes.

    Raises PETDiffusionError "wrong-model", naming the first parameter that does not fit, for anything else.
    """
    try:
        base = shapes["time_embed.0.weight"][1]
        decoders = {name.split(".")[1] for name in shapes if name.startswith("output_blocks.")}
        levels = 1 + sum(f"output_blocks.{index}.1.in_layers.0.weight" in shapes for index in decoders)
        blocks = len(decoders) // levels - 1
        entries = [1 + level * (blocks + 1) for level in range(levels)]
        widths = [shapes[f"input_blocks.{entry}.0.out_layers.0.weight"][0] for entry in entries]
        arguments: dict[str, Any] = {"base": base, "multipliers": [width // base for width in widths], "blocks": blocks}
        with torch.device("meta"):
            expected = {name: tuple(value.shape) for name, value in DDPM3D(**arguments).state_dict().items()}
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise _not_this_network(f"its parameters have other names or widths ({error})") from error
    for name in sorted(expected.keys() | shapes.keys()):
        found, wanted = shapes.get(name), expected.get(name)
        if found is None or wanted is None or tuple(found) != wanted:
            raise _not_this_network(f'parameter "{name}" should be {wanted or "absent"}, but is {found or "absent"}')
    return arguments


def from_state_dict(state: Mapping[str, torch.Tensor], predicts: str = "noise") -> DDPM3D:
    """The network that a state dict belongs to, filled with it; sizes are read off the names and shapes.

    What it `predicts`, "noise" or "v" (`diffusion.prediction`), no shape can tell; the published ones say the noise.

    Raises PETDiffusionError "wrong-model".
    """
    arguments = architecture_of({name: tuple(value.shape) for name, value in state.items()})
    with torch.device("meta"):
        network = DDPM3D(**arguments, predicts=predicts)
    network.load_state_dict(dict(state), assign=True)
    return network


def _not_this_network(what: str) -> PETDiffusionError:
    return PETDiffusionError("wrong-model", f"This is not a 3D DDPM of Yu et al.: {what}.")
