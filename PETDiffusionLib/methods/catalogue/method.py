"""A method as it is declared: its files, presets and options, before anything of it is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from PETDiffusionLib.methods.catalogue.rules import MODEL, OVERWRITE, PRIOR, Rule


@dataclass(frozen=True)
class File:
    """A file that a method reads or writes."""

    kind: Literal["volume", "sinogram"]
    help: str
    required: bool = False


@dataclass(frozen=True)
class Preset:
    """A ready-made choice; what it means is the method's."""

    title: str
    description: str


@dataclass(frozen=True)
class Method:
    """What a user picks. `module` has `run(job, progress, warn) -> summary`, and is imported when the method runs.

    `kind` is the command that it belongs to; of `inputs` and `outputs` (role -> file) the first is required, and the
    manifest lies beside the first output. `task` is that of the models it takes, None for a method without one.
    """

    id: str
    title: str
    kind: Literal["denoise", "restore-sinogram", "reconstruct"]
    module: str
    inputs: Mapping[str, File]
    outputs: Mapping[str, File]
    options: Mapping[str, Rule] = field(default_factory=dict)
    presets: Mapping[str, Preset] = field(default_factory=dict)
    default_preset: str | None = None
    task: str | None = None
    default_model: str | None = None

    @property
    def rules(self) -> dict[str, Rule]:
        """Every option of a job of this method: its own, and those that follow from what it has."""
        rules: dict[str, Rule] = {}
        if self.presets:
            names = tuple(self.presets)
            rules["preset"] = Rule("choice", "Preset", "speed against quality", self.default_preset, choices=names)
        if self.task:
            rules["model"] = PRIOR if self.task == "prior" else MODEL
        return {**rules, **self.options, "overwrite": OVERWRITE}

    def to_json(self) -> dict[str, Any]:
        """The method for programs: `petdiffusion info --json` and the Slicer panel."""
        main_input = next(iter(self.inputs.values()))
        return {
            "id": self.id,
            "title": self.title,
            "kind": self.kind,
            "input": main_input.kind,
            "inputs": [{"role": role, **vars(file)} for role, file in self.inputs.items()],
            "outputs": list(self.outputs),
            "presets": [
                {"id": name, "title": preset.title, "description": preset.description}
                for name, preset in self.presets.items()
            ],
            "default_preset": self.default_preset,
            "task": self.task,
            "default_model": self.default_model,
            "options": [{"name": name, **rule.to_json()} for name, rule in self.rules.items()],
        }
