"""RED's network: any size of sinogram, and weights that say their own architecture."""

import pytest
import torch

from PETDiffusionLib.networks.red import RedUNet, from_state_dict


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return RedUNet(8, (1, 2, 4)).eval()


@pytest.mark.parametrize("shape", [(12, 16), (13, 9), (30, 21)])
@torch.inference_mode()
def test_a_sinogram_of_any_size_keeps_it(network, shape) -> None:
    assert network(torch.rand(2, 1, *shape), torch.tensor([3, 400])).shape == (2, 1, *shape)


@torch.inference_mode()
def test_the_time_matters(network) -> None:
    x_t = torch.rand(1, 1, 12, 16)
    assert not torch.allclose(network(x_t, torch.tensor([3])), network(x_t, torch.tensor([400])))


@torch.inference_mode()
def test_a_network_is_found_again_from_its_weights_alone(network) -> None:
    again = from_state_dict(network.state_dict()).eval()
    x_t = torch.rand(1, 1, 16, 16)
    assert torch.equal(again(x_t, torch.tensor([7])), network(x_t, torch.tensor([7])))


def test_weights_of_another_network_are_refused(network) -> None:
    state = network.state_dict()
    del state["mid_block1.ds_conv.bias"]
    with pytest.raises(RuntimeError, match="mid_block1"):
        from_state_dict(state)
