"""Uptake tables: SUV of organs for tracers, as medians with a spread between subjects.

Typical values of the literature on normal biodistribution, rounded; they make phantoms plausible, not normative.
"""

from __future__ import annotations

import numpy as np

from PETDiffusionLib.simulation.draws import log_uniform

# organ: (median SUV, spread of its logarithm between subjects)
FDG = {
    "fat": (0.3, 0.2), "muscle": (0.7, 0.2), "skin": (0.5, 0.2), "blood": (1.8, 0.2), "lung": (0.5, 0.2),
    "myocardium": (3.0, 0.7), "liver": (2.3, 0.2), "spleen": (1.9, 0.2), "kidney cortex": (2.5, 0.3),
    "kidney pelvis": (10.0, 0.7), "bowel": (1.4, 0.5), "stomach": (1.7, 0.4), "bladder": (15.0, 0.7),
    "marrow": (1.3, 0.3), "cortical bone": (0.5, 0.3), "grey matter": (8.0, 0.25), "white matter": (2.3, 0.25),
    "csf": (0.4, 0.3), "pancreas": (1.5, 0.3), "prostate": (1.7, 0.3), "gland": (2.2, 0.4), "adrenal": (1.6, 0.3),
    "gas": (0.1, 0.1),
}  # fmt: skip
DOTATATE = FDG | {
    "blood": (0.8, 0.3), "myocardium": (1.0, 0.3), "liver": (6.0, 0.3), "spleen": (20.0, 0.3),
    "kidney cortex": (14.0, 0.3), "kidney pelvis": (16.0, 0.4), "bowel": (2.5, 0.5), "bladder": (12.0, 0.7),
    "marrow": (0.9, 0.3), "grey matter": (0.2, 0.3), "white matter": (0.15, 0.3), "pancreas": (3.5, 0.4),
    "gland": (4.0, 0.4), "adrenal": (8.0, 0.4), "muscle": (0.6, 0.2), "stomach": (3.0, 0.4),
}  # fmt: skip
AMYLOID_NEGATIVE = FDG | {
    "grey matter": (1.1, 0.15), "white matter": (1.8, 0.15), "csf": (0.5, 0.2), "marrow": (0.8, 0.3),
    "myocardium": (1.2, 0.3), "liver": (8.0, 0.4), "bladder": (8.0, 0.6), "bowel": (4.0, 0.7),
}  # fmt: skip
AMYLOID_POSITIVE = AMYLOID_NEGATIVE | {"grey matter": (2.2, 0.2)}

TRACERS = {
    "fdg": FDG,
    "dotatate": DOTATATE,
    "amyloid-negative": AMYLOID_NEGATIVE,
    "amyloid-positive": AMYLOID_POSITIVE,
}


def draw_uptake(tracer: str, rng: np.random.Generator) -> dict[str, float]:
    """One subject's SUV by organ. `tracer` is a name of TRACERS, or "any": every organ anywhere from 0.15 to 12."""
    if tracer == "any":
        return {organ: float(log_uniform(rng, 0.15, 12)) for organ in FDG}
    return {organ: float(median * np.exp(spread * rng.normal())) for organ, (median, spread) in TRACERS[tracer].items()}
