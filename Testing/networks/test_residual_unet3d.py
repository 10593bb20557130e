"""The small U-Net: shapes, its start, and that what happens far away stays far away."""

import torch

from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D, depth_to_space, space_to_depth

SMALL = {"in_channels": 3, "widths": (8, 8, 8), "blocks": (1, 1, 1)}


def test_space_to_depth_and_back() -> None:
    volume = torch.randn(2, 3, 8, 6, 4)
    assert space_to_depth(volume).shape == (2, 24, 4, 3, 2)
    assert torch.equal(depth_to_space(space_to_depth(volume)), volume)


def test_the_untrained_network_says_nothing() -> None:
    network = ResidualUNet3D(**SMALL)
    answer = network(torch.randn(2, 3, 16, 24, 8), torch.ones(2), torch.zeros(2))
    assert answer.shape == (2, 2, 16, 24, 8)
    assert float(answer.detach().abs().max()) == 0


def test_a_voxel_depends_on_its_neighbourhood_alone() -> None:
    torch.manual_seed(0)
    network = ResidualUNet3D(**SMALL).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    volume = torch.randn(1, 3, 256, 16, 16)
    changed = volume.clone()
    changed[:, :, 200:] += 1
    with torch.no_grad():
        difference = (
            network(volume, torch.ones(1), torch.zeros(1)) - network(changed, torch.ones(1), torch.zeros(1))
        ).abs()
    assert float(difference[:, :, :100].max()) == 0
    assert float(difference[:, :, 200:].max()) > 0


def test_time_and_noise_level_are_heard() -> None:
    torch.manual_seed(0)
    network = ResidualUNet3D(**SMALL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    volume, one, half = torch.randn(1, 3, 16, 16, 16), torch.ones(1), torch.full((1,), 0.5)
    plain = network(volume, one, one)
    assert not torch.allclose(plain, network(volume, half, one))
    assert not torch.allclose(plain, network(volume, one, half))
