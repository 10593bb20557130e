"""The residual-plus-noise process: its marginals, its steps, and RED as its noise-free member."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PETDiffusionLib.diffusion.residual import bridge_step, diffused, sample, uniform_times

SHAPE = (1, 1, 40, 40, 40)


def volumes(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand(SHAPE, generator=generator)
    return x0, x0 + 0.5 * torch.randn(SHAPE, generator=generator), generator


@given(st.floats(0.15, 1.0), st.floats(0.05, 0.95))
@settings(max_examples=10, deadline=None)
def test_a_step_with_the_true_x0_lands_on_the_marginal(alpha, share) -> None:
    x0, y, generator = volumes()
    next_alpha = alpha * share
    noise = [torch.randn(SHAPE, generator=generator) for _ in range(2)]
    spread = torch.full(SHAPE, 0.7)
    x_s = bridge_step(diffused(x0, y, alpha, spread, noise[0]), x0, alpha, next_alpha, spread, noise[1])
    left = x_s - (x0 + next_alpha * (y - x0))
    assert float(left.mean()) == pytest.approx(0, abs=0.02)
    assert float(left.std()) == pytest.approx(0.7 * (next_alpha * (1 - next_alpha)) ** 0.5, rel=0.03)


def test_without_noise_a_step_is_that_of_red() -> None:
    x0, y, _ = volumes()
    x_t = diffused(x0, y, 0.8, torch.zeros(SHAPE), torch.zeros(SHAPE))
    estimate = x0 + 0.1
    residual = (x_t - estimate) / 0.8
    red = x_t - (0.8 - 0.3) * residual
    assert torch.allclose(bridge_step(x_t, estimate, 0.8, 0.3, 0.0, torch.zeros(SHAPE)), red, atol=1e-6)


def test_the_walk_starts_at_the_low_dose_volume() -> None:
    _, y, _ = volumes()
    seen = []

    def denoiser(x_t, alpha, condition):
        seen.append((alpha, x_t))
        return x_t

    sample(denoiser, y, y, uniform_times(1), 0.5, lambda step: torch.randn(SHAPE))
    assert seen[0][0] == 1
    assert torch.equal(seen[0][1], y)


def test_an_exact_denoiser_is_believed_at_any_number_of_steps() -> None:
    x0, y, generator = volumes()
    for steps in (1, 2, 8):
        estimate = sample(
            lambda x_t, alpha, condition: x0, y, y, uniform_times(steps), 0.5,
            lambda step: torch.randn(SHAPE, generator=generator),
        )  # fmt: skip
        assert torch.equal(estimate, x0)


def test_samples_of_a_gaussian_posterior_have_its_spread() -> None:
    """For x_0 ~ N(0, 1) voxel by voxel and y = x_0 + N(0, s^2), everything is known: many small steps must agree."""
    noise_sd, kappa = 1.0, 0.5
    generator = torch.Generator().manual_seed(3)
    y = torch.full(SHAPE, 0.8)
    posterior_mean, posterior_variance = 0.8 / (1 + noise_sd**2), noise_sd**2 / (1 + noise_sd**2)

    def exact(x_t, alpha, condition):
        if alpha == 1:
            return torch.full_like(x_t, posterior_mean)
        seen, variance = (x_t - alpha * y) / (1 - alpha), kappa**2 * alpha / (1 - alpha)
        weight = posterior_variance / (posterior_variance + variance)
        return posterior_mean + weight * (seen - posterior_mean)

    drawn = sample(exact, y, y, uniform_times(64), kappa, lambda step: torch.randn(SHAPE, generator=generator))
    assert float(drawn.mean()) == pytest.approx(posterior_mean, abs=0.02)
    assert float(drawn.std()) == pytest.approx(posterior_variance**0.5, rel=0.06)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_stated_variance_is_that_given_the_low_dose_alone(steps) -> None:
    _, y, generator = volumes()

    def surer_and_surer(x_t, alpha, condition):
        return torch.cat([x_t, torch.full_like(x_t, alpha)], dim=1)

    estimate = sample(
        surer_and_surer, y, y, uniform_times(steps), 0.5, lambda step: torch.randn(SHAPE, generator=generator)
    )
    assert torch.equal(estimate[:, 1:], torch.ones_like(y))
