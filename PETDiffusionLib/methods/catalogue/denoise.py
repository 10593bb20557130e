"""The bundled denoiser, declared."""

from __future__ import annotations

from dataclasses import dataclass

from PETDiffusionLib.methods.catalogue.method import File, Method, Preset
from PETDiffusionLib.methods.catalogue.rules import FRAMES, SAMPLES, STATED_SUV, Rule

BUNDLED_MODEL = "petdiffusion-denoiser"


@dataclass(frozen=True)
class StepsPreset(Preset):
    """How many reverse steps a draw takes, and how many draws are averaged unless the user says.

    More than one step is a draw from the posterior, with a seed. The mean of draws is no better than that of one step
    through as many mirrors, and takes as many steps longer, so no preset walks.
    """

    steps: int
    samples: int


PRESETS = {
    "fast": StepsPreset("Fast", "One evaluation of the network: the posterior mean.", 1, 1),
    "balanced": StepsPreset("Balanced", "The posterior mean seen through two mirrors and averaged.", 1, 2),
    "best": StepsPreset("Best", "The posterior mean seen through all eight mirrors and averaged.", 1, 8),
}

DENOISE = Method(
    id="denoise",
    title="Denoise (residual diffusion)",
    kind="denoise",
    module="PETDiffusionLib.methods.denoise",
    inputs={
        "image": File(
            "volume", "NIfTI, NRRD, MHA or a folder of DICOM PT; of a dynamic or gated series each frame", required=True
        )
    },
    outputs={
        "image": File("volume", "the denoised volume: .nii.gz, .nii, .nrrd, .mha", required=True),
        "uncertainty": File("volume", "also write the voxelwise standard deviation"),
    },
    options={
        "steps": Rule("whole", "Steps", "1: the posterior mean; more: draws, by the seed", lowest=1, highest=8),
        "samples": SAMPLES,
        "frames": FRAMES,
        "grid": Rule("choice", "Grid", "the grid of the outputs", default="input", choices=("input", "model")),
        **STATED_SUV,
    },
    presets=PRESETS,
    default_preset="balanced",
    task="denoise",
    default_model=BUNDLED_MODEL,
)
