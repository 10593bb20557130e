"""Random crops of simulated cases on the model's grid, resampled and flipped on the fly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from PETDiffusionLib.training.cases import load_case
from PETDiffusionLib.volumes.resampling import apply_matrices, spline_matrix


class CropSource:
    """Pairs of low-dose and reference crops from case files, drawn with one generator: [2, z, y, x] at `voxel_size_mm`.

    Cases are held in half precision. A crop is centred anywhere in the body; the voxels are taken up to 15 % larger or
    smaller than they are, and axes are flipped and transposed, so that one case serves as many.
    """

    def __init__(self, paths: list[Path], crop: tuple[int, ...], voxel_size_mm: float) -> None:
        self.crop, self.voxel_size_mm = crop, voxel_size_mm
        self.cases = []
        for path in paths:
            case = load_case(path)
            volumes = np.stack([case.reference, *case.low_dose]).astype(np.float16)
            body = np.argwhere(case.reference > 0.3 * case.reference.mean())[::7].astype(np.uint8)
            self.cases.append((volumes, body, case.voxel_size_mm))

    def draw(self, rng: np.random.Generator) -> torch.Tensor:
        """One crop: channel 0 is the low dose, channel 1 the reference; SUV, float32."""
        volumes, body, spacing = self.cases[rng.integers(len(self.cases))]
        dose = rng.integers(1, len(volumes))
        centre = body[rng.integers(len(body))]
        zoom = np.exp(rng.uniform(np.log(0.85), np.log(1.15)))
        matrices = tuple(
            spline_matrix(count, self._positions(count, size * zoom, points, middle, rng)).astype(np.float32)
            for count, size, points, middle in zip(volumes.shape[1:], spacing, self.crop, centre, strict=True)
        )
        pair = np.stack([apply_matrices(volumes[k].astype(np.float32), matrices) for k in (dose, 0)])
        flips = tuple(axis + 1 for axis in range(3) if rng.random() < 0.5)
        pair = np.flip(pair, flips)
        if rng.random() < 0.5 and self.crop[1] == self.crop[2]:
            pair = pair.transpose(0, 1, 3, 2)
        return torch.from_numpy(np.ascontiguousarray(pair)).clamp_(min=0)

    def batch(self, size: int, rng: np.random.Generator) -> torch.Tensor:
        """`size` crops: [size, 2, z, y, x]."""
        return torch.stack([self.draw(rng) for _ in range(size)])

    def _positions(self, count: int, spacing: float, points: int, middle: int, rng: np.random.Generator) -> np.ndarray:
        """Sample positions of one axis about `middle`, moved inside the volume as far as it reaches."""
        step = self.voxel_size_mm / spacing
        start = middle + rng.uniform(-0.5, 0.5) - (points - 1) / 2 * step
        last_start = count - 1 - (points - 1) * step
        return np.clip(start, min(0, last_start), max(0, last_start)) + np.arange(points) * step
