"""The bodies of the quality benchmark: phantoms that the training never saw, scanned at every dose several times.

Training draws seeds from 10 000 and validates on 900 000 and up, procedural phantoms only. Tuning of the classical
methods uses seeds from 800 000; testing uses seeds from 700 000, and the label volumes, which are used nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.simulation.acquisition import scan
from PETDiffusionLib.simulation.bodies import procedural_body
from PETDiffusionLib.simulation.labels import label_phantom, read_label_names
from PETDiffusionLib.simulation.phantom import Phantom
from PETDiffusionLib.simulation.scanners import SCANNERS
from PETDiffusionLib.training.case_files import in_plane_box
from PETDiffusionLib.training.cases import AIR

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
DRFS = (4, 10, 20, 50, 100)
REALISATIONS = 3
LENGTH_MM = 70.0


@dataclass(frozen=True)
class Body:
    """One body of the benchmark: how it is made and on which scanner."""

    name: str
    make: Callable[[], Phantom]
    scanner: str
    seed: int


@dataclass(frozen=True)
class Scanned:
    """A body's reconstructions [z, y, x] in SUV; voxel size (x, y, z) in mm; low dose by (DRF, realisation)."""

    reference: np.ndarray
    labels: np.ndarray
    label_names: dict[int, str]
    voxel_size_mm: tuple[float, float, float]
    low_dose: dict[tuple[int, int], np.ndarray]


def test_bodies() -> list[Body]:
    """Five procedural bodies, and four of the label volumes where these are there."""
    procedural = [
        _procedural("chest FDG", 700_001, "fdg", 330, "whole-body-4.7"),
        _procedural("abdomen FDG", 700_002, "fdg", 560, "whole-body-4.1"),
        _procedural("pelvis FDG", 700_003, "fdg", 850, "long-3.3"),
        _procedural("head FDG", 700_004, "fdg", 30, "long-3.3"),
        _procedural("abdomen DOTATATE", 700_005, "dotatate", 560, "whole-body-4.7"),
    ]
    if not SHARED_DATA.is_dir():
        print(f"no label volumes in {SHARED_DATA.name}/: procedural bodies only")
        return procedural
    return procedural + [
        _labelled("torso labels FDG", 700_006, "fdg", "torso", 0.75, "whole-body-4.1"),
        _labelled("torso labels DOTATATE", 700_007, "dotatate", "torso", 0.45, "whole-body-4.7"),
        _labelled("head labels FDG", 700_008, "fdg", "head", 0.6, "long-3.3"),
        _labelled("head labels amyloid-negative", 700_009, "amyloid-negative", "head", 0.6, "digital-2.7"),
    ]


def tuning_bodies() -> list[Body]:
    """Bodies for choosing the classical methods' parameters: never scored."""
    return [
        _procedural("tuning abdomen", 800_001, "fdg", 560, "whole-body-4.1"),
        _procedural("tuning head", 800_002, "fdg", 30, "long-3.3"),
        _procedural("tuning chest", 800_003, "fdg", 380, "whole-body-4.7"),
        _procedural("tuning pelvis", 800_004, "dotatate", 800, "long-3.3"),
    ]


def scanned(body: Body, realisations: int = REALISATIONS) -> Scanned:
    """Scan a body at every dose reduction, `realisations` times each, and cut the air off."""
    phantom = body.make()
    keys = [(drf, realisation) for drf in DRFS for realisation in range(realisations)]
    result = scan(phantom, SCANNERS[body.scanner], [1 / drf for drf, _ in keys], np.random.default_rng([body.seed, 6]))
    box = in_plane_box(result.reference > AIR * result.reference.mean(), margin=3)
    low_dose = {key: volume[box] for key, volume in zip(keys, result.low_dose, strict=True)}
    z, y, x = result.voxel_size_mm
    return Scanned(result.reference[box], result.labels[box], phantom.label_names, (x, y, z), low_dose)


def as_image(array: np.ndarray, voxel_size_mm: tuple[float, float, float]) -> sitk.Image:
    """[z, y, x] as an image."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=np.float32))
    image.SetSpacing(voxel_size_mm)
    return image


def _procedural(name: str, seed: int, tracer: str, top_mm: float, scanner: str) -> Body:
    return Body(name, lambda: procedural_body(seed, tracer, top_mm, LENGTH_MM, 2.0, lesions=8), scanner, seed)


def _labelled(name: str, seed: int, tracer: str, which: str, height: float, scanner: str) -> Body:
    """A label volume's phantom, cut to LENGTH_MM about `height` (0 at the feet's end, 1 at the head's)."""

    def make() -> Phantom:
        phantom = labelled_torso(tracer, seed, 14) if which == "torso" else labelled_head(tracer, seed, 8)
        return cut_about(phantom, height, LENGTH_MM)

    return Body(name, make, scanner, seed)


def cut_about(phantom: Phantom, height: float, length_mm: float) -> Phantom:
    """`length_mm` of the phantom about `height`, from 0 at its feet's end to 1 at its head's."""
    planes = round(length_mm / phantom.voxel_size_mm[0])
    start = round(height * (phantom.activity.shape[0] - planes))
    cut = slice(start, start + planes)
    return Phantom(
        phantom.activity[cut], phantom.mu[cut], phantom.labels[cut], phantom.voxel_size_mm, phantom.label_names
    )


def labelled_torso(tracer: str, seed: int, lesions: int) -> Phantom:
    """The torso of the label volumes, whole."""
    folder = SHARED_DATA / "labels_torso_TotalSegmentator"
    labels = sitk.ReadImage(str(folder / "example_seg_fast_force_split.nii.gz"))
    ct = sitk.ReadImage(str(folder / "example_ct.nii.gz"), sitk.sitkFloat32)
    return label_phantom(labels, read_label_names(folder / "label_names.tsv"), tracer, seed, ct, lesions=lesions)


def labelled_head(tracer: str, seed: int, lesions: int) -> Phantom:
    """The head of the label volumes, whole."""
    folder = SHARED_DATA / "labels_brain_head"
    labels = sitk.ReadImage(str(folder / "hncma-atlas.nrrd"))
    return label_phantom(labels, read_label_names(folder / "hncma-atlas-lut.tsv"), tracer, seed, lesions=lesions)
