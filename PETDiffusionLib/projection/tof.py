"""Time of flight: how the samples along a line are shared out to its bins."""

from __future__ import annotations

import math

import torch

from PETDiffusionLib.sinograms.geometry import TimeOfFlight


def tof_reach(tof: TimeOfFlight) -> float:
    """How many bins away a sample is still seen."""
    return tof.truncation_sigmas * tof.sigma_mm / tof.bin_width_mm


def tof_weights(distance_mm: torch.Tensor, tof: TimeOfFlight) -> torch.Tensor:
    """The share of every TOF bin in a sample `distance_mm` from its line's middle towards its end: [..., bins].

    A Gaussian integrated over the bins, cut off at whole bins beyond the truncation and normalised to a sum of one over
    them, inside the measured bins or not; this is parallelproj's kernel.
    """
    position = distance_mm / tof.bin_width_mm + (tof.bins - 1) / 2  # in bins
    reach = tof_reach(tof)
    first, last = torch.floor(position - reach) - 0.5, torch.ceil(position + reach) + 0.5
    scale = tof.bin_width_mm / (math.sqrt(2) * tof.sigma_mm)
    edges = torch.arange(tof.bins + 1, dtype=position.dtype, device=position.device) - 0.5
    edges = torch.minimum(torch.maximum(edges, first[..., None]), last[..., None])  # beyond the cut nothing is added
    cumulative = torch.erf((edges - position[..., None]) * scale)
    whole = torch.erf((last - position) * scale) - torch.erf((first - position) * scale)
    return (cumulative[..., 1:] - cumulative[..., :-1]) / whole[..., None]
