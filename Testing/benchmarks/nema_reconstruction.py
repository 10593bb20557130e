"""NEMA image quality on an mMR-like scanner: `python -m Testing.benchmarks.nema_reconstruction OUT [--rings 64]`.

Contrast recovery (CRC) of the six spheres against background variability: OSEM over its iterations, and the relative
difference prior over beta, from one set of counts. OUT gets rows.json (a point a row, written as it comes; what is
there is not computed again), curves.png and slices.png. Few rings keep it to minutes: the scanner is the mMR's ring
with its axial length cut.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from PETDiffusionLib.projection import Projector, make_projector
from PETDiffusionLib.reconstruction import BlurringProjector, Update, osem, rdp
from PETDiffusionLib.simulation.nema import SPHERE_DIAMETERS_MM, SPHERE_RING_RADIUS_MM, nema_iq
from PETDiffusionLib.simulation.sinogram import project_phantom
from PETDiffusionLib.sinograms import ImageGrid, ScannerGeometry, Sinogram, default_grid, named_scanner
from PETDiffusionLib.sinograms.geometry import segments_of_span

CONTRAST = 4.0
BETAS = (0.0003, 0.001, 0.003, 0.01, 0.03)


@dataclass(frozen=True)
class Regions:
    """Discs in the planes of one grid: a mask [y, x] for each sphere, and 12 of each size in the background."""

    grid: ImageGrid

    def disc(self, x_mm: float, y_mm: float, diameter_mm: float) -> np.ndarray:
        _, rows, columns = self.grid.shape
        x = np.arange(columns) * self.grid.voxel_size_mm[0] + self.grid.origin_mm[0]
        y = np.arange(rows) * self.grid.voxel_size_mm[1] + self.grid.origin_mm[1]
        return np.hypot(x[None, :] - x_mm, y[:, None] - y_mm) <= diameter_mm / 2

    def sphere(self, number: int) -> np.ndarray:
        angle = 2 * np.pi * number / len(SPHERE_DIAMETERS_MM)
        centre = SPHERE_RING_RADIUS_MM * np.array([np.cos(angle), np.sin(angle)])
        return self.disc(*centre, SPHERE_DIAMETERS_MM[number])

    def background(self, diameter_mm: float) -> list[np.ndarray]:
        """Twelve discs around the spheres' ring, within the body: an arc above and a row below."""
        angles = np.radians([190, 210, 231, 251, 272, 300, 321, 342])
        places = [(125 * np.cos(a), 35 + 125 * np.sin(a)) for a in angles] + [(x, 85.0) for x in (-78, -26, 26, 78)]
        return [self.disc(x, y, diameter_mm) for x, y in places]

    def planes(self) -> list[int]:
        """The central plane and those nearest to 10 and 20 mm on either side."""
        middle, side = (self.grid.shape[0] - 1) / 2, self.grid.voxel_size_mm[2]
        wanted = sorted({round(middle + offset / side) for offset in (-20, -10, 0, 10, 20)})
        return [plane for plane in wanted if 0 <= plane < self.grid.shape[0]]


def scored(image: np.ndarray, grid: ImageGrid) -> dict[str, Any]:
    """NEMA NU 2's figures of an image in SUV [z, y, x]: CRC and variability of each size, and the background's mean."""
    regions = Regions(grid)
    central = image[round((grid.shape[0] - 1) / 2)]
    recovery, variability = [], []
    for number, diameter in enumerate(SPHERE_DIAMETERS_MM):
        means = np.array(
            [[image[plane][disc].mean() for disc in regions.background(diameter)] for plane in regions.planes()]
        )
        hot = central[regions.sphere(number)].mean()
        recovery.append(round(float((hot / means.mean() - 1) / (CONTRAST - 1)), 4))
        variability.append(round(float(means.std(ddof=1) / means.mean()), 4))
    return {"crc": recovery, "variability": variability, "background": round(float(means.mean()), 4)}


