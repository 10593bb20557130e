"""RED against outputs of the public reference implementation, and the laws of its process."""

import json
import sys

import numpy as np
import pytest
import torch

from PETDiffusionLib.diffusion.red import Normalisation, alphas, betas, degraded, reverse
from PETDiffusionLib.diffusion.residual import diffused
from PETDiffusionLib.networks.red import from_state_dict


@pytest.fixture(scope="module")
def parity(shared_data):
    folder = shared_data.parent / "parity"
    sys.path.insert(0, str(folder))
    from weights_from_names import tensor_from_name

    sys.path.remove(str(folder))
    parameters = json.loads((folder / "red_small.json").read_text())["parameters"]
    networks = {}
    for which in ("nn_ren", "nn_dcn"):
        state = {
            name.removeprefix(which + "."): torch.from_numpy(tensor_from_name(name, shape))
            for name, shape in parameters.items()
            if name.startswith(which)
        }
        networks[which] = from_state_dict(state).eval()
    with np.load(folder / "red_small.npz") as data:
        # one of the fixture's two sinograms: the networks look at each alone
        return networks, {name: torch.from_numpy(data[name][: 1 if data[name].ndim == 4 else None]) for name in data}


def test_the_schedules_are_the_published_ones(parity) -> None:
    _, expected = parity
    assert torch.allclose(alphas(), expected["alphas"], atol=1e-7)
    assert torch.allclose(betas(), expected["betas"], atol=1e-9)


@pytest.mark.parametrize("which", ["ren", "dcn"])
@pytest.mark.parametrize("t", [1, 77, 500])
@torch.inference_mode()
def test_the_networks_say_what_the_reference_says(parity, which, t) -> None:
    networks, expected = parity
    answer = networks["nn_" + which](expected["x_T"], torch.full((1,), t))
    assert torch.allclose(answer, expected[f"{which}_t{t}"], atol=1e-4)


@torch.inference_mode()
def test_the_reverse_walk_is_the_published_one(parity) -> None:
    networks, expected = parity
    alone = reverse(expected["x_T"], networks["nn_ren"], None)
    assert torch.allclose(alone, expected["reverse_ren_only_50"], atol=1e-4)
    corrected = reverse(expected["x_T"], networks["nn_ren"], networks["nn_dcn"])
    assert torch.allclose(corrected, expected["reverse_corrected_50"], atol=1e-4)


def test_the_forward_process_is_the_published_one_and_the_noise_free_bridge(parity) -> None:
    _, expected = parity
    x0, residual = expected["x_T"], 0.3 * expected["x_T"]
    x_77 = degraded(x0, residual, alphas()[[77]])
    assert torch.allclose(x_77, expected["degrade_t77"], atol=1e-5)
    still = torch.zeros(())
    assert torch.allclose(x_77, diffused(x0, x0 + residual, float(alphas()[77]), still, still), atol=1e-6)


def test_a_true_residual_leads_back_to_the_full_dose_in_any_number_of_steps() -> None:
    torch.manual_seed(0)
    x0 = torch.rand(2, 1, 12, 16)
    residual = torch.randn_like(x0)
    for steps in (50, 7, 1):
        found = reverse(x0 + residual, lambda x_t, t: residual, None, steps)
        assert torch.allclose(found, x0, atol=1e-3)  # alpha_0 is 1e-4, not 0


def test_the_scale_is_undone_whole_and_an_empty_sinogram_survives() -> None:
    counts = torch.poisson(torch.full((3, 1, 8, 8), 4.0))
    counts[1] = 0
    scale = Normalisation.of(counts)
    assert float(scale.apply(counts).max()) == pytest.approx(1)
    assert torch.allclose(scale.undo(scale.apply(counts)), counts, atol=1e-5)
