"""Expected randoms from delayed coincidences, by maximum-likelihood estimation of the crystals' singles.

The delayed window counts d ~ Poisson(sum w_i w_j) over the crystal pairs of each bin, where w_i is proportional to the
singles of crystal i. There are some hundred times fewer crystals than bins, so that the expectation made of their
singles is nearly free of noise (Casey and Hoffman 1986; Panin et al. 2007).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from PETDiffusionLib.corrections.crystals import CrystalPairs
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry

MOST_ITERATIONS, ENOUGH = 100, 5e-4  # until the mean change of the singles is below a share of them
SEPARABLE_ITERATIONS = 10
# A crystal's singles are taken to differ from the product of a ring's and a column's by this share or more: as crystals
# do, and merged bins hide by how much.
LEAST_SPREAD = 0.2


def estimated_randoms(
    delayed: torch.Tensor, geometry: ScannerGeometry, progress: Callable[[float], None] | None = None
) -> torch.Tensor:
    """The expected randoms of `delayed` coincidences, both float32 [plane, view, tangential(, tof)].

    Their total is that of the delayeds. Randoms know no time of flight: its bins share them evenly. Raises
    PETDiffusionError "no-crystals" for arc-corrected bins, "bad-sinogram" for negative or no counts.
    """
    progress = progress or (lambda fraction: None)
    counts = (delayed.sum(dim=-1) if delayed.ndim == 4 else delayed).cpu().numpy()
    if not np.isfinite(counts).all() or counts.min() < 0 or counts.sum() == 0:
        raise PETDiffusionError(
            "bad-sinogram",
            "Delayed coincidences are counts from 0 up, and more than none; these are not. Give the delayed sinogram "
            "as it was measured, or the expected randoms by --additive.",
        )
    pairs = CrystalPairs(geometry)
    singles = crystal_singles(counts, pairs, progress)
    expected = pairs.products(singles)
    expected *= counts.sum(dtype=np.float64) / expected.sum(dtype=np.float64)
    result = torch.from_numpy(expected)
    if delayed.ndim == 4:
        result = (result / delayed.shape[3])[..., None].expand(delayed.shape).contiguous()
    return result.to(delayed.device)


def crystal_singles(
    delayed: np.ndarray, pairs: CrystalPairs, progress: Callable[[float], None] | None = None
) -> np.ndarray:
    """Relative singles w of every crystal, [rings, crystals], from delayed counts [plane, view, tangential].

    First as a ring's share times a column's, which few counts tell; then crystal by crystal, with a gamma prior about
    that product whose width is measured: where crystals have few counts they lean on their ring and column.
    """
    progress = progress or (lambda fraction: None)
    ones = np.ones((pairs.geometry.rings, pairs.geometry.crystals))
    shares = delayed / np.maximum(pairs.products(ones), 1)  # of a bin's counts, evenly to its pairs
    touched = pairs.partner_sums(shares, ones)
    named = _NamedByFans(delayed, pairs) if pairs.geometry.mashing == 1 else _NamedByBins(delayed, pairs)
    prior = _separable(touched, pairs)
    for _ in range(SEPARABLE_ITERATIONS if pairs.geometry.mashing > 1 else 0):
        prior = _separable(named(prior), pairs)  # mashed views hide the gaps between crystals at first
    weights, shape = prior, _prior_shape(named(prior), prior * pairs.partner_totals(prior))
    for iteration in range(MOST_ITERATIONS):
        progress(iteration / MOST_ITERATIONS)
        with np.errstate(divide="ignore", invalid="ignore"):
            renewed = (named(weights) + shape) / (pairs.partner_totals(weights) + shape / prior)
        renewed = np.where(prior > 1e-4 * prior.mean(), renewed, 0)
        # All crystals at once overshoot in one way alone, the common scale, and what the delayeds add up to tells that.
        renewed *= np.sqrt(delayed.sum(dtype=np.float64) / (renewed * pairs.partner_totals(renewed)).sum() * 2)
        change, weights = np.abs(renewed - weights).sum() / weights.sum(), renewed
        if change < ENOUGH:
            break
    return weights


class _NamedByFans:
    """Which crystals the counts name, in expectation: those of a plane and a crystal go to the rings that it may be in.

    The sums over the fan of a crystal tell all of it where planes are of one pair of rings and nearly all where several
    are merged, and are some hundred times fewer than the bins.
    """

    def __init__(self, delayed: np.ndarray, pairs: CrystalPairs) -> None:
        self._pairs, self._counted = pairs, pairs.fan_sums(delayed)

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        first, second, plane = self._pairs.rings_of_pairs.T
        named = np.zeros_like(weights)
        for own, partner, fan, counted in zip(
            (first, second), (second, first), self._pairs.fans(weights), self._counted, strict=True
        ):
            likely = weights[own] * fan[partner]  # [pair of rings, crystal]
            expected = np.zeros_like(counted)
            np.add.at(expected, plane, likely)
            np.add.at(named, own, likely * (counted / np.maximum(expected, 1e-20))[plane])
        return named


class _NamedByBins:
    """The same from every bin, for mashed views, whose bins do not tell crystals apart."""

    def __init__(self, delayed: np.ndarray, pairs: CrystalPairs) -> None:
        self._delayed, self._pairs = delayed, pairs

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        expected = np.maximum(self._pairs.products(weights), 1e-20)
        return weights * self._pairs.partner_sums(self._delayed / expected, weights)


def _separable(touched: np.ndarray, pairs: CrystalPairs) -> np.ndarray:
    """Singles as the product of a ring's and a column's, the most likely ones for these sums: [rings, crystals]."""
    ring, column = np.ones(len(touched)), np.ones(touched.shape[1])
    for _ in range(SEPARABLE_ITERATIONS):
        totals = pairs.partner_totals(ring[:, None] * column)
        ring = np.sqrt(ring * touched.sum(axis=1) / np.maximum((column * totals).sum(axis=1), 1e-20))
        totals = pairs.partner_totals(ring[:, None] * column)
        column = np.sqrt(column * touched.sum(axis=0) / np.maximum((ring[:, None] * totals).sum(axis=0), 1e-20))
    return ring[:, None] * column


def _prior_shape(found: np.ndarray, expected: np.ndarray) -> float:
    """The gamma shape 1 / spread^2 of the crystals about their expectation, what Poisson noise explains taken off."""
    seen = expected > 0
    ratio = (found[seen] - expected[seen]) ** 2 - expected[seen]
    spread = ratio.sum() / np.square(expected[seen]).sum()
    return float(1 / max(spread, LEAST_SPREAD**2))
