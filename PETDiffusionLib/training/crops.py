"""Random crops of simulated cases on the model's grid: filtered as sites do, resampled and flipped on the fly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from PETDiffusionLib.diffusion.noise_level import WholeVolume, noise_scale
from PETDiffusionLib.sinograms.scanners import FWHM_TO_SIGMA
from PETDiffusionLib.training.cases import load_case
from PETDiffusionLib.volumes.resampling import centre_matrix, isotropic_grid, spline_matrix

FILTERED_SHARE = 0.3
POST_FILTER_MM = (2.0, 8.0)
LARGEST_NOISE_FACTOR = 2.0
LARGEST_ZOOM = 0.08  # more would belie the noise's correlation, which is measured without


@dataclass(frozen=True)
class Crops:
    """`pair` [batch, 2, z, y, x] is low dose and reference in SUV; `whole` was measured in the whole volumes."""

    pair: torch.Tensor
    whole: WholeVolume

    def one_by_one(self) -> Iterator[Crops]:
        """Each crop as a batch of its own."""
        for number in range(len(self.pair)):
            yield Crops(self.pair[number : number + 1], _chosen(self.whole, number))


@dataclass(frozen=True)
class Protocol:
    """What a site does to one low-dose volume: another post-filter, FWHM in mm, and noise as of fewer counts.

    Most sites filter their noisier scans more, so noise that is both strong and coarse is common; a simulated case with
    its own filter seldom has it. The reference is filtered alike: only counts are ever to be restored.
    """

    post_filter_mm: float = 0.0
    noise_factor: float = 1.0

    @classmethod
    def random(cls, rng: np.random.Generator) -> Protocol:
        """As it was simulated, or filtered by another 2 to 8 mm, with up to twice the noise."""
        if rng.random() > FILTERED_SHARE:
            return cls()
        return cls(float(rng.uniform(*POST_FILTER_MM)), float(np.exp(rng.uniform(0, np.log(LARGEST_NOISE_FACTOR)))))

    def filtered(self, matrix: np.ndarray, size_mm: float) -> torch.Tensor:
        """The matrix [new, old] of one axis with voxels of `size_mm`, after the post-filter."""
        if self.post_filter_mm:
            sigma = self.post_filter_mm * FWHM_TO_SIGMA / size_mm
            matrix = matrix @ gaussian_filter1d(np.eye(matrix.shape[1]), sigma, axis=0, mode="nearest")
        return torch.from_numpy(matrix.astype(np.float32))

    def noisier(self, pair: torch.Tensor) -> torch.Tensor:
        """A `pair` [2, z, y, x] of low dose and reference with that noise, never negative."""
        low_dose, reference = pair
        return torch.stack([reference + self.noise_factor * (low_dose - reference), reference]).clamp_(min=0)


@dataclass(frozen=True)
class _Held:
    """A case on the device: reference and low doses [1 + doses, z, y, x] in half precision, and the doses' noise."""

    volumes: torch.Tensor
    body: np.ndarray  # [voxels, 3], where crops may be centred
    voxel_size_mm: tuple[float, ...]
    protocols: list[Protocol]  # one for each dose
    whole: WholeVolume  # [doses]


