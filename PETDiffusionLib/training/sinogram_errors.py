"""Errors of a restored sinogram as its reconstruction will see them."""

from __future__ import annotations

import torch

from PETDiffusionLib.projection.autograd import back_project
from PETDiffusionLib.training.sinogram_batches import SinogramBatch


def image_errors(batch: SinogramBatch, error: torch.Tensor) -> torch.Tensor:
    """The mean square error in the image, [stack], of an error in counts [stack * plane, view, tangential].

    The error is back-projected with the weights that Poisson statistics give the lines, m / lambda, over those of a
    uniform image, and filtered by a ramp: the first order of what a converged OSEM would make of it. What no image
    could have made costs nothing. Differentiable; the unit is arbitrary but the same for errors of one batch.
    """
    factors = batch.sinogram.multiplicative
    assert factors is not None  # simulated sinograms have them
    weights = factors / batch.expected.clamp_min(1e-3 * float(batch.expected.mean()))
    seen = batch.projector.adjoint(weights * factors)
    image = back_project(batch.projector, weights * error) / seen.clamp_min(1e-2 * float(seen.max()))
    size = image.shape[-1]
    frequency = torch.fft.fftfreq(2 * size, device=image.device)
    ramp = torch.hypot(frequency[:, None], frequency[None, : size + 1])
    filtered = torch.fft.irfft2(torch.fft.rfft2(image, (2 * size, 2 * size)) * ramp)[..., :size, :size]
    return batch.stacked(filtered).square().mean((1, 2, 3, 4))
