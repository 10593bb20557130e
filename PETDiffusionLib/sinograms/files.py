"""Sinograms from files: Interfile, the RED code's .npz, and a folder with the terms beside the prompts."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, parallel_beam
from PETDiffusionLib.sinograms.interfile import read_interfile
from PETDiffusionLib.sinograms.list_mode import is_list_mode
from PETDiffusionLib.sinograms.list_mode_reading import read_list_mode
from PETDiffusionLib.sinograms.sinogram import Sinogram

# A sinogram folder: prompts, and what there is of these terms; sinogram.json says the unit, and which
# effects count as corrected where a term that is there does not account for all of one.
PROMPTS, FACTS = "prompts.hs", "sinogram.json"
FACTOR_FILES = {"attenuation": "attenuation.hs", "normalisation": "normalisation.hs"}
ADDITIVE, RANDOMS, DELAYED = "additive.hs", "randoms.hs", "delayed.hs"  # randoms plus scatter, randoms, or delayeds
# The same as SIRF writes it, and PETRIC (github.com/SyneRBI/PETRIC): one product of all factors, and an additive term
# that is divided by it, so that the expectation is factors x (P(image) + additive).
MULTIPLICATIVE = (
    "mult_factors.hs", "multfactors.hs", "multiplicative_factors.hs", "mult.hs", "multiplicative_factors/mult.hs",
)  # fmt: skip
PRECORRECTED_ADDITIVE = "additive_term.hs"


def read_sinogram(path: str | os.PathLike[str], additive_is: str | None = None, *, with_pairs: bool = True) -> Sinogram:
    """Read an Interfile header (.hs), a sinogram folder, list mode, or the low-dose sinogram of a RED .npz.

    `additive_is` says what a folder's additive term is, "counts" or "precorrected"; None: the names of its files do.
    `with_pairs`: how many pairs of crystals each bin of a histogram sums is a multiplicative term.
    Raises PETDiffusionError ("missing-file", "bad-format", "bad-header", "bad-file", "bad-sinogram").
    """
    path = Path(path)
    if not path.exists():
        raise PETDiffusionError("missing-file", f"There is no file or folder '{path}'. Check the path.")
    if path.is_dir():
        return _read_folder(path, additive_is, with_pairs)
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


def _read_folder(folder: Path, additive_is: str | None = None, with_pairs: bool = True) -> Sinogram:
    if not (folder / PROMPTS).is_file():
        raise PETDiffusionError("missing-file", f"A sinogram folder has a {PROMPTS}; '{folder}' has none.")
    sinogram = read_interfile(folder / PROMPTS)
    said: list[str] = []
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8")) if (folder / FACTS).is_file() else {}
    has_pairs = facts.get("multiplicative_is") == "pairs"
    for effect, name in FACTOR_FILES.items():
        if (folder / name).is_file() and (with_pairs or not has_pairs or effect != "normalisation"):
            sinogram = sinogram.with_factors(read_term(folder / name, sinogram, said.append), effect)
    product = _only_one(folder, MULTIPLICATIVE)
    if product is not None:
        if sinogram.multiplicative is not None:
            raise PETDiffusionError(
                "twice", f"'{folder}' has {product.name}, and factors of its own beside it. Give them once."
            )
        sinogram = sinogram.with_factors(read_term(product, sinogram, said.append), "attenuation")
        sinogram = replace(sinogram, corrected=sinogram.corrected | {"normalisation"})
    additive = _only_one(folder, (ADDITIVE, PRECORRECTED_ADDITIVE))
    if additive is not None:
        by_name = additive.name == PRECORRECTED_ADDITIVE or product is not None
        meant = additive_is or ("precorrected" if by_name else "counts")
        sinogram = with_additive(sinogram, read_term(additive, sinogram, said.append), meant)
        if by_name and additive_is is None:
            sinogram = sinogram.with_warning(
                f"'{additive.name}' is taken as STIR and PETRIC have it, divided by the multiplicative terms. If it "
                "is in counts, say --additive-is counts."
            )
    elif (folder / RANDOMS).is_file():
        sinogram = sinogram.with_background(read_term(folder / RANDOMS, sinogram, said.append), "randoms")
    elif (folder / DELAYED).is_file():
        sinogram = replace(sinogram, delayed=read_term(folder / DELAYED, sinogram, said.append))
    corrected = frozenset(facts.pop("corrected", sinogram.corrected))
    if has_pairs:  # which are no efficiencies; what else lies in the folder was added to it afterwards, and counts
        corrected = sinogram.corrected - {"normalisation"}
    sinogram = replace(sinogram, corrected=corrected, facts={**sinogram.facts, **facts})
    for sentence in said:
        sinogram = sinogram.with_warning(sentence)
    if sinogram.facts.get("simulated") and sinogram.geometry.patient_position.code is None:
        sinogram = sinogram.with_warning(
            f"'{folder}' was simulated by an earlier version, which numbered the rings from the feet: a volume of it "
            "is mirrored against its phantom.nii.gz, and its mu.nii.gz does not fit. Simulate it again."
        )
    return sinogram


def _only_one(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The file of one of these names; several of them are refused."""
    found = [folder / name for name in names if (folder / name).is_file()]
    if len(found) > 1:
        raise PETDiffusionError(
            "twice", f"'{folder}' has {' and '.join(path.name for path in found)}, which are for the same. Keep one."
        )
    return found[0] if found else None


