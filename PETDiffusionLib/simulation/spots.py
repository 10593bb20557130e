"""Spots: calm bodies of one to five flat tissues with many small lesions, as metastases lie in a liver.

Where anatomy is textured, a small peak is mostly noise. A network that has seen calm tissue full of small lesions, too,
tells them by how far they stand out.
"""

from __future__ import annotations

import numpy as np

from PETDiffusionLib.projection.attenuation import LUNG_MU_PER_MM, WATER_MU_PER_MM
from PETDiffusionLib.simulation.phantom import Phantom, add_lesions, ellipsoid_distance, texture
from PETDiffusionLib.simulation.shapes import elliptic_object

SPOT_DIAMETERS_MM = (4.0, 30.0)


def random_spots(seed: int, length_mm: float = 160.0, voxel_mm: float = 2.5) -> Phantom:
    """A body `length_mm` long with 20 to 250 lesions of 4 to 30 mm, drawn from `seed`, on cubic voxels."""
    rng = np.random.default_rng([seed, 9])
    phantom, radius = elliptic_object(rng, length_mm, voxel_mm)
    body = radius < 1
    phantom.paint(body, "background", float(np.exp(rng.uniform(np.log(0.3), np.log(6)))), WATER_MU_PER_MM)
    places = np.argwhere(body) * voxel_mm
    for number in range(int(rng.integers(0, 5))):
        box, distance = ellipsoid_distance(phantom, places[rng.integers(len(places))], rng.uniform(15, 80, 3))
        where = np.zeros(body.shape, bool)
        where[box] = (distance < 1) & body[box]
        mu = LUNG_MU_PER_MM if rng.random() < 0.3 else WATER_MU_PER_MM
        phantom.paint(where, f"organ {number}", float(np.exp(rng.uniform(np.log(0.1), np.log(8)))), mu)
    phantom.activity *= texture(phantom, rng.uniform(0.0, 0.08), rng)
    add_lesions(phantom, int(np.exp(rng.uniform(np.log(20), np.log(250)))), rng, body, SPOT_DIAMETERS_MM)
    return phantom
