"""Which projector serves a scanner: chosen by what is known of their speed, reported, and forced by name."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.compiled import ParallelprojProjector, installed
from PETDiffusionLib.projection.cylinder import CylinderProjector
from PETDiffusionLib.projection.lines import LineProjector
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.sinograms.geometry import ScannerGeometry

BACKENDS = ("auto", "cylinder", "parallelproj", "lines")
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
    centred on the scanner. "auto" takes the cylinder's projector where the geometry allows it: it is the fastest; then
    parallelproj where it can be imported; then line by line. Raises PETDiffusionError "no-backend".
    """
    if backend not in BACKENDS:
        raise PETDiffusionError("no-backend", f'There is no projector "{backend}"; known: {", ".join(BACKENDS)}.')
    sizes = tuple(image_shape)[::-1]
    if image_origin_mm is None:
        image_origin_mm = [-(n - 1) / 2 * voxel for n, voxel in zip(sizes, voxel_size_mm, strict=True)]
    if backend in ("auto", "cylinder"):
        in_plane, half_tilt = geometry.in_plane_end_points_mm(), geometry.plane_tilt_mm / 2
        z_ends = (geometry.plane_middle_mm - half_tilt, geometry.plane_middle_mm + half_tilt)
        cylinder = CylinderProjector(
            *in_plane, *z_ends, image_shape, image_origin_mm, voxel_size_mm, geometry.tof, device
        )
        obstacle = cylinder.obstacle()
        if obstacle is None:
            return _reported(cylinder, "planes share their in-plane lines")
        if backend == "cylinder":
            raise PETDiffusionError("no-backend", f"The cylinder's projector cannot serve this image: {obstacle}.")
    else:
        obstacle = "asked for"
    start, end = (torch.from_numpy(points.astype(np.float32)).to(device) for points in geometry.end_points_mm())
    if backend == "parallelproj" or (backend == "auto" and installed()):
        compiled = ParallelprojProjector(start, end, image_shape, image_origin_mm, voxel_size_mm, geometry.tof)
        return _reported(compiled, obstacle)
    return _reported(LineProjector(start, end, image_shape, image_origin_mm, voxel_size_mm, geometry.tof), obstacle)


def _reported(projector: Projector, reason: str) -> Projector:
    _log.info("projector: %s (%s), on %s", projector.name, reason, projector.device)
    return projector
