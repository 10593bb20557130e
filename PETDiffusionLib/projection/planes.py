"""A fast projector for a stack of direct planes: one sparse in-plane matrix serves every plane.

Joseph's method (Joseph 1982) for parallel lines (s, phi). The matrix depends on the geometry alone, so it is made once
and applied to all planes, and to all noise realisations, as columns of one sparse-times-dense product.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse as sparse
import torch


@dataclass(frozen=True)
class PlaneGeometry:
    """Parallel lines over `size` x `size` voxels of `voxel_mm`: `bins` of `bin_mm` in each of `views` over pi."""

    size: int
    voxel_mm: float
    bins: int
    bin_mm: float
    views: int


def joseph_matrix(geometry: PlaneGeometry, views: np.ndarray) -> sparse.csr_matrix:
    """Joseph's in-plane system matrix for `views`: [len(views) * bins, size * size], in millimetres.

    x grows to the right and y downwards along the image's rows; view angle phi runs from x towards y, and the line of
    bin s is the set of points with x cos(phi) + y sin(phi) = s.
    """
    size, bins = geometry.size, geometry.bins
    offset_mm = (np.arange(bins) - (bins - 1) / 2) * geometry.bin_mm
    steps = (np.arange(size) - (size - 1) / 2) * geometry.voxel_mm
    rows, columns, values = [], [], []
    for row_view, view in enumerate(views):
        cosine, sine = np.cos(np.pi * view / geometry.views), np.sin(np.pi * view / geometry.views)
        along_y = abs(cosine) >= abs(sine)  # the principal axis: the one the line runs along
        major, minor = (cosine, sine) if along_y else (sine, cosine)
        crossing_mm = (offset_mm[:, None] - steps[None, :] * minor) / major  # [bins, size]
        position = crossing_mm / geometry.voxel_mm + (size - 1) / 2
        left = np.floor(position).astype(np.int64)
        fraction = position - left
        inside = (position >= -0.5) & (position <= size - 0.5)
        for shift, weight in ((0, 1 - fraction), (1, fraction)):
            keep = inside & (left + shift >= 0) & (left + shift < size)
            bin_index, step_index = np.nonzero(keep)
            minor_index = (left + shift)[keep]
            pixel = step_index * size + minor_index if along_y else minor_index * size + step_index
            rows.append((row_view * bins + bin_index).astype(np.int32))
            columns.append(pixel.astype(np.int32))
            values.append((weight[keep] * geometry.voxel_mm / abs(major)).astype(np.float32))
    shape = (len(views) * bins, size * size)
    return sparse.csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)


class PlaneProjector:
    """Forward and adjoint projection of a stack of planes, for one subset of the views.

    Images are [size * size, planes], data are [views * bins, planes], both float32 tensors on `device`; `adjoint` is
    the exact transpose.
    """

    def __init__(self, geometry: PlaneGeometry, views: np.ndarray, device: str | torch.device = "cpu") -> None:
        self.views, self.device = views, torch.device(device)
        matrix = joseph_matrix(geometry, views)
        self._forward = _multiplier(matrix, self.device)
        self._adjoint = _multiplier(matrix.T.tocsr(), self.device)
        self.image_shape = (geometry.size * geometry.size,)
        self.data_shape = (len(views) * geometry.bins,)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Line integrals in mm times the image's unit."""
        return self._forward(image)

    def adjoint(self, data: torch.Tensor) -> torch.Tensor:
        """The transpose of `forward`."""
        return self._adjoint(data)


def _multiplier(matrix: sparse.csr_matrix, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Sparse times dense: torch's on a GPU and where MKL is beneath it (two to four times faster), else scipy's."""
    if device.type == "cpu" and not torch.backends.mkl.is_available():
        return lambda columns: torch.from_numpy(matrix @ columns.numpy())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse ")
        tensor = torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr),
            torch.from_numpy(matrix.indices),
            torch.from_numpy(matrix.data),
            matrix.shape,
            device=device,
        )
    return lambda columns: tensor @ columns.contiguous()


@lru_cache(maxsize=4)
def subset_projectors(
    geometry: PlaneGeometry, subsets: int, device: str | torch.device = "cpu"
) -> tuple[PlaneProjector, ...]:
    """One projector for each of `subsets` interleaved sets of views; kept, since the matrices cost seconds to make."""
    order = sorted(range(subsets), key=lambda k: bit_reversed(k, subsets))  # far-apart subsets follow each other
    return tuple(PlaneProjector(geometry, np.arange(k, geometry.views, subsets), device) for k in order)


def bit_reversed(index: int, count: int) -> int:
    """The index with its bits in reverse order, for `count` indices: an order that spreads neighbours far apart."""
    width = max(1, (count - 1).bit_length())
    return int(format(index, f"0{width}b")[::-1], 2)
