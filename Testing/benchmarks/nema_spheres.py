"""What becomes of small hot spheres in a calm background: `python -m Testing.benchmarks.nema_spheres`.

The NEMA image-quality phantom after each denoiser: mean of each sphere over the background's; of the background its
coefficient of variation, and its SUVpeak over its mean, which is what noise makes of nothing; for ours also what
deviation is stated in the spheres, and how often the truth is within two.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.ndimage import binary_erosion

from PETDiffusionLib.evaluation import metrics
from PETDiffusionLib.methods.catalogue.denoise import BUNDLED_MODEL, PRESETS
from PETDiffusionLib.methods.denoise import denoise
from PETDiffusionLib.simulation.acquisition import scan
from PETDiffusionLib.simulation.nema import SPHERE_DIAMETERS_MM, nema_iq
from PETDiffusionLib.simulation.scanners import SCANNERS
from Testing.benchmarks import baselines
from Testing.benchmarks.bodies import as_image
from Testing.benchmarks.denoiser_quality import array_of

SEED = 720_800  # for tuning, give one of 820 000 and up
# The classical methods as the quality benchmark tuned them for each dose: FWHM in mm, multiples of the noise.
CLASSICAL = {
    4: {"gaussian": 6.0, "nlm": 0.6, "bm4d": 2.5},
    10: {"gaussian": 8.0, "nlm": 0.8, "bm4d": 3.5},
    20: {"gaussian": 10.0, "nlm": 0.8, "bm4d": 5.0},
}


def main() -> None:
    """Print a table for every dose: means over the realisations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--realisations", type=int, default=4)
    parser.add_argument("--scanner", default="whole-body-4.1", choices=tuple(SCANNERS))
    parser.add_argument("--contrast", type=float, default=4.0)
    parser.add_argument("--preset", default="balanced", choices=tuple(PRESETS))
    parser.add_argument("--model", default=BUNDLED_MODEL)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--ours-alone", action="store_true", help="without the classical methods, which are slow")
    arguments = parser.parse_args()
    phantom, count = nema_iq(arguments.contrast), arguments.realisations
    doses = [1 / drf for drf in CLASSICAL for _ in range(count)]
    study = scan(phantom, SCANNERS[arguments.scanner], doses, np.random.default_rng(arguments.seed))
    z, y, x = study.voxel_size_mm
    size = (x, y, z)
    number = {name: label for label, name in phantom.label_names.items()}
    background = binary_erosion(study.labels == number["background"], iterations=4)
    spheres = {diameter: study.labels == number[f"sphere {diameter} mm"] for diameter in SPHERE_DIAMETERS_MM}

    def ratios(volumes: list[np.ndarray]) -> str:
        """The mean of each sphere over the background's, and the background's COV and peak, as cells."""
        means = [np.mean([v[sphere].mean() / v[background].mean() for v in volumes]) for sphere in spheres.values()]
        cov = np.mean([v[background].std() / v[background].mean() for v in volumes])
        peak = np.mean([metrics.suv_peak(v, background, size) / v[background].mean() for v in volumes])
        return "".join(f"{mean:8.2f}" for mean in means) + f"{cov:9.3f}{peak:8.2f}"

    for place, (drf, parameters) in enumerate(CLASSICAL.items()):
        low_doses = study.low_dose[place * count : (place + 1) * count]
        results = [denoise(as_image(low, size), preset=arguments.preset, model=arguments.model) for low in low_doses]
        ours = [array_of(result.image) for result in results]
        stated = [array_of(result.uncertainty) for result in results]
        print(
            f"{f'DRF {drf}, {count} realisations':<24}"
            + "".join(f"{f'{d} mm':>8}" for d in spheres)
            + "      COV    peak"
        )
        rows = {"reference": [study.reference], "low dose": low_doses}
        if not arguments.ours_alone:
            for name, parameter in parameters.items():
                rows[f"{name} {parameter:g}"] = [baselines.apply(name, low, size, parameter) for low in low_doses]
        for name, volumes in (rows | {arguments.preset: ours}).items():
            print(f"{name:<24}" + ratios(volumes), flush=True)
        deviations = [np.mean([sd[sphere].mean() for sd in stated]) for sphere in spheres.values()]
        print(f"{'stated deviation':<24}" + "".join(f"{deviation:8.2f}" for deviation in deviations))
        within = [
            np.mean([metrics.coverage(study.reference, i, sd, sphere) for i, sd in zip(ours, stated, strict=True)])
            for sphere in spheres.values()
        ]
        print(f"{'truth within two':<24}" + "".join(f"{share:8.2f}" for share in within), flush=True)


if __name__ == "__main__":
    main()
