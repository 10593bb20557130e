"""Windows and batches that fit: how many at once, what happens when memory runs out, and that it changes nothing."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from PETDiffusionLib.diffusion.fitting import FittedDenoiser, fitting_window

SHAPE = (64, 96, 96)
EVERYWHERE = np.ones(SHAPE, bool)


class Limited:
    """A denoiser of a small neighbourhood on a machine with room for so many voxels."""

    def __init__(self, room: int, words: str = "CUDA out of memory. Tried to allocate") -> None:
        self.room, self.words, self.asked = room, words, []

    def __call__(self, x_t: torch.Tensor, t: int, condition: torch.Tensor) -> torch.Tensor:
        self.asked.append(tuple(x_t.shape))
        if x_t.numel() > self.room:
            raise RuntimeError(self.words)
        return torch.cat([F.avg_pool3d(x_t, 3, 1, 1, count_include_pad=False), torch.zeros_like(x_t)], dim=1)


def fitted(denoiser, voxels: int, window=(64, 96, 96)) -> FittedDenoiser:
    return FittedDenoiser(denoiser, EVERYWHERE, window, 16, voxels)


@given(st.tuples(*[st.integers(1, 700)] * 3), st.integers(1, 10**8), st.sampled_from([1, 4, 16]))
def test_a_window_fits_as_far_as_it_can_be_cut(window, voxels: int, multiple: int) -> None:
    found = fitting_window(window, voxels, multiple)
    assert all(side % multiple == 0 and side >= 32 for side in found)
    assert prod(found) <= voxels or found == (32, 32, 32)
    assert all(cut <= max(32, side + multiple - 1) for cut, side in zip(found, window, strict=True))


@pytest.mark.parametrize("words", ["CUDA out of memory.", "DefaultCPUAllocator: can't allocate memory"])
def test_out_of_memory_makes_smaller_windows_and_the_same_volume(words: str) -> None:
    x_t = torch.randn(1, 1, *SHAPE)
    whole = fitted(Limited(10**9), 10**9)(x_t, 5, x_t)
    denoiser = fitted(Limited(prod(SHAPE) // 3, words), 10**9)
    cut = denoiser(x_t, 5, x_t)
    assert len(denoiser.boxes) > 1
    assert float((cut - whole).abs().mean()) < 0.01  # but for the rim of a window, which the blending plays down
    assert prod(denoiser.denoiser.asked[-1]) <= prod(SHAPE) // 3
    tries = len(denoiser.denoiser.asked)
    denoiser(x_t, 4, x_t)
    assert len(denoiser.denoiser.asked) - tries == len(denoiser.boxes)  # what fits is remembered


def test_a_batch_is_split_before_a_window_is_cut() -> None:
    x_t = torch.randn(5, 1, *SHAPE)
    denoiser = fitted(Limited(2 * prod(SHAPE)), 10**9)
    estimate = denoiser(x_t, 5, x_t[:1])
    assert torch.equal(estimate[:, :1], F.avg_pool3d(x_t, 3, 1, 1, count_include_pad=False))
    assert len(denoiser.boxes) == 1


def test_what_is_no_lack_of_memory_is_no_reason_to_try_again() -> None:
    denoiser = Limited(1, "an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal"):
        fitted(denoiser, 10**9)(torch.randn(1, 1, *SHAPE), 5, torch.randn(1, 1, *SHAPE))
    assert len(denoiser.asked) == 1
    with pytest.raises(RuntimeError, match="out of memory"):
        fitted(Limited(1), 10**9)(torch.randn(1, 1, *SHAPE), 5, torch.randn(1, 1, *SHAPE))


def test_air_is_the_low_dose_itself_and_costs_nothing() -> None:
    occupied = np.zeros(SHAPE, bool)
    occupied[:16, 32:48, 32:48] = True
    denoiser = Limited(10**9)
    x_t, condition = torch.randn(2, 1, *SHAPE), torch.rand(1, 1, *SHAPE)
    estimate = FittedDenoiser(denoiser, occupied, (64, 96, 96), 16, 10**9)(x_t, 5, condition)
    assert torch.equal(estimate[:, :1, 48:], condition[:, :, 48:].expand(2, -1, -1, -1, -1))
    assert sum(map(prod, denoiser.asked)) < 0.3 * x_t.numel()
