"""Bring a label volume to life: every label gets the uptake of the organ that its name says."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import binary_closing, binary_fill_holes, label

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.attenuation import BONE_MU_PER_MM, LUNG_MU_PER_MM, WATER_MU_PER_MM, mu_from_hounsfield
from PETDiffusionLib.simulation.phantom import (
    Phantom,
    add_lesions,
    texture,
)
from PETDiffusionLib.simulation.tracers import draw_uptake

# The first pattern that a label's name matches gives its organ in the uptake table; a more special one comes first.
ORGAN_OF_NAME = (
    (r"(sagittal|transverse|sigmoid|straight|cavernous|venous|coronary) sinus", "blood"),
    (r"background|\bair\b|airway|trachea|sinus", "gas"), (r"urinary tract|ureter|urethra", "bladder"),
    (r"muscle|capitis|gluteus|iliopsoas|autochthon|temporalis|masseter|pterygoid|rectus$| oblique$|levator|uvula|tensor"
     r"|palato|zygomaticus|nasalis|buccinator|tongue|glossus|constrictor|pharyngeus|longus|stylohyoid"
     r"|trapezius|sternocleidomastoid|scalenus|digastric", "muscle"),
    (r"skull|mandible|tooth|teeth|cortical bone", "cortical bone"),
    (r"white matter|callosum|peduncle|capsule|fornix|tract|commissure|chiasm|optic|fasciculus|\bspinal\b",
     "white matter"),
    (r"heart|myocard|atrium", "myocardium"),
    (r"ventricle|aqueduct|choroid|csf|cistern|vitreous|septum|eyeball|sulcus$|fissure", "csf"),
    (r"kidney", "kidney cortex"),
    (r"cortex|cortical|gyr[ui]|lobule|cuneus|pole|insula|putamen|caudate|thalam|pallid|amygdal|hippocamp|accumbens"
     r"|nucle|cerebell|opercul|operul|hypothal|nigra|midbrain|pons|medulla|colliculus|pars |grey|gray|geniculate"
     r"|^(left|right) [ivx]+[ab]?[ft]? |hypophysis|mammillary|pineal|pulvinar|claustrum", "grey matter"),
    (r"vertebra|sacrum|hip|femur|rib|bone|sternum|scapula|humerus|clavicula|marrow", "marrow"),
    (r"adrenal", "adrenal"), (r"liver", "liver"), (r"spleen$", "spleen"),
    (r"stomach|esophagus", "stomach"), (r"pancreas", "pancreas"), (r"bowel|colon|duodenum|rectum", "bowel"),
    (r"gallbladder", "fat"), (r"bladder", "bladder"), (r"prostate|uterus", "prostate"), (r"lung", "lung"),
    (r"aorta|cava|vein|vena|artery|carotid", "blood"),
    (r"gland|thyroid|parotid|tonsil", "gland"), (r"skin", "skin"), (r"cartilage", "fat"),
    (r"brain|cerebr|lobe", "grey matter"),
)  # fmt: skip
MU_OF_ORGAN = {"marrow": BONE_MU_PER_MM, "cortical bone": BONE_MU_PER_MM, "lung": LUNG_MU_PER_MM, "gas": 0.0}


def organ_of(name: str) -> str | None:
    """The organ of the uptake tables that a label's name speaks of; None where none is known."""
    for pattern, organ in ORGAN_OF_NAME:
        if re.search(pattern, name.replace("_", " ").lower()):
            return organ
    return None


def read_label_names(path: Path) -> dict[int, str]:
    """Label values and names from the first two columns of a .tsv or .csv table with a header line."""
    return {int(value): name for value, name in _read_table(path, (int, str), "a label's number and name")}


def read_uptake(path: Path) -> dict[str, float]:
    """Names of labels and their SUV, 0 or more, from the first two columns of such a table."""
    return dict(_read_table(path, (str, _suv), "a label's name and its SUV"))


