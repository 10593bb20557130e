"""The scatter of a measured sinogram: simulated from its own reconstruction, scaled to the tails beside the body."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from PETDiffusionLib.corrections.compton import EnergyWindow
from PETDiffusionLib.corrections.scatter import Sampling, single_scatter
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.attenuation import attenuation_factors
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.reconstruction.em import osem
from PETDiffusionLib.reconstruction.model import default_subsets
from PETDiffusionLib.sinograms.grid import ImageGrid, default_grid
from PETDiffusionLib.sinograms.sinogram import Sinogram

VOXEL_MM = 8.0  # transaxially: scatter knows no finer detail
ROUNDS, ITERATIONS = 3, 2
TAIL = 0.95  # an attenuation factor above it: the line passes the body, so that its trues are scatter
# What a scale is expected to be before the tails are looked at: somewhat above one, for what scattered twice.
EXPECTED_SCALE, SCALE_SPREAD = 1.15, 0.3
PLAUSIBLE_SCALE = (0.5, 2.5)


@dataclass(frozen=True)
class ScatterEstimate:
    """Expected scattered counts [plane, view, tangential], the scale that the tails gave, and what it rests on.

    fraction: scatter over scatter plus trues; tail_counts: the measured counts beside the body, less randoms.
    """

    counts: torch.Tensor
    scale: float
    fraction: float
    tail_counts: float

    @property
    def is_plausible(self) -> bool:
        return PLAUSIBLE_SCALE[0] <= self.scale <= PLAUSIBLE_SCALE[1]


@torch.no_grad()
def estimated_scatter(
    sinogram: Sinogram,
    mu_on: Callable[[ImageGrid], np.ndarray],
    window: EnergyWindow | None = None,
    sampling: Sampling | None = None,
    progress: Callable[[float], None] | None = None,
) -> ScatterEstimate:
    """The scatter of a sinogram whose terms have attenuation and efficiencies, and randoms if they are known.

    `mu_on` gives the mu-map in 1/mm, [z, y, x], on a grid. An image without scatter correction is too high, so the
    simulation is repeated with an image that is corrected by the last one. Raises PETDiffusionError "no-scatter" for
    what single scatter simulation needs and the sinogram has not.
    """
    progress = progress or (lambda fraction: None)
    _check(sinogram)
    grid = default_grid(sinogram.geometry, voxel_mm=max(VOXEL_MM, default_grid(sinogram.geometry).voxel_size_mm[0]))
    device = sinogram.prompts.device
    projector = make_projector(sinogram.geometry, grid.shape, grid.voxel_size_mm, device=device)
    mu = mu_on(grid)
    attenuation = attenuation_factors(torch.from_numpy(mu.astype(np.float32)).to(device), projector)
    assert sinogram.multiplicative is not None
    efficiency = sinogram.multiplicative / attenuation.clamp(min=1e-6)
    tails = (attenuation > TAIL) & (efficiency > 0)
    subsets = default_subsets(sinogram.geometry.views)
    image, estimate = None, None
    for number in range(ROUNDS):
        current = sinogram if estimate is None else sinogram.with_background(estimate.counts, "scatter")
        image = osem(projector, current, ITERATIONS, subsets, image)
        progress((number + 0.5) / ROUNDS)
        part = partial(_share_of, progress, number)
        lines = single_scatter(image.cpu().numpy(), mu, grid, sinogram.geometry, window, sampling, number, part)
        simulated = torch.from_numpy(lines).to(device) * efficiency
        estimate = _scaled(sinogram, simulated, tails)
    assert estimate is not None
    return estimate


def _share_of(progress: Callable[[float], None], number: int, fraction: float) -> None:
    """Report a fraction of a round's simulation, its second half."""
    progress((number + 0.5 + fraction / 2) / ROUNDS)


def _scaled(sinogram: Sinogram, simulated: torch.Tensor, tails: torch.Tensor) -> ScatterEstimate:
    """The simulated counts times the scale that the tails make most probable.

    The counts there, less randoms, are the scale times the simulated ones, with the variance of the prompts; few of
    them leave the scale where it is expected.
    """
    measured = float(sinogram.prompts[tails].sum(dtype=torch.float64))
    randoms = 0.0 if sinogram.additive is None else float(sinogram.additive[tails].sum(dtype=torch.float64))
    expected = float(simulated[tails].sum(dtype=torch.float64))
    precision = expected**2 / max(measured, 1.0)
    prior = SCALE_SPREAD**-2
    scale = (expected * (measured - randoms) / max(measured, 1.0) + prior * EXPECTED_SCALE) / (precision + prior)
    counts = simulated * max(scale, 0.0)
    trues = float(sinogram.prompts.sum(dtype=torch.float64))
    trues -= 0.0 if sinogram.additive is None else float(sinogram.additive.sum(dtype=torch.float64))
    fraction = float(counts.sum(dtype=torch.float64)) / max(trues, 1.0)
    return ScatterEstimate(counts, scale, fraction, measured - randoms)


def _check(sinogram: Sinogram) -> None:
    if sinogram.geometry.tof is not None:
        raise PETDiffusionError(
            "no-scatter",
            "Scatter is estimated for sinograms without time of flight; this one has TOF bins. Leave --scatter out, "
            "and give the expected randoms plus scatter of every TOF bin by --additive.",
        )
    for effect in ("attenuation", "normalisation"):
        if effect not in sinogram.corrected:
            raise PETDiffusionError(
                "no-scatter",
                f"An estimate of scatter needs the {effect} of the lines first: give it by --{effect}.",
            )
    if "scatter" in sinogram.corrected:
        raise PETDiffusionError("twice", "The scatter is given already, so there is none to estimate. Leave one out.")
    if math.isclose(float(sinogram.prompts.sum()), 0.0):
        raise PETDiffusionError("no-scatter", "The sinogram has no counts.")
