"""Files of simulated training cases: made where missing, in several processes, and each whole or not there at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from PETDiffusionLib.training.processes import first_process_first


def ensure_files(
    paths: list[Path], seeds: Sequence[int], make: Callable[[int, Path], None], workers: int = 1
) -> list[Path]:
    """Call `make(seed, path)` for every path that does not exist, in `workers` processes; returns `paths`.

    Where a training runs in several processes, the first one makes them and the others find them there.
    """
    with first_process_first():
        missing = [(seed, path) for seed, path in zip(seeds, paths, strict=True) if not path.exists()]
        for folder in {path.parent for path in paths}:
            folder.mkdir(parents=True, exist_ok=True)
        if workers == 1:
            for seed, path in missing:
                make(seed, path)
        elif missing:
            # Spawned, not forked: torch's threads and a GPU in use do not survive a fork.
            with get_context("spawn").Pool(workers, torch.set_num_threads, (1,)) as pool:
                pool.starmap(make, missing, chunksize=1)
    return paths


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays to a compressed .npz that appears whole or not at all."""
    temporary = path.with_suffix(".partial")
    with open(temporary, "wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # numpy's stub takes them for its flag
    temporary.replace(path)


def in_plane_box(occupied: np.ndarray, margin: int) -> tuple[slice, ...]:
    """The box about what is `occupied` [z, y, x] in the plane, and a margin of voxels; all planes are kept."""
    box = [slice(None)]
    for axis in (1, 2):
        index = np.flatnonzero(occupied.any(axis=tuple({0, 1, 2} - {axis})))
        box.append(slice(max(0, index[0] - margin), index[-1] + margin + 1))
    return tuple(box)
