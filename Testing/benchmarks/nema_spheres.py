"""What becomes of small hot spheres in a calm background: `python -m Testing.benchmarks.nema_spheres`.

The NEMA image-quality phantom after the denoiser: mean of each sphere over the background's, in the noise-free
reconstruction, the low dose, a Gaussian and ours; what deviation is stated there; how often the truth is within two.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.ndimage import binary_erosion

from PETDiffusionLib.evaluation import metrics
from PETDiffusionLib.methods.denoise import denoise
from PETDiffusionLib.simulation.acquisition import scan
from PETDiffusionLib.simulation.nema import SPHERE_DIAMETERS_MM, nema_iq
from PETDiffusionLib.simulation.scanners import SCANNERS
from Testing.benchmarks.baselines import gaussian
from Testing.benchmarks.bodies import as_image
from Testing.benchmarks.denoiser_quality import array_of

SEED = 720_800
DRFS = {4: 6.0, 10: 8.0, 20: 10.0}  # and the Gaussian's FWHM in mm that the quality benchmark found for each


def main() -> None:
    """Print a table for every dose: means over the realisations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--realisations", type=int, default=4)
    parser.add_argument("--scanner", default="whole-body-4.1", choices=tuple(SCANNERS))
    parser.add_argument("--preset", default="balanced")
    arguments = parser.parse_args()
    phantom, count = nema_iq(), arguments.realisations
    doses = [1 / drf for drf in DRFS for _ in range(count)]
    study = scan(phantom, SCANNERS[arguments.scanner], doses, np.random.default_rng(SEED))
    z, y, x = study.voxel_size_mm
    size = (x, y, z)
    number = {name: label for label, name in phantom.label_names.items()}
    background = binary_erosion(study.labels == number["background"], iterations=4)
    for place, (drf, fwhm) in enumerate(DRFS.items()):
        low_doses = study.low_dose[place * count : (place + 1) * count]
        results = [denoise(as_image(low, size), preset=arguments.preset) for low in low_doses]
        ours = [array_of(result.image) for result in results]
        stated = [array_of(result.uncertainty) for result in results]
        blurred = [gaussian(low, size, fwhm) for low in low_doses]
        cov = [
            np.mean([v[background].std() / v[background].mean() for v in kind]) for kind in (low_doses, blurred, ours)
        ]
        print(f"DRF {drf}, {count} realisations; COV of the background: low dose {cov[0]:.3f}, "
              f"Gaussian of {fwhm:g} mm {cov[1]:.3f}, denoised {cov[2]:.3f}")  # fmt: skip
        print("sphere  reference  low dose  Gaussian  denoised  stated sd  within two")
        for diameter in SPHERE_DIAMETERS_MM:
            sphere = study.labels == number[f"sphere {diameter} mm"]
            reference = study.reference[sphere].mean() / study.reference[background].mean()
            low, blur, mine = (
                np.mean([v[sphere].mean() / v[background].mean() for v in kind]) for kind in (low_doses, blurred, ours)
            )
            deviation = np.mean([sd[sphere].mean() for sd in stated])
            pairs = zip(ours, stated, strict=True)
            within = np.mean([metrics.coverage(study.reference, image, sd, sphere) for image, sd in pairs])
            ratios = f"{reference:9.2f} {low:9.2f} {blur:9.2f} {mine:9.2f}"
            print(f"{diameter:>3} mm  {ratios} {deviation:10.2f} {within:11.2f}")


if __name__ == "__main__":
    main()
