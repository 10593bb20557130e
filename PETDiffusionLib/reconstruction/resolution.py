"""A projector that knows the scanner's resolution: a Gaussian point-spread function in image space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.sinograms.scanners import FWHM_TO_SIGMA


def post_filtered(array: np.ndarray, fwhm_mm: float, voxel_size_mm: Sequence[float]) -> np.ndarray:
    """The filter after a reconstruction: `array` [z, y, x] under a Gaussian; as it is for 0 mm. Sizes are (x, y, z)."""
    sigma = [fwhm_mm * FWHM_TO_SIGMA / side for side in voxel_size_mm[::-1]]
    return gaussian_filter(array, sigma, mode="nearest") if fwhm_mm > 0 else array


def gaussian_blurred(image: torch.Tensor, fwhm_mm: float, voxel_size_mm: Sequence[float]) -> torch.Tensor:
    """`image` [z, y, x] convolved with an isotropic Gaussian, zero beyond the edges: its own adjoint."""
    for axis, side in enumerate(tuple(voxel_size_mm)[::-1]):
        sigma = fwhm_mm * FWHM_TO_SIGMA / side
        reach = max(1, round(4 * sigma))
        if image.shape[axis] == 1:
            continue
        distance = torch.arange(-reach, reach + 1, dtype=torch.float32, device=image.device)
        kernel = torch.exp(-0.5 * (distance / sigma) ** 2)
        lines = image.movedim(axis, -1)
        blurred = F.conv1d(lines.reshape(-1, 1, lines.shape[-1]), (kernel / kernel.sum())[None, None], padding=reach)
        image = blurred.reshape(lines.shape).movedim(-1, axis)
    return image.contiguous()


class BlurringProjector(Projector):
    """P N G: `projector` after a Gaussian of `fwhm_mm`; its adjoint is G N P^T.

    N divides by the share of the Gaussian that lies on the grid: activity goes on beyond the ends of the scanner, and
    without that the outer planes would have to make up for it.
    """

    def __init__(self, projector: Projector, fwhm_mm: float, voxel_size_mm: Sequence[float]) -> None:
        self._inner, self._fwhm_mm, self._voxel_size_mm = projector, fwhm_mm, voxel_size_mm
        self.image_shape, self.data_shape = projector.image_shape, projector.data_shape
        self.views, self.device = projector.views, projector.device
        self._inside = gaussian_blurred(torch.ones(self.image_shape, device=self.device), fwhm_mm, voxel_size_mm)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self._inner.forward(gaussian_blurred(image, self._fwhm_mm, self._voxel_size_mm) / self._inside)

    def adjoint(self, data: torch.Tensor) -> torch.Tensor:
        return gaussian_blurred(self._inner.adjoint(data) / self._inside, self._fwhm_mm, self._voxel_size_mm)

    def over_views(self, views: torch.Tensor) -> BlurringProjector:
        return BlurringProjector(self._inner.over_views(views), self._fwhm_mm, self._voxel_size_mm)
