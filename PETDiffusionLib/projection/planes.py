"""A fast projector for a stack of direct planes: one sparse in-plane matrix serves every plane.

Joseph's method (Joseph 1982) for parallel lines (s, phi). The matrix depends on the geometry alone, so it is made once
and applied to all planes, and to all noise realisations, as columns of one sparse-times-dense product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse as sparse
import torch

from PETDiffusionLib.projection.in_plane import samples_along_y
from PETDiffusionLib.projection.sparse import SparseMatrix
from PETDiffusionLib.projection.symmetry import Grid


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
    phi = np.repeat(np.pi * np.asarray(views) / geometry.views, bins)
    offset_mm = np.tile((np.arange(bins) - (bins - 1) / 2) * geometry.bin_mm, len(views))
    cosine, sine = np.cos(phi), np.sin(phi)
    along_x = abs(cosine) < abs(sine)  # the samples are along y: these lines change x for y
    foot = offset_mm * np.stack([np.where(along_x, sine, cosine), np.where(along_x, cosine, sine)])
    along = np.stack([np.where(along_x, cosine, sine), np.where(along_x, sine, cosine)])
    along = np.stack([-along[0], along[1]]) * np.sign(along[1])
    half_mm = 2 * size * geometry.voxel_mm  # beyond the corners
    grid = Grid((size, size), (geometry.voxel_mm, geometry.voxel_mm), (0.0, 0.0))
    samples = samples_along_y((foot - half_mm * along).T, (foot + half_mm * along).T, grid)
    row, column = np.divmod(samples.pixel, size)
    pixel = np.where(along_x[samples.line], column * size + row, samples.pixel)
    values = samples.weight * (samples.length_mm * samples.spacing)[samples.line]
    indices = (samples.line.astype(np.int32), pixel.astype(np.int32))
    return sparse.csr_matrix((values.astype(np.float32), indices), shape=(len(phi), size * size))


class PlaneProjector:
    """Forward and adjoint projection of a stack of planes, for one subset of the views.

    Images are [size * size, planes], data are [views * bins, planes], both float32 tensors on `device`; `adjoint` is
    the exact transpose.
    """

    def __init__(self, geometry: PlaneGeometry, views: np.ndarray, device: str | torch.device = "cpu") -> None:
        self.views, self.device = views, torch.device(device)
        self._matrix = SparseMatrix(joseph_matrix(geometry, views), self.device)
        self.image_shape = (geometry.size * geometry.size,)
        self.data_shape = (len(views) * geometry.bins,)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Line integrals in mm times the image's unit."""
        return self._matrix.multiply(image)

    def adjoint(self, data: torch.Tensor) -> torch.Tensor:
        """The transpose of `forward`."""
        return self._matrix.multiply_transposed(data)


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
