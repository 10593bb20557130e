"""Coincidences of crystals and rings sorted into the bins of a sinogram."""

from __future__ import annotations

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry
from PETDiffusionLib.sinograms.list_mode import binned_geometry


class EventBinner:
    """Which bin of `geometry` a coincidence of two crystals belongs to."""

    def __init__(self, geometry: ScannerGeometry) -> None:
        self.geometry = geometry
        self.size = int(np.prod(geometry.data_shape))
        self._segment_of = np.full(2 * geometry.rings - 1, -1)  # by ring difference + rings - 1
        for number, segment in enumerate(geometry.segments):
            self._segment_of[segment.lowest + geometry.rings - 1 : segment.highest + geometry.rings] = number
        planes = [segment.planes(geometry.rings) for segment in geometry.segments]
        self._first_plane = np.concatenate([[0], np.cumsum(planes)])
        self._smallest_tilt = np.array([segment.smallest_tilt for segment in geometry.segments])
        self._ring_step = np.array([2 if s.lowest == s.highest else 1 for s in geometry.segments])

    def bins(
        self, crystals: tuple[np.ndarray, np.ndarray], rings: tuple[np.ndarray, np.ndarray], tof_mm: np.ndarray
    ) -> np.ndarray:
        """The flat bin of coincidences between the first and the second crystals, or `size` where none takes them.

        `tof_mm` is how far each event is from its line's middle towards the second crystal; without TOF it is ignored.
        """
        geometry = self.geometry
        unmashed = geometry.crystals // 2
        position = (crystals[0] - crystals[1] + unmashed) % geometry.crystals
        position = np.where(position >= unmashed, position - geometry.crystals, position)
        view = (crystals[0] - position // 2) % geometry.crystals
        # A line seen from its other end: half a turn further on, on the other side, with its ends exchanged.
        turned = view >= unmashed
        position = np.where(turned, -position, position)
        view = np.where(turned, view - unmashed, view) // geometry.mashing
        first, second = (np.where(turned, *pair) for pair in ((rings[1], rings[0]), (rings[0], rings[1])))
        plane, inside = self.planes_of(first, second)
        tangential = position + geometry.tangential_bins // 2
        inside &= (tangential >= 0) & (tangential < geometry.tangential_bins)
        flat = (plane * geometry.views + view) * geometry.tangential_bins + tangential
        if geometry.tof is not None:
            towards_end = np.where(turned, -tof_mm, tof_mm)
            tof_bin = np.floor(towards_end / geometry.tof.bin_width_mm + geometry.tof.bins / 2).astype(np.int64)
            inside &= (tof_bin >= 0) & (tof_bin < geometry.tof.bins)
            flat = flat * geometry.tof.bins + tof_bin
        return np.where(inside, flat, self.size)

    def planes_of(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The plane of each pair of rings, and whether there is one."""
        segment = self._segment_of[second - first + self.geometry.rings - 1]
        plane = self._first_plane[segment] + (first + second - self._smallest_tilt[segment]) // self._ring_step[segment]
        return plane, segment >= 0


def merged_planes(single: ScannerGeometry, merged: ScannerGeometry) -> np.ndarray:
    """For each plane of one ring difference, the plane of `merged` that it is summed to, or -1 for none.

    Raises PETDiffusionError "bad-span" where ring differences are merged already.
    """
    if any(segment.lowest != segment.highest for segment in single.segments):
        raise PETDiffusionError("bad-span", "Planes can be merged only where each is of one ring difference.")
    binner = EventBinner(merged)
    targets = []
    for segment in single.segments:
        first = np.arange(segment.planes(single.rings)) + max(0, -segment.lowest)
        target, kept = binner.planes_of(first, first + segment.lowest)
        targets.append(np.where(kept, target, -1))
    return np.concatenate(targets)


def compressed(counts: torch.Tensor, geometry: ScannerGeometry, span: int) -> tuple[torch.Tensor, ScannerGeometry]:
    """Counts [plane, view, tangential(, tof)] of unmerged ring differences, summed into segments of an odd `span`."""
    merged = binned_geometry(geometry, span)
    target = torch.from_numpy(merged_planes(geometry, merged))
    total = torch.zeros(merged.data_shape)
    total.index_add_(0, target[target >= 0], counts[target >= 0])
    return total, merged