class CropSource:
    """Pairs of low-dose and reference crops from case files, drawn with one generator, at `voxel_size_mm` on `device`.

    A dose is drawn in proportion to its noise, since few are noisy and these have most to teach; a crop is centred
    anywhere in the body; the voxels are taken up to 8 % larger or smaller than they are, and axes are flipped and
    transposed, so that one case serves as many. `levels` are the noise levels of all `doses`.
    """

    def __init__(
        self, paths: list[Path], crop: tuple[int, ...], voxel_size_mm: float, device: str | torch.device = "cpu"
    ) -> None:
        self.crop, self.voxel_size_mm, self.device = crop, voxel_size_mm, torch.device(device)
        self.cases = [self._hold(path, np.random.default_rng([5, number])) for number, path in enumerate(paths)]
        self.doses = [(case, dose) for case in self.cases for dose in range(len(case.protocols))]
        self.levels = torch.cat([case.whole.level for case in self.cases]).double().cpu().numpy()
        self.chances = self.levels / self.levels.sum()

    def batch(self, size: int, rng: np.random.Generator) -> Crops:
        """`size` crops."""
        pairs, wholes = zip(*(self._draw(rng) for _ in range(size)), strict=True)
        return Crops(torch.stack(pairs), _joined(wholes))

    def _hold(self, path: Path, rng: np.random.Generator) -> _Held:
        case = load_case(path)
        volumes = torch.from_numpy(np.stack([case.reference, *case.low_dose])).to(self.device)
        body = np.argwhere(case.reference > 0.3 * case.reference.mean())[::7].astype(np.uint8)
        pair = isotropic_grid(tuple(case.reference.shape), case.voxel_size_mm, self.voxel_size_mm)
        counts = zip(pair.input_shape, pair.input_spacing_mm, pair.model_shape, pair.model_spacing_mm, strict=True)
        matrices = [centre_matrix(*count) for count in counts]
        protocols = [Protocol.random(rng) for _ in case.low_dose]
        wholes = []
        for dose, protocol in enumerate(protocols):
            low_dose = self._pair(volumes, dose, case.voxel_size_mm, matrices, protocol)[:1]
            wholes.append(noise_scale(low_dose[None], self.voxel_size_mm).whole)
        return _Held(volumes.half(), body, case.voxel_size_mm, protocols, _joined(wholes))

    def _draw(self, rng: np.random.Generator) -> tuple[torch.Tensor, WholeVolume]:
        case, dose = self.doses[rng.choice(len(self.doses), p=self.chances)]
        centre = case.body[rng.integers(len(case.body))]
        zoom = np.exp(rng.uniform(-LARGEST_ZOOM, LARGEST_ZOOM))
        matrices = [
            spline_matrix(count, self._positions(count, size * zoom, points, middle, rng))
            for count, size, points, middle in zip(
                case.volumes.shape[1:], case.voxel_size_mm, self.crop, centre, strict=True
            )
        ]
        pair = self._pair(case.volumes, dose, case.voxel_size_mm, matrices, case.protocols[dose])
        pair = pair.flip([axis + 1 for axis in range(3) if rng.random() < 0.5])
        if rng.random() < 0.5 and self.crop[1] == self.crop[2]:
            pair = pair.transpose(2, 3)
        return pair, _chosen(case.whole, dose)

    def _pair(
        self,
        volumes: torch.Tensor,
        dose: int,
        voxel_size_mm: tuple[float, ...],
        matrices: list[np.ndarray],
        protocol: Protocol,
    ) -> torch.Tensor:
        """Low dose and reference [2, z, y, x] under `protocol`, each axis taken through its matrix [new, old]."""
        stacked = torch.stack([volumes[1 + dose], volumes[0]]).float()
        z, y, x = (
            protocol.filtered(matrix, size).to(self.device)
            for matrix, size in zip(matrices, voxel_size_mm, strict=True)
        )
        return protocol.noisier(torch.einsum("Zz,czyx->cZyx", z, y @ (stacked @ x.T)))

    def _positions(self, count: int, spacing: float, points: int, middle: int, rng: np.random.Generator) -> np.ndarray:
        """Sample positions of one axis about `middle`, moved inside the volume as far as it reaches."""
        step = self.voxel_size_mm / spacing
        start = middle + rng.uniform(-0.5, 0.5) - (points - 1) / 2 * step
        last_start = count - 1 - (points - 1) * step
        return np.clip(start, min(0, last_start), max(0, last_start)) + np.arange(points) * step


def _chosen(whole: WholeVolume, number: int) -> WholeVolume:
    """One of a batch, as a batch of one."""
    one = slice(number, number + 1)
    return WholeVolume(whole.uptake[one], whole.level[one], whole.correlation[one])


def _joined(wholes: Sequence[WholeVolume]) -> WholeVolume:
    """Batches one after the other."""
    return WholeVolume(*(torch.cat([getattr(whole, fact.name) for whole in wholes]) for fact in fields(WholeVolume)))
