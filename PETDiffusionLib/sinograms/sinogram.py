"""A sinogram: what was counted, what stands between activity and counts, and where the lines lie."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry

AIR = 0.99  # an attenuation factor above it: nothing is on the line
LINES_COMPARED = 100_000  # of a sinogram's, for how one term follows another
PLANES_AT_ONCE = 16  # of a sinogram, where a copy of all would take much memory
EFFECTS = ("attenuation", "normalisation", "randoms", "scatter")


@dataclass(frozen=True)
class Sinogram:
    """Prompts, and the terms of their expectation: ybar = multiplicative * P(image) + additive.

    Every tensor is float32 [plane, view, tangential], with TOF bins as a last axis of prompts and additive.
    `multiplicative` holds attenuation factors times efficiencies (and the counts of one unit of activity), `additive`
    the expected randoms plus scatter in counts; None stands for ones and for zeros. `corrected` says which of EFFECTS
    these terms account for, or were taken out of the prompts before. `air_lines` is true for the lines [plane, view,
    tangential] that nothing attenuates; None where that is not known. `delayed`
    are the coincidences of a delayed window in the same bins (TOF bins or none), which randoms can be estimated from.

    Raises PETDiffusionError "bad-sinogram" where a shape is not the geometry's.
    """

    geometry: ScannerGeometry
    prompts: torch.Tensor
    multiplicative: torch.Tensor | None = None
    additive: torch.Tensor | None = None
    corrected: frozenset[str] = frozenset()
    facts: dict[str, Any] = field(default_factory=dict)
    air_lines: torch.Tensor | None = None
    delayed: torch.Tensor | None = None

    def __post_init__(self) -> None:
        shape = self.geometry.data_shape
        for name, wanted in (("prompts", shape), ("multiplicative", shape[:3]), ("additive", shape)):
            tensor = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != wanted:
                raise PETDiffusionError(
                    "bad-sinogram",
                    f"The {name} of a sinogram on {self.geometry.name} should be {wanted}, "
                    f"but are {tuple(tensor.shape)}. Give data of the same scanner, views, bins and segments.",
                )

    @property
    def not_corrected(self) -> tuple[str, ...]:
        """Those of EFFECTS that nothing accounts for."""
        return tuple(effect for effect in EFFECTS if effect not in self.corrected)

    @property
    def warnings(self) -> list[str]:
        """Sentences about what is unusual in the data or their origin."""
        return list(self.facts.get("warnings", []))

    @property
    def frame_facts(self) -> dict[str, Any]:
        """What is known of the frame that it is of: when, for how long, where the bed stood, what was in the file."""
        known = ("start_s", "duration_s", "half_life_s", "decay_factor", "position", "delayed", "list_mode")
        return {name: self.facts[name] for name in known if name in self.facts}

    @property
    def term_facts(self) -> dict[str, Any]:
        """What is known of the terms that were estimated, and of the components of a normalisation."""
        known = ("randoms_from_delayed", "scatter_fraction", "scatter_scale", "normalisation_components", "dead_time")
        return {name: self.facts[name] for name in known if name in self.facts}

    @property
    def volume_facts(self) -> dict[str, Any]:
        """What a volume of it says of itself: its frame, and how the patient lay along the scanner's axes."""
        return {**self.frame_facts, "patient_position": self.geometry.patient_position.taken}

    def with_warning(self, sentence: str) -> Sinogram:
        """With one more of them."""
        return replace(self, facts={**self.facts, "warnings": [*self.warnings, sentence]})

    def to(self, device: str | torch.device) -> Sinogram:
        """The same on another device."""

        def moved(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.to(device)

        return replace(
            self,
            prompts=self.prompts.to(device),
            multiplicative=moved(self.multiplicative),
            additive=moved(self.additive),
            air_lines=moved(self.air_lines),
            delayed=moved(self.delayed),
        )

    def with_factors(self, factors: torch.Tensor, effect: str) -> Sinogram:
        """With the multiplicative term times `factors` [plane, view, tangential], which account for `effect`."""
        product = factors if self.multiplicative is None else self.multiplicative * factors
        facts, air_lines = self.facts, self.air_lines
        if effect == "attenuation":
            air_lines = factors > AIR
        if self.multiplicative is not None and self.corrected | {effect} >= {"attenuation", "normalisation"}:
            terms = (factors, self.multiplicative) if effect == "attenuation" else (self.multiplicative, factors)
            facts = {**facts, "efficiency_follows_attenuation": _slope(*terms)}
        corrected = self.corrected | {effect}
        return replace(self, multiplicative=product, corrected=corrected, facts=facts, air_lines=air_lines)

    def with_background(self, background: torch.Tensor, *effects: str) -> Sinogram:
        """With `background` counts (shape of the prompts) added to the additive term, which account for `effects`."""
        total = background if self.additive is None else self.additive + background
        return replace(self, additive=total, corrected=self.corrected | set(effects))


def trues_estimate(sinogram: Sinogram) -> float:
    """The counts that came from activity as the terms say: prompts less additive."""
    return total(sinogram.prompts) - (0.0 if sinogram.additive is None else total(sinogram.additive))


def total(values: torch.Tensor, at_least: float | None = None, where: torch.Tensor | None = None) -> float:
    """The sum of [plane, ...] in double precision; of values clamped from below, and of those `where` only, if given.

    Some planes at a time: a sum of other precision than its data's copies them all.
    """
    result = 0.0
    for start in range(0, len(values), PLANES_AT_ONCE):
        planes = slice(start, start + PLANES_AT_ONCE)
        part = values[planes] if at_least is None else values[planes].clamp(min=at_least)
        result += float((part if where is None else part * where[planes]).sum(dtype=torch.float64))
    return result


def _slope(attenuation: torch.Tensor, efficiency: torch.Tensor) -> float:
    """By how much the logarithm of the efficiency changes for that of the attenuation, over lines of one plane."""
    step = max(1, attenuation.numel() // LINES_COMPARED) | 1  # odd, so that no view or bin is passed over
    planes, lines = len(attenuation), attenuation[0].numel()
    plane = torch.arange(planes, device=attenuation.device).repeat_interleave(lines)[::step]
    known, asked = (term.expand(attenuation.shape).reshape(-1)[::step].double() for term in (attenuation, efficiency))
    live = (known > 0) & (asked > 0)
    plane = plane[live]
    counts = torch.bincount(plane, minlength=planes).clamp(min=1)

    def about_the_plane(term: torch.Tensor) -> torch.Tensor:
        logarithm = term[live].log()
        return logarithm - (torch.bincount(plane, logarithm, planes) / counts)[plane]

    x, y = about_the_plane(known), about_the_plane(asked)
    return float((x * y).sum() / x.square().sum().clamp(min=1e-12))
