"""What brings the mean activity of a frame back to the moment that its start is counted from."""

from __future__ import annotations

import math


def decay_factor(start_s: float, duration_s: float, half_life_s: float) -> float:
    """The factor for a frame that was not corrected for decay: from its mean to time zero, decay within it included.

    exp(k t) * k T / (1 - exp(-k T)) with k = ln 2 / half-life, start t and length T (NEMA NU 2-2018, section 8;
    BIDS PET, DecayCorrectionFactor).
    """
    rate = math.log(2) / half_life_s
    within = rate * duration_s
    return math.exp(rate * start_s) * (within / -math.expm1(-within) if within > 0 else 1.0)
