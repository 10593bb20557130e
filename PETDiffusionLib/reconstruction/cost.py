"""What a walk with a prior will cost, said before it starts: seconds from one evaluation, bytes from the network."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import torch

from PETDiffusionLib.diffusion.fitting import free_memory
from PETDiffusionLib.diffusion.gaussian import Denoiser

GRADIENT_COST = 3.5  # of a gradient step, in evaluations: forward, and backward to inputs and to few weights
VOLUMES, SINOGRAMS = 12, 6  # float32 volumes and sinograms that are alive at once
# Bytes a voxel in single precision for each channel at half resolution, measured: in an evaluation, and in a gradient.
EVALUATION_BYTES, GRADIENT_BYTES = 11.0, 20.0


@dataclass(frozen=True)
class Cost:
    """The estimate, words for it, and the bytes that are free on the device."""

    seconds: float
    evaluation_s: float
    memory_bytes: float
    free_bytes: float

    @property
    def text(self) -> str:
        minutes = self.seconds / 60
        duration = f"{minutes:.0f} min" if minutes >= 1.5 else f"{max(1.0, self.seconds):.0f} s"
        return f"about {duration} and {self.memory_bytes / 1e9:.1f} GB"


@torch.no_grad()
def walk_cost(
    denoiser: Denoiser,
    condition: torch.Tensor,
    *,
    time: int,
    channels: int,
    steps: int,
    gradient_steps: int,
    pass_s: float,
    bins: int,
) -> Cost:
    """The cost of `steps` steps with `gradient_steps` each, on the grid of `condition` [1, 1, z, y, x].

    The denoiser is tried once, at `time`; `pass_s` is how long a pass over the data takes, `bins` how many they are,
    `channels` how many the network has at half resolution.
    """
    started = perf_counter()
    denoiser(torch.zeros_like(condition), time, condition)
    evaluation_s = perf_counter() - started
    seconds = steps * (pass_s + evaluation_s * (1 + (gradient_steps > 0) + GRADIENT_COST * gradient_steps))
    a_voxel = channels * (GRADIENT_BYTES if gradient_steps else EVALUATION_BYTES) + 4 * VOLUMES
    memory = a_voxel * condition.numel() + 4 * SINOGRAMS * bins
    return Cost(seconds, evaluation_s, memory, free_memory(condition.device))
