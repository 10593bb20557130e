"""The pairs of crystals that every bin of a sinogram sums: products of what belongs to single crystals, and back."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry


class CrystalPairs:
    """Which two crystals see each bin of a cylindrical scanner that is not arc-corrected.

    With n crystals a ring, the unmashed bin (view v, tangential t) is of the crystals v + floor(t / 2) and
    v - ceil(t / 2) + n / 2, as `EventBinner` sorts them. Merged ring differences and mashed views sum several pairs.
    Raises PETDiffusionError "no-crystals" for bins that do not lie as crystals do.
    """

    def __init__(self, geometry: ScannerGeometry) -> None:
        positions = geometry.tangential_positions
        if geometry.bin_mm is not None or (positions != np.round(positions)).any() or geometry.crystals % 2:
            raise PETDiffusionError(
                "no-crystals",
                f"The bins of {geometry.name} are arc-corrected or resampled, so they are of no crystals. "
                "Give the sinogram as measured, without arc correction.",
            )
        self.geometry = geometry
        self.unmashed_views = geometry.views * geometry.mashing
        tangential = positions.astype(np.int64)[None, :]
        views = np.arange(self.unmashed_views)[:, None]
        self.first = (views + tangential // 2) % geometry.crystals  # [unmashed view, tangential]
        self.second = (views - (tangential + 1) // 2 + geometry.crystals // 2) % geometry.crystals

    @cached_property
    def ring_pairs(self) -> list[list[tuple[int, int]]]:
        """The rings (of the first, of the second crystal) that each plane sums, [plane]."""
        rings, pairs = self.geometry.rings, []
        for segment in self.geometry.segments:
            step = 2 if segment.lowest == segment.highest else 1
            for number in range(segment.planes(rings)):
                total = segment.smallest_tilt + step * number
                differences = [d for d in range(segment.lowest, segment.highest + 1) if (total + d) % 2 == 0]
                ends = [((total - d) // 2, (total + d) // 2) for d in differences]
                pairs.append([(a, b) for a, b in ends if 0 <= a < rings and 0 <= b < rings])
        return pairs

    def products(self, of_crystal: np.ndarray, of_rings: np.ndarray | None = None) -> np.ndarray:
        """For each bin the sum over its pairs of w[first] w[second] (times v[ring, ring]): [plane, view, tangential].

        `of_crystal` is w, [rings, crystals]; `of_rings` is v, [rings, rings].
        """
        first, second = self._at_ends(of_crystal)
        result = np.empty(self.geometry.data_shape[:3], np.float32)
        for plane, pairs in enumerate(self.ring_pairs):
            total = torch.zeros(self.first.shape)
            for a, b in pairs:
                total.addcmul_(first[a], second[b], value=1.0 if of_rings is None else float(of_rings[a, b]))
            result[plane] = self.mashed(total.numpy())
        return result

    def partner_sums(self, of_bin: np.ndarray, of_crystal: np.ndarray) -> np.ndarray:
        """For each crystal the sum over its bins and partners of q[bin] w[partner]: [rings, crystals].

        `of_bin` is q, [plane, view, tangential]; `of_crystal` is w, [rings, crystals].
        """
        first, second = self._at_ends(of_crystal)
        to_first, to_second = torch.zeros_like(first), torch.zeros_like(second)
        for plane, pairs in enumerate(self.ring_pairs):
            spread = torch.from_numpy(np.repeat(np.asarray(of_bin[plane], np.float32), self.geometry.mashing, axis=0))
            for a, b in pairs:
                to_first[a].addcmul_(spread, second[b])
                to_second[b].addcmul_(spread, first[a])
        return self._by_crystal(to_first.numpy(), self.first) + self._by_crystal(to_second.numpy(), self.second)

    def partner_totals(self, of_crystal: np.ndarray) -> np.ndarray:
        """`partner_sums` of q = 1, without a walk over the bins: [rings, crystals]."""
        together = np.zeros((self.geometry.rings, self.geometry.rings))
        np.add.at(together, (self.rings_of_pairs[:, 0], self.rings_of_pairs[:, 1]), 1)
        as_first, as_second = self.fans(of_crystal)
        return together @ as_first + together.T @ as_second

    def fans(self, of_crystal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For a crystal that is the first of its lines (the second) the sum of w over its partners in each ring.

        Both [ring of the partner, crystal]; `of_crystal` is w, [rings, crystals].
        """
        at_first, at_second = self._at_ends(of_crystal)
        return self._by_crystal(at_second.numpy(), self.first), self._by_crystal(at_first.numpy(), self.second)

    def fan_sums(self, of_bin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each plane the sum over the bins whose first (second) crystal it is: [plane, crystal] each.

        For views that are not mashed; `of_bin` is [plane, view, tangential].
        """
        return self._by_crystal(of_bin, self.first), self._by_crystal(of_bin, self.second)

    @cached_property
    def rings_of_pairs(self) -> np.ndarray:
        """`ring_pairs` in one row: the rings of the first and of the second crystal, and the plane, [pair, 3]."""
        return np.array([(a, b, plane) for plane, pairs in enumerate(self.ring_pairs) for a, b in pairs])

    def mashed(self, unmashed: np.ndarray) -> np.ndarray:
        """Values [unmashed view, tangential] summed to the views of the sinogram."""
        return unmashed.reshape(self.geometry.views, self.geometry.mashing, -1).sum(axis=1)

    def _at_ends(self, of_crystal: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """The values at both ends of every unmashed line, float32 [rings, unmashed view, tangential] each."""
        values = np.asarray(of_crystal, np.float32)
        return torch.from_numpy(values[:, self.first]), torch.from_numpy(values[:, self.second])

    def _by_crystal(self, values: np.ndarray, crystal: np.ndarray) -> np.ndarray:
        """Values [n, unmashed view, tangential] summed over the lines of every crystal at one end: [n, crystal]."""
        count, lines = self.geometry.crystals, crystal.ravel()
        return np.stack([np.bincount(lines, row.ravel(), minlength=count) for row in values])
