"""What a job reads: the terms that lie beside the prompts, what was estimated, and what a written volume says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
import torch

from PETDiffusionLib.methods.catalogue.reconstruct import READING
from PETDiffusionLib.reconstruction.measurement import read_measurement
from PETDiffusionLib.sinograms import Segment, Sinogram, default_grid
from PETDiffusionLib.sinograms.interfile import write_interfile
from PETDiffusionLib.sinograms.orientation import SCANNER_AXES
from PETDiffusionLib.sinograms.scanners import SCANNERS
from PETDiffusionLib.volumes import Volume, read_volume, write_volume

GEOMETRY = replace(
    SCANNERS["mmr"], rings=2, views=12, tangential_bins=9, segments=(Segment(0, 0), Segment(1, 1))
).with_patient("FFP")
ONES = torch.ones(GEOMETRY.data_shape)
PAIRS = {"multiplicative_is": "pairs", "corrected": ["randoms"]}


def read(sinogram: Path, said: list[str] | None = None, **inputs: Path) -> Sinogram:
    options: dict[str, Any] = {name: rule.default for name, rule in READING.items()}

    def warn(code: str, sentence: str) -> None:
        if said is not None:
            said.append(sentence)

    return read_measurement({"sinogram": sinogram, **inputs}, options, lambda stage, fraction: None, warn, "cpu")


def folder(path: Path, facts: dict[str, Any] | None = None, **values: float) -> Path:
    path.mkdir(exist_ok=True)
    for name, value in values.items():
        write_interfile(value * ONES, GEOMETRY, path / f"{name}.hs")
    if facts is not None:
        (path / "sinogram.json").write_text(json.dumps(facts))
    return path


def test_a_normalisation_replaces_the_pairs_of_a_histogram_and_nothing_else(tmp_path: Path) -> None:
    scan = folder(tmp_path / "scan", PAIRS, prompts=9, normalisation=3, attenuation=0.5, randoms=1)
    efficiency = folder(tmp_path / "other", prompts=0.25) / "prompts.hs"
    alone, both = read(scan), read(scan, normalisation=efficiency)
    assert alone.multiplicative is not None
    assert float(alone.multiplicative.max()) == 1.5
    assert alone.corrected == {"attenuation", "randoms"}
    assert both.multiplicative is not None
    assert float(both.multiplicative.max()) == 0.125
    assert both.corrected == {"attenuation", "normalisation", "randoms"}


def test_delayeds_in_a_folder_give_its_randoms_and_the_facts_say_so(tmp_path: Path) -> None:
    scan = folder(tmp_path / "scan", prompts=9, delayed=2)
    found = read(scan)
    assert "randoms" in found.corrected
    assert found.term_facts == {"randoms_from_delayed": 2.0 * ONES.numel()}
    assert found.additive is not None
    assert float(found.additive.sum()) == pytest.approx(2.0 * ONES.numel(), rel=1e-4)
    assert "randoms_from_delayed" not in read(folder(scan, randoms=1)).facts  # those are there already


def test_what_is_unusual_in_a_term_is_said(tmp_path: Path) -> None:
    scan = folder(tmp_path / "scan", prompts=9, attenuation=0.5)
    header = scan / "attenuation.hs"
    header.write_text(header.read_text().replace("!END OF", "strange key := 3\n!END OF"))
    assert any("strange key" in sentence for sentence in read(scan).warnings)
    said: list[str] = []
    read(scan / "prompts.hs", said, attenuation_factors=header)
    assert any("strange key" in sentence for sentence in said)


@pytest.mark.parametrize("code", SCANNER_AXES)
def test_a_volume_as_interfile_says_how_the_patient_lay(code: str, tmp_path: Path) -> None:
    geometry = replace(SCANNERS["mmr"], rings=2, views=12, tangential_bins=9, segments=(Segment(0, 0),))
    sinogram = Sinogram(geometry.with_patient(code), torch.ones(geometry.data_shape))
    grid = default_grid(sinogram.geometry)
    values = torch.rand(grid.shape, generator=torch.Generator().manual_seed(1)).numpy()
    volume = Volume(grid.to_image(values), "counts", sinogram.volume_facts)
    write_volume(volume, tmp_path / "a.hv")
    text = (tmp_path / "a.hv").read_text()
    assert f"patient orientation := {'head_in' if code.startswith('HF') else 'feet_in'}" in text
    turned = {"S": "supine", "P": "prone", "DR": "right", "DL": "left"}[code[2:]]
    assert f"patient rotation := {turned}" in text
    assert f"!matrix size [3] := {grid.shape[0]}" in text  # planes of the scanner, however the patient lay
    again = read_volume(tmp_path / "a.hv")
    assert again.facts["patient_position"] == code
    assert not again.facts["warnings"]
    whole = sitk.Resample(again.image, volume.image, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert (sitk.GetArrayFromImage(whole) == sitk.GetArrayFromImage(volume.image)).all()
    assert again.image.GetOrigin() == pytest.approx(volume.image.GetOrigin(), abs=1e-3)
    write_volume(volume, tmp_path / "a.nii.gz")
    assert not (tmp_path / "a.json").exists()
