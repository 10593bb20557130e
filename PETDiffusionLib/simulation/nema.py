"""The NEMA image-quality phantom (NEMA NU 2): a torso-like body, six spheres and a lung insert."""

from __future__ import annotations

import numpy as np

from PETDiffusionLib.projection.attenuation import LUNG_MU_PER_MM, WATER_MU_PER_MM
from PETDiffusionLib.simulation.phantom import Phantom, ellipsoid, empty_phantom

SPHERE_DIAMETERS_MM = (10, 13, 17, 22, 28, 37)
SPHERE_RING_RADIUS_MM = 57.2


def nema_iq(contrast: float = 4.0, background_suv: float = 1.0, voxel_mm: float = 2.0) -> Phantom:
    """The phantom with all six spheres at `contrast` times the background; labels name each sphere."""
    shape = tuple(round(extent / voxel_mm) for extent in (180, 240, 310))
    phantom = empty_phantom(shape, (voxel_mm,) * 3)
    middle = (np.asarray(shape) - 1) / 2 * voxel_mm
    y, x = ((np.arange(n) * voxel_mm - c) for n, c in zip(shape[1:], middle[1:], strict=True))
    y, x = y[:, None], x[None, :]
    # Half a disc of 147 mm above, two quarter discs of 77 mm and a block between them below.
    top = (np.hypot(x, y - 35) < 147) & (y <= 35)
    corners = (np.hypot(np.abs(x) - 70, y - 35) < 77) & (y > 35)
    block = (np.abs(x) < 70) & (y > 35) & (y < 112)
    body = np.broadcast_to(top | corners | block, shape)
    phantom.paint(body, "background", background_suv, WATER_MU_PER_MM)
    insert = np.broadcast_to(np.hypot(x, y) < 25, shape)
    phantom.paint(insert, "lung insert", 0.0, LUNG_MU_PER_MM)
    for number, diameter in enumerate(SPHERE_DIAMETERS_MM):
        angle = 2 * np.pi * number / len(SPHERE_DIAMETERS_MM)
        offset = np.array([0, SPHERE_RING_RADIUS_MM * np.sin(angle), SPHERE_RING_RADIUS_MM * np.cos(angle)])
        where = ellipsoid(phantom, middle + offset, np.full(3, diameter / 2))
        phantom.paint(where, f"sphere {diameter} mm", contrast * background_suv)
    return phantom
