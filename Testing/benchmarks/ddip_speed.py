"""What the parts of a step with a prior cost: `python -m Testing.benchmarks.ddip_speed`.

CPU seconds, so that other work on the machine matters little: an evaluation of the prior, a gradient step, and a
pass over the data (forward and adjoint of all subsets) on a parallel-beam stack.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from PETDiffusionLib.diffusion.prior import PriorDenoiser
from PETDiffusionLib.methods.ddip import ALPHAS_CUMPROD, FIRST_TIME, RANK, Settings, load_prior
from PETDiffusionLib.models import find_model
from PETDiffusionLib.networks.low_rank import adapt_low_rank
from PETDiffusionLib.networks.precision import FastPrecision
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.reconstruction.model import AcquisitionModel
from PETDiffusionLib.sinograms import Sinogram, default_grid, parallel_beam

SUBSETS = 8


def main() -> None:
    """Print the seconds of each part, and of whole runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", default="petdiffusion-prior")
    parser.add_argument("--size", type=int, nargs=3, default=(128, 128, 64), help="voxels along x, y and z")
    arguments = parser.parse_args()
    width, _, planes = arguments.size
    geometry = parallel_beam(168, width, 2.0, planes, 2.0)
    grid = default_grid(geometry, 2.0, tuple(arguments.size[::-1]))
    projector = make_projector(geometry, grid.shape, grid.voxel_size_mm)
    model = AcquisitionModel(projector, Sinogram(geometry, torch.ones(geometry.data_shape)), SUBSETS)
    image = torch.ones(grid.shape)
    network = load_prior(find_model(arguments.prior))
    denoiser = PriorDenoiser(FastPrecision(network), ALPHAS_CUMPROD, 2.0)
    x_t = torch.randn(1, 1, *grid.shape)

    def over_the_data() -> None:
        for _, subset in model.passes(1):
            model.back_projected_ratio(subset, image)

    def evaluation() -> None:
        with torch.no_grad():
            denoiser(x_t, FIRST_TIME, x_t)

    over_the_data()  # makes the matrices
    data_s, evaluation_s = cpu_seconds(over_the_data), cpu_seconds(evaluation)
    adapt_low_rank(network, RANK, seed=0)
    gradient_s = cpu_seconds(lambda: denoiser(x_t, FIRST_TIME, x_t).square().mean().backward())
    print(f"pass over the data {data_s:.2f}, evaluation {evaluation_s:.2f}, gradient step {gradient_s:.2f} CPU s")
    settings = Settings()
    for name, inner in (("ddip", settings.inner), ("dds", 0)):
        step = data_s + evaluation_s * (2 if inner else 1) + inner * gradient_s
        print(
            f"{name}: {step:.1f} CPU s a step, {settings.steps * step / 60:.1f} CPU minutes for {settings.steps} steps"
        )


def cpu_seconds(work: Callable[[], None]) -> float:
    """CPU seconds of all threads."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
