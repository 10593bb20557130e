"""How long a long series takes to open, and how much memory: a classic series, and an enhanced file of the same slices.

    python -m Testing.benchmarks.dicom_reading [--slices 645] [--size 440]

Each is opened in a process of its own, three times, and the best is printed with the peak of the resident memory. To
compare with an earlier revision: `git worktree add ../before REVISION`, and run this file of today with `--engine
../before` (the enhanced file is left out where the revision refuses it).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from pydicom.uid import generate_uid

from Testing.volumes.dicom_series import pet_slice
from Testing.volumes.enhanced_pet import Frame, enhanced_pet

PIXEL_MM, SLICE_MM = 1.65, 1.65

OPEN = r"""
import resource, sys, time
import PETDiffusionLib.volumes as volumes
start, cpu = time.perf_counter(), time.process_time()
volume = volumes.read_volume(sys.argv[1])
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{seconds:.2f} {cpu:.2f} {peak:.0f}")
"""


def write_series(folder: Path, slices: int, size: int) -> None:
    """The slices as classic files in `folder`/classic and as one enhanced file in `folder`/enhanced."""
    random = np.random.default_rng(0)
    stored = random.integers(0, 30000, (slices, size, size), np.int16)
    (folder / "classic").mkdir()
    (folder / "enhanced").mkdir()
    uid = generate_uid()
    for index in range(slices):
        one = pet_slice(0, uid)
        one.Rows = one.Columns = size
        one.PixelSpacing, one.ImagePositionPatient = [PIXEL_MM, PIXEL_MM], [-363, -363, SLICE_MM * index]
        one.RescaleSlope, one.PixelData = 1 + index / 1024, stored[index].tobytes()
        one.save_as(folder / "classic" / f"{index:04}.dcm")
    frames = [Frame(stored[index], SLICE_MM * index, 1 + index / 1024) for index in range(slices)]
    image = enhanced_pet(frames, generate_uid())
    image.Rows = image.Columns = size
    image.save_as(folder / "enhanced" / "enhanced.dcm")


def opened(path: Path, engine: Path) -> tuple[float, float, float] | None:
    """Seconds, CPU seconds (best of three) and peak MB of a process that opens `path`; None where it is refused."""
    runs = []
    for _ in range(3):
        environment = {**os.environ, "PYTHONPATH": str(engine)}
        run = subprocess.run(
            [sys.executable, "-c", OPEN, str(path)], env=environment, cwd=engine, capture_output=True, text=True
        )
        if run.returncode:
            return None
        seconds, cpu, peak = (float(one) for one in run.stdout.split())
        runs.append((seconds, cpu, peak))
    return min(runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=645)
    parser.add_argument("--size", type=int, default=440)
    parser.add_argument("--engine", type=Path, default=Path.cwd(), help="the revision to measure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write_series(Path(name), arguments.slices, arguments.size)
        print(f"{arguments.slices} slices of {arguments.size} x {arguments.size}")
        for kind in ("classic", "enhanced"):
            found = opened(Path(name) / kind, arguments.engine.resolve())
            print(
                f"{kind:10}"
                + ("refused" if found is None else f"{found[0]:6.2f} s  {found[1]:6.2f} CPU s  {found[2]:6.0f} MB")
            )


if __name__ == "__main__":
    main()
