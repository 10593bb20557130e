"""Which projector serves a scanner: chosen by what is known of their speed, reported, and forced by name."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.lines import LineProjector
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.sinograms.geometry import ScannerGeometry

BACKENDS = ("auto", "lines")
_log = logging.getLogger(__name__)


def make_projector(
    geometry: ScannerGeometry,
    image_shape: Sequence[int],
    voxel_size_mm: Sequence[float],
    backend: str = "auto",
    device: str | torch.device = "cpu",
    image_origin_mm: Sequence[float] | None = None,
) -> Projector:
    """A projector for the sinograms of `geometry` and images of `image_shape` (z, y, x).

    `voxel_size_mm` and `image_origin_mm` (the middle of the first voxel) are (x, y, z); without an origin the image is
    centred on the scanner. Raises PETDiffusionError "no-backend" for a back end that there is not.
    """
    if backend not in BACKENDS:
        raise PETDiffusionError("no-backend", f'There is no projector "{backend}"; known: {", ".join(BACKENDS)}.')
    sizes = tuple(image_shape)[::-1]
    origin = image_origin_mm or [-(n - 1) / 2 * voxel for n, voxel in zip(sizes, voxel_size_mm, strict=True)]
    start, end = (torch.from_numpy(points).to(device, torch.float32) for points in geometry.end_points_mm())
    _log.info("projector: lines, on %s", device)
    return LineProjector(start, end, image_shape, origin, voxel_size_mm, geometry.tof)
