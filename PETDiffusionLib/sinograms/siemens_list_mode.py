"""Siemens 32-bit list mode (PETLINK): every event is the address of a bin in an uncompressed sinogram."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, Segment
from PETDiffusionLib.sinograms.interfile_geometry import read_patient_position
from PETDiffusionLib.sinograms.interfile_header import InterfileHeader
from PETDiffusionLib.sinograms.scanners import SCANNERS

NOT_AN_EVENT, PROMPT, ADDRESS = np.uint32(1 << 31), np.uint32(1 << 30), np.uint32((1 << 30) - 1)
WORDS_AT_ONCE = 1 << 22
SCANNER_OF_SYSTEM = {"2008": "mmr", "siemens mmr": "mmr", "biograph mmr": "mmr", "biograph_mmr": "mmr"}


def read_siemens_list_mode(path: str | os.PathLike[str]) -> tuple[torch.Tensor, torch.Tensor, ScannerGeometry]:
    """Prompts and delayed coincidences [plane, view, tangential] of a list-mode header (.hdr), and their geometry.

    The words lie in the file that the header names, or in the header's own name with the ending .l. Segments keep the
    maker's order 0, -1, +1, ... Raises PETDiffusionError for a header that does not state them, or another scanner.
    """
    header = InterfileHeader(Path(path))
    geometry = _geometry(header)
    data = _data_file(header)
    histogram = np.zeros((2, int(np.prod(geometry.data_shape))), np.int64)
    with open(data, "rb") as stream:
        while len(words := np.fromfile(stream, "<u4", WORDS_AT_ONCE)):
            events = words[(words & NOT_AN_EVENT) == 0]
            addresses = events & ADDRESS
            if len(addresses) and addresses.max() >= histogram.shape[1]:
                raise PETDiffusionError(
                    "bad-file",
                    f"'{data}' counts in bin {int(addresses.max())}, but '{header.path.name}' describes "
                    f"{histogram.shape[1]} bins. The header is not that of these data.",
                )
            for kind, chosen in enumerate((addresses[events & PROMPT > 0], addresses[events & PROMPT == 0])):
                histogram[kind] += np.bincount(chosen, minlength=histogram.shape[1])
    prompts, delayed = (torch.from_numpy(h.astype(np.float32)).reshape(geometry.data_shape) for h in histogram)
    return prompts, delayed, geometry


def _geometry(header: InterfileHeader) -> ScannerGeometry:
    system = header.text("originating system")
    if system.lower() not in SCANNER_OF_SYSTEM:
        raise header.error(f'"originating system" is "{system}", whose crystals are not known here')
    if header.whole("axial compression") != 1:
        raise header.error('"axial compression" should be 1: list mode that merged ring differences is not read')
    scanner = SCANNERS[SCANNER_OF_SYSTEM[system.lower()]]
    largest = header.whole("maximum ring difference")
    differences = [0, *(sign * d for d in range(1, largest + 1) for sign in (-1, 1))]
    geometry = replace(
        scanner,
        rings=header.whole("number of rings"),
        views=header.whole("number of views"),
        tangential_bins=header.whole("number of projections"),
        segments=tuple(Segment(d, d) for d in differences),
        tof=None,
        patient_position=read_patient_position(header),
    )
    planes = [segment.planes(geometry.rings) for segment in geometry.segments]
    if header.whole_numbers("segment table") != planes:
        raise header.error('"segment table" is not that of "number of rings" and "maximum ring difference"')
    return geometry


def _data_file(header: InterfileHeader) -> Path:
    named = header.path.parent / header.text("name of data file", header.path.stem.removesuffix(".l") + ".l")
    if not named.is_file():
        raise PETDiffusionError(
            "missing-file", f"'{header.path}' has its data in '{named.name}', which is not beside it. Copy it there."
        )
    return named
