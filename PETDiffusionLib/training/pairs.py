"""Pairs of low-dose and full-dose volumes on the model's grid, and uniform random crops of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.training.cases import load_case
from PETDiffusionLib.volumes import Unit, read_volume, to_suv
from PETDiffusionLib.volumes.resampling import isotropic_grid

COLUMNS = ("low_dose", "full_dose")
READERS = 8

Group = list[np.ndarray]  # one full-dose volume [z, y, x] in SUV, then the low-dose ones of the same scan


class PairSource:
    """Crops [batch, 2, z, y, x] in SUV on `device`, low dose and full dose, of volumes held in half precision here.

    Crops lie anywhere in a volume, all places alike; a volume smaller than the crop is continued with zeros.
    """

    def __init__(self, groups: Iterable[Group], crop: Sequence[int], device: str | torch.device = "cpu") -> None:
        self.crop, self.device = tuple(crop), torch.device(device)
        self.groups = [self._held(group) for group in groups]

    def batch(self, size: int, rng: np.random.Generator) -> torch.Tensor:
        """`size` crops, each of a group, a dose and a place drawn with `rng`."""
        return torch.stack([self._draw(rng) for _ in range(size)]).to(self.device).float()

    def _draw(self, rng: np.random.Generator) -> torch.Tensor:
        group = self.groups[rng.integers(len(self.groups))]
        dose = int(rng.integers(1, len(group)))
        starts = [int(rng.integers(side - part + 1)) for side, part in zip(group.shape[1:], self.crop, strict=True)]
        box = tuple(slice(start, start + part) for start, part in zip(starts, self.crop, strict=True))
        return group[(slice(None), *box)][[dose, 0]]

    def _held(self, group: Group) -> torch.Tensor:
        volumes = torch.from_numpy(np.stack(group)).clamp(min=0).half()  # [1 + doses, z, y, x]
        z, y, x = (max(0, part - side) for part, side in zip(self.crop, volumes.shape[1:], strict=True))
        return F.pad(volumes, (0, x, 0, y, 0, z))


def groups_of_cases(paths: Sequence[Path], voxel_size_mm: float) -> Iterator[Group]:
    """Simulated cases on cubic voxels, several read at once."""

    def read(path: Path) -> Group:
        case = load_case(path)
        grid = isotropic_grid(case.reference.shape, case.voxel_size_mm, voxel_size_mm)
        return [grid.to_model(volume).astype(np.float32) for volume in (case.reference, *case.low_dose)]

    with ThreadPoolExecutor(READERS) as pool:
        yield from pool.map(read, paths)


def groups_of_table(table: Path, voxel_size_mm: float, unit: Unit | None = None) -> Iterator[Group]:
    """The pairs of a CSV file with the columns low_dose and full_dose, on cubic voxels in SUV.

    Paths are relative to the file; any format that `read_volume` reads will do, and both of a pair must have one grid.
    `unit` is stated for files that do not carry theirs. Raises PETDiffusionError "bad-table" or what reading raises.
    """
    for number, row in enumerate(table_rows(table), start=1):
        low_dose, full_dose = (to_suv(read_volume(table.parent / row[name], unit)) for name in COLUMNS)
        shape, spacing = full_dose.array.shape, full_dose.voxel_size_mm[::-1]
        if low_dose.array.shape != shape or not np.allclose(low_dose.voxel_size_mm[::-1], spacing, rtol=1e-3):
            raise PETDiffusionError(
                "bad-table",
                f"{table}, pair {number}: the low-dose volume {low_dose.array.shape[::-1]} and the full-dose volume "
                f"{shape[::-1]} are not on one grid. Resample one to the other first.",
            )
        grid = isotropic_grid(shape, spacing, voxel_size_mm)
        yield [grid.to_model(volume.array).astype(np.float32) for volume in (full_dose, low_dose)]


def table_rows(table: Path) -> list[dict[str, str]]:
    """The rows of a CSV of pairs, each with a path in COLUMNS. Raises PETDiffusionError "bad-table"."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PETDiffusionError("bad-table", f"The table of pairs {table} cannot be read ({error}).") from error
    if not rows or not all(row.get(name) for row in rows for name in COLUMNS):
        raise PETDiffusionError(
            "bad-table", f"{table} should have the columns {' and '.join(COLUMNS)}, and a path in each of its rows."
        )
    return rows
