"""The count bridge: dose reduction itself as the diffusion, with the noise that counts have.

RED lets the residual between low and full dose diffuse without noise. Here a state is a scan: the counts N_d at dose
d, where the measured prompts are dose 1. Going down in dose is binomial thinning, N_d | N_d' ~ Binomial(N_d', d / d'),
exact for Poisson counts. Going up is counting on: N_d' = N_d + Poisson((d' - d) E[lambda | N_d]), exact in the limit of
small steps, as the chance of the next count is the expectation given those so far. So one network, which estimates the
expectation of a scan of any dose, is the posterior mean in one step and draws from the posterior in many.

What the network sees is in units of the scan's own noise, about the forward projection of a quick filtered
reconstruction: that brings in the consistency of sinograms, which no convolution could reach across.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.reconstruction import osem
from PETDiffusionLib.sinograms.scanners import FWHM_TO_SIGMA
from PETDiffusionLib.sinograms.sinogram import Sinogram

TWIN_FWHMS_MM = (6.0, 12.0, 24.0)
QUICK_ITERATIONS, QUICK_SUBSETS = 2, 8
CHANNELS = 6  # of the network's input
LEAST_COUNTS = 1e-3  # of the mean expectation: where nothing is expected, nothing is divided by zero


def quick_image(projector: Projector, sinogram: Sinogram) -> torch.Tensor:
    """A few OSEM updates, [z, y, x]: noisy, but right at every length that matters to its filtered twins."""
    subsets = min(QUICK_SUBSETS, sinogram.geometry.views)
    return osem(projector, sinogram, QUICK_ITERATIONS, subsets)


def blurred(image: torch.Tensor, fwhm_mm: float, voxel_size_mm: Sequence[float]) -> torch.Tensor:
    """`image` [..., z, y, x] through a Gaussian that is isotropic in mm; voxel sizes are (x, y, z)."""
    for axis, size in zip((-1, -2, -3), voxel_size_mm, strict=True):
        turned = image.movedim(axis, -1)
        position = torch.arange(turned.shape[-1], device=image.device) * size
        kernel = torch.exp(-0.5 * ((position[:, None] - position[None, :]) / (fwhm_mm * FWHM_TO_SIGMA)) ** 2)
        image = (turned @ (kernel / kernel.sum(0)).to(image)).movedim(-1, axis)
    return image


def make_condition(sinogram: Sinogram, twins: Sequence[torch.Tensor]) -> torch.Tensor:
    """What the denoiser knows besides the prompts: [5, plane, view, tangential].

    `twins` are line integrals of the image at TWIN_FWHMS_MM; the condition holds their three expectations in counts,
    the share of trues in the coarsest, and the logarithm of the multiplicative term over its maximum.
    """
    factors = torch.ones_like(sinogram.prompts) if sinogram.multiplicative is None else sinogram.multiplicative
    additive = torch.zeros_like(sinogram.prompts) if sinogram.additive is None else sinogram.additive
    floor = LEAST_COUNTS * sinogram.prompts.mean().clamp_min(1e-6)
    trues = [factors * lines.clamp_min(0) for lines in twins]
    expected = [one + additive + floor for one in trues]
    return torch.stack([*expected, trues[-1] / expected[-1], (factors / factors.max()).clamp_min(1e-6).log()])


class CountDenoiser:
    """The denoiser of `network`: `expectation = denoiser(prompts, 1, condition)`, [batch, channel, plane, view, bin].

    The network answers in units of the prompts' own noise, and its answer corrects the fine twin: an untrained network
    says what filtered reconstruction says. The dose is in the counts, so the denoiser's time says nothing.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __call__(self, prompts: torch.Tensor, time: torch.Tensor | float, condition: torch.Tensor) -> torch.Tensor:
        fine, middle, coarse, share, log_factors = condition.chunk(5, dim=1)
        noise = middle.sqrt()
        bands = torch.cat([prompts - fine, fine - middle, middle - coarse], dim=1) / noise
        inputs = torch.cat([bands, middle.log() / 4, share, log_factors / 4], dim=1)
        level = middle.mean((1, 2, 3, 4)).log()
        return fine + noise * self.network(inputs, torch.ones_like(level), level)


def padded(volume: torch.Tensor, opposite: torch.Tensor, multiple: int = 8, views: int = 8) -> torch.Tensor:
    """[batch, channel, plane, view, tangential] with `views` more on either side, and sides that divide by `multiple`.

    A view half a turn on has the lines of the `opposite` segment (a direct one is its own) with the bins in reverse, so
    views go on around; planes and bins end.
    """
    volume = torch.cat([opposite[..., -views:, :].flip(-1), volume, opposite[..., :views, :].flip(-1)], dim=-2)
    planes, more, bins = (-side % multiple for side in volume.shape[2:])
    return F.pad(volume, (0, bins, 0, more, 0, planes), mode="replicate")


def unpadded(volume: torch.Tensor, shape: Sequence[int], views: int = 8) -> torch.Tensor:
    """What `padded` was given, of `shape` [..., plane, view, tangential]."""
    planes, count, bins = shape[-3:]
    return volume[..., :planes, views : views + count, :bins]