def with_additive(sinogram: Sinogram, additive: torch.Tensor, additive_is: str) -> Sinogram:
    """With randoms plus scatter in counts, or "precorrected": divided by all multiplicative terms, which are there.

    Raises PETDiffusionError "bad-sinogram" where there are none.
    """
    if additive_is == "precorrected":
        factors = sinogram.multiplicative
        if factors is None:
            raise PETDiffusionError(
                "bad-sinogram",
                "A precorrected additive term is divided by the multiplicative ones, but none is given. Give them by "
                "--attenuation, --attenuation-factors and --normalisation, or say --additive-is counts.",
            )
        additive = additive * (factors if additive.ndim == factors.ndim else factors[..., None])
    return sinogram.with_background(additive, "randoms", "scatter")


def read_term(
    path: str | os.PathLike[str], sinogram: Sinogram, warn: Callable[[str], None] | None = None
) -> torch.Tensor:
    """The values of a sinogram that goes with another; `warn(sentence)` hears what is unusual in its header.

    Raises PETDiffusionError "bad-sinogram" for another geometry.
    """
    term, own = read_interfile(path, term=True), sinogram.geometry
    planes = _planes_in_order_of(own, term.geometry)
    if planes is None or term.prompts.shape[1:] not in (own.data_shape[1:], own.data_shape[1:3]):
        raise PETDiffusionError(
            "bad-sinogram",
            f"'{path}' is of {term.geometry.name} {term.geometry.data_shape}, the prompts are of "
            f"{own.name} {own.data_shape}, or rings, segments and bins lie elsewhere. "
            "Give terms of the same geometry.",
        )
    if warn is not None:
        for sentence in term.warnings:
            warn(sentence)
    return term.prompts[planes]


def _planes_in_order_of(own: ScannerGeometry, other: ScannerGeometry) -> torch.Tensor | None:
    """Where each plane of `own` is in `other`, which may list its segments otherwise; None where lines differ.

    Programs print lengths with few digits: lines are the same where they lie within a tenth of a per mille.
    """
    if sorted(own.segments, key=str) != sorted(other.segments, key=str) or own.rings != other.rings:
        return None
    if own.data_shape[1:3] != other.data_shape[1:3] or (own.bin_mm is None) != (other.bin_mm is None):
        return None
    for field in ("radius_mm", "ring_spacing_mm"):
        if not math.isclose(getattr(own, field), getattr(other, field), rel_tol=1e-4):
            return None
    if not np.allclose(own.tangential_mm, other.tangential_mm, rtol=1e-4, atol=1e-4):
        return None
    if not np.allclose(own.view_angles, other.view_angles, atol=1e-4):
        return None
    if other.tof is not None and (own.tof is None or not np.allclose(astuple(own.tof), astuple(other.tof), rtol=1e-3)):
        return None
    first = [int(np.argmax(other.plane_segment == other.segments.index(segment))) for segment in own.segments]
    counts = [segment.planes(own.rings) for segment in own.segments]
    return torch.cat([torch.arange(start, start + count) for start, count in zip(first, counts, strict=True)])
