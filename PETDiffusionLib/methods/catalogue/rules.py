"""Rules: what an option may hold, its default, and how to say so to people, the command line and the Slicer panel."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from PETDiffusionLib.errors import PETDiffusionError


@dataclass(frozen=True)
class Rule:
    """One option. A value of None (null) stands for the default; a default of None for "the method decides".

    `lowest` and `highest` bound numbers (`above`: the lowest itself is not allowed); `choices` are those of a choice;
    a `count` above 1 makes it a list of so many numbers. `alias` is another name of its flag on the command line.
    """

    kind: Literal["whole", "number", "choice", "text", "flag"]
    title: str
    help: str
    default: Any = None
    lowest: float | None = None
    highest: float | None = None
    above: bool = False
    choices: tuple[str, ...] = ()
    count: int = 1
    alias: str | None = None

    def check(self, name: str, value: Any) -> Any:
        """The value, or the default for None. Raises PETDiffusionError "bad-job"."""
        if value is None:
            return self.default
        if not self.accepts(value):
            raise bad_job(f'"{name}" should be {self.expected}, but is {json.dumps(value, default=str)}')
        return value

    def accepts(self, value: Any) -> bool:
        """Whether the option may hold the value."""
        if self.count > 1:
            return isinstance(value, (list, tuple)) and len(value) == self.count and all(map(self.accepts_one, value))
        return self.accepts_one(value)

    def accepts_one(self, value: Any) -> bool:
        """The same of one number of a list."""
        if self.kind == "flag":
            return isinstance(value, bool)
        if self.kind == "choice":
            return value in self.choices
        if self.kind == "text":
            return isinstance(value, str) and bool(value)
        numbers = int if self.kind == "whole" else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool) and self._is_within(value)

    def _is_within(self, value: float) -> bool:
        low = -math.inf if self.lowest is None else self.lowest
        high = math.inf if self.highest is None else self.highest
        return math.isfinite(value) and low <= value <= high and not (self.above and value == low)

    def parse(self, text: str) -> Any:
        """The value that a text means (one of a list's); what cannot be meant stays text, which the rule refuses."""
        try:
            return {"whole": int, "number": float}[self.kind](text) if self.kind in ("whole", "number") else text
        except ValueError:
            return text

    @property
    def expected(self) -> str:
        """What the rule accepts, in words."""
        words = {"flag": "true or false", "text": "a text", "whole": "a whole number", "number": "a number"}
        said = words.get(self.kind) or "one of " + ", ".join(json.dumps(choice) for choice in self.choices)
        if self.lowest is not None:
            said += f" above {self.lowest:g}" if self.above else f" from {self.lowest:g}"
            said += " up" if self.highest is None and not self.above else ""
        if self.highest is not None:
            said += f" to {self.highest:g}"
        said = f"a list of {self.count}, each {said}" if self.count > 1 else said
        return f"{said}, or null" if self.default is None else said

    def to_json(self) -> dict[str, Any]:
        """All of it, for the panel."""
        return asdict(self)


def bad_job(what: str) -> PETDiffusionError:
    """The error of a job that cannot be run."""
    return PETDiffusionError("bad-job", f"The job cannot be run: {what}.")


MODEL = Rule("text", "Model", "a model's id or the path of its card (petdiffusion models list)")
PRIOR = replace(MODEL, title="Prior", alias="prior")
OVERWRITE = Rule("flag", "Overwrite", "replace outputs that exist", default=False)
SAMPLES = Rule(
    "whole",
    "Samples",
    "average so many draws, or mirrors where there is one step (default: the preset's)",
    lowest=1,
    highest=1000,
)
FRAMES = Rule(
    "text", "Frames", "those of a dynamic or gated series, from 1: 3, 3-7, 1-4,9; mean or mean:3-7 (default: each one)"
)

# What turns the values of a volume into SUV where its file does not say it; for every method that takes a volume.
STATED_SUV = {
    "unit": Rule(
        "choice", "Unit", "the unit of the input's values, where the file does not say it", choices=("suvbw", "bqml")
    ),
    "weight_kg": Rule("number", "Weight (kg)", "the patient's weight", lowest=0, above=True),
    "dose_mbq": Rule("number", "Dose (MBq)", "the injected dose", lowest=0, above=True),
    "minutes": Rule("number", "Minutes", "minutes from injection to the start of the scan", lowest=0),
    "half_life_minutes": Rule(
        "number", "Half-life (min)", "the radionuclide's (default: fluorine-18's 109.8; gallium-68 has 67.7)",
        lowest=0, above=True,
    ),
    "corrected": Rule(
        "flag", "Corrected", "the values are corrected for attenuation and decay, where a DICOM header leaves it empty",
        default=False,
    ),
}  # fmt: skip


def stated_suv(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of STATED_SUV that are facts of the dose, as `volumes.to_suv` takes them."""
    half_life = options["half_life_minutes"]
    facts: dict[str, Any] = {name: options[name] for name in ("weight_kg", "dose_mbq", "minutes")}
    half_life_s = None if half_life is None else 60 * half_life
    return facts | {"half_life_s": half_life_s, "corrected": bool(options.get("corrected"))}


# What every job has beside the options of its method.
FIELDS = {
    "device": Rule("choice", "Device", "where to compute", default="auto", choices=("auto", "cpu", "cuda", "mps")),
    "threads": Rule("whole", "Threads", "CPU threads (default: all)", lowest=1),
    "seed": Rule("whole", "Seed", "same seed, same result", default=0, lowest=0, highest=2**63 - 1),
}
