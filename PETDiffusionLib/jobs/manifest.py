"""The manifest beside a result: what made it, from what, with which versions; no folder's name in it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from PETDiffusionLib import __version__
from PETDiffusionLib.jobs.document import Job
from PETDiffusionLib.jobs.input_files import with_data

RESEARCH_USE = "For research use only. Not a medical device; not for diagnosis or treatment."
PACKAGES = ("torch", "numpy", "SimpleITK")


def manifest_path(image: Path) -> Path:
    """Where the manifest of an output lies."""
    return image.with_name(image.name + ".manifest.json")


def package_versions(names: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """The installed versions, None for what is not installed. Nothing is imported."""
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def file_sha256(path: Path) -> str:
    """The sha256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def describe_input(path: Path) -> dict[str, Any]:
    """Name and sha256 of an input; of several files it is the hash of their names and hashes, in order of name."""
    files = _files_of(path)
    if files == [path]:
        return {"name": path.name, "sha256": file_sha256(path)}
    folder = path if path.is_dir() else path.parent
    name = {} if path.is_dir() else {"name": path.name}  # a folder of DICOM may bear the patient's
    listing = "".join(f"{file_sha256(file)}  {_listed(file, folder)}\n" for file in files)
    digest = hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    return {**name, "files": len(files), "sha256": digest}


def _listed(file: Path, folder: Path) -> str:
    """A file as a listing names it: below the folder, or by its name alone where a header names data elsewhere."""
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name


def _files_of(path: Path) -> list[Path]:
    """The files an input is read from: those of a folder or beside a DICOM slice, a detached header and its data."""
    from PETDiffusionLib.volumes.dicom_files import is_dicom_file

    if path.is_dir():
        found = path.rglob("*")
    elif is_dicom_file(path):
        found = path.parent.iterdir()
    else:
        return sorted(with_data(path))
    return sorted(file for file in found if file.is_file() and not file.name.startswith("."))


def make_manifest(
    job: Job, inputs: Mapping[str, Any], summary: Mapping[str, Any], timings_s: Mapping[str, float]
) -> dict[str, Any]:
    """The manifest of a finished job; `inputs` are the descriptions taken before it ran."""
    document = job.to_json()
    document["inputs"] = {role: inputs[role].get("name", "a folder") for role in job.inputs}
    document["outputs"] = {role: path.name for role, path in job.outputs.items()}
    if document["options"].get("model"):  # an id, or the path of a card
        document["options"]["model"] = Path(document["options"]["model"]).name
    return {
        "notice": RESEARCH_USE,
        "job": document,
        "inputs": dict(inputs),
        "versions": {"PETDiffusionLib": __version__, "python": platform.python_version(), **package_versions()},
        "summary": dict(summary),
        "timings_s": dict(timings_s),
    }
