"""An MR- or CT-like image of a phantom: one grey value a tissue, drawn without a look at its uptake."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from PETDiffusionLib.simulation.phantom import smooth_field

BLUR_MM, NOISE = 1.0, 0.03


def anatomical_image(
    labels: np.ndarray,
    voxel_size_mm: tuple[float, ...],
    rng: np.random.Generator,
    contrast: dict[int, float] | None = None,
) -> np.ndarray:
    """An image [z, y, x] of a label volume (0 is air): `contrast` by label, or random; a bias field, blur and noise.

    Its mean over what is not air is one, which is also how a real image should be scaled.
    """
    grey = np.zeros(int(labels.max()) + 1, np.float32)
    grey[1:] = rng.uniform(0.1, 1.0, len(grey) - 1)
    for label, value in (contrast or {}).items():
        if label < len(grey):
            grey[label] = value
    image = gaussian_filter(grey[labels], [BLUR_MM / size for size in voxel_size_mm])
    image *= np.exp(0.1 * smooth_field(labels.shape, voxel_size_mm, 80.0, rng))
    image += NOISE * rng.standard_normal(labels.shape).astype(np.float32) * (labels > 0)
    image = np.maximum(image, 0)
    return image / max(float(image[labels > 0].mean()), 1e-6) if (labels > 0).any() else image
