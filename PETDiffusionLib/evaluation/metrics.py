"""Figures of merit for PET volumes, on arrays.

Arrays are [z, y, x] in SUV, masks are boolean arrays of the same shape, `voxel_size_mm` is (x, y, z).

This project's convention: everything is computed inside the body (`body_mask` of the reference). PSNR has a fixed peak
of 10 SUV, and SSIM a fixed range of 10 SUV, so that figures of different patients, doses and tracers can be compared
and a hot bladder does not flatter a volume. Values are not clipped. The convention of the 3D-DDPM authors, which takes
the whole volume with its air, is in `ddpm3d_psnr` and `ddpm3d_ssim`.
"""

import math

import numpy as np
from scipy import ndimage, signal
from skimage.metrics import structural_similarity

from PETDiffusionLib.errors import PETDiffusionError

PEAK_SUV = 10.0
SSIM_WINDOW_VOXELS = 7
DDPM3D_RANGE_SUV = 16.0
BODY_THRESHOLD_SUV = 0.15
BODY_SMOOTHING_FWHM_MM = 10.0
SUVPEAK_DIAMETER_MM = 12.0
FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
INTERVAL_95_SIGMAS = 1.96


# ---- the body


def body_mask(reference: np.ndarray, voxel_size_mm: tuple[float, float, float]) -> np.ndarray:
    """The patient without the air around: boolean [z, y, x], z being the body's long axis.

    The reference, in SUV, is smoothed to 10 mm; what is above 0.15 SUV in one piece, the largest, is the body. Holes
    are filled in every axial slice, so that airways and cold lungs belong to it where the volume ends within them.
    Raises PETDiffusionError "no-body" where nothing is above the threshold.
    """
    sigmas = [BODY_SMOOTHING_FWHM_MM / FWHM_PER_SIGMA / size for size in reversed(voxel_size_mm)]
    smoothed = ndimage.gaussian_filter(reference.astype(np.float32, copy=False), sigmas, truncate=3.0)
    pieces, count = ndimage.label(smoothed > BODY_THRESHOLD_SUV)
    if count == 0:
        raise PETDiffusionError(
            "no-body",
            f"A body was expected above {BODY_THRESHOLD_SUV} SUV, but the reference reaches only "
            f"{float(smoothed.max()):.3g} after smoothing. Check that it is in SUV, or give a mask.",
        )
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return _fill_axial_holes(pieces == sizes.argmax())


def _fill_axial_holes(mask: np.ndarray) -> np.ndarray:
    """Fill what is enclosed within a slice: everything but the background that reaches the slice's rim."""
    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[1, 1, :] = in_plane[1, :, 1] = True
    background, count = ndimage.label(~mask, structure=in_plane)
    outside = np.zeros(count + 1, dtype=bool)
    for rim in (background[:, 0], background[:, -1], background[:, :, 0], background[:, :, -1]):
        outside[np.unique(rim)] = True
    outside[0] = False
    return ~outside[background]


def _bounding_box(mask: np.ndarray, margin_voxels: int) -> tuple[slice, ...]:
    """Slices around a mask's true voxels, widened by a margin (a stop beyond the array is clipped when it is used)."""
    box = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(max(int(used[0]) - margin_voxels, 0), int(used[-1]) + 1 + margin_voxels))
    return tuple(box)


# ---- whole-image figures


