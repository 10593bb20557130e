"""Minutes of OSEM on a whole mMR-like 3D sinogram at 2 mm: `python -m Testing.benchmarks.osem_speed`.

Prompts are those of a water cylinder of 20 cm without attenuation: what is in the image does not change the time.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from PETDiffusionLib.projection import make_projector
from PETDiffusionLib.reconstruction import Update, osem
from PETDiffusionLib.sinograms import Sinogram, default_grid, named_scanner

VOXEL_MM = 2.0
RADIUS_MM = 100.0


def main() -> None:
    """Print seconds of each part as they pass, and the peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scanner", default="mmr")
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--subsets", type=int, default=21)
    arguments = parser.parse_args()
    geometry = named_scanner(arguments.scanner)
    grid = default_grid(geometry, voxel_mm=VOXEL_MM)
    print(f"{arguments.scanner}: sinogram {geometry.data_shape}, image {grid.shape} of {grid.voxel_size_mm} mm")
    started = time.perf_counter()

    def said(what: str) -> None:
        gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{time.perf_counter() - started:7.1f} s  {what}  (peak {gigabytes:.1f} GB)", flush=True)

    projector = make_projector(geometry, grid.shape, grid.voxel_size_mm)
    prompts = torch.poisson(projector.forward(cylinder(grid.shape, grid.voxel_size_mm)))
    said(f"projected, {projector.name}, {torch.get_num_threads()} threads")

    def note(update: Update) -> None:
        stage = f"iteration {update.iteration + 1}" if update.iteration >= 0 else "sensitivity"
        said(f"{stage}, subset {update.subset + 1}")

    osem(projector, Sinogram(geometry, prompts), arguments.iterations, arguments.subsets, callback=note)
    said("done")


def cylinder(shape: tuple[int, ...], voxel_size_mm: tuple[float, ...]) -> torch.Tensor:
    """A cylinder along the scanner's axis: [z, y, x]."""
    planes, rows, columns = shape
    y = (torch.arange(rows) - (rows - 1) / 2) * voxel_size_mm[1]
    x = (torch.arange(columns) - (columns - 1) / 2) * voxel_size_mm[0]
    disc = (torch.hypot(y[:, None], x[None, :]) < RADIUS_MM).float()
    return (0.01 * disc).expand(planes, rows, columns).contiguous()


if __name__ == "__main__":
    main()