def short_mmr(rings: int) -> ScannerGeometry:
    """The mMR's ring with `rings` rings, two views in one, and three segments of span 3."""
    whole = named_scanner("mmr")
    segments = segments_of_span(rings, 3, min(4, rings - 1))
    return replace(whole, name=f"mMR, {rings} rings", rings=rings, views=whole.views // 2, segments=segments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rings", type=int, default=13)
    parser.add_argument("--voxel-mm", type=float, default=2.5)
    parser.add_argument("--subsets", type=int, default=14)
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--psf-mm", type=float, default=4.5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    geometry = short_mmr(arguments.rings)
    full = default_grid(geometry, arguments.voxel_mm)
    width = 2 * round(170 / arguments.voxel_mm) + 1  # the phantom, and some air
    grid = ImageGrid((full.shape[0], width, width), full.voxel_size_mm)
    projector = make_projector(geometry, grid.shape, grid.voxel_size_mm, device=arguments.device)
    expected = project_phantom(nema_iq(CONTRAST), geometry, grid, projector)
    sinogram = expected.measured(seed=0)
    print(f"{geometry.name}: {geometry.data_shape}, {float(sinogram.prompts.sum()):.3g} prompts; grid {grid.shape}")
    table = Table(arguments.out / "rows.json", grid)
    blurring = BlurringProjector(projector, arguments.psf_mm, grid.voxel_size_mm)
    for name, used in (("osem", projector), ("osem-psf", blurring)):
        _run_osem(name, used, sinogram, table, arguments)
    for beta in BETAS:
        if not table.has("rdp-psf", beta):
            image = rdp(blurring, sinogram, beta, arguments.iterations, arguments.subsets, grid.voxel_size_mm)
            table.add("rdp-psf", beta, image)
    draw_curves(table.rows, arguments.out / "curves.png")
    draw_slices(arguments.out, expected.truth, grid)


class Table:
    """The rows of rows.json, and the central slice of each beside it."""

    def __init__(self, path: Path, grid: ImageGrid) -> None:
        self._path, self._grid = path, grid
        self.rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []

    def has(self, method: str, setting: float) -> bool:
        return any(row["method"] == method and row["setting"] == setting for row in self.rows)

    def add(self, method: str, setting: float, image: torch.Tensor) -> None:
        array = image.cpu().numpy()
        row = {"method": method, "setting": setting, **scored(array, self._grid)}
        self.rows.append(row)
        self._path.write_text(json.dumps(self.rows, indent=1))
        np.save(self._path.with_name(f"{method}_{setting:g}.npy"), array[round((self._grid.shape[0] - 1) / 2)])
        spheres = " ".join(f"{value:6.3f}" for value in row["crc"])
        print(f"{method:9} {setting:<7g} CRC {spheres}  variability 10 mm {row['variability'][0]:.3f} "
              f"37 mm {row['variability'][-1]:.3f}  background {row['background']:.3f}", flush=True)  # fmt: skip


def _run_osem(name: str, projector: Projector, sinogram: Sinogram, table: Table, arguments: argparse.Namespace) -> None:
    if table.has(name, arguments.iterations):
        return
    updates: list[int] = []

    def keep(update: Update) -> None:
        updates.extend([update.iteration] * (update.iteration >= 0))
        if updates.count(update.iteration) == arguments.subsets and not table.has(name, update.iteration + 1):
            table.add(name, update.iteration + 1, update.image)

    osem(projector, sinogram, arguments.iterations, arguments.subsets, callback=keep)


def draw_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """CRC against background variability, one panel a sphere."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    styles = {
        "osem": ("OSEM, by iteration", "C0", "o"),
        "osem-psf": ("OSEM with resolution model, by iteration", "C2", "^"),
        "rdp-psf": ("RDP with resolution model, by beta", "C3", "s"),
    }
    figure, panels = plt.subplots(2, 3, figsize=(11, 7), sharey=True, layout="constrained")
    for number, (panel, diameter) in enumerate(zip(panels.flat, SPHERE_DIAMETERS_MM, strict=True)):
        for method, (label, colour, marker) in styles.items():
            mine = sorted((row for row in rows if row["method"] == method), key=lambda row: row["setting"])
            x = [100 * row["variability"][number] for row in mine]
            y = [100 * row["crc"][number] for row in mine]
            panel.plot(x, y, color=colour, marker=marker, markersize=4, label=label)
            for row, left, height in zip(mine, x, y, strict=True):
                panel.annotate(f"{row['setting']:g}", (left, height), (3, -9), textcoords="offset points", fontsize=7)
        panel.set_title(f"{diameter} mm sphere", fontsize=10)
        panel.grid(alpha=0.3)
    figure.supxlabel("background variability, %")
    figure.supylabel("contrast recovery coefficient, %")
    panels[1, 2].legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)


def draw_slices(folder: Path, truth: np.ndarray, grid: ImageGrid) -> None:
    """The central slice of the phantom and of every kept image, one scale."""
    from PIL import Image

    middle = truth[round((grid.shape[0] - 1) / 2)]
    kept = [np.load(path) for path in sorted(folder.glob("*.npy"))]
    blank = np.zeros_like(middle)
    slices = [middle, *kept]
    columns = 6
    slices += [blank] * (-len(slices) % columns)
    rows = [np.concatenate(slices[i : i + columns], axis=1) for i in range(0, len(slices), columns)]
    whole = np.concatenate(rows)
    Image.fromarray((255 - 255 * np.clip(whole / (1.25 * CONTRAST), 0, 1)).astype(np.uint8)).save(folder / "slices.png")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
