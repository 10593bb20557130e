"""Random crops of simulated cases on the model's grid, resampled and flipped on the fly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from PETDiffusionLib.diffusion.noise_level import noise_scale
from PETDiffusionLib.training.cases import load_case
from PETDiffusionLib.volumes.resampling import centre_matrix, isotropic_grid, spline_matrix


@dataclass(frozen=True)
class Crops:
    """`pair` [batch, 2, z, y, x] is low dose and reference in SUV; `uptake`, `level` [batch] are the whole volumes'."""

    pair: torch.Tensor
    uptake: torch.Tensor
    level: torch.Tensor


@dataclass(frozen=True)
class _Held:
    """A case on the device: reference and low doses [1 + doses, z, y, x] in half precision, and the doses' noise."""

    volumes: torch.Tensor
    body: np.ndarray  # [voxels, 3], where crops may be centred
    voxel_size_mm: tuple[float, ...]
    uptake: torch.Tensor  # [doses]
    level: torch.Tensor  # [doses]


class CropSource:
    """Pairs of low-dose and reference crops from case files, drawn with one generator, at `voxel_size_mm` on `device`.

    A crop is centred anywhere in the body; the voxels are taken up to 15 % larger or smaller than they are, and axes
    are flipped and transposed, so that one case serves as many.
    """

    def __init__(
        self, paths: list[Path], crop: tuple[int, ...], voxel_size_mm: float, device: str | torch.device = "cpu"
    ) -> None:
        self.crop, self.voxel_size_mm, self.device = crop, voxel_size_mm, torch.device(device)
        self.cases = [self._hold(path) for path in paths]

    def batch(self, size: int, rng: np.random.Generator) -> Crops:
        """`size` crops."""
        pairs, uptakes, levels = zip(*(self._draw(rng) for _ in range(size)), strict=True)
        return Crops(torch.stack(pairs), torch.stack(uptakes), torch.stack(levels))

    def _hold(self, path: Path) -> _Held:
        case = load_case(path)
        volumes = torch.from_numpy(np.stack([case.reference, *case.low_dose])).to(self.device)
        body = np.argwhere(case.reference > 0.3 * case.reference.mean())[::7].astype(np.uint8)
        pair = isotropic_grid(tuple(case.reference.shape), case.voxel_size_mm, self.voxel_size_mm)
        counts = zip(pair.input_shape, pair.input_spacing_mm, pair.model_shape, pair.model_spacing_mm, strict=True)
        low_dose = self._resampled(volumes[1:], tuple(centre_matrix(*count) for count in counts)).clamp_(min=0)
        noise = [noise_scale(one[None, None], self.voxel_size_mm) for one in low_dose]
        uptake, level = torch.cat([n.uptake for n in noise]), torch.cat([n.level for n in noise])
        return _Held(volumes.half(), body, case.voxel_size_mm, uptake, level)

    def _draw(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        case = self.cases[rng.integers(len(self.cases))]
        dose = int(rng.integers(len(case.level)))
        centre = case.body[rng.integers(len(case.body))]
        zoom = np.exp(rng.uniform(np.log(0.85), np.log(1.15)))
        matrices = tuple(
            spline_matrix(count, self._positions(count, size * zoom, points, middle, rng)).astype(np.float32)
            for count, size, points, middle in zip(
                case.volumes.shape[1:], case.voxel_size_mm, self.crop, centre, strict=True
            )
        )
        pair = self._resampled(torch.stack([case.volumes[1 + dose], case.volumes[0]]).float(), matrices)
        pair = pair.flip([axis + 1 for axis in range(3) if rng.random() < 0.5])
        if rng.random() < 0.5 and self.crop[1] == self.crop[2]:
            pair = pair.transpose(2, 3)
        return pair.clamp(min=0), case.uptake[dose], case.level[dose]

    def _resampled(self, volumes: torch.Tensor, matrices: tuple[np.ndarray, ...]) -> torch.Tensor:
        """Apply one matrix [new, old] to each axis of `volumes` [count, z, y, x]."""
        z, y, x = (torch.from_numpy(matrix).to(self.device) for matrix in matrices)
        in_plane = y @ (volumes @ x.T)
        return torch.einsum("Zz,czyx->cZyx", z, in_plane)

    def _positions(self, count: int, spacing: float, points: int, middle: int, rng: np.random.Generator) -> np.ndarray:
        """Sample positions of one axis about `middle`, moved inside the volume as far as it reaches."""
        step = self.voxel_size_mm / spacing
        start = middle + rng.uniform(-0.5, 0.5) - (points - 1) / 2 * step
        last_start = count - 1 - (points - 1) * step
        return np.clip(start, min(0, last_start), max(0, last_start)) + np.arange(points) * step
