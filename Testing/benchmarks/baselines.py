"""The classical denoisers at their strongest, for the benchmark: Gaussian, non-local means and BM4D, tuned per dose.

Every one is `(low [z, y, x] in SUV, voxel_size_mm (x, y, z), parameter) -> [z, y, x]`; `tuned_parameters` picks the
parameter on tuning pairs of the dose in question, `apply` runs one by its name.

What makes them strong on PET: the noise grows with the signal, so the patch methods work on the square root, whose
noise is nearly uniform; and it is correlated, so BM4D is also given the noise's power spectrum, which is estimated from
the volume itself (`noise_in_flat_parts`). Their parameter is a multiple of the estimated noise level, so that one value
serves scanners with different noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from bm4d import bm4d
from scipy import ndimage
from scipy.signal import windows
from skimage.restoration import denoise_nl_means

from PETDiffusionLib.evaluation import metrics

if not hasattr(np, "trapz"):  # bm4d 4.2 calls it where it is given a spectrum; numpy 2.4 has only the new name
    np.trapz = np.trapezoid  # type: ignore[attr-defined]

VoxelSize = tuple[float, float, float]
Pair = tuple[np.ndarray, np.ndarray, VoxelSize]  # low-dose and reference in SUV [z, y, x], voxel size (x, y, z) in mm

LOCAL_MEAN_FWHM_MM = 20.0
NOISE_HIGH_PASS_FWHM_MM = 20.0
NOISE_REACH_MM = 16.0
FLAT_SHARE_PERCENT = 30.0
FLOOR_SUV = 0.05


def smoothed(volume: np.ndarray, voxel_size_mm: VoxelSize, fwhm_mm: float) -> np.ndarray:
    """A Gaussian that is isotropic in mm."""
    sigmas = [fwhm_mm / metrics.FWHM_PER_SIGMA / size for size in reversed(voxel_size_mm)]
    return ndimage.gaussian_filter(volume.astype(np.float32, copy=False), sigmas)


# ---- the noise, as the volume itself shows it


@dataclass(frozen=True)
class Noise:
    """Level and correlation of the noise: standard deviation, and autocovariance over its square, [z, y, x] lags."""

    sigma: float
    correlation: np.ndarray  # odd sizes, one in the centre

    def power_spectrum(self, shape: tuple[int, ...]) -> np.ndarray:
        """The spectrum that BM4D takes: the expected squared magnitude of the noise's Fourier transform."""
        lags = np.zeros(shape)
        reach = [min(count // 2, (size - 1) // 2) for count, size in zip(self.correlation.shape, shape, strict=True)]
        middle = [count // 2 for count in self.correlation.shape]
        kept = self.correlation[tuple(slice(m - r, m + r + 1) for m, r in zip(middle, reach, strict=True))]
        lags[tuple(slice(0, count) for count in kept.shape)] = kept
        lags = np.roll(lags, [-r for r in reach], axis=(0, 1, 2))
        spectrum = np.maximum(np.fft.fftn(lags).real, 1e-3)  # an estimate can dip below zero
        return spectrum * (self.sigma**2 * lags.size / spectrum.mean())


def noise_in_flat_parts(volume: np.ndarray, low: np.ndarray, voxel_size_mm: VoxelSize) -> Noise:
    """Noise of `volume` (the low-dose volume or a stabilised form of it) where the low-dose volume is flattest.

    The volume less its Gaussian is correlated with itself inside the 30 % of the body with the least relative
    gradient; elsewhere the residual would be anatomy. Lags are tapered from 8 mm to zero at 16 mm.
    """
    mean = np.maximum(smoothed(low, voxel_size_mm, NOISE_HIGH_PASS_FWHM_MM), FLOOR_SUV)
    slopes = np.gradient(mean, *reversed(voxel_size_mm))
    steepness = np.sqrt(sum(slope**2 for slope in slopes)) / mean
    body = metrics.body_mask(low, voxel_size_mm)
    core = ndimage.binary_erosion(body, iterations=3)
    core = core if core.any() else body
    flat = core & (steepness <= np.percentile(steepness[core], FLAT_SHARE_PERCENT))
    residual = volume - smoothed(volume, voxel_size_mm, NOISE_HIGH_PASS_FWHM_MM)
    covariance = _masked_autocovariance(residual, flat)
    reach = [
        min(round(NOISE_REACH_MM / size), count // 2 - 1)
        for size, count in zip(reversed(voxel_size_mm), volume.shape, strict=True)
    ]
    centre = [count // 2 for count in volume.shape]
    lags = covariance[tuple(slice(c - r, c + r + 1) for c, r in zip(centre, reach, strict=True))]
    variance = float(lags[tuple(reach)])
    taper = [windows.tukey(2 * r + 3, alpha=0.5)[1:-1] for r in reach]
    window = taper[0][:, None, None] * taper[1][None, :, None] * taper[2][None, None, :]
    return Noise(variance**0.5, lags / variance * window)


def _masked_autocovariance(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean product of the values at each lag over the pairs inside the mask; lag zero in the array's centre."""
    inside = np.fft.fftn(mask.astype(np.float64))
    masked = np.fft.fftn(np.where(mask, values - values[mask].mean(), 0.0))
    products = np.fft.ifftn(np.abs(masked) ** 2).real
    pairs = np.maximum(np.fft.ifftn(np.abs(inside) ** 2).real, 1.0)
    return np.fft.fftshift(products / pairs)


# ---- the domain where the noise is nearly the same everywhere

Denoiser = Callable[[np.ndarray, Noise], np.ndarray]


def in_square_root(low: np.ndarray, voxel_size_mm: VoxelSize, denoiser: Denoiser) -> np.ndarray:
    """Denoise the square root, and square the result.

    The square of a mean is less than the mean of a square, by the variance that was removed: at DRF 100 that is a bias
    of -23 %. So the input's local mean (20 mm) is put back, which costs no contrast and won 0.3 to 1.5 dB here.
    """
    root = np.sqrt(np.maximum(low, 0.0))
    estimate = np.maximum(denoiser(root, noise_in_flat_parts(root, low, voxel_size_mm)), 0.0) ** 2
    return estimate + smoothed(low - estimate, voxel_size_mm, LOCAL_MEAN_FWHM_MM)


# ---- the denoisers


def gaussian(low: np.ndarray, voxel_size_mm: VoxelSize, fwhm_mm: float) -> np.ndarray:
    """The clinical post-filter: an isotropic Gaussian of the given FWHM in mm."""
    return smoothed(low, voxel_size_mm, fwhm_mm)


def nlm(low: np.ndarray, voxel_size_mm: VoxelSize, strength: float) -> np.ndarray:
    """scikit-image's fast 3D non-local means on the square root; h is `strength` estimated noise deviations."""

    def denoise(volume: np.ndarray, noise: Noise) -> np.ndarray:
        h = strength * noise.sigma
        volume = volume.astype(np.float32)
        return denoise_nl_means(volume, patch_size=5, patch_distance=5, h=h, sigma=noise.sigma, fast_mode=True)

    return in_square_root(low, voxel_size_mm, denoise)


def bm4d_white(low: np.ndarray, voxel_size_mm: VoxelSize, strength: float) -> np.ndarray:
    """BM4D on the square root, told of white noise of `strength` times the estimated deviation."""
    return in_square_root(low, voxel_size_mm, lambda volume, noise: bm4d(volume, strength * noise.sigma))


def bm4d_correlated(low: np.ndarray, voxel_size_mm: VoxelSize, strength: float) -> np.ndarray:
    """BM4D on the square root, told of the estimated power spectrum, its deviation multiplied by `strength`."""
    return in_square_root(
        low,
        voxel_size_mm,
        lambda volume, noise: bm4d(volume, strength**2 * noise.power_spectrum(volume.shape)),
    )


@dataclass(frozen=True)
class Baseline:
    """A denoiser, the values its parameter is chosen from, and how much of the tuning pairs its cost allows."""

    denoise: Callable[[np.ndarray, VoxelSize, float], np.ndarray]
    values: tuple[float, ...]
    tuning_pairs: int
    tuning_voxels: int


BASELINES = {
    "gaussian": Baseline(gaussian, (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 14.0, 17.0), 8, 10**7),
    "nlm": Baseline(nlm, (0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0), 4, 60_000),
    "bm4d": Baseline(bm4d_white, (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.5, 10.0), 4, 40_000),
    "bm4d-correlated": Baseline(bm4d_correlated, (0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4, 2.8), 4, 40_000),
}


def apply(name: str, low: np.ndarray, voxel_size_mm: VoxelSize, parameter: float) -> np.ndarray:
    """Denoise a volume (SUV, [z, y, x], voxel size (x, y, z) in mm) by one of BASELINES; never negative, float32."""
    denoised = BASELINES[name].denoise(np.asarray(low, dtype=np.float32), voxel_size_mm, parameter)
    return np.maximum(denoised, 0.0).astype(np.float32)


# ---- tuning


def tuned_parameters(pairs: Sequence[Pair], names: Sequence[str] = tuple(BASELINES)) -> dict[str, float]:
    """The parameter of each baseline with the highest mean PSNR in the body on tuning pairs of one dose.

    The pairs must not be among the volumes that are scored. The slow methods see only the first pairs, cropped around
    the body's centre, and all climb from the middle of their values instead of trying every one.
    """
    return {name: climb(BASELINES[name].values, partial(mean_psnr, name, pairs=pairs)) for name in names}


def mean_psnr(name: str, value: float, pairs: Sequence[Pair]) -> float:
    """Mean PSNR in the body, in dB, over the tuning pairs and crops that the baseline's cost allows."""
    baseline = BASELINES[name]
    crops = [_central_crop(pair, baseline.tuning_voxels) for pair in pairs[: baseline.tuning_pairs]]
    figures = [
        metrics.psnr(reference, apply(name, low, size, value), metrics.body_mask(reference, size))
        for low, reference, size in crops
    ]
    return sum(figures) / len(figures)


def climb(values: Sequence[float], score: Callable[[float], float]) -> float:
    """The value with the highest score, found by walking uphill from the middle of the ordered values."""
    scores: dict[int, float] = {}

    def score_at(index: int) -> float:
        if index not in scores:
            scores[index] = score(values[index])
        return scores[index]

    best = len(values) // 2
    while True:
        around = [index for index in (best, best - 1, best + 1) if 0 <= index < len(values)]
        highest = max(around, key=score_at)
        if highest == best:
            return values[best]
        best = highest


def _central_crop(pair: Pair, voxels: int) -> Pair:
    """The part of a pair around its body's centre that has at most so many voxels, and the volume's proportions."""
    low, reference, size = pair
    body = np.nonzero(metrics.body_mask(reference, size))
    lows, highs = [int(axis.min()) for axis in body], [int(axis.max()) + 1 for axis in body]
    extents = [high - start for start, high in zip(lows, highs, strict=True)]
    shrink = min((voxels / np.prod(extents)) ** (1 / 3), 1.0)
    part = tuple(
        slice(start + (extent - round(extent * shrink)) // 2, start + (extent + round(extent * shrink)) // 2)
        for start, extent in zip(lows, extents, strict=True)
    )
    return low[part], reference[part], size
