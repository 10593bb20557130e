"""Spots: calm bodies of one to five flat tissues with many small lesions, as metastases lie in a liver.

Where anatomy is textured, a small peak is mostly noise. A network that has seen calm tissue full of small lesions, too,
tells them by how far they stand out.
"""

from __future__ import annotations

import numpy as np

from PETDiffusionLib.projection.attenuation import LUNG_MU_PER_MM, WATER_MU_PER_MM
from PETDiffusionLib.simulation.draws import log_uniform
from PETDiffusionLib.simulation.phantom import Phantom, add_lesions, ellipsoid, texture
from PETDiffusionLib.simulation.shapes import elliptic_object

SPOT_DIAMETERS_MM = (4.0, 30.0)


def random_spots(seed: int, length_mm: float = 160.0, voxel_mm: float = 2.5) -> Phantom:
    """A body `length_mm` long with 20 to 250 lesions of 4 to 30 mm, drawn from `seed`, on cubic voxels."""
    rng = np.random.default_rng([seed, 9])
    phantom, radius = elliptic_object(rng, length_mm, voxel_mm)
    body = radius < 1
    phantom.paint(body, "background", float(log_uniform(rng, 0.3, 6)), WATER_MU_PER_MM)
    places = np.argwhere(body) * voxel_mm
    for number in range(int(rng.integers(0, 5))):
        where = body & ellipsoid(phantom, places[rng.integers(len(places))], rng.uniform(15, 80, 3))
        mu = LUNG_MU_PER_MM if rng.random() < 0.3 else WATER_MU_PER_MM
        phantom.paint(where, f"organ {number}", float(log_uniform(rng, 0.1, 8)), mu)
    phantom.activity *= texture(phantom, rng.uniform(0.0, 0.08), rng)
    add_lesions(phantom, int(log_uniform(rng, 20, 250)), rng, SPOT_DIAMETERS_MM)
    return phantom
