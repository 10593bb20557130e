"""Reconstructions of a sinogram with a diffusion prior, declared: DDIP, and the fixed-prior methods it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from PETDiffusionLib.methods.catalogue.method import File, Method
from PETDiffusionLib.methods.catalogue.reconstruct import GRID, PROJECTOR, SUBSETS, TERMS
from PETDiffusionLib.methods.catalogue.rules import Rule

BUNDLED_PRIOR = "petdiffusion-prior"
ADAPTATIONS = ("low-rank", "full", "none")

_STEPS = Rule("whole", "Steps", "DDIM steps", default=8, lowest=2, highest=200)
_MU = Rule(
    "number", "Mu", "how strongly the reconstruction is pulled to the prior; higher is smoother",
    default=4.0, lowest=0, above=True,
)  # fmt: skip
_ADAPTATION = {
    "adapt": Rule("choice", "Adapt", "what of the prior learns from the data", default="low-rank", choices=ADAPTATIONS),
    "inner": Rule(
        "whole", "Inner steps", "gradient steps of the adaptation at every step", default=3, lowest=1, highest=100
    ),
}
_GUIDANCE = {
    "guidance": Rule(
        "number",
        "Guidance",
        "how far a step follows the data, as a share of the image",
        default=0.1,
        lowest=0,
        highest=10,
    )
}
_COMMON = {
    "samples": Rule(
        "whole", "Samples", "average so many draws (default: 1, or 8 for an uncertainty)", lowest=1, highest=1000
    ),
    "tracer": Rule("text", "Tracer", "the study's tracer; you are warned if the prior was trained on another"),
    **SUBSETS,
    **GRID,
    **PROJECTOR,
}


def _declared(name: str, title: str, own: Mapping[str, Rule]) -> Method:
    return Method(
        id=name,
        title=title,
        kind="reconstruct",
        module="PETDiffusionLib.methods.ddip",
        inputs={**TERMS, "anatomy": File("volume", "an MR or CT about the scanner's centre, to guide the prior")},
        outputs={
            "image": File("volume", "the volume: .nii.gz, .nii, .nrrd, .mha", required=True),
            "uncertainty": File("volume", "also write the voxelwise standard deviation"),
        },
        options={"steps": _STEPS, **own, **_COMMON},
        task="prior",
        default_model=BUNDLED_PRIOR,
    )


WITH_PRIOR = (
    _declared("ddip", "DDIP: a prior that adapts to the data", {"mu": _MU, **_ADAPTATION}),
    _declared("dds", "DDS: a fixed prior, half-quadratic splitting", {"mu": replace(_MU, default=0.5)}),
    _declared("dps", "DPS: a fixed prior, posterior sampling", _GUIDANCE),
)
