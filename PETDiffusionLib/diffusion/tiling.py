"""Per-step blended tiling: any volume through a network of windows, without seams.

`tiled` makes a denoiser of a denoiser. It is applied at every step to the one state of the whole volume, so overlapping
windows always look at the same noise, and their estimates are blended before the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F

from PETDiffusionLib.diffusion.residual import Denoiser

Box = tuple[slice, ...]
MIRRORS = 8


def plan_windows(occupied: np.ndarray, window: tuple[int, int, int], overlap: int, multiple: int = 8) -> list[Box]:
    """Windows of at most `window` [z, y, x] that cover every occupied voxel and leave empty air out.

    The volume's sides must divide by `multiple`. Borders lie on multiples of it, so windows share the network's grid
    and agree wherever its receptive field lets them. Each slab is cut to the bounding box of what it holds.
    """
    boxes: list[Box] = [tuple(slice(0, side) for side in occupied.shape)]
    for axis in range(3):
        boxes = [cut for box in boxes for cut in _cut(occupied, box, axis, window[axis], overlap, multiple)]
    return boxes


def _cut(occupied: np.ndarray, box: Box, axis: int, size: int, overlap: int, multiple: int) -> Iterator[Box]:
    """Cut `box` along one axis: its occupied stretch, in pieces of at most `size` that overlap."""
    others = tuple({0, 1, 2} - {axis})
    held = np.flatnonzero(occupied[box].any(axis=others)) + box[axis].start
    if held.size == 0:
        return
    first = max(0, (held[0] - overlap // 2) // multiple * multiple)
    last = min(occupied.shape[axis], -(-(held[-1] + 1 + overlap // 2) // multiple) * multiple)
    pieces = max(1, -(-(last - first - overlap) // (size - overlap)))
    step = -(-(last - first - overlap) // pieces // multiple) * multiple
    for piece in range(pieces):
        start = first + piece * step
        stop = min(last, start + step + overlap)
        if piece == 0 or start + overlap < last:  # else the piece before reaches the end already
            yield tuple(slice(start, stop) if a == axis else box[a] for a in range(3))


def tiled(
    denoiser: Denoiser,
    boxes: list[Box],
    overlap: int,
    empty: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    callback: Callable[[], None] | None = None,
) -> Denoiser:
    """A denoiser that works through `boxes` and blends them; `empty(x_t, condition)` answers where no box reaches.

    A window's weight rises linearly over the overlap from its inner borders and is full at the volume's own.
    `callback` is called after every window.
    """

    def blended(x_t: torch.Tensor, alpha: float, condition: torch.Tensor) -> torch.Tensor:
        untouched = empty(x_t, condition)
        total, weights = torch.zeros_like(untouched), torch.zeros_like(x_t[:1, :1])
        for box in boxes:
            where = (slice(None), slice(None), *box)
            weight = _window_weight(box, x_t.shape[2:], overlap).to(x_t)
            total[where] += weight * denoiser(x_t[where], alpha, condition[where])
            weights[where] += weight
            if callback:
                callback()
        return torch.where(weights > 0, total / weights.clamp_min(1e-6), untouched)

    return blended


def _window_weight(box: Box, shape: torch.Size, overlap: int) -> torch.Tensor:
    """[1, 1, z, y, x]: the product of one trapezoid an axis."""
    weight = torch.ones(1, 1, 1, 1, 1)
    for axis, (cut, side) in enumerate(zip(box, shape, strict=True)):
        position = torch.arange(cut.start, cut.stop, dtype=torch.float32)
        ramp = torch.ones_like(position)
        if cut.start > 0:
            ramp = torch.minimum(ramp, (position - cut.start + 0.5) / overlap)
        if cut.stop < side:
            ramp = torch.minimum(ramp, (cut.stop - position - 0.5) / overlap)
        extent = [1] * 5
        extent[axis + 2] = -1
        weight = weight * ramp.reshape(extent)
    return weight


def mirrored(denoiser: Denoiser, axes: tuple[int, ...]) -> Denoiser:
    """The same denoiser through a mirror along `axes` of [batch, channel, z, y, x]; an average over mirrors helps."""
    if not axes:
        return denoiser
    return lambda x_t, alpha, condition: denoiser(x_t.flip(axes), alpha, condition.flip(axes)).flip(axes)


def mirror(draw: int) -> tuple[int, ...]:
    """The axes of one of the MIRRORS of [batch, channel, z, y, x], the unmirrored first: another for every draw."""
    every = [axes for count in range(4) for axes in combinations((2, 3, 4), count)]
    return every[draw % MIRRORS]


def padded_to_multiple(volume: torch.Tensor, multiple: int = 8) -> torch.Tensor:
    """The volume with its far sides repeated until they divide by `multiple`: [batch, channel, z, y, x]."""
    pad = [-side % multiple for side in volume.shape[2:]]
    return F.pad(volume, (0, pad[2], 0, pad[1], 0, pad[0]), mode="replicate")
