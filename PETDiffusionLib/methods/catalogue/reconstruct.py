"""The classical reconstructions of a sinogram, declared."""

from __future__ import annotations

from collections.abc import Mapping

from PETDiffusionLib.methods.catalogue.method import File, Method
from PETDiffusionLib.methods.catalogue.rules import Rule

# What every reconstruction of a sinogram takes, with a network or without.
TERMS = {
    "sinogram": File(
        "sinogram", "an Interfile header (.hs), a sinogram folder, list mode, or a .npz of RED", required=True
    ),
    "attenuation": File("volume", "the mu-map, or a CT with --attenuation-unit hu, about the scanner's centre"),
    "attenuation_factors": File("sinogram", "the share of photon pairs that leaves along each line, 0 to 1"),
    "normalisation": File(
        "sinogram",
        "the detection efficiency of each line (1 over the correction factor), or Siemens' component file (norm.n.hdr)",
    ),
    "additive": File("sinogram", "expected randoms plus scatter, in counts (or see --additive-is)"),
    "delayed": File("sinogram", "delayed coincidences: the expected randoms are estimated from them"),
}
LIST_MODE = {
    "from_s": Rule("number", "From (s)", "of list mode: begin at this time", lowest=0),
    "to_s": Rule("number", "To (s)", "of list mode: end at this time", lowest=0, above=True),
    "span": Rule(
        "whole", "Span",
        "of list mode: merge so many ring differences (odd; default: none, or 11 where the sinogram would be large)",
        lowest=1,
    ),
}  # fmt: skip
FRAME_TIMES = {
    "frame_times": Rule(
        "text", "Frame times",
        "of list mode: frames of a dynamic volume, like 0-60,60-120 (from and to, s) or 6x10,4x60 (lengths, s)",
    )
}  # fmt: skip
# How the measurement is read, before anything is made of it.
READING = {
    "patient_position": Rule(
        "choice", "Patient position",
        "how the patient lay, where the sinogram does not say it (head or feet first; supine, prone, or on the right "
        "or left side; default: HFS, with a warning)",
        choices=("HFS", "FFS", "HFP", "FFP", "HFDR", "HFDL", "FFDR", "FFDL"),
    ),
    "attenuation_unit": Rule(
        "choice", "Unit of the mu-map", "the unit of the mu-map", default="per-cm", choices=("per-cm", "per-mm", "hu")
    ),
    "additive_is": Rule(
        "choice", "Additive term is",
        "counts, or precorrected: divided by the multiplicative terms, as STIR, SIRF and PETRIC have it (default: "
        "counts; precorrected in a folder with mult_factors.hs or additive_term.hs)",
        choices=("counts", "precorrected"),
    ),
    "scatter": Rule(
        "choice", "Scatter", "estimate: simulate single scatter from the mu-map and a first reconstruction, scaled to "
        "the tails beside the body", default="none", choices=("none", "estimate"),
    ),
    "energy_window_kev": Rule(
        "number", "Energy window (keV)", "lowest and highest accepted energy, for the scatter (default: what "
        "the scan states, else 430 610)",
        lowest=0, highest=2000, count=2,
    ),
    **LIST_MODE,
}  # fmt: skip
GRID = {
    **READING,
    "voxel_mm": Rule(
        "number", "Voxel (mm)", "the transaxial side of a voxel (default: the width of a bin)", lowest=0, above=True
    ),
    "shape": Rule(
        "whole", "Shape", "voxels along x, y and z (default: the field of view)", lowest=1, highest=2000, count=3
    ),
    "psf_mm": Rule(
        "number", "Resolution (mm)", "model the scanner's resolution by a Gaussian of this FWHM; 0: none",
        default=0.0, lowest=0, highest=30,
    ),
}  # fmt: skip
POST_FILTER = {
    "post_filter_mm": Rule(
        "number", "Post-filter (mm)", "smooth the result by a Gaussian of this FWHM; 0: none",
        default=0.0, lowest=0, highest=50,
    )
}  # fmt: skip


PROJECTOR = {
    "projector": Rule(
        "choice", "Projector", "what projects (auto: the fastest that the scanner allows)",
        default="auto", choices=("auto", "cylinder", "parallelproj", "lines"),
    )
}  # fmt: skip


def iterations(default: int) -> dict[str, Rule]:
    return {"iterations": Rule("whole", "Iterations", "how many", default=default, lowest=1, highest=10000)}


def _beta(default: float) -> dict[str, Rule]:
    return {"beta": Rule("number", "Beta", "strength of the prior, free of units", default=default, lowest=0)}


SUBSETS = {
    "subsets": Rule(
        "whole", "Subsets", "of the views (default: about twenty, in equal parts)", lowest=1, highest=1000
    )
}  # fmt: skip


def _declared(name: str, title: str, own: Mapping[str, Rule]) -> Method:
    statistical = name != "fbp"
    return Method(
        id=name,
        title=title,
        kind="reconstruct",
        module="PETDiffusionLib.methods.reconstruct",
        inputs={**TERMS, "start": File("volume", "begin with this volume instead of a uniform one")}
        if statistical
        else TERMS,
        outputs={"image": File("volume", "the volume: .nii.gz, .nii, .nrrd, .mha", required=True)},
        options={
            **own,
            **POST_FILTER,
            **FRAME_TIMES,
            **{name: rule for name, rule in GRID.items() if statistical or name != "psf_mm"},
            **(PROJECTOR if statistical else {}),
        },
    )


CLASSICAL = (
    _declared("osem", "OSEM", {**iterations(4), **SUBSETS}),
    _declared("mlem", "MLEM", iterations(60)),
    _declared("map-em", "MAP-EM, quadratic prior", {**_beta(0.0003), **iterations(10), **SUBSETS}),
    _declared("rdp", "Relative difference prior", {**_beta(0.001), **iterations(15), **SUBSETS}),
    _declared(
        "fbp",
        "Filtered back-projection",
        {
            "cutoff": Rule(
                "number", "Cutoff", "where the Hamming window ends, of the Nyquist frequency",
                default=1.0, lowest=0, highest=1, above=True,
            )
        },
    ),
)  # fmt: skip
