"""How a stated standard deviation fits the error that it speaks of."""

from __future__ import annotations

import numpy as np

from PETDiffusionLib.evaluation import metrics

LEAST_SD = 1e-6


def share_and_factor(truth: np.ndarray, mean: np.ndarray, sd: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """The share of the mask within 1.96 sd, and the factor on sd that makes it 95 %; all [z, y, x]."""
    sd = np.maximum(sd, LEAST_SD)
    factor = float(np.quantile(np.abs(mean - truth)[mask] / sd[mask], 0.95)) / metrics.INTERVAL_95_SIGMAS
    return metrics.coverage(truth, mean, sd, mask), factor
