"""The NEMA phantom with every term estimated from the scan itself: normalisation file, delayeds, mu-map, no more.

    python -m Testing.benchmarks.estimated_terms OUT [--pairs 2e7] [--trues 2e7] [--seed 1]

A scanner of the Siemens mMR's crystals (direct segment of span 11) with crystal efficiencies, gaps, geometric and axial
effects in a normalisation file, randoms in proportion to singles, and scatter by Monte Carlo (monte_carlo.py: every
order of scattering, no line of the simulation that estimates it). Reconstructed through the command line with the terms
estimated, with the true ones, and without scatter; the table has the regions' means over the truth.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy.ndimage import binary_erosion, gaussian_filter

from PETDiffusionLib.cli import main
from PETDiffusionLib.corrections.crystals import CrystalPairs
from PETDiffusionLib.corrections.siemens_normalisation import efficiencies, read_norm
from PETDiffusionLib.projection.attenuation import attenuation_factors
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.simulation.nema import nema_iq
from PETDiffusionLib.simulation.phantom import Phantom
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, segments_of_span
from PETDiffusionLib.sinograms.grid import default_grid
from PETDiffusionLib.sinograms.interfile import write_interfile
from PETDiffusionLib.sinograms.scanners import SCANNERS
from Testing.benchmarks.monte_carlo import Coincidences, Cylinder, coincidences

WINDOW_KEV = (430.0, 610.0)
LARGEST_RING_DIFFERENCE = 16  # of the Monte Carlo coincidences that stand for the direct segment
RANDOMS_FRACTION = 0.4
VOXEL_MM = 2.5


def scanner() -> ScannerGeometry:
    geometry = replace(SCANNERS["mmr"], segments=segments_of_span(64, 11, 5))
    return geometry.with_patient("HFS")


def write_norm(folder: Path, geometry: ScannerGeometry, scale: float, seed: int) -> Path:
    """A component file as Siemens lays it out, its efficiencies such that `scale` counts come of one unit and mm."""
    rng = np.random.default_rng([seed, 1])
    bins, rings, crystals = geometry.tangential_bins, geometry.rings, geometry.crystals
    across = np.linspace(-1, 1, bins)
    planes = sum(segment.planes(rings) for segment in segments_of_span(rings, 11, 60))
    components = {
        "geometric effects": np.tile(1 - 0.15 * across**2, (2 * rings - 1, 1)),
        "crystal interference": 1 + 0.05 * np.sin(np.arange(9))[None, :] * np.ones((bins, 1)),
        "crystal efficiencies": np.sqrt(scale) * rng.gamma(1 / 0.15**2, 0.15**2, (rings, crystals)),
        "axial effects": rng.uniform(0.9, 1.1, planes),
    }
    lines = ["!INTERFILE :=", "!originating system := 2008", "!name of data file := norm.n"]
    lines += ["%axial compression := 11", f"%number of normalization components := {len(components)}"]
    data, offset = b"", 0
    for number, (name, values) in enumerate(components.items(), start=1):
        sizes = ",".join(str(side) for side in values.shape[::-1])
        lines += [f"%normalization component [{number}] := {name}", f"%matrix size [{number}] := {{{sizes}}}"]
        lines += [f"data offset in bytes [{number}] := {offset}"]
        data += values.astype("<f4").tobytes()
        offset = len(data)
    (folder / "norm.n").write_bytes(data)
    path = folder / "norm.n.hdr"
    path.write_text("\n".join(lines) + "\n")
    return path


def direct_counts(found: Coincidences, geometry: ScannerGeometry, scattered: bool) -> np.ndarray:
    """Monte Carlo coincidences sorted to the direct planes (single-slice rebinning), [plane, view, tangential]."""
    ends = found.places[found.scattered == scattered].astype(np.float64)
    rings = ends[..., 2] / geometry.ring_spacing_mm
    ends = ends[np.abs(rings[:, 1] - rings[:, 0]) <= LARGEST_RING_DIFFERENCE]
    way = ends[:, 1, :2] - ends[:, 0, :2]
    # The line x cos(phi) + y sin(phi) = s runs along (-sin, cos).
    phi = np.arctan2(-way[:, 0], way[:, 1])
    turned = (phi < 0) | (phi >= np.pi)
    phi = phi % np.pi
    s = ends[:, 0, 0] * np.cos(phi) + ends[:, 0, 1] * np.sin(phi)
    assert turned.any()
    half = geometry.tangential_mm
    edges = np.concatenate([[-np.inf], (half[1:] + half[:-1]) / 2, [np.inf]])
    z = ends[..., 2].mean(axis=1) / (geometry.ring_spacing_mm / 2) + geometry.rings - 0.5
    index = (
        np.clip(np.floor(z).astype(int), 0, geometry.planes - 1),
        np.floor(phi / np.pi * geometry.views).astype(int) % geometry.views,
        np.clip(np.digitize(s, edges) - 1, 0, geometry.tangential_bins - 1),
    )
    counts = np.zeros(geometry.data_shape, np.float32)
    np.add.at(counts, index, 1)
    return counts


def scatter_per_true(phantom: Phantom, geometry: ScannerGeometry, pairs: int, seed: int) -> np.ndarray:
    """Expected scatter of a scanner of even efficiency, as a share of all its trues: [plane, view, tangential]."""
    half = geometry.rings / 2 * geometry.ring_spacing_mm
    found = coincidences(phantom, Cylinder(geometry.radius_mm, half, WINDOW_KEV), pairs, seed)
    counts = {kind: direct_counts(found, geometry, kind) for kind in (False, True)}
    smooth = gaussian_filter(counts[True], (6, 12, 10), mode=("nearest", "wrap", "constant"))
    print(f"Monte Carlo: {len(found.places)} coincidences, {found.scattered.mean():.1%} scattered")
    return smooth / counts[False].sum()


def regions(phantom: Phantom) -> dict[str, np.ndarray]:
    """Where means are taken, [z, y, x] on the phantom's grid: the warm background far from all else, and the insert."""
    names = {name: label for label, name in phantom.label_names.items()}
    background = binary_erosion(phantom.labels == names["background"], iterations=round(15 / phantom.voxel_size_mm[0]))
    insert = binary_erosion(phantom.labels == names["lung insert"], iterations=round(10 / phantom.voxel_size_mm[0]))
    largest = binary_erosion(phantom.labels == names["sphere 37 mm"], iterations=round(6 / phantom.voxel_size_mm[0]))
    near = np.zeros_like(background)
    middle = len(near) // 2
    near[middle - round(60 / phantom.voxel_size_mm[0]) : middle + round(60 / phantom.voxel_size_mm[0])] = True
    y = np.arange(near.shape[1])[None, :, None] < near.shape[1] // 2
    return {
        "background": background & near,
        "background, upper half": background & near & y,
        "background, lower half": background & near & ~y,
        "37 mm sphere": largest,
        "lung insert": insert & near,
    }


