"""Sinograms from files: Interfile, the RED code's .npz, and a folder with the terms beside the prompts."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import parallel_beam
from PETDiffusionLib.sinograms.interfile import read_interfile
from PETDiffusionLib.sinograms.list_mode import is_list_mode
from PETDiffusionLib.sinograms.list_mode_reading import read_list_mode
from PETDiffusionLib.sinograms.sinogram import Sinogram

# A sinogram folder: prompts, and what there is of these terms; sinogram.json says the unit, and which
# effects count as corrected where a term that is there does not account for all of one.
PROMPTS, FACTS = "prompts.hs", "sinogram.json"
FACTOR_FILES = {"attenuation": "attenuation.hs", "normalisation": "normalisation.hs"}
ADDITIVE = "additive.hs"


def read_sinogram(path: str | os.PathLike[str]) -> Sinogram:
    """Read an Interfile header (.hs), a sinogram folder, list mode, or the low-dose sinogram of a RED .npz.

    Raises PETDiffusionError ("missing-file", "bad-format", "bad-header", "bad-file", "bad-sinogram").
    """
    path = Path(path)
    if not path.exists():
        raise PETDiffusionError("missing-file", f"There is no file or folder '{path}'. Check the path.")
    if path.is_dir():
        return _read_folder(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return read_red_pair(path)[0]
    if is_list_mode(path):
        return read_list_mode(path)
    if suffix in (".hs", ".hdr"):
        return read_interfile(path)
    raise PETDiffusionError(
        "bad-format",
        f"'{path.name}' is no sinogram: give an Interfile header (.hs), list mode, a .npz of RED, or a folder.",
    )


def read_red_pair(path: str | os.PathLike[str]) -> tuple[Sinogram, Sinogram]:
    """The low- and full-dose sinograms of a RED .npz: `sino_image` [2, view, bin] of parallel beams over pi.

    Those files count angles against the clock and have y upwards: their view k is view -k of the geometry here, seen
    from the other side. Lengths are in pixels there, and in mm of one pixel here.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            pair = archive["sino_image"].astype(np.float32)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise PETDiffusionError(
            "bad-file", f"'{path}' cannot be read: an array sino_image of low and full dose is expected ({error})."
        ) from error
    if pair.ndim != 3 or pair.shape[0] != 2 or not np.isfinite(pair).all():
        raise PETDiffusionError(
            "bad-file", f"'{path}' should hold two sinograms [2, view, bin] of finite numbers, but holds {pair.shape}."
        )
    turned = np.concatenate([pair[:, :1], pair[:, :0:-1, ::-1]], axis=1)
    geometry = parallel_beam(views=pair.shape[1], bins=pair.shape[2], bin_mm=1.0, plane_mm=1.0)
    geometry = geometry.with_patient("HFS")  # they were made of slices of DICOM: x to the left, y to the back
    low, full = (
        Sinogram(geometry, torch.from_numpy(data[None].copy()), facts={"source": Path(path).name, "dose": dose})
        for data, dose in zip(turned, ("low", "full"), strict=True)
    )
    return low, full


def _read_folder(folder: Path) -> Sinogram:
    if not (folder / PROMPTS).is_file():
        raise PETDiffusionError("missing-file", f"A sinogram folder has a {PROMPTS}; '{folder}' has none.")
    sinogram = read_interfile(folder / PROMPTS)
    for effect, name in FACTOR_FILES.items():
        if (folder / name).is_file():
            sinogram = sinogram.with_factors(read_term(folder / name, sinogram), effect)
    if (folder / ADDITIVE).is_file():
        sinogram = sinogram.with_background(read_term(folder / ADDITIVE, sinogram), "randoms", "scatter")
    if (folder / FACTS).is_file():
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        corrected = frozenset(facts.pop("corrected", sinogram.corrected))
        sinogram = replace(sinogram, corrected=corrected, facts={**sinogram.facts, **facts})
    if sinogram.facts.get("simulated") and sinogram.geometry.patient_position.code is None:
        sinogram = sinogram.with_warning(
            f"'{folder}' was simulated by an earlier version, which numbered the rings from the feet: a volume of it "
            "is mirrored against its phantom.nii.gz, and its mu.nii.gz does not fit. Simulate it again."
        )
    return sinogram


def read_term(path: str | os.PathLike[str], sinogram: Sinogram) -> torch.Tensor:
    """The values of a sinogram that goes with another. Raises PETDiffusionError "bad-sinogram" for another geometry."""
    term = read_interfile(path)
    own = sinogram.geometry
    wanted = {own, own.without_tof()}
    if replace(term.geometry, name=own.name, patient_position=own.patient_position) not in wanted:
        raise PETDiffusionError(
            "bad-sinogram",
            f"'{path}' is of {term.geometry.name} {term.geometry.data_shape}, the prompts are of "
            f"{own.name} {own.data_shape}, or rings, segments and bins lie elsewhere. "
            "Give terms of the same geometry.",
        )
    return term.prompts
