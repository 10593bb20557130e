"""Attenuation at 511 keV: typical coefficients, a mu-map from CT, and the factors along the lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from PETDiffusionLib.projection.projector import Projector

WATER_MU_PER_MM = 0.0096
BONE_MU_PER_MM = 0.0130
LUNG_MU_PER_MM = 0.0028
FAT_MU_PER_MM = 0.0090


def mu_from_hounsfield(hounsfield: np.ndarray) -> np.ndarray:
    """Attenuation at 511 keV in 1/mm from CT numbers, by the bilinear rule (Burger et al. 2002)."""
    soft = WATER_MU_PER_MM * (1 + hounsfield / 1000)
    bone = WATER_MU_PER_MM + 5.1e-6 * hounsfield
    return np.clip(np.where(hounsfield <= 0, soft, bone), 0, 0.02).astype(np.float32)


def attenuation_factors(mu: torch.Tensor, projector: Projector) -> torch.Tensor:
    """The share of photon pairs that leaves along each line, exp(-P mu), [plane, view, tangential].

    `mu` is [z, y, x] in 1/mm. A TOF projector's bins add up to the line.
    """
    lines = projector.forward(mu)
    return torch.exp(-(lines.sum(dim=-1) if lines.ndim == 4 else lines))
