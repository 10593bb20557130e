"""Batches of sinograms as scanners count them, drawn on the fly: other doses, efficiencies and noise every time.

y ~ Poisson(m P x + b): m attenuation times efficiencies, b scatter and randoms. Everything runs on one device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.simulation.draws import log_uniform
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, parallel_beam
from PETDiffusionLib.sinograms.scanners import FWHM_TO_SIGMA
from PETDiffusionLib.sinograms.sinogram import Sinogram
from PETDiffusionLib.training.sinogram_cases import load_case

TRUES_PER_BIN = (0.1, 60.0)  # in the mean over a stack: from DRF 100 to full dose on most scanners
SCATTER_FRACTION, RANDOMS_FRACTION = (0.2, 0.45), (0.05, 0.8)
SCATTER_FWHM_MM = 150.0
TILTED_SHARE, LARGEST_TILT = 0.3, 7  # how often planes see several slices, as tilted lines do, and how many


@dataclass(frozen=True)
class SinogramBatch:
    """`stacks` stacks of planes in one: tensors [stack * plane, view, tangential], sizes (x, y, z) of each stack."""

    sinogram: Sinogram  # prompts, multiplicative, additive
    expected: torch.Tensor  # the prompts' expectation
    projector: Projector
    voxel_sizes_mm: list[tuple[float, float, float]]

    def stacked(self, data: torch.Tensor) -> torch.Tensor:
        """[stack * plane, ...] as one volume a stack: [stack, 1, plane, ...]."""
        return data.unflatten(0, (len(self.voxel_sizes_mm), -1)).unsqueeze(1)


class SinogramSource:
    """Draws batches of `stacks` stacks of `planes` from the phantoms in `paths`, all kept on `device`."""

    def __init__(self, paths: list[Path], stacks: int, planes: int, device: torch.device) -> None:
        self.stacks, self.planes, self.device = stacks, planes, device
        self._cases: dict[int, list[tuple[torch.Tensor, float, float]]] = {}  # by size: those of a batch share it
        for path in paths:
            case = load_case(path)
            pair = torch.from_numpy(np.stack([case.activity, case.mu])).half().to(device)  # [2, plane, y, x]
            self._cases.setdefault(case.activity.shape[-1], []).append((pair, case.voxel_mm, case.plane_mm))

    @torch.inference_mode()
    def batch(self, seed: int) -> SinogramBatch:
        """The batch of `seed`."""
        rng = np.random.default_rng([seed, 7])
        generator = torch.Generator(self.device).manual_seed(seed)
        sizes = list(self._cases)
        share = np.array([len(self._cases[size]) for size in sizes], float)
        size = sizes[rng.choice(len(sizes), p=share / share.sum())]
        chosen = [self._cases[size][rng.integers(len(self._cases[size]))] for _ in range(self.stacks)]
        images = torch.cat([self._slab(pair, rng) for pair, _, _ in chosen], dim=1)  # [2, stack * plane, y, x]
        geometry, projector = _scanner(size, chosen[0][1], images.shape[1], self.device)
        bins_mm = [voxel for _, voxel, _ in chosen]
        lines = self._lines(projector, images)
        parts = [self._counts(*one, bin_mm, rng, generator) for one, bin_mm in zip(lines, bins_mm, strict=True)]
        multiplicative, additive = (torch.cat([part[k] for part in parts]) for k in (0, 1))
        expected = multiplicative * projector.forward(images[0]) + additive
        prompts = torch.poisson(expected, generator=generator)
        sinogram = Sinogram(geometry, prompts, multiplicative, additive)
        return SinogramBatch(sinogram, expected, projector, [(voxel, voxel, plane) for _, voxel, plane in chosen])

    def _slab(self, pair: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Some planes of a phantom [2, plane, y, x], turned and mirrored; sometimes seen by tilted lines."""
        first = int(rng.integers(max(1, pair.shape[1] - self.planes + 1)))
        index = (first + torch.arange(self.planes, device=self.device)).clamp(max=pair.shape[1] - 1)
        slab = pair[:, index].float()
        if rng.random() < TILTED_SHARE:
            reach = int(rng.integers(1, LARGEST_TILT // 2 + 1))
            edged = F.pad(slab.permute(0, 2, 3, 1), (reach, reach, 0, 0), mode="replicate")
            slab = edged.unfold(-1, 2 * reach + 1, 1).mean(-1).permute(0, 3, 1, 2)
        slab = slab.flip([axis for axis in (1, 2, 3) if rng.random() < 0.5])
        return slab.rot90(int(rng.integers(4)), (2, 3))

    def _lines(self, projector: Projector, images: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Line integrals of activity and attenuation, stack by stack."""
        lines = [projector.forward(image).split(self.planes) for image in images]
        return list(zip(*lines, strict=True))

    def _counts(
        self,
        trues: torch.Tensor,
        attenuation: torch.Tensor,
        bin_mm: float,
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The multiplicative and additive terms of one stack, at a random dose."""
        efficiency = torch.exp(-attenuation) * self._efficiency(attenuation.shape, rng, generator)
        wanted = log_uniform(rng, *TRUES_PER_BIN)
        multiplicative = efficiency * (wanted / (efficiency * trues).mean().clamp_min(1e-12))
        counts = multiplicative * trues
        scatter = _blurred_along_bins(counts, SCATTER_FWHM_MM * FWHM_TO_SIGMA / bin_mm)
        fraction = rng.uniform(*SCATTER_FRACTION)
        scatter = scatter * (fraction / (1 - fraction) * counts.sum() / scatter.sum().clamp_min(1e-12))
        randoms = rng.uniform(*RANDOMS_FRACTION) * wanted
        return multiplicative, scatter + randoms

    def _efficiency(
        self, shape: torch.Size, rng: np.random.Generator, generator: torch.Generator
    ) -> torch.Tensor | float:
        """Of the detectors: a pattern over the bins, a slope over the planes, and every second plane less (a span)."""
        if rng.random() < 0.3:
            return 1.0
        pattern = torch.randn(shape[1:], generator=generator, device=self.device).mul(rng.uniform(0, 0.25)).exp()
        planes = torch.linspace(-1, 1, shape[0], device=self.device).mul(rng.normal(0, 0.3)).exp()
        planes[int(rng.integers(2)) :: 2] *= rng.uniform(0.5, 1) if rng.random() < 0.3 else 1
        return planes[:, None, None] * pattern


@lru_cache(maxsize=16)
def _scanner(size: int, voxel_mm: float, planes: int, device: torch.device) -> tuple[ScannerGeometry, Projector]:
    """Parallel beams for images of `planes` x `size` x `size`; kept, since the matrices take seconds to make."""
    geometry = parallel_beam(8 * round(0.9 * size / 8), size, voxel_mm, planes, voxel_mm)
    return geometry, make_projector(geometry, (planes, size, size), (voxel_mm,) * 3, device=device)


def _blurred_along_bins(data: torch.Tensor, sigma: float) -> torch.Tensor:
    bins = torch.arange(data.shape[-1], device=data.device, dtype=data.dtype)
    kernel = torch.exp(-0.5 * ((bins[:, None] - bins[None, :]) / sigma) ** 2)
    return data @ kernel
