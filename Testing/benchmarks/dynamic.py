"""Time and memory of denoising a dynamic series, against one frame of it: python -m Testing.benchmarks.dynamic."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from Testing.volumes.dicom_series import write_dynamic

# The peak of a process's memory is read by itself, before it ends.
CHILD = """
import resource, sys
from PETDiffusionLib.cli import main
status = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)
sys.exit(status)
"""


def denoised(series: Path, output: Path, *options: str) -> tuple[float, float]:
    """Seconds and peak megabytes of denoising a series in a process of its own."""
    started = time.monotonic()
    command = [sys.executable, "-c", CHILD, "denoise", str(series), str(output), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = next(line for line in done.stderr.splitlines() if line.startswith("peak"))
    return time.monotonic() - started, float(peak.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--shape", type=int, nargs=3, default=(64, 96, 96), metavar=("Z", "Y", "X"))
    parser.add_argument("--preset", default="fast")
    arguments = parser.parse_args()
    z, y, x = (np.indices(arguments.shape).T / arguments.shape - 0.5).T
    body = gaussian_filter(20.0 * (x**2 + y**2 + z**2 < 0.16), 2.0)
    rng = np.random.default_rng(0)
    uptake = np.linspace(0, 1, arguments.frames)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        frames = np.stack([rng.poisson(body * share) * 20 for share in uptake])
        series = write_dynamic(folder / "dynamic", frames)
        print(f"{'':>12}{'seconds':>12}{'peak MB':>12}")
        for name, options in (("one frame", ("--frames", str(arguments.frames))), ("all frames", ())):
            seconds, peak = denoised(series, folder / f"{name[:3]}.nii.gz", "--preset", arguments.preset, *options)
            print(f"{name:>12}{seconds:>12.1f}{peak:>12.0f}", flush=True)


if __name__ == "__main__":
    main()
