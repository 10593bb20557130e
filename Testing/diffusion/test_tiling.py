"""Tiling: windows cover what is there, leave air out, and do not change the result."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from PETDiffusionLib.diffusion.tiling import mirrored, padded_to_multiple, plan_windows, tiled


def local_denoiser(x_t, alpha, condition):
    """A receptive field of 5 voxels."""
    return torch.cat([F.avg_pool3d(x_t, 5, 1, 2, count_include_pad=False), torch.ones_like(x_t)], dim=1)


def leave(x_t, condition):
    return torch.cat([x_t, torch.zeros_like(x_t)], dim=1)


@given(
    st.tuples(*[st.integers(1, 12)] * 3), st.tuples(*[st.integers(4, 8)] * 3), st.integers(0, 1000), st.floats(0, 0.02)
)
@settings(max_examples=40, deadline=None)
def test_windows_cover_every_occupied_voxel_and_no_window_is_too_large(eighths, window_eighths, seed, density) -> None:
    shape, window = tuple(8 * n for n in eighths), tuple(8 * n for n in window_eighths)
    occupied = np.random.default_rng(seed).random(shape) < density
    covered = np.zeros(shape, bool)
    for box in plan_windows(occupied, window, overlap=16):
        covered[box] = True
        for cut, side in zip(box, window, strict=True):
            assert cut.start % 8 == 0
            assert cut.stop % 8 == 0
            assert 0 < cut.stop - cut.start <= side
    assert covered[occupied].all()


@pytest.mark.parametrize("window", [(32, 32, 32), (48, 96, 40), (96, 96, 96)])
def test_the_result_does_not_depend_on_the_windows(window) -> None:
    volume = torch.randn(1, 1, 80, 96, 72)
    boxes = plan_windows(np.ones(volume.shape[2:], bool), window, overlap=16)
    whole = local_denoiser(volume, 1.0, volume)
    # Within two voxels of a window's border the receptive field ends; the blending gives those a weight below 2/16.
    difference = (tiled(local_denoiser, boxes, 16, leave)(volume, 1.0, volume) - whole).abs()
    assert float(difference.max()) < 0.15
    assert float((difference > 1e-5).float().mean()) < 0.6
    if len(boxes) == 1:
        assert float(difference.max()) == 0


def test_there_is_no_seam_where_windows_meet() -> None:
    volume = torch.randn(1, 1, 96, 64, 64)
    boxes = plan_windows(np.ones(volume.shape[2:], bool), (40, 64, 64), overlap=16)
    assert len(boxes) > 2
    result = tiled(local_denoiser, boxes, 16, leave)(volume, 1.0, volume)[0, 0]
    jumps = (result[1:] - result[:-1]).abs().mean(dim=(1, 2))
    borders = [cut for box in boxes for cut in (box[0].start, box[0].stop) if 0 < cut < 96]
    assert float(jumps[[b - 1 for b in borders]].mean()) < 1.1 * float(jumps.mean())


def test_air_is_left_alone_and_costs_nothing() -> None:
    volume = torch.zeros(1, 1, 64, 64, 64)
    volume[:, :, 24:32, 24:32, 24:32] = 1
    calls = []

    def counting(x_t, alpha, condition):
        calls.append(x_t.numel())
        return local_denoiser(x_t, alpha, condition)

    boxes = plan_windows((volume[0, 0] > 0).numpy(), (64, 64, 64), overlap=16)
    result = tiled(counting, boxes, 16, leave)(volume, 1.0, volume)
    assert sum(calls) < 0.3 * volume.numel()
    assert torch.equal(result[:, :1, :8], volume[:, :, :8])


def test_a_volume_without_anything_needs_no_window() -> None:
    assert plan_windows(np.zeros((16, 16, 16), bool), (16, 16, 16), 8) == []


def test_a_mirror_shows_the_same_denoiser() -> None:
    volume = torch.randn(1, 1, 16, 16, 16)
    through = mirrored(local_denoiser, (2, 4))(volume, 1.0, volume)
    assert torch.allclose(through, local_denoiser(volume, 1.0, volume), atol=1e-6)


def test_padding_reaches_the_multiple_and_repeats_the_border() -> None:
    padded = padded_to_multiple(torch.arange(5.0).reshape(1, 1, 5, 1, 1).expand(1, 1, 5, 9, 8))
    assert padded.shape == (1, 1, 8, 16, 8)
    assert float(padded[0, 0, 7, 0, 0]) == 4
