"""Random crops of simulated cases on the model's grid: filtered as sites do, resampled and flipped on the fly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from PETDiffusionLib.diffusion.noise_level import WholeVolume, noise_scale
from PETDiffusionLib.simulation.draws import log_uniform
from PETDiffusionLib.sinograms.scanners import FWHM_TO_SIGMA
from PETDiffusionLib.training.cases import Case, load_case
from PETDiffusionLib.training.loop import ahead
from PETDiffusionLib.volumes.resampling import centre_positions, inverse_collocation, isotropic_grid

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
        return cls(float(rng.uniform(*POST_FILTER_MM)), float(log_uniform(rng, 1, LARGEST_NOISE_FACTOR)))

    def filtered(self, matrix: np.ndarray, size_mm: float) -> torch.Tensor:
        """The matrix [new, old] of one axis with voxels of `size_mm`, after the post-filter."""
        if self.post_filter_mm:
            sigma = self.post_filter_mm * FWHM_TO_SIGMA / size_mm
            matrix = matrix @ gaussian_filter1d(np.eye(matrix.shape[1]), sigma, axis=0, mode="nearest")
        return torch.from_numpy(matrix.astype(np.float32))

    def noisier(self, low_dose: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """The low dose with that noise."""
        return reference + self.noise_factor * (low_dose - reference)


@dataclass(frozen=True)
class _Held:
    """A case on the device: for each dose its low-dose volume and reference under its protocol, and its noise.

    Both are coefficients of cubic B-splines [z, y, x] in half precision; doses left as simulated share a reference.
    """

    pairs: list[tuple[torch.Tensor, torch.Tensor]]
    body: np.ndarray  # [voxels, 3], where crops may be centred
    voxel_size_mm: tuple[float, ...]
    whole: WholeVolume  # [dose]

    @property
    def shape(self) -> tuple[int, ...]:
        """[z, y, x]."""
        return tuple(self.pairs[0][1].shape)


@dataclass(frozen=True)
class _Place:
    """Where a crop is read: sample positions along z, y and x in a case's voxels, and whether y and x are swapped."""

    positions: tuple[np.ndarray, ...]
    swapped: bool = False


class CropSource:
    """Pairs of low-dose and reference crops from case files, drawn with one generator, at `voxel_size_mm` on `device`.

    A noisier dose is drawn more often, by the root of its noise level, since few are noisy and these have most to
    teach; a crop is centred anywhere in the body; the voxels are taken up to 8 % larger or smaller than they are, and
    axes are flipped and transposed, so that one case serves as many. `levels` are the noise levels of all `doses`.
    """

    def __init__(
        self, paths: list[Path], crop: tuple[int, ...], voxel_size_mm: float, device: str | torch.device = "cpu"
    ) -> None:
        self.crop, self.voxel_size_mm, self.device = crop, voxel_size_mm, torch.device(device)
        loaded = ahead(lambda number: load_case(paths[number]), range(len(paths)))
        self.cases = [self._hold(case, np.random.default_rng([5, number])) for number, case in enumerate(loaded)]
        self.doses = [(case, dose) for case in self.cases for dose in range(len(case.pairs))]
        self.levels = torch.cat([case.whole.level for case in self.cases]).double().cpu().numpy()
        self.chances = np.sqrt(self.levels) / np.sqrt(self.levels).sum()

    def batch(self, size: int, rng: np.random.Generator) -> Crops:
        """`size` crops."""
        drawn = [self.doses[number] for number in rng.choice(len(self.doses), size, p=self.chances)]
        places = [self._place(case, rng) for case, _ in drawn]
        pairs = [case.pairs[dose] for case, dose in drawn]
        return Crops(_read(pairs, places), _joined([_chosen(case.whole, dose) for case, dose in drawn]))

    def _hold(self, case: Case, rng: np.random.Generator) -> _Held:
        protocols = [Protocol.random(rng) for _ in case.low_dose]
        reference, *low_doses = (torch.from_numpy(v).to(self.device) for v in (case.reference, *case.low_dose))
        as_simulated = self._spline(reference, Protocol(), case.voxel_size_mm)
        pairs = []
        for low_dose, protocol in zip(low_doses, protocols, strict=True):
            low = self._spline(protocol.noisier(low_dose, reference), protocol, case.voxel_size_mm)
            filtered = (
                self._spline(reference, protocol, case.voxel_size_mm) if protocol.post_filter_mm else as_simulated
            )
            pairs.append((low, filtered))
        body = np.argwhere(case.reference > 0.3 * case.reference.mean())[::7].astype(np.uint16)
        grid = isotropic_grid(tuple(case.reference.shape), case.voxel_size_mm, self.voxel_size_mm)
        counts = zip(grid.input_shape, grid.input_spacing_mm, grid.model_shape, grid.model_spacing_mm, strict=True)
        centres = _Place(tuple(centre_positions(*count) for count in counts))
        whole = noise_scale(_read([(low,) for low, _ in pairs], [centres] * len(pairs)), self.voxel_size_mm).whole
        return _Held(pairs, body, case.voxel_size_mm, whole)

    def _spline(self, volume: torch.Tensor, protocol: Protocol, voxel_size_mm: tuple[float, ...]) -> torch.Tensor:
        """The coefficients [z, y, x] of the spline of `volume` after the protocol's filter."""
        z, y, x = (
            protocol.filtered(inverse_collocation(count), size).to(self.device)
            for count, size in zip(volume.shape, voxel_size_mm, strict=True)
        )
        return torch.einsum("Zz,zyx->Zyx", z, y @ (volume @ x.T)).half()

    def _place(self, case: _Held, rng: np.random.Generator) -> _Place:
        """A crop about a random voxel of the body, with a random zoom and turn."""
        centre = case.body[rng.integers(len(case.body))]
        zoom = np.exp(rng.uniform(-LARGEST_ZOOM, LARGEST_ZOOM))
        positions = [
            self._positions(count, size * zoom, points, middle, rng)[:: rng.choice((-1, 1))]
            for count, size, points, middle in zip(case.shape, case.voxel_size_mm, self.crop, centre, strict=True)
        ]
        return _Place(tuple(positions), bool(rng.random() < 0.5 and self.crop[1] == self.crop[2]))

    def _positions(self, count: int, spacing: float, points: int, middle: int, rng: np.random.Generator) -> np.ndarray:
        """Sample positions of one axis about `middle`, moved inside the volume as far as it reaches."""
        step = self.voxel_size_mm / spacing
        start = middle + rng.uniform(-0.5, 0.5) - (points - 1) / 2 * step
        last_start = count - 1 - (points - 1) * step
        return np.clip(start, min(0, last_start), max(0, last_start)) + np.arange(points) * step


