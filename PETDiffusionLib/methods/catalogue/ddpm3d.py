"""The 3D DDPM of Yu et al., declared."""

from __future__ import annotations

from dataclasses import dataclass

from PETDiffusionLib.methods.catalogue.denoise import DENOISE
from PETDiffusionLib.methods.catalogue.method import Method, Preset
from PETDiffusionLib.methods.catalogue.rules import Rule

SAMPLERS = ("ancestral", "ddim", "dpm++")
STARTS = ("low-dose", "noise")


@dataclass(frozen=True)
class WalkPreset(Preset):
    """How x_0 is drawn, and how many draws are averaged unless the user says."""

    sampler: str
    steps: int
    start: str
    samples: int


PRESETS = {
    "fast": WalkPreset("Fast", "Two draws of 10 steps from the noised low dose.", "ddim", 10, "low-dose", 2),
    "balanced": WalkPreset("Balanced", "Four draws of 20 steps from the same.", "ancestral", 20, "low-dose", 4),
    "published": WalkPreset("As published", "One draw of 1000 steps from noise.", "ancestral", 1000, "noise", 1),
}

DDPM3D = Method(
    id="ddpm3d",
    title="3D DDPM (Yu et al. 2025)",
    kind="denoise",
    module="PETDiffusionLib.methods.ddpm3d",
    inputs=DENOISE.inputs,
    outputs=DENOISE.outputs,
    options={
        "sampler": Rule("choice", "Sampler", "how the draws are made (default: the preset's)", choices=SAMPLERS),
        "start": Rule(
            "choice", "Start", "from the noised low dose or from noise (default: the preset's)", choices=STARTS
        ),
        "eta": Rule("number", "Eta", "noise of DDIM: 0 none, 1 as much as ancestral", default=0.0, lowest=0, highest=1),
        **DENOISE.options,
        "steps": Rule("whole", "Steps", "reverse steps a draw (default: the preset's)", lowest=1, highest=1000),
    },
    presets=PRESETS,
    default_preset="balanced",
    task="denoise-ddpm3d",
)
