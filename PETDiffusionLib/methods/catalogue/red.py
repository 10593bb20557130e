"""Restoring low-dose sinograms, alone and before OSEM, declared."""

from __future__ import annotations

from PETDiffusionLib.methods.catalogue.method import File, Method
from PETDiffusionLib.methods.catalogue.reconstruct import (
    GRID,
    POST_FILTER,
    READING,
    SUBSETS,
    TERMS,
    iterations,
)
from PETDiffusionLib.methods.catalogue.rules import Rule

MODULE = "PETDiffusionLib.methods.red"
TASK, BUNDLED_MODEL = "restore-sinogram", "petdiffusion-counts"
STEPS = {
    "steps": Rule(
        "whole", "Steps", "reverse steps (default: the model's; the count bridge takes up to 20)", lowest=1, highest=500
    )
}

RESTORE_SINOGRAM = Method(
    id="restore-sinogram",
    title="Restore a sinogram (count bridge, or RED)",
    kind="restore-sinogram",
    module=MODULE,
    inputs=TERMS,
    outputs={"sinogram": File("sinogram", "the restored prompts: .hs", required=True)},
    options={**STEPS, **READING},
    task=TASK,
    default_model=BUNDLED_MODEL,
)
RED = Method(
    id="red",
    title="Restore the sinogram, then OSEM",
    kind="reconstruct",
    module=MODULE,
    inputs=TERMS,
    outputs={
        "image": File("volume", "the volume: .nii.gz, .nii, .nrrd, .mha", required=True),
        "uncertainty": File("volume", "also write the voxelwise standard deviation over draws (count bridge)"),
    },
    options={
        **iterations(4),
        **SUBSETS,
        **STEPS,
        "draws": Rule("whole", "Draws", "of the uncertainty", default=8, lowest=2, highest=1000),
        **POST_FILTER,
        **{name: rule for name, rule in GRID.items() if name != "psf_mm"},
    },
    task=TASK,
    default_model=BUNDLED_MODEL,
)
