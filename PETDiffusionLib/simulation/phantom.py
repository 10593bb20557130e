"""A phantom: activity, attenuation and labels on one fine grid, and the tools to paint one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from PETDiffusionLib.projection.attenuation import LUNG_MU_PER_MM
from PETDiffusionLib.simulation.draws import log_uniform
from PETDiffusionLib.volumes.resampling import apply_matrices, centre_matrix


@dataclass
class Phantom:
    """What is in the scanner. Arrays are [z, y, x]; z grows towards the head, y to the back, x to the patient's left.

    `activity` is in SUV, `mu` in 1/mm at 511 keV, `labels` are those of `label_names`.
    """

    activity: np.ndarray
    mu: np.ndarray
    labels: np.ndarray
    voxel_size_mm: tuple[float, ...]  # (z, y, x)
    label_names: dict[int, str] = field(default_factory=dict)

    def paint(self, where: np.ndarray, name: str, suv: float | np.ndarray, mu: float | None = None) -> None:
        """Give the voxels `where` an uptake, a name and, unless it stays as it is, an attenuation."""
        label = next((key for key, known in self.label_names.items() if known == name), len(self.label_names) + 1)
        self.label_names[label] = name
        self.labels[where] = label
        self.activity[where] = suv[where] if isinstance(suv, np.ndarray) else suv
        if mu is not None:
            self.mu[where] = mu


def empty_phantom(shape: tuple[int, ...], voxel_size_mm: tuple[float, ...]) -> Phantom:
    """Air on a grid of `shape` [z, y, x]."""
    zeros = np.zeros(shape, np.float32)
    return Phantom(zeros, zeros.copy(), np.zeros(shape, np.uint16), voxel_size_mm)


def smooth_field(
    shape: tuple[int, ...], voxel_size_mm: tuple[float, ...], scale_mm: float, rng: np.random.Generator
) -> np.ndarray:
    """A random field of zero mean and unit variance that varies over `scale_mm`: splined noise, [z, y, x] float32."""
    knots = [max(4, int(np.ceil(n * size / scale_mm)) + 3) for n, size in zip(shape, voxel_size_mm, strict=True)]
    noise = rng.standard_normal(knots).astype(np.float32)
    matrices = tuple(centre_matrix(k, scale_mm, n, s) for k, n, s in zip(knots, shape, voxel_size_mm, strict=True))
    values = apply_matrices(noise, matrices)
    return (values - values.mean()) / (values.std() + 1e-6)


def texture(phantom: Phantom, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A positive factor about one, [z, y, x], with detail from 5 to 40 mm: living tissue is nowhere flat."""
    total = np.zeros(phantom.activity.shape, np.float32)
    for scale_mm, weight in ((5.0, 0.5), (10.0, 0.6), (20.0, 0.7), (40.0, 0.8)):
        total += weight * rng.uniform(0.3, 1.3) * smooth_field(total.shape, phantom.voxel_size_mm, scale_mm, rng)
    return np.exp(strength * np.clip(total, -3, 3))


def add_lesions(
    phantom: Phantom,
    count: int,
    rng: np.random.Generator,
    diameters_mm: tuple[float, float] = (5.0, 40.0),
) -> None:
    """Paint `count` irregular lesions of these diameters in tissue: hot (1.5 to 12 times what is there) or cold."""
    tissue = phantom.mu > LUNG_MU_PER_MM / 2
    spots = np.argwhere(tissue)
    if len(spots) == 0:
        return
    spacing = np.asarray(phantom.voxel_size_mm)
    for number in range(1, count + 1):
        centre = spots[rng.integers(len(spots))] * spacing
        diameter = float(log_uniform(rng, *diameters_mm))
        radii = diameter / 2 * rng.uniform(0.75, 1.25, 3)
        box, distance = ellipsoid_distance(phantom, centre, radii, margin=1.4)
        ripple = smooth_field(distance.shape, phantom.voxel_size_mm, max(diameter / 2, 4.0), rng)
        blob = np.zeros(tissue.shape, bool)
        blob[box] = (distance + 0.15 * ripple < 1) & tissue[box]
        if not blob.any():
            continue
        background = float(np.median(phantom.activity[blob]))
        hot = rng.random() < 0.8
        factor = log_uniform(rng, 1.5, 12) if hot else rng.uniform(0.0, 0.5)
        uptake = max(background, 0.3) * factor
        core = blob & (phantom.labels > 0)
        phantom.paint(core, f"{'hot' if hot else 'cold'} lesion {number}", uptake)
        if hot and diameter > 20 and rng.random() < 0.4:  # a necrotic centre
            blob[box] &= distance < rng.uniform(0.2, 0.5)
            phantom.activity[blob] = background * 0.5


def ellipsoid(phantom: Phantom, centre_mm: np.ndarray, radii_mm: np.ndarray) -> np.ndarray:
    """The mask [z, y, x] of an ellipsoid (centre and radii in mm, z y x, from the first voxel)."""
    where = np.zeros(phantom.activity.shape, bool)
    box, distance = ellipsoid_distance(phantom, centre_mm, radii_mm)
    where[box] = distance < 1
    return where


def ellipsoid_distance(
    phantom: Phantom, centre_mm: np.ndarray, radii_mm: np.ndarray, margin: float = 1.0
) -> tuple[tuple[slice, ...], np.ndarray]:
    """The box around an ellipsoid (centre and radii in mm, z y x, from the first voxel) and the scaled radius in it."""
    slices, squares = [], []
    for axis, (centre, radius) in enumerate(zip(centre_mm, radii_mm, strict=True)):
        size, count = phantom.voxel_size_mm[axis], phantom.activity.shape[axis]
        first = int(np.clip(np.floor((centre - margin * radius) / size), 0, count - 1))
        last = int(np.clip(np.ceil((centre + margin * radius) / size) + 1, first + 1, count))
        slices.append(slice(first, last))
        squares.append(((np.arange(first, last) * size - centre) / radius) ** 2)
    z, y, x = squares
    return tuple(slices), np.sqrt(z[:, None, None] + y[None, :, None] + x[None, None, :])
