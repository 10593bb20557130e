"""What few counts ask of a reconstruction: fewer subsets, activity where the body is, and a word about the numbers.

Noise is positive where an image cannot be negative. Beside the body it takes trues that the body then lacks: the fewer
counts, the lower organs read. Where the attenuation says what is air, no activity is looked for there.
"""

from __future__ import annotations

import math

import torch

from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.sinograms.sinogram import Sinogram, trues_estimate

LINES_A_VIEW = 2  # of a segment that pass through a voxel, about
COUNTS_A_SUBSET = 8.0  # on a voxel's lines in a subset: of a mean of eight, one voxel in 3000 sees none and goes out
FEW = 100.0  # counts on a voxel's lines, as if without background: with fewer, organs read more than 5 % low
VERY_FEW = 10.0  # the same: with fewer, single organs are noise, whatever is known of the body
AIR_SHARE = 0.3  # of the lines through a voxel that pass air alone: 12 mm beside a head
TRUES_IN_AIR = 0.05  # of the measured trues: more of them on lines through air, and the map is not of the whole body
CUT_CM2 = 20.0  # of tissue on the border of a mu-map within the field of view: more than a neck's edge, and it is cut


def counts_through_a_voxel(sinogram: Sinogram) -> float:
    """The prompts on the lines through one voxel, about."""
    geometry = sinogram.geometry
    prompts = float(sinogram.prompts.clamp(min=0).sum(dtype=torch.float64))
    return prompts / math.prod(geometry.data_shape[:3]) * LINES_A_VIEW * geometry.views * len(geometry.segments)


def trues_through_a_voxel(sinogram: Sinogram) -> float:
    """The counts on the lines through one voxel that would be as noisy without any background: trues^2 / prompts."""
    prompts = float(sinogram.prompts.clamp(min=0).sum(dtype=torch.float64))
    share = max(trues_estimate(sinogram), 0.0) / max(prompts, 1e-12)
    return counts_through_a_voxel(sinogram) * min(share, 1.0) ** 2


def supported_subsets(sinogram: Sinogram, wanted: int) -> int:
    """The most subsets, up to `wanted`, in which a voxel's lines still hold COUNTS_A_SUBSET counts on average.

    With fewer, EM's update sets every voxel to zero whose lines happened to count nothing in one subset, for ever.
    """
    supported = counts_through_a_voxel(sinogram) / COUNTS_A_SUBSET
    if wanted <= supported:
        return wanted
    return max(n for n in range(1, wanted + 1) if n == 1 or (sinogram.geometry.views % n == 0 and n <= supported))


def trues_in_air(sinogram: Sinogram) -> tuple[float | None, float]:
    """Prompts less additive on the lines that nothing attenuates, and their Poisson error; None where none is known."""
    air = sinogram.air_lines
    if air is None or not bool(air.any()) or "attenuation" not in sinogram.corrected:
        return None, 0.0
    chosen = air[..., None] if sinogram.prompts.ndim == 4 else air
    prompts = float((sinogram.prompts.clamp(min=0) * chosen).sum(dtype=torch.float64))
    additive = 0.0 if sinogram.additive is None else float((sinogram.additive * chosen).sum(dtype=torch.float64))
    return prompts - additive, math.sqrt(prompts)


def body_decides(sinogram: Sinogram) -> bool:
    """Whether activity is looked for in the body alone: with few counts, and a mu-map that the counts do not deny."""
    if trues_through_a_voxel(sinogram) >= FEW or sinogram.facts.get("mu_map_cut_cm2", 0.0) > CUT_CM2:
        return False
    beside, error = trues_in_air(sinogram)
    return beside is not None and beside <= max(TRUES_IN_AIR * trues_estimate(sinogram), 2 * error)


def body(projector: Projector, sinogram: Sinogram) -> torch.Tensor:
    """Where fewer than AIR_SHARE of the lines pass through air alone, boolean [z, y, x]: the body, convex, and a rim.

    The `projector` goes through its subsets, which spares memory.
    """
    assert sinogram.air_lines is not None
    excess = torch.zeros(projector.image_shape, device=sinogram.prompts.device)
    for subset in range(projector.subset_count):
        part = projector.subset(subset)
        air = sinogram.air_lines[:, subset :: projector.subset_count].float() - AIR_SHARE
        lines = air[..., None].expand(part.data_shape) if len(part.data_shape) == 4 else air
        excess += part.adjoint(lines.contiguous())
    return excess < 0
