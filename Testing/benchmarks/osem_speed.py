"""Time and memory of a whole mMR reconstruction, as a job, against another checkout of the project.

`python -m Testing.benchmarks.osem_speed [--peer CHECKOUT]`. Prompts, attenuation map, normalisation and additive term
are made to size, with Poisson noise, and read from files: what is in them does not change the time. CPU seconds (user
and system) are compared beside those of the clock, since they depend less on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import torch

from PETDiffusionLib.sinograms import named_scanner
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, segments_of_span
from PETDiffusionLib.sinograms.interfile import write_interfile

SPAN, LARGEST_DIFFERENCE = 11, 60
RADIUS_MM, WATER_PER_CM = 100.0, 0.096
RANDOMS, TRUES = 0.2, 0.5  # counts a bin, in the middle


def main() -> None:
    """Print a row for each build and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, help="a checkout of another version, run after this one")
    parser.add_argument("--rings", type=int, default=64, help="fewer rings: a smaller scan of the same kind")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--subsets", type=int, default=21)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parents[2]
    checkouts = [here] if arguments.peer is None else [here, arguments.peer.resolve()]
    with tempfile.TemporaryDirectory() as scratch:
        geometry = scan_of(Path(scratch), arguments.rings)
        print(f"sinogram {geometry.data_shape}, {arguments.iterations} x {arguments.subsets} OSEM")
        print("| build | seconds | CPU user | CPU system | peak memory |\n|---|---|---|---|---|")
        for checkout in checkouts:
            print(
                f"| {'this' if checkout == here else 'peer'} | {row(checkout, Path(scratch), arguments)} |", flush=True
            )


def scan_of(folder: Path, rings: int) -> ScannerGeometry:
    """Write the scan of a cylinder of water to `folder`."""
    geometry = named_scanner("mmr")
    segments = segments_of_span(rings, SPAN, min(LARGEST_DIFFERENCE, rings - 1))
    geometry = replace(geometry, rings=rings, segments=segments)
    chance = torch.Generator().manual_seed(0)
    offset_mm = (torch.arange(geometry.tangential_bins) - (geometry.tangential_bins - 1) / 2) * 2.09
    profile = (RADIUS_MM**2 - offset_mm**2).clamp(min=0).sqrt() / RADIUS_MM
    data = torch.empty(geometry.data_shape)
    for plane in data:
        plane[:] = torch.poisson((RANDOMS + TRUES * profile).expand(plane.shape), generator=chance)
    write_interfile(data, geometry, folder / "prompts.hs")
    write_interfile(data.fill_(RANDOMS), geometry, folder / "additive.hs")
    write_interfile(data.uniform_(0.9, 1.1, generator=chance), geometry, folder / "normalisation.hs")
    side_mm = (np.arange(160) - 79.5) * 4.0
    disc = WATER_PER_CM * (np.hypot(side_mm[:, None], side_mm[None]) < RADIUS_MM).astype(np.float32)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -79.5 * 4, -79.5 * 4, -34.5 * 4
    nibabel.save(nibabel.Nifti1Image(np.repeat(disc[:, :, None], 70, axis=2), affine), folder / "mu.nii.gz")
    return geometry


def row(checkout: Path, folder: Path, arguments: argparse.Namespace) -> str:
    """Run the job from a checkout: seconds of the clock, user and system CPU seconds, peak memory."""
    command = [
        sys.executable, "-m", "PETDiffusionLib", "reconstruct", "prompts.hs", "out.nii.gz", "--overwrite",
        "--attenuation", "mu.nii.gz", "--normalisation", "normalisation.hs", "--additive", "additive.hs",
        "--iterations", str(arguments.iterations), "--subsets", str(arguments.subsets),
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(arguments.threads)}
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"the job failed, run from {checkout}")
    gigabytes = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    seconds = time.perf_counter() - started
    return f"{seconds:.0f} s | {used.ru_utime:.0f} s | {used.ru_stime:.0f} s | {gigabytes:.2f} GB"


if __name__ == "__main__":
    main()
