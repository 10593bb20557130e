"""The DICOM series of a folder, and which one of them is the PET."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.copies import without_copies
from PETDiffusionLib.volumes.dicom_files import is_dicom_file, read_header
from PETDiffusionLib.volumes.enhanced import check_concatenation, frame_headers, is_enhanced
from PETDiffusionLib.volumes.headers import tag_name

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
# How sentences call the modalities whose codes say little.
MODALITY_NAMES = {"PT": "PET", "NM": "NM (scintigraphy or SPECT)", "SEG": "SEG (a segmentation)"}


@dataclass(frozen=True)
class SeriesSummary:
    """One image series of a folder, without anything that names the patient."""

    series_uid: str
    modality: str
    description: str
    units: str
    slices: int
    first_file: str

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        about = " ".join(part for part in (self.modality, f"'{self.description}'", self.units) if part)
        return f"{about}, {self.slices} slices, {self.series_uid} (for example {self.first_file})"


def list_series(folder: str | os.PathLike[str]) -> list[SeriesSummary]:
    """The image series below `folder`, PET first, then by size."""
    series = image_series(_files_below(Path(folder)))
    summaries = [_summary(uid, headers) for uid, headers in series.items()]
    return sorted(summaries, key=lambda one: (one.modality != "PT", -one.slices, one.series_uid))


@dataclass(frozen=True)
class PetSeries:
    """The slices of one PET series, in no order, and sentences about what was unusual in its files."""

    headers: list[Dataset]
    warnings: list[str]


def pet_series(path: str | os.PathLike[str]) -> list[Dataset]:
    """The headers of the slices of the one PET series that `find_pet_series` finds."""
    return find_pet_series(path).headers


def find_pet_series(path: str | os.PathLike[str]) -> PetSeries:
    """The one PET series in a folder (and below it), or the series that a DICOM file belongs to.

    Every header has its file in `.filename`. Raises PETDiffusionError:
    "missing-file" (no DICOM images), "mixed-series" (several, listed), "not-pet", "multi-frame", "bad-file".
    """
    path = Path(path)
    if not path.exists():
        raise PETDiffusionError("missing-file", f"There is no file or folder '{path}'. Check the path.")
    series = image_series(_files_below(path)) if path.is_dir() else _series_of_file(path)
    if not series:
        raise PETDiffusionError(
            "missing-file", f"A DICOM PET series is expected, '{path}' holds no DICOM images. Choose another folder."
        )
    if len(series) > 1:
        raise _mixed(path, series)
    (files,) = series.values()
    _check_pet(path, files)
    check_concatenation(files, f"The series in '{path}'")
    headers = [header for file in files for header in (frame_headers(file) if is_enhanced(file) else [file])]
    return PetSeries(*without_copies(headers))


def image_series(files: Iterable[Path]) -> dict[str, list[Dataset]]:
    """Headers of the DICOM images among `files` by SeriesInstanceUID; RTSTRUCT, reports and the like are left out."""
    series: dict[str, list[Dataset]] = {}
    for file in files:
        if not is_dicom_file(file):
            _refuse_a_stump(file)
            continue
        header = read_header(file)
        if header.file_meta.get("MediaStorageSOPClassUID") == DICOMDIR_CLASS or "DirectoryRecordSequence" in header:
            continue
        _check_identity(file, header)
        if "Rows" in header:
            series.setdefault(str(header.SeriesInstanceUID), []).append(header)
    return series


def _refuse_a_stump(file: Path) -> None:
    """A slice that was cut off before DICOM's magic word is no slice to anyone, but its name tells."""
    if file.suffix.lower() == ".dcm" and not file.name.startswith(".") and file.is_file():
        raise PETDiffusionError("bad-file", f"'{file}' is truncated or damaged DICOM. Copy it again, or remove it.")


def _check_identity(file: Path, header: Dataset) -> None:
    """Refuse a header that stops before it says what it belongs to or, in an image, before its pixels."""
    needed = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"]
    if "Image Storage" in UID(header.get("SOPClassUID", "")).name:
        needed += ["Rows", "PixelData"]
    for keyword in needed:
        if keyword not in header:
            raise PETDiffusionError(
                "bad-file", f"'{file}' is truncated or damaged DICOM: it has no {tag_name(keyword)}. Copy it again."
            )


def _files_below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise PETDiffusionError("missing-file", f"There is no folder '{folder}'. Check the path.")
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _series_of_file(path: Path) -> dict[str, list[Dataset]]:
    """The series of one file, gathered from the files beside it."""
    if not is_dicom_file(path):
        raise PETDiffusionError("bad-file", f"'{path}' is not a DICOM file. Give a DICOM file or a folder of them.")
    uid = str(read_header(path).get("SeriesInstanceUID", ""))
    beside = image_series(sorted(path.parent.iterdir()))
    return {uid: beside[uid]} if uid in beside else {}


def _summary(uid: str, headers: Sequence[Dataset]) -> SeriesSummary:
    first = headers[0]
    return SeriesSummary(
        series_uid=uid,
        modality=str(first.get("Modality", "unknown")),
        description=str(first.get("SeriesDescription", "")),
        units=str(first.get("Units", "")),
        slices=sum(int(header.get("NumberOfFrames") or 1) for header in headers),
        first_file=str(first.filename),
    )


def _mixed(path: Path, series: dict[str, list[Dataset]]) -> PETDiffusionError:
    summaries = [_summary(uid, headers) for uid, headers in series.items()]
    listing = "; ".join(f"({number}) {summary}" for number, summary in enumerate(summaries, start=1))
    if all(summary.modality != "PT" for summary in summaries):
        return PETDiffusionError("not-pet", f"A PET series is expected, '{path}' holds none: {listing}.")
    return PETDiffusionError(
        "mixed-series",
        f"One PET series is expected, '{path}' holds {len(series)} series: {listing}. "
        "Give the folder of one series, or one file of the series that is meant.",
    )


def _check_pet(path: Path, headers: Sequence[Dataset]) -> None:
    modality = str(headers[0].get("Modality", "unknown"))
    if modality != "PT":
        found = MODALITY_NAMES.get(modality, modality)
        raise PETDiffusionError(
            "not-pet", f"A PET series (Modality PT) is expected, '{path}' holds {found} instead of PET. Choose the PET."
        )
    other = [header for header in headers if int(header.get("NumberOfFrames") or 1) > 1 and not is_enhanced(header)]
    if other:
        raise PETDiffusionError(
            "multi-frame",
            f"Classic or Enhanced PET is expected, '{other[0].filename}' holds {other[0].NumberOfFrames} frames as "
            f"{UID(other[0].SOPClassUID).name}, which does not say where and when each frame was measured. "
            "Export the PET series itself.",
        )
    if any(int(header.get("SamplesPerPixel") or 1) > 1 for header in headers):
        raise PETDiffusionError(
            "not-pet", f"PET slices are expected, '{path}' holds colour pictures (screen captures). Choose the slices."
        )
