"""The unit that a prior works in: what carries one trained on a tracer to another, and to counts of any scanner."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

Volume = TypeVar("Volume", np.ndarray, torch.Tensor)
SHARE_OF_MAXIMUM = 0.01


def activity_scale(volume: Volume) -> float:
    """The mean over the voxels above 1 % of the maximum (Hashimoto and Gong 2025); 1 where there is no activity."""
    occupied = volume[volume > SHARE_OF_MAXIMUM * volume.max()]
    return float(occupied.mean()) if len(occupied) else 1.0
