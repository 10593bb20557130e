"""Speed of the projectors: `python -m Testing.benchmarks.projectors [--device cuda]`.

The project's own projector for cylinders beside parallelproj, where this Python can import it, and line by line, in
one run: seconds of one projection each way, the memory of the matrices, and the floor that the memory's own speed
sets: image, matrix and data moved once. On a CPU the seconds are the process's CPU time over its threads: wall-clock
where nothing else runs, and steady where something does. The slow ones may be timed on a share of the views and
scaled (--share).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from PETDiffusionLib.projection import CylinderProjector, Projector, make_projector
from PETDiffusionLib.projection.compiled import installed
from PETDiffusionLib.sinograms import ScannerGeometry, Segment, TimeOfFlight, named_scanner, segments_of_span
from Testing.projection.laws import relative_difference

STACK = ScannerGeometry("stack", 400.0, 64, 336, 4.0, 168, 160, (Segment(0, 0),), bin_mm=2.0)
OBLIQUE = ScannerGeometry("oblique", 310.0, 20, 448, 4.0, 224, 223, segments_of_span(20, 1, 4))
TIMED = replace(OBLIQUE, tof=TimeOfFlight(bins=27, bin_width_mm=22.0, sigma_mm=24.0))


@dataclass(frozen=True)
class Problem:
    """A scanner, an image [z, y, x], voxels (x, y, z), and every how many of the views are projected."""

    geometry: ScannerGeometry
    image_shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    every: int = 1


PROBLEMS = {
    "2D stack": Problem(STACK, (64, 128, 128), (2.5, 2.5, 4.0)),
    "3D oblique": Problem(OBLIQUE, (39, 180, 180), (2.0, 2.0, 2.0)),
    "TOF": Problem(TIMED, (39, 180, 180), (2.0, 2.0, 2.0), every=8),
    "mMR subset": Problem(named_scanner("mmr"), (127, 286, 286), (2.08626, 2.08626, 2.03125), every=21),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS)[:3], choices=list(PROBLEMS))
    parser.add_argument("--share", type=int, default=1, help="time the slow ones on every n-th view, and scale")
    parser.add_argument("--lines", action="store_true", help="line by line too")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    bandwidth = copy_bandwidth(device)
    print(f"{device}, {torch.get_num_threads()} threads, memory copied at {bandwidth / 1e9:.1f} GB/s")
    others = [*(["parallelproj"] if installed() else []), *(["lines"] if arguments.lines else [])]
    for name in arguments.problems:
        compare(name, PROBLEMS[name], others, arguments.share, arguments.repeats, device, bandwidth)


def compare(
    name: str, problem: Problem, others: list[str], share: int, repeats: int, device: torch.device, bandwidth: float
) -> None:
    """The lines of one problem: own, then each of the others with its ratio and its difference."""
    own = projector_of(problem, "cylinder", device, 1)
    image = torch.rand(own.image_shape, device=device)
    setup_s = shortest(lambda: own.forward(image), 1, device)
    own_s = timed(own, repeats)
    assert isinstance(own, CylinderProjector)
    moved = 4 * (image.numel() + torch.Size(own.data_shape).numel()) + own.matrix_bytes / 2
    print(
        f"{name:<11} cylinder     {own_s[0]:8.3f} {own_s[1]:8.3f} s   first call {setup_s:.1f} s, matrices "
        f"{own.matrix_bytes / 1e6:.0f} MB; floor {moved / bandwidth:.4f} s each way ({moved / 1e6:.0f} MB)"
    )
    for other in others:
        part = projector_of(problem, other, device, share)
        seconds = [s * len(own.views) / len(part.views) for s in timed(part, repeats)]
        same = own if share == 1 else projector_of(problem, "cylinder", device, share)
        data = torch.rand(part.data_shape, device=device)
        differences = (
            relative_difference(same.forward(image), part.forward(image)),
            relative_difference(same.adjoint(data), part.adjoint(data)),
        )
        print(
            f"{'':<11} {other:<12} {seconds[0]:8.3f} {seconds[1]:8.3f} s   cylinder is {seconds[0] / own_s[0]:.1f} "
            f"and {seconds[1] / own_s[1]:.1f} times as fast; they differ by {differences[0]:.1e} and "
            f"{differences[1]:.1e}" + (f"; every {share}th view, scaled" if share > 1 else "")
        )


def projector_of(problem: Problem, backend: str, device: torch.device, share: int) -> Projector:
    """The projector of the problem's views, or of every `share`-th of them."""
    whole = make_projector(problem.geometry, problem.image_shape, problem.voxel_mm, backend, device)
    step = problem.every * share
    return whole if step == 1 else whole.over_views(torch.arange(0, problem.geometry.views, step))


def timed(projector: Projector, repeats: int) -> tuple[float, float]:
    """The shortest forward and adjoint projection, in seconds."""
    image = torch.rand(projector.image_shape, device=projector.device)
    data = torch.rand(projector.data_shape, device=projector.device)
    return (
        shortest(lambda: projector.forward(image), repeats, projector.device),
        shortest(lambda: projector.adjoint(data), repeats, projector.device),
    )


def copy_bandwidth(device: torch.device) -> float:
    """Bytes read and written in a second by a copy that no cache holds."""
    source = torch.rand(2**26, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / shortest(lambda: target.copy_(source), 5, device)


def shortest(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """The shortest of a few calls, in seconds."""
    times = []
    for _ in range(repeats):
        started = clock_s(device)
        call()
        times.append(clock_s(device) - started)
    return min(times)


def clock_s(device: torch.device) -> float:
    """A clock that waits for a GPU's work and counts a CPU's own."""
    if device.type == "cpu":
        return time.process_time() / torch.get_num_threads()
    torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
