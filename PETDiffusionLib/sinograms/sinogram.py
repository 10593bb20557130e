"""A sinogram: what was counted, what stands between activity and counts, and where the lines lie."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry

EFFECTS = ("attenuation", "normalisation", "randoms", "scatter")


@dataclass(frozen=True)
class Sinogram:
    """Prompts, and the terms of their expectation: ybar = multiplicative * P(image) + additive.

    Every tensor is float32 [plane, view, tangential], with TOF bins as a last axis of prompts and additive.
    `multiplicative` holds attenuation factors times efficiencies (and the counts of one unit of activity), `additive`
    the expected randoms plus scatter in counts; None stands for ones and for zeros. `corrected` says which of EFFECTS
    these terms account for, or were taken out of the prompts before.

    Raises PETDiffusionError "bad-sinogram" where a shape is not the geometry's.
    """

    geometry: ScannerGeometry
    prompts: torch.Tensor
    multiplicative: torch.Tensor | None = None
    additive: torch.Tensor | None = None
    corrected: frozenset[str] = frozenset()
    facts: dict[str, Any] = field(default_factory=dict)

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
        )

    def with_factors(self, factors: torch.Tensor, effect: str) -> Sinogram:
        """With the multiplicative term times `factors` [plane, view, tangential], which account for `effect`."""
        product = factors if self.multiplicative is None else self.multiplicative * factors
        return replace(self, multiplicative=product, corrected=self.corrected | {effect})

    def with_background(self, background: torch.Tensor, *effects: str) -> Sinogram:
        """With `background` counts (shape of the prompts) added to the additive term, which account for `effects`."""
        total = background if self.additive is None else self.additive + background
        return replace(self, additive=total, corrected=self.corrected | set(effects))


def trues_estimate(sinogram: Sinogram) -> float:
    """The counts that came from activity as the terms say: prompts less additive."""
    additive = 0.0 if sinogram.additive is None else float(sinogram.additive.sum(dtype=torch.float64))
    return float(sinogram.prompts.sum(dtype=torch.float64)) - additive
