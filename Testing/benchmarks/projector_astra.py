"""The projector against ASTRA's, on an asymmetric plane: their difference, and ASTRA's for mirrored geometries.

    pip install astra-toolbox
    python -m Testing.benchmarks.projector_astra

Parallel beams, both by Joseph's rule. ASTRA (parallel_vec) is told in physical coordinates where each line lies: bin s
of view phi at s (cos phi, sin phi), along (-sin phi, cos phi), where y points down; its own points up, and its first
row is the upper one. Were a view or a bin of ours on the other side, the mirrored geometries would be the nearer ones.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from PETDiffusionLib.projection import make_projector
from PETDiffusionLib.sinograms import parallel_beam

VIEWS, BINS, SIZE, MM = 90, 141, 96, 2.0


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    image = asymmetric_plane()
    geometry = parallel_beam(VIEWS, BINS, MM, planes=1, plane_mm=MM)
    projector = make_projector(geometry, (1, SIZE, SIZE), (MM,) * 3)
    own = projector.forward(torch.from_numpy(image[None]))[0].numpy()
    theirs = by_astra(image, geometry.view_angles, geometry.tangential_mm)
    print(f"{type(projector).__name__} against ASTRA 'linear', {VIEWS} views of {BINS} bins, {SIZE} x {SIZE} pixels")
    for name, other in (("as it is", theirs), ("bins mirrored", theirs[:, ::-1]), ("views reversed", theirs[::-1])):
        print(f"  {name:15} relative difference {np.linalg.norm(own - other) / np.linalg.norm(other):.2e}")


def asymmetric_plane() -> np.ndarray:
    """A disc with a hot spot to the right and below and a bar above, [y, x]."""
    y, x = (np.indices((SIZE, SIZE)) - (SIZE - 1) / 2) * MM
    plane = 1.0 * (np.hypot(x, y) < 80) + 5.0 * (np.hypot(x - 45, y - 20) < 10)
    return (plane + 2.0 * ((np.abs(x + 10) < 30) & (np.abs(y + 50) < 6))).astype(np.float32)


def by_astra(image: np.ndarray, angles: np.ndarray, s_mm: np.ndarray) -> np.ndarray:
    """Line integrals [view, bin] in mm, by ASTRA on the CPU; y of the angles points down."""
    import astra

    cosine, sine = np.cos(angles), np.sin(angles)
    middle, step = s_mm.mean(), s_mm[1] - s_mm[0]
    # Ray, detector's middle, and the vector from bin to bin, each (x, y up).
    vectors = np.stack([-sine, -cosine, middle * cosine, -middle * sine, step * cosine, -step * sine], axis=1)
    beams = astra.create_proj_geom("parallel_vec", len(s_mm), vectors)
    half = SIZE * MM / 2
    volume = astra.create_vol_geom(SIZE, SIZE, -half, half, -half, half)
    projector = astra.create_projector("linear", beams, volume)
    number, lines = astra.create_sino(np.ascontiguousarray(image), projector)
    astra.data2d.delete(number)
    return lines


if __name__ == "__main__":
    main()
