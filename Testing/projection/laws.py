"""What every projector must obey, as assertions."""

from __future__ import annotations

import torch

from PETDiffusionLib.projection import Projector


def relative_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The norm of the difference over the norm of what is expected; 0 where both are empty."""
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def assert_adjoint(projector: Projector, seed: int) -> None:
    """<A x, y> = <x, A^T y> within 1e-5 of what the sums' terms add up to, for signed x and y."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(projector.image_shape, generator=generator).to(projector.device)
    data = torch.randn(projector.data_shape, generator=generator).to(projector.device)
    projected = projector.forward(image)
    left = (projected.double() * data.double()).sum()
    right = (image.double() * projector.adjoint(data).double()).sum()
    assert abs(left - right) <= 1e-5 * (projected.double().norm() * data.double().norm()).clamp_min(1e-9)
