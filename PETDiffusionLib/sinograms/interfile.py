"""Sinograms as Interfile: a text header (.hs, .s.hdr) beside its binary data, in STIR's dialect and in Siemens'."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry
from PETDiffusionLib.sinograms.interfile_data import (
    data_offset,
    data_path,
    read_scale,
    read_values,
    scaled,
    stored_type,
)
from PETDiffusionLib.sinograms.interfile_facts import measured_facts
from PETDiffusionLib.sinograms.interfile_geometry import effects_corrected_before, header_lines, read_geometry
from PETDiffusionLib.sinograms.interfile_header import InterfileHeader
from PETDiffusionLib.sinograms.interfile_kinds import CORRECTION, EMISSION, NORMALISATION, expect
from PETDiffusionLib.sinograms.interfile_layout import Layout, read_layout
from PETDiffusionLib.sinograms.interfile_siemens import (
    DataSets,
    is_siemens,
    read_data_sets,
    read_siemens_geometry,
    read_siemens_layout,
)
from PETDiffusionLib.sinograms.sinogram import Sinogram


@dataclass(frozen=True)
class InterfileSinogram:
    """A header that was read and checked, before its data are."""

    header: InterfileHeader
    layout: Layout
    geometry: ScannerGeometry
    data_sets: DataSets
    corrected: frozenset[str]
    stored: np.dtype
    scale: float
    intercept: float


def read_interfile(path: str | os.PathLike[str], term: bool = False) -> Sinogram:
    """The prompts and geometry of a header and the data that it names.

    `term`: factors and corrections are expected, which a header may call so; they are refused as prompts. What is
    unusual is among the facts, as "warnings". Raises PETDiffusionError "bad-header", naming the key, for a header that
    states half a geometry, contradicts itself or is of something else, "missing-file" and "bad-file" for the data.
    """
    described = read_description(path, term)
    header, geometry = described.header, described.geometry
    data = _read_data_set(described, described.data_sets.prompts, described.layout)
    facts = {
        "source": header.path.name,
        "scanner": geometry.name,
        "warnings": header.warnings,
        **measured_facts(header),
    }
    delayed = None if term else _read_delayed(described)
    return Sinogram(geometry, torch.from_numpy(data), corrected=described.corrected, facts=facts, delayed=delayed)


def _read_delayed(described: InterfileSinogram) -> torch.Tensor | None:
    """The delayed coincidences that Siemens stores behind the prompts, [plane, view, tangential(, tof)]; None for none.

    Without the axis of TOF where they were not sorted by it. Those that are of no crystals any more, or were taken off
    already, tell no randoms.
    """
    if described.data_sets.delayed is None or described.data_sets.net or "randoms" in described.corrected:
        return None
    if described.geometry.bin_mm is not None:
        described.header.warnings.append(
            f"The delayed coincidences in '{described.header.path.name}' are arc-corrected, so that no randoms are "
            "estimated from them. Give the sinogram as measured, or the expected randoms plus scatter by --additive."
        )
        return None
    layout = described.layout
    size = data_path(described.header).stat().st_size - _offset(described, described.data_sets.delayed)
    if layout.tof_bins is not None and size < layout.values * described.stored.itemsize:
        layout = replace(layout, tof_bins=None, tof_order=())
    return torch.from_numpy(_read_data_set(described, described.data_sets.delayed, layout))


def read_description(path: str | os.PathLike[str], term: bool = False) -> InterfileSinogram:
    """What a header says, without its data; see `read_interfile`."""
    header = InterfileHeader(Path(path))
    expect(header, *((EMISSION, CORRECTION, NORMALISATION) if term else (EMISSION,)))
    frames = header.number("number of time frames", 1)
    if frames != 1:
        raise header.error(f'"number of time frames" should be 1, but is {frames:g}: give the frames one by one')
    siemens = is_siemens(header)
    layout = read_siemens_layout(header) if siemens else read_layout(header)
    try:
        geometry = read_siemens_geometry(header, layout) if siemens else read_geometry(header, layout)
    except PETDiffusionError as error:
        raise error if error.code != "bad-geometry" else header.error(error.sentence.rstrip(".")) from error
    data_sets = read_data_sets(header) if siemens else DataSets(1, None, False, 1)
    corrected = frozenset() if term else effects_corrected_before(header)
    if data_sets.net:
        corrected |= {"randoms"}
        header.warnings.append(
            f"'{header.path.name}' holds prompts less their delayed coincidences: they are no counts any more. Give "
            "the prompts, and the randoms as an additive term."
        )
    header.text("name of data file")
    stored, scale = stored_type(header), read_scale(header)
    slope = scale.one_slope(header)
    for number in range(1, data_sets.count + 1):
        data_offset(header, number)
    header.warn_of_unknown_keys()
    return InterfileSinogram(header, layout, geometry, data_sets, corrected, stored, slope, scale.intercept)


def _offset(described: InterfileSinogram, data_set: int) -> int:
    """Where a data set begins: where the header says, or behind the one before."""
    stated = data_offset(described.header, data_set)
    if stated is not None or data_set == 1:
        return stated or 0
    return _offset(described, data_set - 1) + described.layout.values * described.stored.itemsize


def _read_data_set(described: InterfileSinogram, data_set: int, layout: Layout) -> np.ndarray:
    """float32 [plane, view, tangential(, tof)], scaled."""
    values = read_values(
        described.header,
        described.stored,
        layout.values,
        _offset(described, data_set),
        more_follow=data_set < described.data_sets.count,
    )
    return scaled(layout.arranged(values), described.scale, described.intercept, data_path(described.header))


def write_interfile(data: torch.Tensor, geometry: ScannerGeometry, path: str | os.PathLike[str]) -> None:
    """Write [plane, view, tangential(, tof)] as float32: the header to `path` (.hs), the data beside it (.s).

    Both appear whole, the data first. Raises PETDiffusionError "bad-format" for another ending.
    """
    path = Path(path)
    if path.suffix.lower() != ".hs":
        raise PETDiffusionError("bad-format", f"'{path.name}' should end in .hs, the header of an Interfile sinogram.")
    array = data.detach().cpu().numpy().astype("<f4", copy=False).reshape(geometry.data_shape)
    segments = np.split(array, np.cumsum([s.planes(geometry.rings) for s in geometry.segments])[:-1])
    tof_bins = [None] if geometry.tof is None else list(range(geometry.tof.bins))[::-1]  # STIR's order, see reading
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        staged = Path(scratch) / path.with_suffix(".s").name
        with open(staged, "wb") as stream:
            for tof_bin in tof_bins:
                for segment in segments:
                    part = segment if tof_bin is None else segment[..., tof_bin]
                    stream.write(np.ascontiguousarray(part.swapaxes(0, 1)).tobytes())  # [view, plane, tangential]
        text = "\n".join(header_lines(geometry, staged.name)) + "\n"
        (Path(scratch) / path.name).write_text(text, encoding="utf-8")
        os.replace(staged, path.with_suffix(".s"))
        os.replace(Path(scratch) / path.name, path)
