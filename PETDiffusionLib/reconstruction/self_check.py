"""What a reconstruction says of itself: whether its expectation fits the counts, and whether the terms fit each other.

It costs one forward projection. Bounds are so far apart that the Poisson errors of a complete model stay within them
at any number of counts (SIGNIFICANT standard deviations), and a smaller misfit than PLAIN is not spoken of.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.reconstruction.few_counts import (
    CUT_CM2,
    FEW,
    VERY_FEW,
    body_decides,
    trues_in_air,
    trues_through_a_voxel,
)
from PETDiffusionLib.reconstruction.model import holding_factor
from PETDiffusionLib.sinograms.sinogram import PLANES_AT_ONCE, Sinogram, total, trues_estimate

SIGNIFICANT = 5.0  # standard deviations
TRUES_OFF = 0.05  # of the measured trues: how far expected ones may be off
NO_TRUES = 0.1  # of the prompts: fewer, and not significantly above none, are none
BESIDE_MAP = 0.10  # of the measured trues, on lines that nothing attenuates
TOO_MUCH_ADDITIVE = 0.05  # of the measured trues, missing on those lines
FOLLOWS_ATTENUATION = 0.5  # slope of log efficiency over log attenuation: real efficiencies have less than 0.1
DEVIANCE = 1.5  # times the deviance of Poisson counts: unmodelled resolution gives 1.1
MISFIT = 0.2  # of the counts in a bin: with many counts a smoothing prior alone gives more deviance than that
LEAST_EXPECTED = 1e-9  # counts: a bin that expects fewer is dead

Warn = Callable[[str, str], None]


@dataclass(frozen=True)
class SelfCheck:
    """The facts, as they stand in the manifest. None: the data do not say."""

    expected_over_measured_trues: float
    scaled_by: float  # what held the expected trues; 1: nothing had to
    measured_trues: float
    measured_trues_error: float  # one standard deviation
    counts_a_bin: float
    deviance_a_bin: float
    expected_deviance_a_bin: float
    trues_beside_the_mu_map: float | None  # share of the measured trues on lines without attenuation
    trues_beside_the_mu_map_error: float | None
    mu_map_covers: float | None  # share of the field of view
    trues_through_a_voxel: float  # counts on its lines, as if without background
    activity_in_the_body_alone: bool  # with few counts it was looked for where the mu-map leaves a body

    @property
    def text(self) -> str:
        """One line for people."""
        parts = [
            f"expected over measured trues {self.expected_over_measured_trues:.3f}",
            f"deviance a bin {self.deviance_a_bin:.3g} (Poisson counts: {self.expected_deviance_a_bin:.3g})",
        ]
        if self.mu_map_covers is not None:
            parts.append(f"mu-map covers {self.mu_map_covers:.0%} of the field of view")
        if self.trues_beside_the_mu_map is not None:
            parts.append(f"{self.trues_beside_the_mu_map:.1%} of the trues beside the mu-map")
        return ", ".join(parts)

    @property
    def facts(self) -> dict[str, Any]:
        return {"self_check": {"text": self.text, **asdict(self)}}


@torch.no_grad()
def closed(
    projector: Projector, sinogram: Sinogram, image: torch.Tensor, warn: Warn, *, hold: bool = True
) -> tuple[float, dict[str, Any]]:
    """The factor that holds the expected trues of `image` [z, y, x] near the measured ones, and the facts of the check.

    Says by `warn(code, sentence)` what lies outside the bounds. Without `hold` the factor is 1.
    """
    trues = _expected_trues(projector, sinogram, image)
    expected, prompts = total(trues), total(sinogram.prompts, 0)
    measured, error = trues_estimate(sinogram), math.sqrt(prompts)
    factor = holding_factor(expected, max(measured, error)) if hold else 1.0
    deviance, of_poisson, spread = _deviances(sinogram, trues, factor)
    beside, beside_error = trues_in_air(sinogram)
    share = max(measured, error, 1e-12)
    check = SelfCheck(
        factor * expected / share, factor, measured, error, prompts / sinogram.prompts.numel(), deviance, of_poisson,
        None if beside is None else beside / share, None if beside is None else beside_error / share,
        sinogram.facts.get("mu_map_covers"), trues_through_a_voxel(sinogram),
        hold and body_decides(sinogram),
    )  # fmt: skip
    _warn_of_the_terms(sinogram, check, warn)
    _warn_of_the_fit(check, spread, warn)
    _warn_of_few_counts(check, hold, warn)
    return factor, check.facts


def _warn_of_few_counts(check: SelfCheck, never_negative: bool, warn: Warn) -> None:
    """What the counts let the values say, whatever was done to hold the total."""
    if check.trues_through_a_voxel >= FEW:
        return
    lines = f"Only {check.trues_through_a_voxel:.2g} counts (free of background) lie on the lines through a voxel"
    if not never_negative:
        means = "single voxels and small organs are noise; means of large regions are right. Use a lower --cutoff."
    elif not check.activity_in_the_body_alone:
        means = (
            "noise beside the body takes trues from it, and organs read low, by a tenth at 30 and a third below 3. "
            "Give a complete mu-map by --attenuation, which keeps activity in the body, or count for longer."
        )
    elif check.trues_through_a_voxel >= VERY_FEW:
        means = (
            "activity was looked for in the mu-map's body alone, the mean over the body is right, and single voxels "
            "and small organs are noise. Smooth more (--post-filter-mm, or rdp with a higher --beta)."
        )
    else:
        means = (
            "activity was looked for in the mu-map's body alone, and no more than the total in the body is known: "
            "its distribution is noise. Count for longer."
        )
    warn("few-counts", f"{lines}, where {FEW:g} are wanted: {means}")


def _expected_trues(projector: Projector, sinogram: Sinogram, image: torch.Tensor) -> torch.Tensor:
    """m P x, subset by subset: their projectors are made already."""
    trues = torch.empty_like(sinogram.prompts)
    for subset in range(projector.subset_count):
        trues[:, subset :: projector.subset_count] = projector.subset(subset).forward(image)
    if sinogram.multiplicative is not None:
        trues *= _like(sinogram.multiplicative, trues)
    return trues


def _warn_of_the_terms(sinogram: Sinogram, check: SelfCheck, warn: Warn) -> None:
    """Terms that do not fit the counts or each other, whatever was reconstructed."""
    significant = SIGNIFICANT * check.measured_trues_error
    few = NO_TRUES * check.counts_a_bin * sinogram.prompts.numel()
    if sinogram.additive is not None and check.counts_a_bin > 0 and check.measured_trues < min(significant, few):
        warn(
            "self-check-additive",
            f"The additive term leaves {check.measured_trues:.3g} ± {check.measured_trues_error:.2g} trues of the "
            "prompts, which is none: it is as large as the prompts. Give it in counts of the same duration, scatter "
            "and randoms once.",
        )
    slope = sinogram.facts.get("efficiency_follows_attenuation")
    if slope is not None and slope > FOLLOWS_ATTENUATION:
        warn(
            "self-check-twice",
            f"The normalisation follows the attenuation (a slope of {slope:.2f} between their logarithms, where "
            "efficiencies have none): the attenuation is in it and counts twice. Give one of the two without it.",
        )
    cut = sinogram.facts.get("mu_map_cut_cm2", 0.0)
    if cut > CUT_CM2:
        warn(
            "self-check-mu-map",
            f"The mu-map ends inside the body: it covers {check.mu_map_covers:.0%} of the field of view, and where it "
            f"ends {cut:.0f} cm2 of it are tissue. What lies beyond is taken for air, so that values there and beside "
            "it are too low. Give a mu-map of the whole field of view.",
        )
        return
    beside, error = check.trues_beside_the_mu_map, check.trues_beside_the_mu_map_error
    if beside is None or error is None or abs(beside) < SIGNIFICANT * error:
        return
    if beside > BESIDE_MAP:
        mirror = _better_mirrored(sinogram)
        lies = "covers only a part of the body or lies beside it" if mirror is None else f"is mirrored {mirror}"
        warn(
            "self-check-mu-map",
            f"{beside:.0%} of the measured trues lie on lines that the mu-map does not attenuate, where a complete map "
            f"leaves less than {BESIDE_MAP:.0%}: the map {lies}, or the additive term is too small. Values there are "
            "not quantitative.",
        )
    elif beside < -TOO_MUCH_ADDITIVE:
        warn(
            "self-check-additive",
            f"Beside the body the additive term is larger than the prompts, by {-beside:.0%} of all trues: scatter or "
            "randoms are too large or given twice. Values are too low.",
        )


def _warn_of_the_fit(check: SelfCheck, spread: float, warn: Warn) -> None:
    """A volume that does not explain the counts."""
    off, error = check.expected_over_measured_trues - 1, check.measured_trues_error / max(check.measured_trues, 1e-12)
    if abs(off) > TRUES_OFF + SIGNIFICANT * max(error, 0.0):
        warn(
            "self-check-trues",
            f"The volume expects {1 + off:.2f} times the measured trues, where {1 - TRUES_OFF:g} to {1 + TRUES_OFF:g} "
            "are right: its values are off by as much.",
        )
    bound = max(DEVIANCE * check.expected_deviance_a_bin, check.expected_deviance_a_bin + SIGNIFICANT * spread)
    excess = max(0.0, check.deviance_a_bin - check.expected_deviance_a_bin)
    if check.deviance_a_bin > bound and excess > MISFIT**2 * check.counts_a_bin:
        warn(
            "self-check-deviance",
            f"The counts scatter about the volume's expectation more than Poisson counts do (deviance a bin "
            f"{check.deviance_a_bin:.3g}, where {check.expected_deviance_a_bin:.3g} is expected): a term is missing or "
            "wrong, the prompts were scaled or corrected before, or the iterations were too few.",
        )


def _better_mirrored(sinogram: Sinogram) -> str | None:
    """How the mu-map has to be mirrored to leave less than half of the trues beside it; None where that is no cure."""
    air, geometry = sinogram.air_lines, sinogram.geometry
    if air is None:
        return None
    direct = [number for number, segment in enumerate(geometry.segments) if segment.mean_difference == 0]
    planes = torch.from_numpy(np.isin(geometry.plane_segment, direct)).to(air.device)
    if not bool(planes.any()):
        return None
    part = _Part(
        air[planes], sinogram.prompts[planes], None if sinogram.additive is None else sinogram.additive[planes]
    )
    across = _across(part.air)
    turned = {"head to feet": part.air.flip(0), "left to right": across, "front to back": across.flip(2)}
    now = part.beside(part.air)
    best = min(turned, key=lambda name: part.beside(turned[name]))
    return best if part.beside(turned[best]) < now / 2 else None


@dataclass(frozen=True)
class _Part:
    """Direct planes: which of their lines nothing attenuates, prompts and additive."""

    air: torch.Tensor
    prompts: torch.Tensor
    additive: torch.Tensor | None

    def beside(self, air: torch.Tensor) -> float:
        chosen = _like(air, self.prompts)
        trues = self.prompts if self.additive is None else self.prompts - self.additive
        return float((trues * chosen).sum(dtype=torch.float64))


def _across(lines: torch.Tensor) -> torch.Tensor:
    """Lines [plane, view, tangential] of the image mirrored in x: the view at pi - phi, the first one's bins turned."""
    return torch.cat([lines[:, :1].flip(2), lines[:, 1:].flip(1)], dim=1)


