"""Where points of STIR's sinograms come out in the patient, for the eight positions, against STIR's rule by hand.

    python -m Testing.benchmarks.orientation [--picture PATH.png]

The sinograms and the places are made by hand (Testing/sinograms/stir_files.py): eight points, one in every octant and
in every ring, with weights 1 to 8. For every position: the axes, the place of the point of weight 2 by hand and as
found, the largest error over the eight points, and their weights as found. The picture shows the highest value along
each axis of the patient of a phantom with a hot spot to the left, one at the back and a hotter one towards the head.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from PETDiffusionLib.methods.reconstruct import reconstruct
from PETDiffusionLib.projection.attenuation import WATER_MU_PER_MM
from PETDiffusionLib.simulation.phantom import Phantom, ellipsoid, empty_phantom
from PETDiffusionLib.simulation.sinogram import project_phantom
from PETDiffusionLib.sinograms import named_scanner
from PETDiffusionLib.sinograms.files import read_sinogram
from PETDiffusionLib.sinograms.orientation import SCANNER_AXES
from Testing.sinograms.stir_files import HEADERS, POINTS, RING_MM, place_in_lps, write_points

NEAR_MM = 14.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("position  x y z of the scanner  weight 2, by hand (LPS, mm)  found                  largest error  weights")
    for code in SCANNER_AXES:
        places, weights = found(code)
        expected = [place_in_lps(code, x, y, ring) for x, y, ring, _ in POINTS]
        error = max(np.linalg.norm(place - wanted) for place, wanted in zip(places, expected, strict=True))
        print(
            f"{code:8}  {' '.join(SCANNER_AXES[code]):20}  {_numbers(expected[1]):27}  {_numbers(places[1]):21}  "
            f"{error:10.1f} mm  {' '.join(f'{weight:.1f}' for weight in weights)}"
        )
    if arguments.picture:
        draw(arguments.picture)


def found(code: str) -> tuple[list[np.ndarray], list[float]]:
    """The place in LPS of every point, and its share of the activity times the sum of all weights."""
    with tempfile.TemporaryDirectory() as folder:
        points = [(x, y, ring * RING_MM, weight) for x, y, ring, weight in POINTS]
        sinogram = read_sinogram(write_points(Path(folder), points, HEADERS[code]))
    image = reconstruct(sinogram, "osem", iterations=4, subsets=6).image
    values = sitk.GetArrayFromImage(image)
    z, y, x = np.indices(values.shape)
    places = np.stack([x, y, z], axis=-1) * image.GetSpacing() + image.GetOrigin()
    near = [np.linalg.norm(places - place_in_lps(code, x, y, ring), axis=-1) < NEAR_MM for x, y, ring, _ in POINTS]
    middles = [(values[one, None] * places[one]).sum(0) / values[one].sum() for one in near]
    return middles, [float(values[one].sum() / values.sum()) * sum(weight for *_, weight in POINTS) for one in near]


def _numbers(place: np.ndarray) -> str:
    return " ".join(f"{number:6.1f}" for number in place)


def phantom() -> Phantom:
    """A body of water, its left arm, a spot to the left, one at the back and a hotter one towards the head."""
    made = empty_phantom((54, 100, 120), (2.0, 4.0, 4.0))
    middle = (np.array(made.activity.shape) - 1) / 2 * made.voxel_size_mm
    for name, place_mm, axes_mm, suv in (
        ("body", (0, 0, 0), (200, 90, 130), 1.0),
        ("left arm", (0, 0, 180), (200, 35, 35), 1.0),
        ("left", (0, 0, 80), (18, 18, 18), 6.0),
        ("back", (0, 65, 0), (14, 14, 14), 6.0),
        ("head", (40, -20, -50), (14, 25, 25), 12.0),
    ):
        made.paint(ellipsoid(made, middle + place_mm, np.array(axes_mm, float)), name, suv, WATER_MU_PER_MM)
    return made


def draw(path: Path) -> None:
    """A column for every position: seen from the feet (the patient's left at the right), the front and the left."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    made = phantom()
    figure, panels = plt.subplots(3, len(SCANNER_AXES), figsize=(20, 6.5), layout="constrained")
    for column, code in zip(panels.T, SCANNER_AXES, strict=True):
        expected = project_phantom(made, named_scanner("ecat-931").with_patient(code))
        image = reconstruct(expected.measured(drf=4), iterations=3, voxel_mm=5.0, post_filter_mm=6).image
        values, (dx, dy, dz) = sitk.GetArrayFromImage(image), image.GetSpacing()
        column[0].imshow(values.max(0), cmap="gray_r", vmax=8, aspect=dy / dx)
        column[1].imshow(values.max(1)[::-1], cmap="gray_r", vmax=8, aspect=dz / dx)
        column[2].imshow(values.max(2)[::-1], cmap="gray_r", vmax=8, aspect=dz / dy)
        column[0].set_title(f"{code}: x y z to {' '.join(SCANNER_AXES[code])}")
        for panel, right, down in zip(column, ("L", "L", "P"), ("P", "I", "I"), strict=True):
            panel.set(xticks=[], yticks=[], xlabel=f"to {right}", ylabel=f"to {down}")
    figure.savefig(path, dpi=60)


if __name__ == "__main__":
    main()
