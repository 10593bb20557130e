"""Phantoms that mean nothing: random blobs, tubes and level sets, so that a network learns counts and not anatomy."""

from __future__ import annotations

import numpy as np

from PETDiffusionLib.projection.attenuation import BONE_MU_PER_MM, LUNG_MU_PER_MM, WATER_MU_PER_MM
from PETDiffusionLib.simulation.draws import log_uniform
from PETDiffusionLib.simulation.phantom import (
    Phantom,
    add_lesions,
    ellipsoid_distance,
    empty_phantom,
    smooth_field,
    texture,
)


def random_shapes(seed: int, length_mm: float = 160.0, voxel_mm: float = 2.5) -> Phantom:
    """An elliptic object of random size, filled with random structures of random uptake and attenuation."""
    rng = np.random.default_rng([seed, 2])
    phantom, radius = elliptic_object(rng, length_mm, voxel_mm)
    body = radius < 1
    phantom.paint(body, "background", _random_uptake(rng), WATER_MU_PER_MM)
    for _ in range(int(rng.integers(2, 6))):
        _paint_level_set(phantom, body, rng)
    spots = np.argwhere(body) * voxel_mm
    for number in range(int(rng.integers(10, 60))):
        _paint_ellipsoid(phantom, body, spots[rng.integers(len(spots))], number, rng)
    phantom.activity *= texture(phantom, rng.uniform(0.0, 0.3), rng)
    add_lesions(phantom, int(rng.integers(0, 12)), rng)
    return phantom


def elliptic_object(rng: np.random.Generator, length_mm: float, voxel_mm: float) -> tuple[Phantom, np.ndarray]:
    """An empty phantom, and the scaled radius [z, y, x] of an elliptic body of random size: below one inside it."""
    half_width, half_depth = rng.uniform(70, 200), rng.uniform(70, 140)
    extent = 2 * np.array([length_mm / 2, half_depth + 20, half_width + 20])
    phantom = empty_phantom(tuple(int(n) for n in np.round(extent / voxel_mm)), (voxel_mm,) * 3)
    centre = np.asarray(phantom.activity.shape) * voxel_mm / 2
    box, radius = ellipsoid_distance(phantom, centre, np.array([length_mm * 4, half_depth, half_width]))
    ripple = smooth_field(phantom.activity.shape, phantom.voxel_size_mm, 50.0, rng)
    scaled = np.full(phantom.activity.shape, np.inf)
    scaled[box] = radius + 0.06 * ripple[box]
    return phantom, scaled


def _random_uptake(rng: np.random.Generator) -> float:
    return float(log_uniform(rng, 0.1, 10))


def _random_mu(rng: np.random.Generator) -> float:
    return float(rng.choice([WATER_MU_PER_MM, WATER_MU_PER_MM, BONE_MU_PER_MM, LUNG_MU_PER_MM]))


def _paint_level_set(phantom: Phantom, body: np.ndarray, rng: np.random.Generator) -> None:
    """Sheets and caves: where a random field of 6 to 40 mm lies in a band."""
    field = smooth_field(body.shape, phantom.voxel_size_mm, float(rng.uniform(6, 40)), rng)
    middle, width = rng.normal(0, 0.8), rng.uniform(0.1, 0.8)
    phantom.paint(body & (np.abs(field - middle) < width), "sheet", _random_uptake(rng))


def _paint_ellipsoid(
    phantom: Phantom, body: np.ndarray, centre: np.ndarray, number: int, rng: np.random.Generator
) -> None:
    radii = log_uniform(rng, 3, 60, 3)
    box, distance = ellipsoid_distance(phantom, centre, radii)
    distance = distance + rng.uniform(0, 0.2) * smooth_field(distance.shape, phantom.voxel_size_mm, 12.0, rng)
    where = np.zeros(body.shape, bool)
    where[box] = (distance < 1) & body[box]
    if rng.random() < 0.3:  # a shell
        where[box] &= distance > rng.uniform(0.5, 0.85)
    phantom.paint(where, f"shape {number % 50}", _random_uptake(rng), _random_mu(rng))
