"""Counts and their reconstruction: what a scanner makes of a phantom at full and at reduced dose.

y ~ Poisson(n a P(PSF x) + s + r), a = exp(-P mu); OSEM with the same attenuation and background, then the site's
post-filter. The reference is the same reconstruction of the expected, noise-free data, so that low-dose and reference
differ by counts alone and never by resolution. Planes are independent; the axial filter ties them together again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve1d, gaussian_filter, gaussian_filter1d

from PETDiffusionLib.projection.planes import PlaneGeometry, PlaneProjector, subset_projectors
from PETDiffusionLib.simulation.phantom import Phantom
from PETDiffusionLib.simulation.scanners import Scanner
from PETDiffusionLib.volumes.resampling import downsampled

FWHM_TO_SIGMA = 1 / 2.35482


@dataclass
class Scan:
    """Reconstructions of one phantom, in SUV, [z, y, x] on the scanner's grid; voxel size (z, y, x) in mm."""

    reference: np.ndarray
    low_dose: list[np.ndarray]  # one for each dose asked for
    truth: np.ndarray  # the phantom's own activity on this grid
    labels: np.ndarray
    voxel_size_mm: tuple[float, ...]


def scan(phantom: Phantom, scanner: Scanner, doses: Sequence[float], rng: np.random.Generator) -> Scan:
    """Scan `phantom` and reconstruct the noise-free data and one noise realisation for each of `doses`.

    A dose is the share of the full dose's counts: 1 / DRF. Trues and scatter fall with it and randoms with its square.
    """
    truth, mu, labels, blurred, voxel_size = _on_scanner_grid(phantom, scanner)
    planes, size, _ = truth.shape
    geometry = PlaneGeometry(size, scanner.voxel_mm, size, scanner.voxel_mm, _views(size, scanner.subsets))
    projectors = subset_projectors(geometry, scanner.subsets)
    expected = _Expectation(blurred, mu, projectors, scanner, rng)

    data = [[expected.trues[k] + expected.background(k, 1.0) for k in range(len(projectors))]]
    for dose in doses:
        data.append([
            rng.poisson(dose * expected.trues[k] + expected.background(k, dose)).astype(np.float32)
            for k in range(len(projectors))
        ])  # fmt: skip
    images = _osem(data, [1.0, *doses], expected, projectors, scanner, (size, planes))
    volumes = [_post_filter(image, scanner) for image in images]
    return Scan(volumes[0], volumes[1:], truth, labels, voxel_size)


def _views(size: int, subsets: int) -> int:
    """Enough views for the image's width, in whole subsets."""
    return subsets * max(4, round(size * 0.9 / subsets))


def _on_scanner_grid(
    phantom: Phantom, scanner: Scanner
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[float, ...]]:
    """The phantom's truth, mu, labels and intrinsically blurred activity on a square scanner grid [z, n, n]."""
    fine_shape, fine_size = phantom.activity.shape, phantom.voxel_size_mm
    voxel_size = (scanner.slice_mm, scanner.voxel_mm, scanner.voxel_mm)
    planes = max(1, round(fine_shape[0] * fine_size[0] / scanner.slice_mm))
    width_mm = max(fine_shape[1] * fine_size[1], fine_shape[2] * fine_size[2])
    size = 2 * round(width_mm / scanner.voxel_mm / 2)
    shape = (planes, size, size)
    sigma = [scanner.resolution_mm * FWHM_TO_SIGMA / s for s in fine_size]
    blurred = gaussian_filter(phantom.activity, sigma)
    truth, mu, blurred = (
        _regridded(array, fine_size, shape, voxel_size) for array in (phantom.activity, phantom.mu, blurred)
    )
    nearest = [
        np.round((np.arange(n) - (n - 1) / 2) * s / f + (m - 1) / 2).astype(int)
        for n, s, f, m in zip(shape, voxel_size, fine_size, fine_shape, strict=True)
    ]
    inside = [(index >= 0) & (index < m) for index, m in zip(nearest, fine_shape, strict=True)]
    clipped = [np.clip(index, 0, m - 1) for index, m in zip(nearest, fine_shape, strict=True)]
    labels = phantom.labels[np.ix_(*clipped)] * (
        inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :]
    )
    return truth, mu, labels.astype(np.uint16), blurred, voxel_size


def _regridded(array: np.ndarray, size: tuple, shape: tuple, new_size: tuple) -> np.ndarray:
    """Average on to the new voxels; beyond the phantom there is air."""
    margin = [
        max(2, int(np.ceil((n * s / f - m) / 2)) + 2)
        for n, s, f, m in zip(shape, new_size, size, array.shape, strict=True)
    ]
    padded = np.pad(array, [(0, 0), (margin[1], margin[1]), (margin[2], margin[2])])
    return np.maximum(downsampled(padded, size, shape, new_size), 0)