def _read(splines: Sequence[tuple[torch.Tensor, ...]], places: list[_Place]) -> torch.Tensor:
    """Read `splines`, each some volumes [z, y, x], at as many places: [place, volume, z, y, x], never negative."""
    device, shapes = splines[0][0].device, [volumes[0].shape for volumes in splines]
    axes = []
    for axis in range(3):
        positions = torch.from_numpy(np.stack([place.positions[axis] for place in places])).float().to(device)
        axes.append(_spline_weights(positions, torch.tensor([shape[axis] for shape in shapes], device=device)))
    crops = []
    for volumes, shape, place, z, y, x in zip(splines, shapes, places, *axes, strict=True):
        depth, height, width = shape
        rows = y[:, :height] @ (torch.stack(volumes).float() @ x[:, :width].T)
        crop = torch.einsum("Zz,czyx->cZyx", z[:, :depth], rows)
        crops.append(crop.transpose(2, 3) if place.swapped else crop)
    return torch.stack(crops).clamp_(min=0)


def _spline_weights(positions: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Weights of `counts` [row] cubic B-splines, mirrored at the ends, at `positions` [row, point]: [row, point, most].

    They evaluate the coefficients that `inverse_collocation` gives. Positions beyond the ends are held at them.
    """
    last = (counts - 1)[:, None, None].float()
    at = positions[..., None].clamp_min(0).minimum(last)
    index = torch.arange(int(counts.max()), device=positions.device, dtype=torch.float32)
    weights = _cubic(at - index) + _cubic(at + index) * (index > 0)
    weights += _cubic(at - (2 * last - index)) * (index < last)
    weights *= index <= last
    return weights / weights.sum(-1, keepdim=True)  # one already, but for an axis of one sample


def _cubic(distance: torch.Tensor) -> torch.Tensor:
    """The cubic B-spline."""
    away = distance.abs()
    near = 2 / 3 - away.square() * (1 - away / 2)
    return torch.where(away < 1, near, (2 - away).clamp_min(0) ** 3 / 6)


def _chosen(whole: WholeVolume, number: int) -> WholeVolume:
    """One of a batch, as a batch of one."""
    one = slice(number, number + 1)
    return WholeVolume(whole.uptake[one], whole.level[one], whole.correlation[one])


def _joined(wholes: Sequence[WholeVolume]) -> WholeVolume:
    """Batches one after the other."""
    return WholeVolume(*(torch.cat([getattr(whole, fact.name) for whole in wholes]) for fact in fields(WholeVolume)))
