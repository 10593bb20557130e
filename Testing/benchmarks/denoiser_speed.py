"""Speed of a whole body on this machine: `python -m Testing.benchmarks.denoiser_speed`.

`fast` on 192 x 288 x 520 voxels of 1.65 mm as a command, wall-clock and peak memory, beside non-local means and BM4D on
a crop of the same volume in the same run, scaled by the voxels; and how near the network comes to what the machine's
convolutions reach.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch.utils.flop_counter import FlopCounterMode

from PETDiffusionLib.diffusion.noise_level import CORRELATIONS
from PETDiffusionLib.methods.denoise import BUNDLED_MODEL, load_network
from PETDiffusionLib.models import find_model
from PETDiffusionLib.networks.precision import FastPrecision
from PETDiffusionLib.simulation.bodies import procedural_body
from PETDiffusionLib.volumes.resampling import apply_matrices, centre_matrix
from Testing.benchmarks import baselines

SHAPE = (520, 192, 288)
VOXEL_MM = 1.65


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crop", type=int, default=48, help="side of the cube that the slow methods get")
    crop_side = parser.parse_args().crop
    volume = whole_body()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "body.nrrd"
        image = sitk.GetImageFromArray(volume)
        image.SetSpacing([VOXEL_MM] * 3)
        sitk.WriteImage(image, str(source))
        seconds, gigabytes = as_command(source, Path(folder) / "out.nrrd")
    print(f"{'x'.join(map(str, SHAPE))} voxels of {VOXEL_MM} mm, {torch.get_num_threads()} threads")
    print(f"fast          {seconds:8.1f} s   peak {gigabytes:.2f} GB   (whole command: start, read, denoise, write)")
    crop = central_cube(volume, crop_side)
    for name in ("nlm", "bm4d"):
        started = time.perf_counter()
        baselines.apply(name, crop, (VOXEL_MM,) * 3, baselines.BASELINES[name].values[2])
        scaled = (time.perf_counter() - started) * volume.size / crop.size
        print(f"{name:<12}  {scaled:8.0f} s   scaled from {crop.size} voxels; {scaled / seconds:.0f} times `fast`")
    report_floor()


def whole_body() -> np.ndarray:
    """A procedural body with noise like a reconstruction's (correlated, growing with uptake) on the model's grid."""
    body = procedural_body(600_001, "fdg", 0, SHAPE[0] * VOXEL_MM, 3.3).activity
    matrices = [centre_matrix(n, 3.3, m, VOXEL_MM) for n, m in zip(body.shape, SHAPE, strict=True)]
    noise = np.random.default_rng(0).gamma(2.0, 0.5, body.shape).astype(np.float32)
    return np.maximum(apply_matrices(body * noise, matrices), 0).astype(np.float32)


def as_command(source: Path, output: Path) -> tuple[float, float]:
    """Wall-clock seconds and peak gigabytes of the command line on `source`."""
    command = [sys.executable, "-m", "PETDiffusionLib", "denoise", str(source), str(output)]
    started = time.perf_counter()
    subprocess.run([*command, "--unit", "suv", "--preset", "fast"], check=True)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def central_cube(volume: np.ndarray, side: int) -> np.ndarray:
    """A cube in the body's middle."""
    return volume[tuple(slice(n // 2 - side // 2, n // 2 + side // 2) for n in volume.shape)]


def report_floor() -> None:
    """The network's operations and rate on one window, against a plain 3 x 3 x 3 convolution of its widest kind."""
    loaded, _ = load_network(find_model(BUNDLED_MODEL), "cpu")
    network = FastPrecision(loaded)
    window, one = torch.randn(1, loaded.enter.in_channels // 8, 96, 96, 96), torch.ones(1)
    facts = torch.zeros(1, CORRELATIONS)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(window, one, one, facts)
    rate = counter.get_total_flops() / best_of(lambda: network(window, one, one, facts)) / 1e9
    width = loaded.enter.out_channels
    layer = FastPrecision(torch.nn.Conv3d(width, width, 3, padding=1).to(memory_format=torch.channels_last_3d))
    block = torch.randn(1, width, 48, 48, 48).contiguous(memory_format=torch.channels_last_3d)
    floor = 2 * 27 * width**2 * block[0, 0].numel() / best_of(lambda: layer(block)) / 1e9
    per_voxel = counter.get_total_flops() / window[0, 0].numel() / 1e3
    print(
        f"network       {per_voxel:8.0f} kFLOP a voxel at {rate:.0f} GFLOP/s; a plain convolution: {floor:.0f} GFLOP/s"
    )


def best_of(call, repeats: int = 5) -> float:
    """The shortest of a few calls in seconds."""
    times = []
    with torch.inference_mode():
        for _ in range(repeats):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    main()
