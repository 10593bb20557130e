"""Sinograms of `petdiffusion simulate`: of a phantom in a scanner, or a measured one at a lower dose."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PETDiffusionLib.cli.study_folder import study_folder
from PETDiffusionLib.jobs.input_files import SINOGRAM_PARTS, with_data
from PETDiffusionLib.jobs.manifest import RESEARCH_USE
from PETDiffusionLib.jobs.reporters import plain

if TYPE_CHECKING:
    from PETDiffusionLib.simulation.phantom import Phantom
    from PETDiffusionLib.sinograms import ScannerGeometry

# The names of sinograms.SCANNERS, here without importing numpy; a test compares them.
SINOGRAMS = tuple(
    f"{name}{planes}"
    for planes in ("", "-2d")
    for name in ("ecat-931", "ecat-962", "mmr", "vision-like", "dmi-like")
) + ("parallel-beam",)  # fmt: skip
TERMS = {name.removesuffix(".hs"): name for name in SINOGRAM_PARTS}
TRUTH = {"truth": "phantom.nii.gz", "mu": "mu.nii.gz", "labels": "labels.nii.gz"}


def simulate_sinogram(
    scanner: str, phantom: dict[str, Any], folder: Path, drf: float, position: str, overwrite: bool
) -> int:
    """Write a sinogram folder of a phantom, with the phantom's activity in SUV, mu in 1/cm and labels beside it.

    `position` is DICOM's name of how the phantom lies in the scanner (HFS ...).
    """
    with study_folder(folder, {"facts": "sinogram.json", **TRUTH, **TERMS}, overwrite) as paths:
        import SimpleITK as sitk

        from PETDiffusionLib.simulation.sinogram import project_phantom
        from PETDiffusionLib.simulation.study import make_phantom
        from PETDiffusionLib.sinograms import named_scanner
        from PETDiffusionLib.sinograms.interfile import write_interfile
        from PETDiffusionLib.volumes import Volume, write_volume

        geometry = named_scanner(scanner).with_patient(position)
        print(f"Simulating {phantom['phantom']} in {geometry.name} at a dose reduction of {drf:g} ...", file=sys.stderr)
        made = make_phantom(**phantom)
        expected = project_phantom(made, _long_enough(geometry, made))
        sinogram = expected.measured(drf, phantom["seed"])
        terms = {
            "prompts": sinogram.prompts,
            "attenuation": expected.attenuation,
            "normalisation": expected.normalisation / drf,
            "additive": expected.background(drf),
        }
        for name, data in terms.items():
            write_interfile(data, expected.geometry, paths[name])
        write_volume(Volume(expected.grid.to_image(expected.truth), "suvbw"), paths["truth"])
        write_volume(Volume(expected.grid.to_image(expected.mu * 10), "unknown"), paths["mu"])
        labels = expected.grid.to_image(expected.labels)
        sitk.WriteImage(sitk.Cast(labels, sitk.sitkUInt16), str(paths["labels"]), useCompression=True)
        _write_facts(paths["facts"], {**sinogram.facts, **phantom, "label_names": expected.label_names})
    return 0


def thin(measured: Path, folder: Path, drf: float, seed: int, overwrite: bool) -> int:
    """Write the prompts of `measured` (a header or a sinogram folder) at a lower dose, and what terms it has."""
    terms = {name: file for name, file in TERMS.items() if (measured / file).is_file() or name == "prompts"}
    with study_folder(folder, {"facts": "sinogram.json", **terms}, overwrite, with_data(measured)) as paths:
        from PETDiffusionLib.simulation.sinogram import thinned
        from PETDiffusionLib.sinograms.files import read_sinogram, read_term
        from PETDiffusionLib.sinograms.interfile import write_interfile

        print(f"Thinning {measured} by {drf:g} ...", file=sys.stderr)
        whole = read_sinogram(measured)
        low = thinned(whole, drf, seed)
        write_interfile(low.prompts, whole.geometry, paths["prompts"])
        share = {"attenuation": 1.0, "normalisation": 1 / drf, "additive": 1 / drf}
        for name in terms.keys() - {"prompts"}:
            write_interfile(read_term(measured / terms[name], whole) * share[name], whole.geometry, paths[name])
        _write_facts(paths["facts"], {**low.facts, "corrected": sorted(whole.corrected)})
    return 0


def _long_enough(geometry: ScannerGeometry, phantom: Phantom) -> ScannerGeometry:
    """Parallel beams have no length of their own: as many planes as the phantom needs."""
    if geometry.name != "parallel beam":
        return geometry
    length_mm = phantom.activity.shape[0] * phantom.voxel_size_mm[0]
    return replace(geometry, rings=max(1, round(length_mm / geometry.ring_spacing_mm)))


def _write_facts(path: Path, facts: dict[str, Any]) -> None:
    path.write_text(json.dumps(plain({"notice": RESEARCH_USE, **facts}), indent=2) + "\n", encoding="utf-8")