def psnr(reference: np.ndarray, image: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB inside the mask, the peak being 10 SUV; infinite for equal images."""
    return _decibels(PEAK_SUV, _mean_squared_error(reference[mask], image[mask]))


def nrmse(reference: np.ndarray, image: np.ndarray, mask: np.ndarray) -> float:
    """Root mean squared error inside the mask over the root mean square of the reference there."""
    error = math.sqrt(_mean_squared_error(reference[mask], image[mask]))
    scale = math.sqrt(float(np.mean(np.square(reference[mask], dtype=np.float64))))
    return error / scale if scale > 0 else math.nan


def ssim(reference: np.ndarray, image: np.ndarray, mask: np.ndarray) -> float:
    """Structural similarity, 3D with a uniform window of 7 voxels and a range of 10 SUV, its map averaged in the mask.

    Raises PETDiffusionError "too-small" for volumes with fewer than 7 voxels along an axis.
    """
    _require_ssim_window(reference.shape)
    box = _bounding_box(mask, SSIM_WINDOW_VOXELS)
    _, similarity = structural_similarity(
        _float32(reference[box]),
        _float32(image[box]),
        win_size=SSIM_WINDOW_VOXELS,
        data_range=PEAK_SUV,
        full=True,
    )
    return float(np.mean(similarity[mask[box]], dtype=np.float64))


def ddpm3d_psnr(reference: np.ndarray, image: np.ndarray) -> float:
    """PSNR in dB as the 3D-DDPM authors compute it (Yu et al. 2025).

    Over the whole volume with its air; both volumes clipped at 16 SUV, the image's negatives zeroed, and the peak the
    maximum of the unclipped reference. Of equal volumes it is 100, as theirs is.
    """
    clipped, estimate = _ddpm3d_volumes(reference, image)
    error = _mean_squared_error(clipped, estimate)
    return 100.0 if error == 0 else _decibels(float(reference.max()), error)


def ddpm3d_ssim(reference: np.ndarray, image: np.ndarray) -> float:
    """SSIM as the 3D-DDPM authors compute it: scikit-image's 3D mean, window 7 voxels, range 16 SUV, same clipping."""
    _require_ssim_window(reference.shape)
    clipped, estimate = _ddpm3d_volumes(reference, image)
    return float(structural_similarity(clipped, estimate, data_range=DDPM3D_RANGE_SUV))


def _ddpm3d_volumes(reference: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _float32(np.minimum(reference, DDPM3D_RANGE_SUV)), _float32(np.clip(image, 0.0, DDPM3D_RANGE_SUV))


def _float32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)


def _mean_squared_error(reference: np.ndarray, image: np.ndarray) -> float:
    difference = np.subtract(image, reference, dtype=np.float32)
    return float(np.mean(np.square(difference, out=difference), dtype=np.float64))


def _decibels(peak: float, mean_squared_error: float) -> float:
    if mean_squared_error == 0:
        return math.inf
    return 10.0 * math.log10(peak**2 / mean_squared_error) if peak > 0 else -math.inf


def _require_ssim_window(shape: tuple[int, ...]) -> None:
    if min(shape) < SSIM_WINDOW_VOXELS:
        raise PETDiffusionError(
            "too-small",
            f"SSIM needs at least {SSIM_WINDOW_VOXELS} voxels along every axis; the volume has "
            f"{' x '.join(str(count) for count in reversed(shape))}.",
        )


# ---- regions


def suv_mean(image: np.ndarray, region: np.ndarray) -> float:
    """Mean SUV of a region."""
    return float(np.mean(image[region], dtype=np.float64))


def suv_max(image: np.ndarray, region: np.ndarray) -> float:
    """Maximum SUV of a region."""
    return float(image[region].max())


def suv_peak(image: np.ndarray, region: np.ndarray, voxel_size_mm: tuple[float, float, float]) -> float:
    """SUVpeak (EANM, QIBA): the highest mean in a sphere of 12 mm diameter, some 1 ml, centred on a region's voxel.

    The sphere may reach out of the region; beyond the volume only its inner part counts. Voxels on the sphere's rim
    count with the fraction of them that is inside, so that the figure hardly depends on the voxel size.
    """
    weights = sphere_weights(voxel_size_mm)
    box = _bounding_box(region, max(weights.shape) // 2)
    values = image[box].astype(np.float64)
    sums = signal.oaconvolve(values, weights, mode="same")
    # The weights sum to one, except where part of the sphere is outside the volume.
    inside = signal.oaconvolve(np.ones_like(values), weights, mode="same")
    return float((sums / inside)[region[box]].max())


def sphere_weights(voxel_size_mm: tuple[float, float, float], diameter_mm: float = SUVPEAK_DIAMETER_MM) -> np.ndarray:
    """The share of a sphere's volume in each voxel around its centre voxel: [z, y, x], odd sizes, summing to one."""
    radius = diameter_mm / 2.0
    squared_distances = []
    for size in reversed(voxel_size_mm):
        reach = max(math.ceil(radius / size - 0.5), 0)
        parts = max(math.ceil(size / 0.4), 3)  # sub-voxels of at most 0.4 mm
        count = (2 * reach + 1) * parts
        centres = (np.arange(count) - (count - 1) / 2.0) * (size / parts)
        squared_distances.append((centres**2, parts))
    (z2, nz), (y2, ny), (x2, nx) = squared_distances
    inside = z2[:, None, None] + y2[None, :, None] + x2[None, None, :] <= radius**2
    counts = inside.reshape(len(z2) // nz, nz, len(y2) // ny, ny, len(x2) // nx, nx).sum(axis=(1, 3, 5))
    return counts / counts.sum()


def bias_percent(reference: float, value: float) -> float:
    """How far a value is from its reference, in percent of the reference; NaN where that is zero."""
    return 100.0 * (value - reference) / reference if reference != 0 else math.nan


def recovery(reference: np.ndarray, image: np.ndarray, lesion: np.ndarray) -> float:
    """The share of a lesion's SUVmax that the image keeps: 1 is all of it, less is flattened."""
    truth = suv_max(reference, lesion)
    return suv_max(image, lesion) / truth if truth != 0 else math.nan


def contrast_recovery(image: np.ndarray, lesion: np.ndarray, background: np.ndarray, true_ratio: float) -> float:
    """CRC = (H/B - 1) / (a - 1) with the means H and B, and the true uptake ratio a; serves hot and cold (a < 1) alike.

    Raises ValueError for a ratio of 1, where there is no contrast to recover.
    """
    if true_ratio == 1:
        raise ValueError("contrast recovery needs a true lesion-to-background ratio other than 1")
    return (suv_mean(image, lesion) / suv_mean(image, background) - 1.0) / (true_ratio - 1.0)


def background_variability(image: np.ndarray, background: np.ndarray) -> float:
    """Voxelwise standard deviation over the mean in a uniform region (the liver's is the usual noise figure)."""
    mean = suv_mean(image, background)
    return float(np.std(image[background], dtype=np.float64)) / mean if mean != 0 else math.nan


# ---- uncertainty


def coverage(truth: np.ndarray, mean: np.ndarray, deviation: np.ndarray, mask: np.ndarray) -> float:
    """The share of the mask's voxels whose truth is within mean +- 1.96 stated deviations; 0.95 is what it claims."""
    return float(np.mean(np.abs(truth[mask] - mean[mask]) <= INTERVAL_95_SIGMAS * deviation[mask]))


def error_correlation(truth: np.ndarray, mean: np.ndarray, deviation: np.ndarray, mask: np.ndarray) -> float:
    """Pearson correlation of stated deviation and actual absolute error in the mask; NaN if either is constant."""
    stated = deviation[mask].astype(np.float64)
    actual = np.abs(truth[mask].astype(np.float64) - mean[mask])
    spread = float(stated.std() * actual.std())
    return float(np.mean((stated - stated.mean()) * (actual - actual.mean()))) / spread if spread > 0 else math.nan
