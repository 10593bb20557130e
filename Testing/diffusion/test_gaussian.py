"""The Gaussian process: the reference's samples step for step, and laws that hold for any schedule."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from PETDiffusionLib.diffusion.gaussian import (
    ancestral,
    ddim,
    dpm_solver_2m,
    linear_alphas_cumprod,
    log_snr_times,
    noised,
    spaced_times,
)
from PETDiffusionLib.diffusion.prediction import PredictionDenoiser, x0_and_noise
from PETDiffusionLib.networks.ddpm3d import from_state_dict

ABAR = linear_alphas_cumprod()


def load(path: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    with np.load(path) as fixture:
        return {name[len(prefix) :]: torch.from_numpy(fixture[name]) for name in fixture if name.startswith(prefix)}


def agree(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return float((found - expected).abs().max()) < 1e-4 * float(expected.max() - expected.min())


def denoiser_of_known_data(low_dose: torch.Tensor, spread: float = 0.05):
    """What a perfect network says of data ~ N(low_dose, spread^2), clamped as the reference clamps."""

    def denoise(x_t: torch.Tensor, t: int, condition: torch.Tensor) -> torch.Tensor:
        abar = ABAR[t]
        eps = math.sqrt(1 - abar) * (x_t - math.sqrt(abar) * low_dose) / (abar * spread**2 + 1 - abar)
        x0 = (x_t - math.sqrt(1 - abar) * eps) / math.sqrt(abar)
        return torch.cat([x0.clamp(-1, 1), (torch.tanh(x_t) + 1) / 2], dim=1)

    return denoise


@pytest.mark.parametrize("steps", ["ten", "twentyfive", "thousand"])
def test_ancestral_and_ddim_samples_are_the_references(steps: str, parity: Path) -> None:
    fixture = load(parity / "ddpm3d_sampler.npz", f"{steps}_")
    times = spaced_times(len(fixture["timesteps"]))
    assert times == fixture["timesteps"].tolist()[::-1]
    arguments = (denoiser_of_known_data(fixture["low_dose"]), fixture["x_T"], fixture["low_dose"], times, ABAR)
    assert agree(ancestral(*arguments, fixture["noise"].__getitem__), fixture["ancestral"])
    assert agree(ddim(*arguments, fixture["noise"].__getitem__), fixture["ddim"])


def test_network_and_sampler_together_are_the_references(parity: Path, named_weights) -> None:
    fixture = load(parity / "ddpm3d_small.npz")
    denoiser = PredictionDenoiser(from_state_dict(named_weights("ddpm3d_small.json")).eval(), ABAR)

    def doubled(x_t: torch.Tensor, t: int, condition: torch.Tensor) -> torch.Tensor:
        """One volume of this size takes PyTorch's slow convolution on a CPU, two take the fast one."""
        return denoiser(x_t.expand(2, -1, -1, -1, -1), t, condition)[:1]

    arguments = (doubled, fixture["x_t"], fixture["low_dose"], spaced_times(10), ABAR)
    with torch.inference_mode():
        drawn = ancestral(*arguments, fixture["ancestral_noise"].__getitem__)
        walked = ddim(*arguments, lambda step: torch.zeros(()))
    assert agree(drawn, fixture["ancestral_sample"])
    assert agree(walked, fixture["ddim_sample"])


@pytest.mark.parametrize("time", [0, 400, 999])
def test_the_noise_and_v_say_the_same(time: int) -> None:
    torch.manual_seed(0)
    x0, eps = torch.rand(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    abar = torch.tensor(ABAR[time], dtype=torch.float64)
    x_t = abar.sqrt() * x0 + (1 - abar).sqrt() * eps
    v = abar.sqrt() * eps - (1 - abar).sqrt() * x0
    for answer, predicts in ((eps, "noise"), (v, "v")):
        for found, true in zip(
            x0_and_noise(answer, x_t, abar.sqrt(), (1 - abar).sqrt(), predicts), (x0, eps), strict=True
        ):
            assert torch.allclose(found, true, atol=1e-9)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "ddim with noise", "dpm++"])
@pytest.mark.parametrize("start", ["noise", "low dose"])
def test_every_sampler_draws_from_the_data(sampler: str, start: str) -> None:
    """Data ~ N(low dose, 0.05^2): the draws must have that mean and spread, also when begun half way."""
    torch.manual_seed(0)
    low_dose = torch.full((1, 1, 20, 20, 20), 0.3)
    noise = lambda step: torch.randn(low_dose.shape)  # noqa: E731
    first = 999 if start == "noise" else 300
    x_t = noise(0) if start == "noise" else noised(low_dose, first, ABAR, noise(0))
    denoiser = denoiser_of_known_data(low_dose)
    times = log_snr_times(100, ABAR, first)
    drawn = {
        "ancestral": lambda: ancestral(denoiser, x_t, low_dose, spaced_times(1000, first), ABAR, noise),
        "ddim": lambda: ddim(denoiser, x_t, low_dose, times, ABAR, noise),
        "ddim with noise": lambda: ddim(denoiser, x_t, low_dose, times, ABAR, noise, eta=1.0),
        "dpm++": lambda: dpm_solver_2m(denoiser, x_t, low_dose, times, ABAR),
    }[sampler]()
    assert float(drawn.mean()) == pytest.approx(0.3, abs=0.005)
    assert float(drawn.std()) == pytest.approx(0.05, rel=0.1)


def test_dpm_solver_is_of_second_order_where_ddim_is_of_first() -> None:
    """Halving the steps' size must cut the error of DPM-Solver++ 2M about four times and that of DDIM about twice."""
    low_dose, x_t = torch.full((1, 1, 2, 2, 2), 0.3), torch.full((1, 1, 2, 2, 2), 0.9, dtype=torch.float64)
    denoiser, silent = denoiser_of_known_data(low_dose, spread=0.5), lambda step: torch.zeros(())

    def at_half_way(sampler, steps: int) -> float:
        times = spaced_times(steps + 1, 800)
        before_the_end = [time for time in times if time >= 400]
        seen: list[float] = []

        def watching(x, t, condition):
            seen.append(float(x[0, 0, 0, 0, 0]))
            return denoiser(x, t, condition)

        sampler(watching, x_t, low_dose, before_the_end, ABAR)
        return seen[-1]

    first_order = lambda *arguments: ddim(*arguments, silent)  # noqa: E731
    for sampler, order in ((first_order, 1), (dpm_solver_2m, 2)):
        exact = at_half_way(dpm_solver_2m, 400)
        ratio = abs(at_half_way(sampler, 10) - exact) / abs(at_half_way(sampler, 20) - exact)
        assert math.log2(ratio) == pytest.approx(order, abs=0.4)


@given(st.integers(1, 1000), st.integers(0, 999))
def test_times_fall_from_the_first_to_the_last_without_repeats(steps: int, first: int) -> None:
    for times in (spaced_times(steps, first), log_snr_times(steps, ABAR, first)):
        assert len(times) <= steps
        assert times[-1] == 0 if steps > 1 else len(times) == 1
        assert all(a > b for a, b in zip(times, times[1:], strict=False))
        assert steps == 1 or times[0] == first
