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
from PETDiffusionLib.volumes.scattered import files_elsewhere, lacks_slices, states_its_slices

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
# What ImageType calls images that show slices: views of a volume and pictures of a screen.
PICTURES = ("LOCALIZER", "MIP", "MAXIMUM INTENSITY PROJECTION", "REPROJECTION", "SCREEN SAVE")
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
    attenuation_corrected: bool | None

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        about = " ".join(part for part in (self.modality, f"'{self.description}'", self.units) if part)
        corrected = {True: ", attenuation corrected", False: ", not attenuation corrected", None: ""}
        return (
            f"{about}, {self.slices} slices{corrected[self.attenuation_corrected]}, "
            f"{self.series_uid} (for example {self.first_file})"
        )


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
    files, warnings = _slices_only(files)
    if path.is_dir() and lacks_slices(files):
        warnings += _elsewhere(path, files)
    _check_pet(path, files)
    check_concatenation(files, f"The series in '{path}'")
    headers = [header for file in files for header in (frame_headers(file) if is_enhanced(file) else [file])]
    slices, found = without_copies(headers)
    return PetSeries(slices, warnings + found)


def _slices_only(files: Sequence[Dataset]) -> tuple[list[Dataset], list[str]]:
    """The files of a series without the pictures made of it (captures, localisers, projections), and what was left."""
    pictures = [file for file in files if _is_picture(file)]
    if not pictures or len(pictures) == len(files):
        return list(files), []
    return [file for file in files if not _is_picture(file)], [
        f"{len(pictures)} pictures (screen captures, localisers or projections) among the slices were left out, "
        f"for example '{pictures[0].filename}'."
    ]


def _is_picture(header: Dataset) -> bool:
    """Whether an image shows slices instead of being one."""
    types = header.get("ImageType") or []
    kinds = header.get("SeriesType") or []
    return (
        "Secondary Capture" in UID(header.SOPClassUID).name
        or int(header.get("SamplesPerPixel") or 1) > 1
        or any(str(value).upper() in PICTURES for value in ([types] if isinstance(types, str) else types))
        or (not isinstance(kinds, str) and "REPROJECTION" in list(kinds))
    )


def _elsewhere(folder: Path, files: Sequence[Dataset]) -> list[str]:
    """A sentence on where the rest of an incomplete series lies, if it lies near."""
    known = {Path(file.filename) for file in files}
    rest = files_elsewhere(str(files[0].SeriesInstanceUID), folder, known)
    rest = [file for file in rest if folder not in file.parents]
    if not rest:
        return []
    return [
        f"{len(rest)} more files of the series lie in '{rest[0].parent}'; "
        "give one file of the series instead of a folder to read all of them."
    ]


def image_series(files: Iterable[Path]) -> dict[str, list[Dataset]]:
    """Headers of the DICOM images among `files` by SeriesInstanceUID; RTSTRUCT, reports and the like are left out."""
    series: dict[str, list[Dataset]] = {}
    for file in files:
        if not is_dicom_file(file):
            _refuse_a_stump(file)
            continue
        header = read_header(file)
        if _is_directory(header):
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
    """The series of one file: from the files beside it and, where slices are lacking, from the folders near by.

    A DICOMDIR stands for the folder that it is the table of contents of.
    """
    if not is_dicom_file(path):
        raise PETDiffusionError("bad-file", f"'{path}' is not a DICOM file. Give a DICOM file or a folder of them.")
    header = read_header(path)
    if _is_directory(header):
        return image_series(_files_below(path.parent))
    uid = str(header.get("SeriesInstanceUID", ""))
    files = image_series(sorted(path.parent.iterdir())).get(uid, [])
    if files and (lacks_slices(files) or not states_its_slices(files)):
        known = {Path(file.filename) for file in files}
        files += image_series(files_elsewhere(uid, path.parent, known)).get(uid, [])
    return {uid: files} if files else {}


def _is_directory(header: Dataset) -> bool:
    """Whether a file is a DICOMDIR."""
    return header.file_meta.get("MediaStorageSOPClassUID") == DICOMDIR_CLASS or "DirectoryRecordSequence" in header


def _summary(uid: str, headers: Sequence[Dataset]) -> SeriesSummary:
    first = headers[0]
    return SeriesSummary(
        series_uid=uid,
        modality=str(first.get("Modality", "unknown")),
        description=str(first.get("SeriesDescription", "")),
        units=str(first.get("Units", "")),
        slices=sum(int(header.get("NumberOfFrames") or 1) for header in headers),
        first_file=str(first.filename),
        attenuation_corrected=_attenuation_corrected(first),
    )


def _attenuation_corrected(header: Dataset) -> bool | None:
    """Whether attenuation was corrected for; None where the header does not say."""
    if header.get("AttenuationCorrected"):
        return bool(header.AttenuationCorrected == "YES")
    done = header.get("CorrectedImage")
    return ("ATTN" in done) if done else None


def _mixed(path: Path, series: dict[str, list[Dataset]]) -> PETDiffusionError:
    summaries = [_summary(uid, headers) for uid, headers in series.items()]
    listing = "; ".join(f"({number}) {summary}" for number, summary in enumerate(summaries, start=1))
    if all(summary.modality != "PT" for summary in summaries):
        return PETDiffusionError("not-pet", f"A PET series is expected, '{path}' holds none: {listing}.")
    return PETDiffusionError(
        "mixed-series",
        f"One PET series is expected, '{path}' holds {len(series)} series: {listing}. "
        f"{_FRAMES_ADVICE if _look_like_frames(list(series.values())) else ''}"
        "Give the folder of one series, or one file of the series that is meant.",
    )


_FRAMES_ADVICE = (
    "They look like the frames of one acquisition, a series each; as each may be corrected for decay to a moment of "
    "its own, they are read one at a time. "
)


def _look_like_frames(series: Sequence[Sequence[Dataset]]) -> bool:
    """Whether series lie on the same slices of one frame of reference and differ in when they were measured."""
    places = {frozenset(str(header.get("ImagePositionPatient")) for header in headers) for headers in series}
    alike = {
        tuple(str(headers[0].get(tag)) for tag in ("Modality", "FrameOfReferenceUID", "Units", "CorrectedImage"))
        for headers in series
    }
    times = {str(headers[0].get("AcquisitionTime")) for headers in series}
    return len(places) == len(alike) == 1 and len(times) == len(series)


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
