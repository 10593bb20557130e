"""The Poisson model of an acquisition, subset by subset: what every statistical reconstruction asks of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.planes import bit_reversed
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.sinograms.sinogram import Sinogram, trues_estimate

INVISIBLE = 1e-4  # of the largest sensitivity: a voxel below it is not seen by the scanner


class Update(NamedTuple):
    """What a reconstruction says after every update of the image, and after every step of its preparation."""

    iteration: int  # from 0; -1 while it prepares
    subset: int
    image: torch.Tensor
    objective: float  # the subset's share of the objective, before the update


Callback = Callable[[Update], None]


class AcquisitionModel:
    """y ~ Poisson(m P x + s) for `subsets` interleaved sets of views. Images are float32 [z, y, x].

    Negative prompts, which precorrected data have, count as zero: with them the algorithms would diverge.
    """

    def __init__(self, projector: Projector, sinogram: Sinogram, subsets: int = 1) -> None:
        if tuple(projector.data_shape) != tuple(sinogram.prompts.shape):
            raise ValueError(f"data of {projector.data_shape} are expected, found {tuple(sinogram.prompts.shape)}")
        if not 1 <= subsets <= sinogram.geometry.views:
            raise PETDiffusionError(
                "bad-subsets", f"From 1 to {sinogram.geometry.views} (the views) subsets are possible, found {subsets}."
            )
        self.subsets = subsets
        self.order = sorted(range(subsets), key=lambda k: bit_reversed(k, subsets))  # far-apart views in succession
        self._projector = projector.with_subsets(subsets)
        self._sinogram = sinogram
        self._sensitivities: dict[int, torch.Tensor] = {}
        self._floor = max(1e-5 * float(sinogram.prompts.clamp(min=0).mean()), 1e-12)  # of an expectation, in counts

    @property
    def bins(self) -> int:
        """Of the whole sinogram."""
        return self._sinogram.prompts.numel()

    def prepare(self, callback: Callback | None) -> None:
        """Make the sensitivities of all subsets, which costs half an iteration; the callback hears of each."""
        for subset in self.order:
            image = self.subset_sensitivity(subset)
            if callback is not None:
                callback(Update(-1, subset, image, 0.0))

    @property
    def sensitivity(self) -> torch.Tensor:
        """P^T m over all subsets: the counts of one unit of activity in each voxel."""
        total = torch.zeros(self._projector.image_shape, device=self._sinogram.prompts.device)
        for subset in range(self.subsets):
            total += self.subset_sensitivity(subset)
        return total

    def subset_sensitivity(self, subset: int) -> torch.Tensor:
        """P_k^T m_k, kept."""
        if subset not in self._sensitivities:
            projector = self._projector.subset(subset)
            factors = torch.ones(projector.data_shape, device=self._sinogram.prompts.device)
            self._sensitivities[subset] = projector.adjoint(self._times_factors(subset, factors))
        return self._sensitivities[subset]

    def visible(self) -> torch.Tensor:
        """Where the scanner sees anything, [z, y, x] boolean."""
        sensitivity = self.sensitivity
        return sensitivity > INVISIBLE * sensitivity.max()

    def uniform_activity(self) -> float:
        """The activity that, filling the field of view, would give as many counts as were measured."""
        return max(trues_estimate(self._sinogram), 1e-6) / max(float(self.sensitivity.sum()), 1e-12)

    def expected(self, subset: int, image: torch.Tensor) -> torch.Tensor:
        """The expected counts of `image` in one subset: m P x + s."""
        lines = self._times_factors(subset, self._projector.subset(subset).forward(image))
        if self._sinogram.additive is not None:
            lines = lines + self._part(self._sinogram.additive, subset)
        return lines

    def back_projected_ratio(self, subset: int, image: torch.Tensor) -> tuple[torch.Tensor, float]:
        """P_k^T (m_k y_k / ybar_k), and the subset's log-likelihood sum(y log ybar - ybar)."""
        counts = self._part(self._sinogram.prompts, subset).clamp(min=0)
        expected = self.expected(subset, image).clamp_(min=self._floor)
        likelihood = float((torch.xlogy(counts, expected) - expected).sum(dtype=torch.float64))
        return self._projector.subset(subset).adjoint(self._times_factors(subset, counts / expected)), likelihood

    def passes(self, iterations: int) -> Iterator[tuple[int, int]]:
        """(iteration, subset) in the order in which they are visited."""
        return ((iteration, subset) for iteration in range(iterations) for subset in self.order)

    def _part(self, data: torch.Tensor, subset: int) -> torch.Tensor:
        return data[:, subset :: self.subsets]

    def _times_factors(self, subset: int, lines: torch.Tensor) -> torch.Tensor:
        if self._sinogram.multiplicative is None:
            return lines
        factors = self._part(self._sinogram.multiplicative, subset)
        return lines * (factors[..., None] if lines.ndim == 4 else factors)


def default_subsets(views: int) -> int:
    """The number of equal subsets of `views` that is nearest to twenty."""
    return min((n for n in range(1, views + 1) if views % n == 0), key=lambda n: abs(n - 20))