def _suv(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(f"an SUV is 0 or more, found {text}")
    return value


def _read_table(path: Path, types: tuple[Callable[[str], Any], Callable[[str], Any]], what: str) -> list[Any]:
    """The first two columns of a table without its header line. Raises PETDiffusionError "bad-table"."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        delimiter = "\t" if lines and "\t" in lines[0] else ","
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if len(row) >= 2]
        if len(rows) < 2:
            raise ValueError("it lists none")
        return [(types[0](row[0].strip()), types[1](row[1].strip())) for row in rows[1:]]
    except ValueError as error:
        sentence = f"{path} should list {what} in each line after the first ({error})."
        raise PETDiffusionError("bad-table", sentence) from error


def label_phantom(
    labels: sitk.Image,
    names: dict[int, str],
    tracer: str = "fdg",
    seed: int = 0,
    ct: sitk.Image | None = None,
    voxel_mm: float = 2.0,
    lesions: int = 6,
    uptake: dict[str, float] | None = None,
) -> Phantom:
    """A phantom of a label volume, on cubic voxels, with the uptake of `tracer`, texture and lesions drawn from `seed`.

    `names` says what each label is; `uptake` {name: SUV} overrides the tracer's. A CT in HU on the labels' grid gives
    the body's outline, its fat and the attenuation; without one, what the labels enclose is filled with muscle.
    Warns of names that no organ is known by, which become muscle. Raises PETDiffusionError "bad-table" for an uptake of
    a name that is none of the names.
    """
    uptake = uptake or {}
    strangers = sorted(set(uptake) - set(names.values()))
    if strangers:
        raise PETDiffusionError(
            "bad-table",
            f'The uptake table has "{strangers[0]}", which is no label\'s name; check it against the names.',
        )
    rng = np.random.default_rng([seed, 4])
    drawn = draw_uptake(tracer, rng)
    grid = _cubic_grid(sitk.DICOMOrient(labels, "LPS"), voxel_mm)
    values = sitk.GetArrayFromImage(sitk.Resample(labels, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
    phantom = Phantom(
        np.zeros(values.shape, np.float32), np.zeros(values.shape, np.float32), np.zeros(values.shape, np.uint16),
        (voxel_mm,) * 3,
    )  # fmt: skip
    hounsfield = None
    if ct is not None:
        hounsfield = sitk.GetArrayFromImage(sitk.Resample(ct, grid, sitk.Transform(), sitk.sitkLinear, -1000.0))
    _paint_background(phantom, values, hounsfield, drawn)
    unknown = []
    for value in np.unique(values[values > 0]):
        name = names.get(int(value), f"label {value}")
        organ = organ_of(name)
        if organ is None and name not in uptake:
            unknown.append(name)
        organ = organ or "muscle"
        suv = uptake.get(name, drawn[organ])
        phantom.paint(values == value, name, suv, MU_OF_ORGAN.get(organ, WATER_MU_PER_MM))
    if unknown:
        warnings.warn(
            f"No organ is known by the name of {', '.join(unknown)}: the uptake of muscle is used there. A table of "
            "uptake (--uptake) can say another.",
            stacklevel=2,
        )
    if hounsfield is not None:
        phantom.mu = np.where(phantom.mu > 0, mu_from_hounsfield(hounsfield), 0).astype(np.float32)
    phantom.activity *= texture(phantom, 0.12, rng)
    add_lesions(phantom, lesions, rng)
    return phantom


def _paint_background(phantom: Phantom, values: np.ndarray, hounsfield: np.ndarray | None, uptake: dict) -> None:
    """Everything that is body and has no label: muscle, and fat where a CT shows it."""
    if hounsfield is None:
        inside = binary_closing(np.pad(values > 0, 8), iterations=6)[8:-8, 8:-8, 8:-8] | (values > 0)
    else:
        inside = hounsfield > -250
    parts, count = label(inside)
    largest = np.argmax(np.bincount(parts.ravel())[1:]) + 1 if count else 0  # the couch is not the body
    body = np.stack([binary_fill_holes(plane) for plane in parts == largest])
    phantom.paint(body, "soft tissue", uptake["muscle"], WATER_MU_PER_MM)
    if hounsfield is not None:
        phantom.paint(body & (hounsfield < -30), "fat", uptake["fat"])
        phantom.paint(body & (hounsfield < -500), "gas", uptake["gas"])


def _cubic_grid(image: sitk.Image, voxel_mm: float) -> sitk.Image:
    """An empty image over the same field of view with cubic voxels."""
    extent = np.asarray(image.GetSize()) * np.asarray(image.GetSpacing())
    size = np.maximum(1, np.round(extent / voxel_mm)).astype(int)
    grid = sitk.Image([int(n) for n in size], sitk.sitkUInt8)
    grid.SetSpacing([voxel_mm] * 3)
    grid.SetDirection(image.GetDirection())
    centre = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
    half = np.asarray(grid.GetDirection()).reshape(3, 3) @ ((size - 1) / 2 * voxel_mm)
    grid.SetOrigin([float(c - h) for c, h in zip(centre, half, strict=True)])
    return grid
