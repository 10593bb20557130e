"""Counts and their reconstruction: what a scanner makes of a phantom at full and at reduced dose.

y ~ Poisson(n a P(PSF x) + s + r), a = exp(-P mu); OSEM with the same attenuation and background, then the site's
post-filter. The reference is the same reconstruction of the expected, noise-free data, so that low-dose and reference
differ by counts alone and never by resolution. Planes are independent; the axial filter ties them together again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import convolve1d, gaussian_filter, gaussian_filter1d

from PETDiffusionLib.projection.planes import PlaneGeometry, PlaneProjector, subset_projectors
from PETDiffusionLib.simulation.phantom import Phantom
from PETDiffusionLib.simulation.regridding import labels_on_grid, regridded
from PETDiffusionLib.simulation.scanners import Scanner
from PETDiffusionLib.sinograms.scanners import FWHM_TO_SIGMA


@dataclass
class Scan:
    """Reconstructions of one phantom, in SUV, [z, y, x] on the scanner's grid; voxel size (z, y, x) in mm."""

    reference: np.ndarray
    low_dose: list[np.ndarray]  # one for each dose asked for
    truth: np.ndarray  # the phantom's own activity on this grid
    labels: np.ndarray
    voxel_size_mm: tuple[float, ...]


@torch.inference_mode()
def scan(
    phantom: Phantom,
    scanner: Scanner,
    doses: Sequence[float],
    rng: np.random.Generator,
    device: str | torch.device = "cpu",
) -> Scan:
    """Scan `phantom` and reconstruct the noise-free data and one noise realisation for each of `doses`.

    A dose is the share of the full dose's counts: 1 / DRF. Trues and scatter fall with it and randoms with its square.
    Projections and OSEM run on `device`.
    """
    truth, mu, labels, blurred, voxel_size = _on_scanner_grid(phantom, scanner)
    planes, size, _ = truth.shape
    geometry = PlaneGeometry(size, scanner.voxel_mm, size, scanner.voxel_mm, _views(size, scanner.subsets))
    projectors = subset_projectors(geometry, scanner.subsets, device)
    expected = _Expectation(blurred, mu, projectors, scanner, rng)

    data = [[expected.trues[k] + expected.background(k, 1.0) for k in range(len(projectors))]]
    doses = [float(dose) for dose in doses]
    for dose in doses:
        means = [dose * expected.trues[k] + expected.background(k, dose) for k in range(len(projectors))]
        data.append([_on(rng.poisson(mean.cpu().numpy()), device) for mean in means])
    images = _osem(data, [1.0, *doses], expected, projectors, scanner, (size, planes))
    volumes = [_post_filter(image.cpu().numpy(), scanner) for image in images]
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
        regridded(array, fine_size, shape, voxel_size) for array in (phantom.activity, phantom.mu, blurred)
    )
    return truth, mu, labels_on_grid(phantom.labels, fine_size, shape, voxel_size), blurred, voxel_size


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
        planes, device = activity.shape[0], projectors[0].device
        image, mu_image = (_on(_as_columns(array), device) for array in (activity, mu))
        self.multiplicative = [torch.exp(-p.forward(mu_image)) for p in projectors]
        sensitivity = _on(_bed_sensitivity(planes, scanner, rng), device)
        lines = [m * p.forward(image) * sensitivity for m, p in zip(self.multiplicative, projectors, strict=True)]
        total = sum(float(line.sum()) for line in lines)
        scale = scanner.trues_per_mm * planes * scanner.slice_mm / max(total, 1e-9)
        self.multiplicative = [m * sensitivity * scale for m in self.multiplicative]
        self.trues = [line * scale for line in lines]
        bins = projectors[0].data_shape[0] // len(projectors[0].views)
        self._scatter = [_on(_scatter_like(trues.cpu().numpy(), bins, scanner), device) for trues in self.trues]
        mean = sum(float(t.sum()) for t in self.trues) / sum(t.numel() for t in self.trues)
        self._randoms = scanner.randoms_fraction * mean

    def background(self, subset: int, dose: float) -> torch.Tensor:
        """Scatter and randoms of one subset at `dose`."""
        return dose * self._scatter[subset] + dose**2 * self._randoms


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
    data: list[list[torch.Tensor]],
    doses: list[float],
    expected: _Expectation,
    projectors: tuple[PlaneProjector, ...],
    scanner: Scanner,
    image_shape: tuple[int, int],
) -> torch.Tensor:
    """OSEM of all data sets at once, as columns of one stack (Hudson and Larkin 1994): [data set, z, y, x] in SUV."""
    size, planes = image_shape
    count, device = len(data), projectors[0].device
    blur = _resolution_model(scanner, size, device)
    estimate = torch.ones(size * size, planes * count, device=device)
    tiled_doses = torch.tensor(doses, dtype=torch.float32, device=device).repeat_interleave(planes)
    stacked = [torch.cat([d[k] for d in data], dim=1) for k in range(len(projectors))]
    multiplicative = [m.repeat(1, count) * tiled_doses for m in expected.multiplicative]
    background = [torch.cat([expected.background(k, dose) for dose in doses], dim=1) for k in range(len(projectors))]
    sensitivity = [blur(p.adjoint(m)) for p, m in zip(projectors, multiplicative, strict=True)]
    for _ in range(scanner.iterations):
        for k, projector in enumerate(projectors):
            expectation = multiplicative[k] * projector.forward(blur(estimate)) + background[k]
            ratio = stacked[k] / expectation.clamp_min_(1e-9)
            update = blur(projector.adjoint(multiplicative[k] * ratio))
            floor = 1e-3 * sensitivity[k].amax(dim=0, keepdim=True)
            seen = sensitivity[k] > floor
            estimate *= torch.where(seen, update / torch.maximum(sensitivity[k], floor), 0.0)
    return estimate.reshape(size, size, count, planes).permute(2, 3, 0, 1)


def _resolution_model(scanner: Scanner, size: int, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """The in-plane point-spread function of the reconstruction's own model; nothing where it has none."""
    if not scanner.models_resolution:
        return lambda columns: columns
    sigma = scanner.resolution_mm * FWHM_TO_SIGMA / scanner.voxel_mm
    distance = np.subtract.outer(np.arange(size), np.arange(size))
    profile = np.exp(-0.5 * (distance / sigma) ** 2)
    kernel = _on(profile / profile[size // 2].sum(), device)  # symmetric, so its own adjoint

    def blur(columns: torch.Tensor) -> torch.Tensor:
        rows = (kernel @ columns.reshape(size, -1)).reshape(size, size, -1)
        return torch.matmul(kernel, rows).reshape(columns.shape)

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


def _on(array: np.ndarray, device: str | torch.device) -> torch.Tensor:
    """The array in single precision on `device`."""
    return torch.from_numpy(np.asarray(array, dtype=np.float32)).to(device)
