"""The 3D DDPM's network: what the published implementation says of the same weights, and what is read off them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.networks.ddpm3d import DDPM3D, architecture_of, from_state_dict

SMALL = {"base": 32, "multipliers": [1, 2], "blocks": 1}


@pytest.mark.parametrize("time", [0, 37, 500, 999])
def test_the_outputs_are_those_of_the_reference_implementation(time: int, parity: Path, named_weights) -> None:
    network = from_state_dict(named_weights("ddpm3d_small.json"))
    with np.load(parity / "ddpm3d_small.npz") as fixture, torch.inference_mode():
        x_t, low_dose = (torch.from_numpy(fixture[name]) for name in ("x_t", "low_dose"))
        expected = fixture[f"model_output_t{time}"]
        answer = network(x_t, torch.tensor([time]), low_dose).numpy()
    assert np.abs(answer - expected).max() < 1e-4 * np.ptp(expected)


def test_the_published_size_has_207_million_parameters() -> None:
    with torch.device("meta"):
        network = DDPM3D()
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(207.0e6, abs=0.05e6)


@pytest.mark.parametrize("arguments", [SMALL, {"base": 32, "multipliers": [1, 1, 2, 3, 4], "blocks": 2}])
def test_the_architecture_is_read_off_the_shapes(arguments: dict) -> None:
    with torch.device("meta"):
        state = DDPM3D(**arguments).state_dict()
    assert architecture_of({name: tuple(value.shape) for name, value in state.items()}) == arguments


def test_a_checkpoint_of_another_network_is_refused_by_the_parameter_that_differs(parity: Path, named_weights) -> None:
    state = named_weights("ddpm3d_small.json")
    state["input_blocks.5.0.out_layers.3.bias"] = torch.zeros(31)
    with pytest.raises(PETDiffusionError, match="input_blocks.5.0.out_layers.3.bias") as refused:
        from_state_dict(state)
    assert refused.value.code == "wrong-model"
    shapes = json.loads((parity / "red_small.json").read_text())["parameters"]
    with pytest.raises(PETDiffusionError, match="not a 3D DDPM"):
        from_state_dict({name: torch.zeros(shape) for name, shape in shapes.items()})


def test_each_volume_of_a_batch_has_its_own_time() -> None:
    torch.manual_seed(0)
    network = DDPM3D(**SMALL).eval()
    x_t, low_dose = torch.randn(2, 1, 3, 8, 4), torch.rand(2, 1, 3, 8, 4)
    with torch.inference_mode():
        together = network(x_t, torch.tensor([7, 700]), low_dose)
        for index, time in enumerate((7, 700)):
            alone = network(x_t[index : index + 1], torch.tensor([time]), low_dose[index : index + 1])
            assert torch.allclose(together[index], alone[0], atol=1e-5)
        assert not torch.allclose(together[:1], network(x_t[:1], torch.tensor([700]), low_dose[:1]), atol=1e-3)


def test_half_precision_weights_answer_in_single_precision_and_nearly_the_same() -> None:
    torch.manual_seed(0)
    network = DDPM3D(**SMALL).eval()
    x_t, low_dose, time = torch.randn(1, 1, 4, 8, 8), torch.rand(1, 1, 4, 8, 8), torch.tensor([300])
    with torch.inference_mode():
        exact = network(x_t, time, low_dose)
        rough = network.convolve_in(torch.bfloat16)(x_t, time, low_dose)
    assert rough.dtype == torch.float32
    assert float((rough - exact).abs().max()) < 0.05 * float(exact.abs().max())
