"""A DICOM series whose files lie in more than one folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from PETDiffusionLib.volumes.dicom_files import is_dicom_file

# A tree with more files than this is an archive, not the export of a study; a search ends there.
SEARCHED_FILES = 20_000


def lacks_slices(headers: Sequence[Dataset]) -> bool:
    """Whether a series has fewer slice positions than it states (NumberOfSlices), or parts of a concatenation only."""
    places = {str(header.get("ImagePositionPatient")) for header in headers}
    parts = {header.get("InConcatenationNumber") for header in headers} - {None}
    stated = max(int(header.get("NumberOfSlices") or 0) for header in headers)
    return len(places) < stated or len(parts) < max(int(h.get("InConcatenationTotalNumber") or 0) for h in headers)


def states_its_slices(headers: Sequence[Dataset]) -> bool:
    """Whether a series says how many slices it has."""
    return any(header.get("NumberOfSlices") or header.get("NumberOfFrames") for header in headers)


def files_elsewhere(series_uid: str, folder: Path, known: set[Path]) -> list[Path]:
    """Files of a series that lie near `folder`: below it, or below the folders beside it."""
    top = folder if folder.parent == folder.parent.parent else folder.parent
    near = (file for file in islice(_files(top), SEARCHED_FILES) if file not in known)
    return sorted(file for file in near if _series_of(file) == series_uid)


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place) / name for name in names)


def _series_of(file: Path) -> str | None:
    try:
        if not is_dicom_file(file):
            return None
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"], force=True)
        return str(header.get("SeriesInstanceUID", "")) or None
    except Exception:
        # A file that nobody asked for, and that cannot be read, is not part of the series.
        return None