@torch.no_grad()
def simulate(folder: Path, pairs: int, trues: float, seed: int) -> dict[str, np.ndarray]:
    """Write the scan into `folder`; returns the regions."""
    geometry = scanner()
    phantom = nema_iq(voxel_mm=VOXEL_MM)
    share = scatter_per_true(phantom, geometry, pairs, seed)
    grid = default_grid(geometry, VOXEL_MM)
    image = sitk.GetImageFromArray(np.asarray(phantom.activity, np.float32))
    sizes = phantom.voxel_size_mm[::-1]
    image.SetSpacing(sizes)
    image.SetOrigin([-(n - 1) / 2 * size for n, size in zip(image.GetSize(), sizes, strict=True)])

    def written(values: np.ndarray, name: str) -> sitk.Image:
        one = sitk.GetImageFromArray(np.asarray(values, np.float32))
        one.CopyInformation(image)
        sitk.WriteImage(one, str(folder / name))
        return one

    written(phantom.activity, "phantom.nii.gz")
    mu = written(phantom.mu, "mu.nii.gz")
    blurred = gaussian_filter(phantom.activity, 4.5 / 2.355 / VOXEL_MM)
    projector = make_projector(geometry, grid.shape, grid.voxel_size_mm)
    lines = projector.forward(torch.from_numpy(grid.from_image(written(blurred, "blurred.nii.gz"))))
    attenuation = attenuation_factors(torch.from_numpy(grid.from_image(mu)), projector)
    norm = read_norm(write_norm(folder, geometry, 1.0, seed))
    one = efficiencies(norm, geometry)
    scale = trues / float((lines * attenuation * one).sum(dtype=torch.float64))
    norm = read_norm(write_norm(folder, geometry, scale, seed))
    efficiency = efficiencies(norm, geometry)
    mean = lines * attenuation * efficiency
    even = efficiency / float((lines * attenuation * efficiency).sum() / (lines * attenuation).sum())
    scatter = torch.from_numpy(share) * float(mean.sum()) * even
    pairs_of = CrystalPairs(geometry)
    singles = np.random.default_rng([seed, 2]).gamma(1 / 0.2**2, 0.2**2, (geometry.rings, geometry.crystals))
    singles *= np.repeat(np.linspace(0.8, 1.2, geometry.rings), geometry.crystals).reshape(singles.shape)
    singles[:, ::9] = 0
    randoms = torch.from_numpy(pairs_of.products(singles))
    randoms *= RANDOMS_FRACTION * float(mean.sum() / randoms.sum())
    rng = np.random.default_rng([seed, 3])
    for name, expected in (("prompts", mean + scatter + randoms), ("delayed", randoms)):
        counted = torch.from_numpy(rng.poisson(expected.numpy()).astype(np.float32))
        write_interfile(counted, geometry, folder / f"{name}.hs")
    write_interfile(scatter + randoms, geometry, folder / "true_additive.hs")
    write_interfile(randoms, geometry, folder / "true_randoms.hs")
    write_interfile(efficiency, geometry, folder / "efficiency.hs")
    print(f"trues {mean.sum():.4g}, scatter {scatter.sum():.4g}, randoms {randoms.sum():.4g}")
    return regions(phantom)


