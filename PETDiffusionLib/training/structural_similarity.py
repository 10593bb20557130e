"""Structural similarity as a differentiable loss term (Wang et al. 2004)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

WINDOW, SIGMA = 11, 1.5


def ssim(one: torch.Tensor, other: torch.Tensor, data_range: float) -> torch.Tensor:
    """The mean SSIM of [batch, 1, height, width] images, in a Gaussian window of 11 x 11 with sigma 1.5."""
    position = torch.arange(WINDOW, device=one.device, dtype=one.dtype) - WINDOW // 2
    profile = torch.exp(-0.5 * (position / SIGMA) ** 2)
    profile = profile / profile.sum()

    def mean(image: torch.Tensor) -> torch.Tensor:
        rows = F.conv2d(image, profile.reshape(1, 1, 1, -1))
        return F.conv2d(rows, profile.reshape(1, 1, -1, 1))

    mean_one, mean_other = mean(one), mean(other)
    variances = mean(one.square()) - mean_one.square() + mean(other.square()) - mean_other.square()
    covariance = mean(one * other) - mean_one * mean_other
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_one * mean_other + c1) / (mean_one.square() + mean_other.square() + c1)
    return (luminance * (2 * covariance + c2) / (variances + c2)).mean()
