"""Every method from ten counts a bin to 0.002: `python -m Testing.benchmarks.low_counts [--planes 4]`.

A head in the direct planes of an ECAT 962. Prints expected over measured trues, the mean over the field of view and
that in the body over the truth's, and the maximum. Run it with an earlier version on PYTHONPATH to compare.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import SimpleITK as sitk
import torch

from PETDiffusionLib.methods.ddip import Settings, reconstruct_with_prior
from PETDiffusionLib.methods.reconstruct import reconstruct
from PETDiffusionLib.projection import make_projector
from PETDiffusionLib.simulation.sinogram import project_phantom
from PETDiffusionLib.simulation.study import make_phantom
from PETDiffusionLib.sinograms import Sinogram, named_scanner

METHODS = ("osem", "mlem", "map-em", "rdp", "ddip", "dds", "dps")
LEVELS = (10.0, 0.2, 0.02, 0.002)


def main() -> None:
    """Print a line for each level and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planes", type=int, default=4)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--levels", nargs="+", type=float, default=LEVELS, help="counts a bin")
    arguments = parser.parse_args()
    geometry = replace(named_scanner("ecat-962-2d"), rings=arguments.planes)
    expected = project_phantom(make_phantom("head", 3, "fdg"), geometry)
    projector = make_projector(geometry, expected.grid.shape, expected.grid.voxel_size_mm)
    truth = expected.truth
    body = truth > 0.2 * truth[truth > 0].mean()
    print("counts a bin | method | expected / measured trues | mean / truth | body / truth | maximum (truth's)")
    for level in arguments.levels:
        sinogram = at_level(expected.measured(seed=None), level)
        assert sinogram.additive is not None and sinogram.multiplicative is not None
        measured = float((sinogram.prompts - sinogram.additive).sum(dtype=torch.float64))
        for method in arguments.methods:
            image = reconstructed(sinogram, method)
            trues = (sinogram.multiplicative * projector.forward(torch.from_numpy(image))).sum(dtype=torch.float64)
            print(
                f"{level:g} | {method} | {float(trues) / measured:.3f} | {image.mean() / truth.mean():.3f} | "
                f"{image[body].mean() / truth[body].mean():.3f} | {image.max():.3g} ({truth.max():.3g})",
                flush=True,
            )


def at_level(whole: Sinogram, counts_a_bin: float) -> Sinogram:
    """Counts drawn about `whole`, an expectation, scaled to so many a bin; its terms follow."""
    assert whole.additive is not None and whole.multiplicative is not None
    share = counts_a_bin / float(whole.prompts.mean())
    counts = np.random.default_rng(5).poisson(whole.prompts.numpy() * share).astype(np.float32)
    return replace(
        whole,
        prompts=torch.from_numpy(counts),
        multiplicative=whole.multiplicative * share,
        additive=whole.additive * share,
    )


def reconstructed(sinogram: Sinogram, method: str) -> np.ndarray:
    """The volume [z, y, x] at the method's defaults."""
    if method in ("ddip", "dds", "dps"):
        settings = Settings(method, mu=0.5) if method == "dds" else Settings(method)
        return sitk.GetArrayFromImage(reconstruct_with_prior(sinogram, settings).image)
    iterations, beta = {"osem": (4, 0.0), "mlem": (60, 0.0), "map-em": (10, 0.0003), "rdp": (15, 0.001)}[method]
    return sitk.GetArrayFromImage(reconstruct(sinogram, method, iterations=iterations, beta=beta).image)


if __name__ == "__main__":
    main()
