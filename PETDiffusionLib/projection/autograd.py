"""Projection in an autograd graph: the gradient of a projection is the adjoint, and the adjoint's is the projection."""

from __future__ import annotations

from typing import Any

import torch

from PETDiffusionLib.projection.projector import Projector


def project(projector: Projector, image: torch.Tensor) -> torch.Tensor:
    """`projector.forward(image)`, differentiable with respect to the image, any number of times."""
    return _Forward.apply(image, projector)


def back_project(projector: Projector, data: torch.Tensor) -> torch.Tensor:
    """`projector.adjoint(data)`, differentiable with respect to the data, any number of times."""
    return _Adjoint.apply(data, projector)


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: torch.Tensor, projector: Projector) -> torch.Tensor:
        ctx.projector = projector
        return projector.forward(image)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _Adjoint.apply(gradients[0], ctx.projector), None


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, data: torch.Tensor, projector: Projector) -> torch.Tensor:
        ctx.projector = projector
        return projector.adjoint(data)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _Forward.apply(gradients[0], ctx.projector), None