class _Expectation:
    """Expected counts at full dose, subset by subset: trues, background, and the factor from image to counts."""

    def __init__(
        self,
        activity: np.ndarray,
        mu: np.ndarray,
        projectors: tuple[PlaneProjector, ...],
        scanner: Scanner,
        rng: np.random.Generator,
    ) -> None:
        planes = activity.shape[0]
        image, mu_image = _as_columns(activity), _as_columns(mu)
        self.multiplicative = [np.exp(-p.forward(mu_image)) for p in projectors]
        sensitivity = _bed_sensitivity(planes, scanner, rng)
        lines = [m * p.forward(image) * sensitivity for m, p in zip(self.multiplicative, projectors, strict=True)]
        total = sum(float(line.sum()) for line in lines)
        scale = scanner.trues_per_mm * planes * scanner.slice_mm / max(total, 1e-9)
        self.multiplicative = [m * sensitivity * np.float32(scale) for m in self.multiplicative]
        self.trues = [line * np.float32(scale) for line in lines]
        bins = projectors[0].data_shape[0] // len(projectors[0].views)
        self._scatter = [_scatter_like(trues, bins, scanner) for trues in self.trues]
        mean = sum(float(t.sum()) for t in self.trues) / sum(t.size for t in self.trues)
        self._randoms = np.float32(scanner.randoms_fraction * mean)

    def background(self, subset: int, dose: float) -> np.ndarray:
        """Scatter and randoms of one subset at `dose`."""
        return np.float32(dose) * self._scatter[subset] + np.float32(dose**2) * self._randoms


def _bed_sensitivity(planes: int, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Relative sensitivity of each plane: triangles of the bed positions that overlap by half."""
    if scanner.bed_mm == 0:
        return np.ones(planes, np.float32)
    position = np.arange(planes) * scanner.slice_mm / scanner.bed_mm + rng.random()
    return (1.0 - np.abs(np.mod(position, 1.0) - 0.5)).astype(np.float32)


def _scatter_like(trues: np.ndarray, bins: int, scanner: Scanner) -> np.ndarray:
    """A broad, smooth background with the scanner's scatter fraction: the trues blurred along the bins by 150 mm."""
    profiles = trues.reshape(-1, bins, trues.shape[1])
    sigma = 150 * FWHM_TO_SIGMA / scanner.voxel_mm
    smooth = gaussian_filter1d(profiles, sigma, axis=1, mode="constant").reshape(trues.shape)
    factor = scanner.scatter_fraction / (1 - scanner.scatter_fraction)
    return (smooth * np.float32(factor * trues.sum() / max(smooth.sum(), 1e-9))).astype(np.float32)


def _osem(
    data: list[list[np.ndarray]],
    doses: list[float],
    expected: _Expectation,
    projectors: tuple[PlaneProjector, ...],
    scanner: Scanner,
    image_shape: tuple[int, int],
) -> list[np.ndarray]:
    """OSEM of all data sets at once, as columns of one stack (Hudson and Larkin 1994). Returns [z, y, x] in SUV."""
    size, planes = image_shape
    count = len(data)
    blur = _resolution_model(scanner, size)
    estimate = np.ones((size * size, planes * count), np.float32)
    tiled_doses = np.repeat(np.asarray(doses, np.float32), planes)
    stacked = [np.concatenate([d[k] for d in data], axis=1) for k in range(len(projectors))]
    multiplicative = [np.tile(m, (1, count)) * tiled_doses for m in expected.multiplicative]
    background = [
        np.concatenate([expected.background(k, dose) for dose in doses], axis=1) for k in range(len(projectors))
    ]
    sensitivity = [blur(p.adjoint(m)) for p, m in zip(projectors, multiplicative, strict=True)]
    for _ in range(scanner.iterations):
        for k, projector in enumerate(projectors):
            expectation = multiplicative[k] * projector.forward(blur(estimate)) + background[k]
            ratio = stacked[k] / np.maximum(expectation, 1e-9)
            update = blur(projector.adjoint(multiplicative[k] * ratio))
            floor = 1e-3 * sensitivity[k].max(axis=0, keepdims=True)
            estimate *= np.where(sensitivity[k] > floor, update / np.maximum(sensitivity[k], floor), 0)
    volumes = estimate.reshape(size, size, count, planes).transpose(2, 3, 0, 1)
    return [np.ascontiguousarray(volume) for volume in volumes]


def _resolution_model(scanner: Scanner, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """The in-plane point-spread function of the reconstruction's own model; nothing where it has none."""
    if not scanner.models_resolution:
        return lambda columns: columns
    sigma = scanner.resolution_mm * FWHM_TO_SIGMA / scanner.voxel_mm
    distance = np.subtract.outer(np.arange(size), np.arange(size))
    kernel = np.exp(-0.5 * (distance / sigma) ** 2)
    kernel = (kernel / kernel[size // 2].sum()).astype(np.float32)  # symmetric, so its own adjoint

    def blur(columns: np.ndarray) -> np.ndarray:
        rows = (kernel @ columns.reshape(size, -1)).reshape(size, size, -1)
        return np.matmul(kernel, rows).reshape(columns.shape)

    return blur


def _post_filter(volume: np.ndarray, scanner: Scanner) -> np.ndarray:
    """The site's filter: neighbouring planes weighted, then a Gaussian."""
    volume = convolve1d(volume, np.asarray(scanner.axial_filter), axis=0, mode="nearest")
    sigma = scanner.post_filter_mm * FWHM_TO_SIGMA
    sizes = (scanner.slice_mm, scanner.voxel_mm, scanner.voxel_mm)
    return gaussian_filter(volume, [sigma / s for s in sizes], mode="nearest").astype(np.float32)


def _as_columns(volume: np.ndarray) -> np.ndarray:
    """[z, y, x] as one column a plane: [y * x, z]."""
    return np.ascontiguousarray(volume.reshape(volume.shape[0], -1).T, dtype=np.float32)
