"""The Poisson model of an acquisition, subset by subset: what every statistical reconstruction asks of the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.planes import bit_reversed
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.reconstruction.few_counts import body, body_decides, supported_subsets
from PETDiffusionLib.sinograms.sinogram import Sinogram, total, trues_estimate

INVISIBLE = 1e-4  # of the largest sensitivity: a voxel below it is not seen by the scanner
MOST_OFF = 0.03  # of the measured trues: how far the expected ones may be from them


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
        check_subsets(subsets, sinogram.geometry.views)
        self.subsets = subsets
        self.order = sorted(range(subsets), key=lambda k: bit_reversed(k, subsets))  # far-apart views in succession
        self._projector = projector if projector.subset_count == subsets else projector.with_subsets(subsets)
        self._sinogram = sinogram
        self._sensitivities: dict[int, torch.Tensor] = {}
        self._sensitivity: torch.Tensor | None = None
        self._visible: torch.Tensor | None = None
        self._floor = max(
            1e-5 * total(sinogram.prompts, 0) / sinogram.prompts.numel(), 1e-12
        )  # of an expectation, in counts

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
        """P^T m over all subsets, kept: the counts of one unit of activity in each voxel."""
        if self._sensitivity is None:
            self._sensitivity = torch.zeros(self._projector.image_shape, device=self._sinogram.prompts.device)
            for subset in range(self.subsets):
                self._sensitivity += self.subset_sensitivity(subset)
        return self._sensitivity

    def subset_sensitivity(self, subset: int) -> torch.Tensor:
        """P_k^T m_k, kept."""
        if subset not in self._sensitivities:
            projector = self._projector.subset(subset)
            ones = torch.ones(1, device=self._sinogram.prompts.device).expand(projector.data_shape)
            self._sensitivities[subset] = projector.adjoint(self._times_factors(subset, ones))
        return self._sensitivities[subset]

    def visible(self) -> torch.Tensor:
        """Where the scanner sees anything and, with few counts, a body can be (few_counts.py); [z, y, x] boolean."""
        if self._visible is None:
            sensitivity = self.sensitivity
            self._visible = sensitivity > INVISIBLE * sensitivity.max()
            if body_decides(self._sinogram):
                self._visible &= body(self._projector, self._sinogram)
        return self._visible

    def uniform_activity(self) -> float:
        """The activity that, wherever it is visible, would give as many counts as were measured."""
        seen = float(self.sensitivity[self.visible()].sum(dtype=torch.float64))
        return self.measured_trues / max(seen, 1e-12)

    @property
    def measured_trues(self) -> float:
        """Prompts less additive, but not less than their own Poisson error: what an image may be as large as."""
        return max(trues_estimate(self._sinogram), math.sqrt(total(self._sinogram.prompts, 0)), 1e-6)

    def hold(self, image: torch.Tensor) -> float:
        """The factor that brings the expected trues of `image` within MOST_OFF of the measured ones; 1 if they are."""
        return holding_factor(float((image * self.sensitivity).sum(dtype=torch.float64)), self.measured_trues)

    def expected(self, subset: int, image: torch.Tensor) -> torch.Tensor:
        """The expected counts of `image` in one subset: m P x + s."""
        lines = self._times_factors(subset, self._projector.subset(subset).forward(image))
        if self._sinogram.additive is not None:
            lines = lines + self._part(self._sinogram.additive, subset)
        return lines

    def back_projected_ratio(self, subset: int, image: torch.Tensor) -> tuple[torch.Tensor, float]:
        """P_k^T (m_k y_k / ybar_k), and the subset's log-likelihood sum(y log ybar - ybar)."""
        expected = self.expected(subset, image)
        likelihood = self.likelihood(subset, expected)
        return self.back_projected(subset, self.ratio(subset, expected)), likelihood

    def ratio(self, subset: int, expected: torch.Tensor) -> torch.Tensor:
        """y_k over its expectation."""
        return self._part(self._sinogram.prompts, subset).clamp(min=0).div_(expected.clamp(min=self._floor))

    def likelihood(self, subset: int, expected: torch.Tensor) -> float:
        """sum(y_k log ybar_k - ybar_k) of the subset's expectation."""
        counts, expected = self._part(self._sinogram.prompts, subset).clamp(min=0), expected.clamp(min=self._floor)
        return float(torch.xlogy(counts, expected).sub_(expected).sum(dtype=torch.float64))

    def back_projected(self, subset: int, lines: torch.Tensor) -> torch.Tensor:
        """P_k^T m_k of the subset's `lines`."""
        return self._projector.subset(subset).adjoint(self._times_factors(subset, lines))

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


def chosen_subsets(sinogram: Sinogram, asked: int | None, warn: Callable[[str, str], None]) -> int:
    """The subsets that were `asked` for, or the default, as far as the counts allow; says so where they do not.

    Raises PETDiffusionError "bad-subsets" for more than there are views.
    """
    wanted = asked or default_subsets(sinogram.geometry.views)
    check_subsets(wanted, sinogram.geometry.views)
    taken = supported_subsets(sinogram, wanted)
    if taken < wanted:
        a_line = total(sinogram.prompts) / math.prod(sinogram.geometry.data_shape[:3])
        warn(
            "subsets",
            f"With {a_line:.2g} counts a line, {wanted} subsets would see too few counts each and empty the volume: "
            f"{taken} {'is' if taken == 1 else 'are'} used. Give more --iterations where you need what {wanted} give.",
        )
    return taken


def check_subsets(subsets: int, views: int) -> None:
    """Raises PETDiffusionError "bad-subsets" for fewer than one, or more than there are `views`."""
    if not 1 <= subsets <= views:
        raise PETDiffusionError("bad-subsets", f"From 1 to {views} (the views) subsets are possible, found {subsets}.")


def holding_factor(expected_trues: float, measured_trues: float) -> float:
    """What brings `expected_trues` within MOST_OFF of `measured_trues`; 1 where they are, or nothing is expected."""
    if expected_trues <= 0 or measured_trues <= 0:
        return 1.0
    share = expected_trues / measured_trues
    return min(max(share, 1 - MOST_OFF), 1 + MOST_OFF) / share
