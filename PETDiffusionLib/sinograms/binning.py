"""Coincidences of crystals and rings sorted into the bins of a sinogram."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, segments_of_span


class EventBinner:
    """Counts coincidences into the bins of `geometry`; those that no bin takes are left out, and counted."""

    def __init__(self, geometry: ScannerGeometry) -> None:
        self.geometry = geometry
        self.left_out = 0
        self._counts = np.zeros(geometry.data_shape, np.float32)
        self._segment_of = np.full(2 * geometry.rings - 1, -1)  # by ring difference + rings - 1
        for number, segment in enumerate(geometry.segments):
            self._segment_of[segment.lowest + geometry.rings - 1 : segment.highest + geometry.rings] = number
        planes = [segment.planes(geometry.rings) for segment in geometry.segments]
        self._first_plane = np.concatenate([[0], np.cumsum(planes)])
        self._smallest_tilt = np.array([segment.smallest_tilt for segment in geometry.segments])
        self._ring_step = np.array([2 if s.lowest == s.highest else 1 for s in geometry.segments])

    @property
    def counts(self) -> torch.Tensor:
        """What was counted so far, [plane, view, tangential(, tof)]."""
        return torch.from_numpy(self._counts)

    def add(
        self, crystals: tuple[np.ndarray, np.ndarray], rings: tuple[np.ndarray, np.ndarray], tof_mm: np.ndarray
    ) -> None:
        """Count coincidences between the first and the second crystals, whole numbers of equal length.

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
        plane, in_planes = self.planes_of(first, second)
        tangential = position + geometry.tangential_bins // 2
        index = [plane, view, tangential]
        inside = in_planes & (tangential >= 0) & (tangential < geometry.tangential_bins)
        if geometry.tof is not None:
            towards_end = np.where(turned, -tof_mm, tof_mm)
            tof_bin = np.floor(towards_end / geometry.tof.bin_width_mm + geometry.tof.bins / 2).astype(np.int64)
            inside &= (tof_bin >= 0) & (tof_bin < geometry.tof.bins)
            index.append(tof_bin)
        self.left_out += int(np.count_nonzero(~inside))
        flat = np.ravel_multi_index([part[inside] for part in index], geometry.data_shape)
        np.add.at(self._counts.reshape(-1), flat, 1)

    def planes_of(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The plane of each pair of rings, and whether there is one."""
        segment = self._segment_of[second - first + self.geometry.rings - 1]
        plane = self._first_plane[segment] + (first + second - self._smallest_tilt[segment]) // self._ring_step[segment]
        return plane, segment >= 0


def compressed(counts: torch.Tensor, geometry: ScannerGeometry, span: int) -> tuple[torch.Tensor, ScannerGeometry]:
    """Counts [plane, view, tangential(, tof)] of unmerged ring differences, summed into segments of an odd `span`."""
    if any(segment.lowest != segment.highest for segment in geometry.segments):
        raise PETDiffusionError("bad-span", "Planes can be merged only where each is of one ring difference.")
    largest = max(segment.highest for segment in geometry.segments)
    merged = replace(geometry, segments=segments_of_span(geometry.rings, span, largest))
    binner = EventBinner(merged)
    total = torch.zeros(merged.data_shape)
    plane = 0
    for segment in geometry.segments:
        count = segment.planes(geometry.rings)
        first = np.arange(count) + max(0, -segment.lowest)
        target, kept = binner.planes_of(first, first + segment.lowest)
        total.index_add_(0, torch.from_numpy(target[kept]), counts[plane : plane + count][torch.from_numpy(kept)])
        plane += count
    return total, merged