def _deviances(sinogram: Sinogram, trues: torch.Tensor, factor: float) -> tuple[float, float, float]:
    """The Poisson deviance a bin, 2 (y log(y / ybar) - y + ybar), what Poisson counts have, and its standard deviation.

    Of live bins. `trues` times `factor` is expected beside the additive term.
    """
    table = _poisson_deviances()
    deviance, bins = 0.0, 0
    histogram = torch.zeros(len(table[0]), dtype=torch.float64)
    low, high = float(table[0][0]), float(table[0][-1])
    for start in range(0, len(trues), PLANES_AT_ONCE):
        planes = slice(start, start + PLANES_AT_ONCE)
        expected = factor * trues[planes]
        if sinogram.additive is not None:
            expected += sinogram.additive[planes]
        live = expected > LEAST_EXPECTED
        expected, counts = expected[live], sinogram.prompts[planes][live].clamp(min=0)
        deviance += 2 * float((torch.xlogy(counts, counts / expected) - counts + expected).sum(dtype=torch.float64))
        bins += len(counts)
        histogram += torch.histc(expected.log().clamp_(low, high).float(), len(histogram), low, high).double().cpu()
    share = histogram.numpy() / max(bins, 1)
    return deviance / max(bins, 1), float(share @ table[1]), math.sqrt(float(share @ table[2]) / max(bins, 1))


@lru_cache(maxsize=1)
def _poisson_deviances() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logarithms of expectations, and mean and variance of the deviance of Poisson counts there."""
    logarithms = np.linspace(math.log(LEAST_EXPECTED), math.log(1e4), 600)
    counts = np.arange(400)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
    means, variances = np.empty_like(logarithms), np.empty_like(logarithms)
    for place, logarithm in enumerate(logarithms):
        expected = math.exp(logarithm)
        if expected > 150:  # the limit for many counts
            means[place], variances[place] = 1 + 1 / (6 * expected), 2.0
            continue
        chance = np.exp(counts * logarithm - expected - log_factorial)
        deviance = 2 * (counts * (np.log(np.maximum(counts, 1)) - logarithm) * (counts > 0) - counts + expected)
        means[place] = chance @ deviance
        variances[place] = chance @ deviance**2 - means[place] ** 2
    return logarithms, means, variances


def _like(lines: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    """[plane, view, tangential] made to fit data with or without TOF."""
    return lines[..., None] if data.ndim == 4 else lines
