"""Windows and batches that fit in memory: as large as there is room for, smaller ones after running out of it."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import torch

from PETDiffusionLib.diffusion.residual import Denoiser
from PETDiffusionLib.diffusion.tiling import Box, plan_windows, tiled
from PETDiffusionLib.errors import is_out_of_memory

Window = tuple[int, int, int]
OVERLAP = 16


class FittedDenoiser:
    """`denoiser` on a volume of any size and a batch of any size, through windows of at most `window` [z, y, x].

    At most `voxels_at_once` voxels of batch and window are evaluated together. When memory runs out the step is done
    again with half as many, as long as a window can be made smaller. Where `occupied` [z, y, x] is false in and around
    a window's place nothing is evaluated: there x_0 is the condition's own value. `callback(done)` is told the share of
    the present call that is done.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        occupied: np.ndarray,
        window: Window,
        multiple: int,
        voxels_at_once: int,
        callback: Callable[[float], None] = lambda done: None,
    ) -> None:
        self.denoiser, self.occupied, self.multiple = denoiser, occupied, multiple
        self.voxels_at_once, self.callback = voxels_at_once, callback
        self.window = fitting_window(window, voxels_at_once, multiple)

    @property
    def boxes(self) -> list[Box]:
        """The windows of a call."""
        return plan_windows(self.occupied, self.window, OVERLAP, self.multiple)

    def __call__(self, x_t: torch.Tensor, t: float, condition: torch.Tensor) -> torch.Tensor:
        while True:
            try:
                return self._evaluate(x_t, t, condition)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not self._shrink(len(x_t)):
                    raise
            if x_t.is_cuda:
                torch.cuda.empty_cache()

    def _evaluate(self, x_t: torch.Tensor, t: float, condition: torch.Tensor) -> torch.Tensor:
        boxes, done = self.boxes, 0

        def told() -> None:
            nonlocal done
            done += 1
            self.callback(done / len(boxes))

        batch = max(1, self.voxels_at_once // prod(self.window))

        def batched(x_t: torch.Tensor, t: float, condition: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.denoiser(part, t, condition) for part in x_t.split(batch)])

        return tiled(batched, boxes, OVERLAP, _untouched, told)(x_t, t, condition)

    def _shrink(self, batch: int) -> bool:
        """Allow half as many voxels at once; False when the windows cannot be made smaller."""
        before, at_once = self.window, min(self.voxels_at_once, batch * prod(self.window))
        self.voxels_at_once = at_once // 2
        self.window = fitting_window(before, self.voxels_at_once, self.multiple)
        return at_once > prod(before) or self.window != before


def fitting_window(window: Window, voxels: int, multiple: int) -> Window:
    """`window` with its longest side halved until it has at most so many `voxels`, or cannot be cut any more."""
    least = max(2 * OVERLAP, multiple)
    sides = [max(least, -(-side // multiple) * multiple) for side in window]
    while prod(sides) > voxels and max(sides) > least:
        longest = sides.index(max(sides))
        sides[longest] = max(least, -(-sides[longest] // (2 * multiple)) * multiple)
    return sides[0], sides[1], sides[2]


def free_memory(device: torch.device) -> int:
    """Bytes that are free on `device`; where a system does not say it, 8 GiB, and what fits is found by trying."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 8 << 30
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) << 10


def _untouched(x_t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    x0 = condition[:, :1].expand_as(x_t)
    return torch.cat([x0, torch.full_like(x_t, 0.5)], dim=1)
