"""Coincidences of a voxel phantom by Monte Carlo: photons tracked one by one, however often they scatter.

Independent of the single scatter simulation that it judges: analogue Compton scattering by rejection sampling, and
delta tracking (Woodcock 1965) through the mu-map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from PETDiffusionLib.simulation.phantom import Phantom

ELECTRON_KEV = 510.999
PHOTONS_AT_ONCE = 500_000


@dataclass(frozen=True)
class Cylinder:
    """A cylinder of crystals that stop every photon, and its energy window (keV; resolution FWHM at 511)."""

    radius_mm: float
    half_length_mm: float
    window_kev: tuple[float, float] = (430.0, 610.0)
    resolution: float = 0.145


@dataclass(frozen=True)
class Coincidences:
    """Where both photons of a pair were stopped, [pair, end, xyz] in mm, and which pairs had scattered."""

    places: np.ndarray
    scattered: np.ndarray


def coincidences(phantom: Phantom, scanner: Cylinder, pairs: int, seed: int = 0) -> Coincidences:
    """Track `pairs` annihilations of a phantom that lies about the scanner's centre."""
    rng = np.random.default_rng(seed)
    places, scattered = [], []
    for start in range(0, pairs, PHOTONS_AT_ONCE):
        found = _batch(phantom, scanner, min(PHOTONS_AT_ONCE, pairs - start), rng)
        places.append(found.places)
        scattered.append(found.scattered)
    return Coincidences(np.concatenate(places), np.concatenate(scattered))


def _batch(phantom: Phantom, scanner: Cylinder, count: int, rng: np.random.Generator) -> Coincidences:
    origin = _origins(phantom, count, rng)
    direction = _isotropic(count, rng)
    ends, energies, times = [], [], []
    for sign in (1, -1):
        place, towards, energy, scatterings = _tracked(phantom, origin, sign * direction, rng)
        ends.append(_on_cylinder(place, towards, scanner))
        energies.append(energy)
        times.append(scatterings)
    kept = np.ones(count, bool)
    for place, energy in zip(ends, energies, strict=True):
        sigma = scanner.resolution / 2.35482 * np.sqrt(ELECTRON_KEV * energy)
        measured = energy + sigma * rng.standard_normal(count)
        kept &= (measured > scanner.window_kev[0]) & (measured < scanner.window_kev[1])
        kept &= np.abs(place[:, 2]) <= scanner.half_length_mm
    return Coincidences(np.stack(ends, axis=1)[kept], (times[0] + times[1])[kept] > 0)


def _origins(phantom: Phantom, count: int, rng: np.random.Generator) -> np.ndarray:
    """Places (x, y, z) of annihilations, [count, 3]."""
    share = np.cumsum(phantom.activity.ravel(), dtype=np.float64)
    voxel = np.searchsorted(share, rng.random(count) * share[-1], side="right")
    zyx = np.stack(np.unravel_index(voxel, phantom.activity.shape), axis=1) + rng.random((count, 3)) - 0.5
    middle = (np.array(phantom.activity.shape) - 1) / 2
    return ((zyx - middle) * phantom.voxel_size_mm)[:, ::-1]


def _isotropic(count: int, rng: np.random.Generator) -> np.ndarray:
    vectors = rng.standard_normal((count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _tracked(
    phantom: Phantom, place: np.ndarray, direction: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Places and directions of photons when they leave the phantom, their energies, and how often they scattered."""
    place, direction = place.copy(), direction.copy()
    energy, scatterings = np.full(len(place), ELECTRON_KEV), np.zeros(len(place), int)
    size = np.array(phantom.voxel_size_mm)
    shape = np.array(phantom.mu.shape)
    densest = float(phantom.mu.max())
    inside = np.arange(len(place))
    while len(inside):
        section = densest * _total(energy[inside]) / _total(np.array([ELECTRON_KEV]))
        place[inside] += direction[inside] * rng.exponential(1 / section)[:, None]
        zyx = np.floor(place[inside][:, ::-1] / size + shape / 2).astype(int)
        still = ((zyx >= 0) & (zyx < shape)).all(axis=1)
        inside, zyx = inside[still], zyx[still]
        here = phantom.mu[tuple(zyx.T)] / densest
        hit = inside[rng.random(len(inside)) < here]
        cosine = _compton_cosine(energy[hit], rng)
        direction[hit] = _turned(direction[hit], cosine, rng)
        energy[hit] /= 1 + energy[hit] / ELECTRON_KEV * (1 - cosine)
        scatterings[hit] += 1
        inside = inside[energy[inside] > 300]  # the rest is below every window
    return place, direction, energy, scatterings


def _compton_cosine(energy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cosines of the scattering angle by rejection from the Klein-Nishina cross-section."""
    cosine = np.empty(len(energy))
    left = np.arange(len(energy))
    while len(left):
        tried = rng.uniform(-1, 1, len(left))
        ratio = 1 / (1 + energy[left] / ELECTRON_KEV * (1 - tried))
        accepted = rng.uniform(0, 2, len(left)) < ratio**2 * (ratio + 1 / ratio - 1 + tried**2)
        cosine[left[accepted]] = tried[accepted]
        left = left[~accepted]
    return cosine


def _turned(direction: np.ndarray, cosine: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Directions turned by an angle, about themselves at random."""
    other = np.where(np.abs(direction[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    u = np.cross(direction, other)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(direction, u)
    phi = rng.uniform(0, 2 * np.pi, len(direction))[:, None]
    sine = np.sqrt(1 - cosine**2)[:, None]
    return cosine[:, None] * direction + sine * (np.cos(phi) * u + np.sin(phi) * v)


def _on_cylinder(place: np.ndarray, direction: np.ndarray, scanner: Cylinder) -> np.ndarray:
    """Where photons that left the phantom meet the cylinder, [count, 3]; far beyond its ends where they miss it."""
    a = np.square(direction[:, :2]).sum(axis=1) + 1e-12
    b = (place[:, :2] * direction[:, :2]).sum(axis=1)
    c = np.square(place[:, :2]).sum(axis=1) - scanner.radius_mm**2
    way = (-b + np.sqrt(np.maximum(b * b - a * c, 0))) / a
    # What flew past the cylinder before it was in it is as good as lost.
    return np.where((c < 0)[:, None], place + way[:, None] * direction, 1e9)


def _total(energy: np.ndarray) -> np.ndarray:
    """The total Klein-Nishina cross-section, up to a constant."""
    k = energy / ELECTRON_KEV
    log = np.log(1 + 2 * k)
    return (1 + k) / k**2 * (2 * (1 + k) / (1 + 2 * k) - log / k) + log / (2 * k) - (1 + 3 * k) / (1 + 2 * k) ** 2
