"""The prior's own arithmetic: what it is shown of the anatomy."""

import pytest
import torch

from PETDiffusionLib.diffusion.prior import GUIDE_REACH, guided_filter


def test_without_an_anatomy_the_guided_filter_is_a_moving_mean() -> None:
    point = torch.zeros(1, 1, 24, 24, 24)
    point[..., 12, 12, 12] = 1.0
    filtered = guided_filter(point, torch.zeros_like(point))
    assert float(filtered.sum()) == pytest.approx(1, rel=1e-4)
    assert int((filtered > 0).sum()) == (4 * GUIDE_REACH + 1) ** 3  # a mean of means
    flat = guided_filter(torch.full_like(point, 3.0), torch.zeros_like(point))
    assert torch.allclose(flat, torch.full_like(flat, 3.0))


def test_the_guided_filter_keeps_the_edges_of_the_anatomy_and_loses_the_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    tissue = torch.zeros(1, 1, 24, 24, 24)
    tissue[..., 12:] = 1.0
    activity, anatomy = 2.0 - tissue, 0.4 + tissue  # the contrasts are opposite
    noisy = activity + 0.5 * torch.randn(activity.shape, generator=generator)
    near = (..., slice(6, 18), slice(6, 18), slice(10, 14))
    guided, blind = guided_filter(noisy, anatomy)[near], guided_filter(noisy, torch.zeros_like(noisy))[near]
    assert float((guided - activity[near]).abs().mean()) < 0.12
    assert float((blind - activity[near]).abs().mean()) > 0.25
