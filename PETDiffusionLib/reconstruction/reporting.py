"""How far a reconstruction is, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from PETDiffusionLib.reconstruction.model import Callback, Update


def reporting(
    progress: Callable[[str, float], None], iterations: int, subsets: int, objectives: list[float]
) -> Callback:
    """A callback that calls progress("Reconstructing", fraction), which may raise Cancelled.

    `objectives` gathers each iteration's sum over the subsets, each as it was when it was visited.
    """
    updates = count(1)
    progress("Reconstructing", 0.0)

    def listen(update: Update) -> None:
        if update.iteration < 0:
            progress("Reconstructing", 0.0)
            return
        if update.iteration == len(objectives):
            objectives.append(0.0)
        objectives[update.iteration] += update.objective
        progress("Reconstructing", next(updates) / (iterations * subsets))

    return listen
