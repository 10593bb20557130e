"""Mosaics: bodies cut into warped cells of a few tissues, with layers of up to 6 mm between, as muscles lie in fat.

Where the procedural bodies are smooth organs in a smooth trunk, these are many edges of every direction and contrast: a
network that saw them takes an edge for an edge in anatomies that nobody drew for it.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from PETDiffusionLib.projection.attenuation import BONE_MU_PER_MM, FAT_MU_PER_MM, LUNG_MU_PER_MM, WATER_MU_PER_MM
from PETDiffusionLib.simulation.draws import log_uniform
from PETDiffusionLib.simulation.phantom import Phantom, add_lesions, smooth_field, texture
from PETDiffusionLib.simulation.shapes import elliptic_object

TISSUE_MU_PER_MM = (WATER_MU_PER_MM, WATER_MU_PER_MM, WATER_MU_PER_MM, FAT_MU_PER_MM, LUNG_MU_PER_MM, BONE_MU_PER_MM)


def random_mosaic(seed: int, length_mm: float = 160.0, voxel_mm: float = 2.5) -> Phantom:
    """A body `length_mm` long of 20 to 300 cells in 3 to 8 tissues, drawn from `seed`, on cubic voxels.

    One body in two has cells in layers, from the core to the skin, as the wall of a trunk has; cells are stretched
    along a random axis up to fourfold.
    """
    rng = np.random.default_rng([seed, 8])
    phantom, radius = elliptic_object(rng, length_mm, voxel_mm)
    body = radius < 1
    places = np.argwhere(body)
    bends = [_bend(phantom, rng)[body] for _ in range(3)]
    coordinates = places * voxel_mm + np.stack(bends, axis=1)
    coordinates = coordinates @ _stretch(rng)
    count = int(log_uniform(rng, 20, 300))
    seeds = coordinates[rng.integers(len(coordinates), size=count)]
    if rng.random() < 0.5:  # layers: the depth beneath the skin tells cells apart too
        weight = rng.uniform(50, 150)
        depth = weight * radius[body]
        coordinates = np.column_stack([coordinates, depth])
        seeds = np.column_stack([seeds, rng.uniform(0, weight, count)])
    distance, cell = cKDTree(seeds).query(coordinates.astype(np.float32), k=2)
    _paint_cells(phantom, body, cell[:, 0], count, rng)
    between = (distance[:, 1] - distance[:, 0]) / 2 < rng.uniform(0, 3)
    _paint_layer(phantom, places[between], rng)
    phantom.activity *= texture(phantom, rng.uniform(0.0, 0.2), rng)
    add_lesions(phantom, int(rng.integers(0, 12)), rng)
    return phantom


def _bend(phantom: Phantom, rng: np.random.Generator) -> np.ndarray:
    """A displacement in mm, [z, y, x], that varies over 12 to 40 mm."""
    scale_mm = float(rng.uniform(12, 40))
    return 0.25 * scale_mm * smooth_field(phantom.activity.shape, phantom.voxel_size_mm, scale_mm, rng)


def _stretch(rng: np.random.Generator) -> np.ndarray:
    """A random rotation [3, 3], its first axis shrunk: cells that are round in its space are long in the body."""
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    return rotation * np.array([np.exp(-rng.uniform(0, np.log(4))), 1.0, 1.0])


def _paint_cells(phantom: Phantom, body: np.ndarray, cell: np.ndarray, count: int, rng: np.random.Generator) -> None:
    """Give each cell the uptake and attenuation of one of a few tissues, and up to a fifth more or less of it."""
    tissues = int(rng.integers(3, 9))
    uptake = log_uniform(rng, 0.15, rng.uniform(3, 12), tissues)
    mu = rng.choice(TISSUE_MU_PER_MM, tissues)
    of_cell = rng.choice(tissues, count, p=rng.dirichlet(np.ones(tissues)))
    varied = uptake[of_cell] * np.exp(rng.uniform(0, 0.2) * rng.standard_normal(count))
    for tissue in range(tissues):
        where = np.zeros(body.shape, bool)
        where[body] = of_cell[cell] == tissue
        phantom.paint(where, f"tissue {tissue}", 0.0, float(mu[tissue]))
    phantom.activity[body] = varied[cell]


def _paint_layer(phantom: Phantom, places: np.ndarray, rng: np.random.Generator) -> None:
    """The layer between the cells: of little uptake, mostly, as fat is, or of 0.6 to 6 SUV."""
    where = np.zeros(phantom.activity.shape, bool)
    where[tuple(places.T)] = True
    suv = rng.uniform(0.1, 0.6) if rng.random() < 0.7 else rng.uniform(0.6, 6)
    phantom.paint(where, "layer", float(suv), FAT_MU_PER_MM)
