"""Pairs of low- and full-dose data from files, as a table of paths names them: sinograms, or volumes to project.

The table is a CSV with the columns low_dose and full_dose, its paths relative to it. An Interfile header (.hs), a
sinogram folder or a .npz of RED is a sinogram (a .npz holds both doses: name it twice); anything else is read as a
volume (a DICOM folder, NIfTI), whose slices are projected to 360 x 360 parallel beams as the method's authors did.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.sinograms.files import PROMPTS, read_red_pair, read_sinogram
from PETDiffusionLib.sinograms.geometry import parallel_beam
from PETDiffusionLib.training.pairs import table_rows
from PETDiffusionLib.volumes import read_volume
from PETDiffusionLib.volumes.model_grid import as_scanned

VIEWS = BINS = 360


Planes = tuple[torch.Tensor, torch.Tensor]  # low and full dose of one scan, each [plane, view, tangential]


class SinogramPairs:
    """Draws batches of planes from `pairs`."""

    def __init__(self, pairs: list[Planes], planes: int, device: torch.device) -> None:
        self.planes, self.device = planes, device
        self._pairs = pairs

    def batch(self, seed: int) -> Planes:
        """Low- and full-dose planes of one pair, drawn by `seed`: each [plane, 1, view, tangential]."""
        rng = np.random.default_rng([seed, 8])
        low, full = self._pairs[rng.integers(len(self._pairs))]
        chosen = torch.from_numpy(rng.integers(len(low), size=self.planes))
        return low[chosen, None].to(self.device), full[chosen, None].to(self.device)


def read_pairs(table: Path) -> list[Planes]:
    """The pairs of a table; each low dose is brought to the counts of its full one.

    Raises PETDiffusionError "bad-table" for a table without the columns or with a pair whose files do not match.
    """
    return [_read_pair(table.parent / row["low_dose"], table.parent / row["full_dose"]) for row in table_rows(table)]


def _read_pair(low_path: Path, full_path: Path) -> Planes:
    if low_path.suffix == ".npz":
        low, full = (one.prompts for one in read_red_pair(low_path))
    else:
        low, full = _planes(low_path), _planes(full_path)
    if low.shape != full.shape:
        raise PETDiffusionError(
            "bad-table",
            f"{low_path} {tuple(low.shape)} and {full_path} {tuple(full.shape)} should be of one shape. "
            "Give two files of the same scanner and patient.",
        )
    return low * (full.sum() / low.sum().clamp_min(1e-12)), full


def _planes(path: Path) -> torch.Tensor:
    """The planes of one file: [plane, view, tangential]."""
    if path.suffix == ".hs" or (path / PROMPTS).is_file():
        return read_sinogram(path).prompts
    volume = read_volume(path)
    values = sitk.GetArrayFromImage(as_scanned(volume.image))  # [z, y, x]
    array = torch.from_numpy(np.maximum(values, 0))
    side = max(array.shape[1:])
    square = torch.zeros(len(array), side, side)
    top, left = ((side - count) // 2 for count in array.shape[1:])
    square[:, top : top + array.shape[1], left : left + array.shape[2]] = array
    voxel_mm = float(volume.voxel_size_mm[0])
    geometry = parallel_beam(VIEWS, BINS, side * voxel_mm * 2**0.5 / BINS, len(array), voxel_mm)
    return make_projector(geometry, square.shape, (voxel_mm,) * 3).forward(square)
