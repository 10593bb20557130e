"""How sizes, uptakes and counts are drawn: alike over their orders of magnitude."""

from __future__ import annotations

from typing import Any

import numpy as np


def log_uniform(rng: np.random.Generator, low: float, high: float, size: int | None = None) -> Any:
    """A draw whose logarithm is uniform from `low` to `high`, or an array [size] of them."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))
