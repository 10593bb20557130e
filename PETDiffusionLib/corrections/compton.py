"""Compton scattering of annihilation photons: energies, the Klein-Nishina cross-section, an energy window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import erf

ELECTRON_KEV = 510.99895  # rest energy of the electron (CODATA 2018), and the energy of an annihilation photon
FWHM_TO_SIGMA = 1 / 2.354820045


@dataclass(frozen=True)
class EnergyWindow:
    """Which deposited energies are accepted; `resolution` is the FWHM at 511 keV as a share of it."""

    lowest_kev: float = 430.0
    highest_kev: float = 610.0
    resolution: float = 0.145

    def accepted(self, energy_kev: np.ndarray) -> np.ndarray:
        """The chance that a photon of an energy is measured inside the window; the blur grows as its square root."""
        sigma = self.resolution * FWHM_TO_SIGMA * np.sqrt(ELECTRON_KEV * np.asarray(energy_kev))
        edges = [(limit - energy_kev) / (np.sqrt(2) * sigma) for limit in (self.lowest_kev, self.highest_kev)]
        return (erf(edges[1]) - erf(edges[0])) / 2


def scattered_energy(cosine: np.ndarray) -> np.ndarray:
    """The energy in keV of an annihilation photon after one scattering by the angle of `cosine` (Compton 1923)."""
    return ELECTRON_KEV / (2 - np.asarray(cosine))


def share_per_steradian(cosine: np.ndarray) -> np.ndarray:
    """(1 / sigma) d sigma / d Omega at 511 keV: of the scattered photons, those into a direction, per steradian.

    Klein and Nishina 1929; its integral over the sphere is one.
    """
    return _klein_nishina(np.asarray(cosine)) / (2 * np.pi * _INTEGRAL)


def relative_cross_section(energy_kev: np.ndarray) -> np.ndarray:
    """The total Klein-Nishina cross-section at an energy over that at 511 keV: how mu changes for scattered photons."""
    return _total(np.asarray(energy_kev, float) / ELECTRON_KEV) / _total(np.array(1.0))


def _klein_nishina(cosine: np.ndarray) -> np.ndarray:
    """(P - P^2 sin^2 + P^3) / 2, P the ratio of the energies after and before: in units of r_e^2."""
    ratio = 1 / (2 - cosine)
    return (ratio - ratio**2 * (1 - cosine**2) + ratio**3) / 2


def _total(k: np.ndarray) -> np.ndarray:
    """The total cross-section in units of 2 pi r_e^2, k the energy over the electron's (Heitler, The Quantum Theory
    of Radiation, section 22)."""
    log = np.log1p(2 * k)
    first = (1 + k) / k**2 * (2 * (1 + k) / (1 + 2 * k) - log / k)
    return first + log / (2 * k) - (1 + 3 * k) / (1 + 2 * k) ** 2


_INTEGRAL = float(_total(np.array(1.0)))  # of the differential one over the cosine
