"""A restored 3D sinogram, tilted planes and all, after reconstruction: `python -m Testing.benchmarks.red_scanner`.

A procedural head in the ECAT 962 at --drf: OSEM as it is, with Gaussians, with the denoiser after it, and of the
restored sinogram, against OSEM of noise-free data; and what the restoration does to bins and totals of every segment.
"""

from __future__ import annotations

import argparse
import time

import SimpleITK as sitk
import torch

from PETDiffusionLib.evaluation import metrics
from PETDiffusionLib.methods.denoise import denoise
from PETDiffusionLib.methods.reconstruct import reconstruct
from PETDiffusionLib.methods.red import restore_sinogram
from PETDiffusionLib.simulation.bodies import procedural_body
from PETDiffusionLib.simulation.sinogram import project_phantom
from PETDiffusionLib.sinograms import Sinogram, named_scanner
from Testing.benchmarks.baselines import gaussian

SEED = 720_900
ITERATIONS, SUBSETS, VOXEL_MM = 2, 16, 4.0
GAUSSIANS_MM = (4, 5, 6, 7, 8, 10)


def main() -> None:
    """Print a line for every volume, then one for every segment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drf", type=float, default=4.0)
    arguments = parser.parse_args()
    expected = project_phantom(procedural_body(SEED, "fdg", 0, 220, 2.0, lesions=2), named_scanner("ecat-962"))
    scan, free = (expected.measured(arguments.drf, seed) for seed in (SEED, None))
    started = time.perf_counter()
    restored = restore_sinogram(scan)
    print(f"restored in {time.perf_counter() - started:.0f} s")

    reference, low_dose = osem(free), osem(scan)
    spacing = low_dose.GetSpacing()
    noisy = sitk.GetArrayFromImage(low_dose)
    volumes = {"osem": noisy}
    for fwhm in GAUSSIANS_MM:
        volumes[f"gaussian {fwhm} mm"] = gaussian(noisy, spacing, fwhm)
    volumes["denoised after"] = sitk.GetArrayFromImage(denoise(low_dose, preset="fast").image)
    volumes["restored before"] = sitk.GetArrayFromImage(osem(restored))
    truth = sitk.GetArrayFromImage(reference)
    body = metrics.body_mask(truth, spacing)
    for name, volume in volumes.items():
        warmth = volume[body].mean() / truth[body].mean()
        print(f"{name}: {metrics.psnr(truth, volume, body):.2f} dB, mean of the body {warmth:.3f} of the reference's")
    print_segments(scan, restored, free)


def osem(sinogram: Sinogram) -> sitk.Image:
    """The reconstruction that all have in common."""
    return reconstruct(sinogram, "osem", iterations=ITERATIONS, subsets=SUBSETS, voxel_mm=VOXEL_MM).image


def print_segments(scan: Sinogram, restored: Sinogram, free: Sinogram) -> None:
    """Every segment's total of trues against the expected one, and the root mean square error of its bins."""
    segment_of_plane = torch.from_numpy(scan.geometry.plane_segment)
    for number, segment in enumerate(scan.geometry.segments):
        planes = segment_of_plane == number
        background = 0.0 if scan.additive is None else scan.additive[planes]
        wanted = free.prompts[planes] - background
        total = float((restored.prompts[planes] - background).sum() / wanted.sum())
        before, after = (
            float((one.prompts[planes] - free.prompts[planes]).square().mean().sqrt()) for one in (scan, restored)
        )
        print(f"segment {segment.mean_difference:+g}: total {total:.4f}, error of a bin {before:.3f} -> {after:.3f}")


if __name__ == "__main__":
    main()
