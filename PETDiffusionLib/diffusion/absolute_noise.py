"""Standard normal noise by absolute voxel, draw and step: the same on any device, for any windows, and for any seed."""

from __future__ import annotations

import numpy as np
import torch


def absolute_noise(shape: torch.Size, device: torch.device, seed: int, draw: int, step: int) -> torch.Tensor:
    """The field of one step of one draw, of `shape`."""
    state = np.random.SeedSequence([seed, draw, step]).generate_state(2, np.uint32)
    generator = torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))
    return torch.randn(shape, generator=generator).to(device)
