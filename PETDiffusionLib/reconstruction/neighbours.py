"""The 26 neighbours of a voxel, and sums over pairs of them: what smoothing priors are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import torch

Box = tuple[slice, ...]


class Neighbourhood:
    """Pairs of neighbouring voxels on a grid [z, y, x], each weighted by the smallest voxel side over its distance."""

    def __init__(self, shape: Sequence[int], voxel_size_mm: Sequence[float], device: torch.device) -> None:
        sides = tuple(voxel_size_mm)[::-1]  # (z, y, x)
        forward = [offset for offset in product((-1, 0, 1), repeat=3) if offset > (0, 0, 0)]  # each pair once
        self._pairs = []
        for offset in forward:
            if any(step != 0 and count < 2 for step, count in zip(offset, shape, strict=True)):
                continue
            distance = math.hypot(*(step * side for step, side in zip(offset, sides, strict=True)))
            self._pairs.append((*_boxes(offset), min(sides) / distance))
        self.total_weight = torch.zeros(tuple(shape), device=device)
        for here, there, weight in self.pairs():
            self.total_weight[here] += weight
            self.total_weight[there] += weight

    def pairs(self) -> Iterator[tuple[Box, Box, float]]:
        """Slices of the two voxels of every pair, and the pair's weight."""
        return iter(self._pairs)

    def mean(self, image: torch.Tensor) -> torch.Tensor:
        """The weighted mean of every voxel's neighbours."""
        total = torch.zeros_like(image)
        for here, there, weight in self.pairs():
            total[here] += weight * image[there]
            total[there] += weight * image[here]
        return total / self.total_weight.clamp(min=1e-12)

    def half_squares(self, image: torch.Tensor) -> float:
        """sum_pairs w (x_j - x_k)^2 / 2."""
        squares = (w * float((image[a] - image[b]).square().sum(dtype=torch.float64)) for a, b, w in self.pairs())
        return sum(squares) / 2


def _boxes(offset: tuple[int, ...]) -> tuple[Box, Box]:
    """Where the first voxels of the pairs at `offset` lie, and where the second."""
    here = tuple(slice(max(0, -step), -step if step > 0 else None) for step in offset)
    there = tuple(slice(max(0, step), step if step < 0 else None) for step in offset)
    return here, there