def reconstructed(folder: Path, name: str, *terms: str) -> np.ndarray:
    """Reconstruct through the command line; the volume on the phantom's grid."""
    out = folder / f"{name}.nii.gz"
    command = ["reconstruct", str(folder / "prompts.hs"), str(out), "--attenuation", str(folder / "mu.nii.gz")]
    command += ["--iterations", "8", "--subsets", "21", "--overwrite", "--voxel-mm", "4"]
    if main([*command, "--attenuation-unit", "per-mm", *terms]) != 0:
        raise SystemExit(f"the reconstruction {name} failed")
    like = sitk.ReadImage(str(folder / "phantom.nii.gz"))
    return sitk.GetArrayFromImage(sitk.Resample(sitk.ReadImage(str(out)), like))


def table() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=float, default=2e7)
    parser.add_argument("--trues", type=float, default=2e7)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    folder = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    where = simulate(folder, int(arguments.pairs), arguments.trues, arguments.seed)
    norm = ["--normalisation", str(folder / "norm.n.hdr")]
    delayed = ["--delayed", str(folder / "delayed.hs")]
    rows = {
        "true terms": ["--normalisation", f"{folder}/efficiency.hs", "--additive", f"{folder}/true_additive.hs"],
        "estimated": [*norm, *delayed, "--scatter", "estimate"],
        "no scatter": [*norm, *delayed],
    }
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "phantom.nii.gz")))
    print(f"{'':26}" + "".join(f"{row:>14}" for row in rows))
    volumes = {row: reconstructed(folder, row.replace(" ", "_"), *terms) for row, terms in rows.items()}
    for region, mask in where.items():
        expected = float(truth[mask].mean()) or 1.0  # the insert: as a share of the background
        print(f"{region:26}" + "".join(f"{volume[mask].mean() / expected:14.3f}" for volume in volumes.values()))


if __name__ == "__main__":
    table()
