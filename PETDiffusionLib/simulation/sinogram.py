"""A phantom in a scanner: the sinogram that is expected, and those that are counted at a dose.

y ~ Poisson(a n P(G x) + s + r): attenuation a = exp(-P mu), normalisation n, a Gaussian G for the scanner's resolution,
a scatter-like background s and uniform randoms r.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.attenuation import attenuation_factors
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.simulation.phantom import Phantom
from PETDiffusionLib.simulation.regridding import labels_on_grid, regridded
from PETDiffusionLib.sinograms.geometry import ScannerGeometry
from PETDiffusionLib.sinograms.grid import ImageGrid, default_grid
from PETDiffusionLib.sinograms.orientation import in_scanner_order, sizes_in_scanner_order
from PETDiffusionLib.sinograms.scanners import FWHM_TO_SIGMA
from PETDiffusionLib.sinograms.sinogram import AIR, EFFECTS, Sinogram

SCATTER_WIDTH_MM = 150.0  # FWHM of the blur that makes trues look like scatter


@dataclass(frozen=True)
class ExpectedSinogram:
    """Expected counts of a phantom at full dose, and what is known about it.

    Tensors are [plane, view, tangential(, tof)]. `attenuation` and `normalisation` are the factors from line integrals
    in SUV mm to counts. Volumes are [z, y, x] on `grid`, along the scanner's axes: the true activity in SUV, mu in
    1/mm, and labels; `grid.to_image` gives them in LPS.
    """

    geometry: ScannerGeometry
    grid: ImageGrid
    trues: torch.Tensor
    scatter: torch.Tensor
    randoms: torch.Tensor
    attenuation: torch.Tensor
    normalisation: torch.Tensor
    truth: np.ndarray
    mu: np.ndarray
    labels: np.ndarray
    label_names: dict[int, str]

    def background(self, drf: float = 1.0) -> torch.Tensor:
        """Expected scatter plus randoms at a dose reduction factor: scatter falls with the dose, randoms squared."""
        return self.scatter / drf + self.randoms / drf**2

    def measured(self, drf: float = 1.0, seed: int | None = 0) -> Sinogram:
        """Poisson counts at a dose reduction factor; the expected counts themselves where `seed` is None.

        The terms are exact, and lead to an image in SUV at every dose.
        """
        if not drf >= 1:
            raise PETDiffusionError("bad-drf", f"A dose reduction factor is 1 or more; found {drf}.")
        background = self.background(drf)
        mean = self.trues / drf + background
        prompts = mean if seed is None else _poisson(mean, seed)
        return Sinogram(
            self.geometry,
            prompts,
            self.attenuation * self.normalisation / drf,
            background,
            frozenset(EFFECTS),
            {"unit": "suvbw", "drf": drf, "seed": seed, "simulated": True},
            self.attenuation > AIR,
        )


@torch.no_grad()
def project_phantom(
    phantom: Phantom,
    geometry: ScannerGeometry,
    grid: ImageGrid | None = None,
    projector: Projector | None = None,
    *,
    trues_per_mm: float = 2e5,
    scatter_fraction: float = 0.33,
    randoms_fraction: float = 0.4,
    resolution_mm: float = 4.5,
    device: str | torch.device = "cpu",
) -> ExpectedSinogram:
    """What `geometry` expects of `phantom`, both about one centre; beyond the field of view the phantom is cut off.

    It lies as the geometry says of the patient: head first, supine, where nothing is said.

    `trues_per_mm` are the trues at full dose for each mm of axial length, `scatter_fraction` is scatter over trues plus
    scatter, `randoms_fraction` randoms over trues, `resolution_mm` the FWHM of the scanner's intrinsic resolution.
    A `projector` of this geometry and grid saves making one for every phantom; it decides the device.
    """
    position = geometry.patient_position.taken
    geometry = geometry.with_patient(position)
    grid = replace(grid or default_grid(geometry), position=position)
    projector = projector or make_projector(geometry, grid.shape, grid.voxel_size_mm, device=device)
    activity, phantom_mu, labels = (
        in_scanner_order(array, position) for array in (phantom.activity, phantom.mu, phantom.labels)
    )
    size_mm = sizes_in_scanner_order(phantom.voxel_size_mm, position)
    new_size_mm = grid.voxel_size_mm[::-1]
    sigma = [resolution_mm * FWHM_TO_SIGMA / side for side in size_mm]
    blurred = gaussian_filter(activity, sigma, mode=("nearest", "constant", "constant"))
    truth, mu, blurred = (
        regridded(array, size_mm, grid.shape, new_size_mm) for array in (activity, phantom_mu, blurred)
    )

    def on_device(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(projector.device)

    attenuation = attenuation_factors(on_device(mu), projector)
    pairs = on_device(geometry.ring_pairs)[:, None, None] * geometry.mashing
    lines = projector.forward(on_device(blurred))
    trues = lines * _like(attenuation * pairs, lines)
    wanted = trues_per_mm * geometry.rings * geometry.ring_spacing_mm
    calibration = wanted / max(float(trues.sum(dtype=torch.float64)), 1e-12)
    trues = trues * calibration
    scatter = _scatter_like(trues, geometry, scatter_fraction)
    randoms = torch.ones_like(trues) * _like(pairs, trues)
    randoms *= randoms_fraction * wanted / float(randoms.sum(dtype=torch.float64))
    return ExpectedSinogram(
        geometry, grid, trues, scatter, randoms, attenuation, (pairs * calibration).expand(attenuation.shape),
        truth, mu, labels_on_grid(labels, size_mm, grid.shape, new_size_mm), phantom.label_names,
    )  # fmt: skip


def thinned(sinogram: Sinogram, drf: float, seed: int = 0) -> Sinogram:
    """The sinogram of a dose `drf` times lower: each count is kept with probability 1 / drf.

    Exact for Poisson counts; as every kind of count falls alike, randoms fall as 1 / drf too, as in a shorter scan.
    The terms follow, so that the image keeps its unit. Raises PETDiffusionError "not-counts" for prompts that are not
    whole numbers from 0 up, "bad-drf" for a factor below 1.
    """
    if not drf >= 1:
        raise PETDiffusionError("bad-drf", f"A dose reduction factor is 1 or more; found {drf}.")
    counts = sinogram.prompts.cpu().numpy()
    if (counts < 0).any() or (counts != np.round(counts)).any():
        raise PETDiffusionError(
            "not-counts",
            "Thinning needs counted prompts, whole numbers from 0 up; this sinogram holds others: it was corrected or "
            "scaled before. Give the prompts as measured.",
        )
    kept = np.random.default_rng([seed, 7]).binomial(counts.astype(np.int64), 1 / drf).astype(np.float32)
    factors = (
        torch.ones(sinogram.geometry.data_shape[:3]) if sinogram.multiplicative is None else sinogram.multiplicative
    )
    return replace(
        sinogram,
        prompts=torch.from_numpy(kept).to(sinogram.prompts.device),
        multiplicative=factors / drf,
        additive=None if sinogram.additive is None else sinogram.additive / drf,
        facts={**sinogram.facts, "drf": drf * float(sinogram.facts.get("drf", 1.0)), "thinning_seed": seed},
    )


def _like(factors: torch.Tensor, lines: torch.Tensor) -> torch.Tensor:
    """[plane, view, tangential] factors made to fit lines with or without TOF."""
    return factors[..., None] if lines.ndim == 4 else factors


def _scatter_like(trues: torch.Tensor, geometry: ScannerGeometry, fraction: float) -> torch.Tensor:
    """A broad, smooth background with the scatter fraction: the trues blurred across the bins of each view."""
    s_mm = torch.as_tensor(geometry.tangential_mm, dtype=torch.float32, device=trues.device)
    blur = torch.exp(-0.5 * ((s_mm[:, None] - s_mm[None, :]) / (SCATTER_WIDTH_MM * FWHM_TO_SIGMA)) ** 2)
    smooth = torch.tensordot(trues.movedim(2, -1), blur, dims=1).movedim(-1, 2)
    total = trues.sum(dtype=torch.float64) * fraction / (1 - fraction)
    return (smooth * float(total / smooth.sum(dtype=torch.float64).clamp(min=1e-12))).contiguous()


def _poisson(mean: torch.Tensor, seed: int) -> torch.Tensor:
    """Counts that are the same on every device for a seed."""
    counts = np.random.default_rng([seed, 6]).poisson(mean.cpu().numpy())
    return torch.from_numpy(counts.astype(np.float32)).to(mean.device)
