"""The hash of an input covers every file that the input is read from, and nothing but names and contents."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from PETDiffusionLib.jobs.document import Job
from PETDiffusionLib.jobs.input_files import SINOGRAM_PARTS
from PETDiffusionLib.jobs.manifest import describe_input, make_manifest, package_versions
from PETDiffusionLib.sinograms.files import ADDITIVE, FACTOR_FILES, PROMPTS
from PETDiffusionLib.volumes import read_volume, write_volume


def test_a_file_has_its_own_hash(small_pet: Path) -> None:
    expected = {"name": "pet.nrrd", "sha256": hashlib.sha256(small_pet.read_bytes()).hexdigest()}
    assert describe_input(small_pet) == expected


def test_a_folder_has_one_hash_that_follows_names_and_contents(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "series", tmp_path / "b" / "series"
    first.mkdir(parents=True)
    for number in range(3):
        (first / f"{number}.dcm").write_bytes(bytes([number]))
    shutil.copytree(first, second)
    assert describe_input(first) == describe_input(second) and describe_input(first)["files"] == 3
    (second / "2.dcm").write_bytes(b"x")
    assert describe_input(first)["sha256"] != describe_input(second)["sha256"]


def test_a_detached_headers_hash_covers_its_data(small_pet: Path) -> None:
    write_volume(read_volume(small_pet), small_pet.with_name("detached.mhd"))
    before = describe_input(small_pet.with_name("detached.mhd"))
    data = next(small_pet.parent.glob("detached.*raw"))
    data.write_bytes(data.read_bytes()[::-1])
    assert describe_input(small_pet.with_name("detached.mhd")) != before and before["files"] == 2


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("scan.nhdr", "NRRD0004\ndata file: ./other.raw.gz\n"),
        ("scan.hdr", "!INTERFILE  :=\nname of data file := other.raw.gz\n"),
        ("scan.hs", "!INTERFILE :=\r\n!name of data file:=other.raw.gz\r\n"),
        ("scan.mhd", "NDims = 3\nElementDataFile = other.raw.gz\n"),
    ],
)
def test_data_of_another_name_are_found_in_the_header(header: str, line: str, tmp_path: Path) -> None:
    (tmp_path / header).write_bytes(line.encode())
    (tmp_path / "other.raw.gz").write_bytes(b"first")
    before = describe_input(tmp_path / header)
    (tmp_path / "other.raw.gz").write_bytes(b"second")
    assert before["files"] == 2 and describe_input(tmp_path / header)["sha256"] != before["sha256"]


def test_data_in_another_folder_are_hashed_too(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "headers").mkdir()
    (tmp_path / "raw" / "scan.raw").write_bytes(b"first")
    for data in ("../raw/scan.raw", tmp_path / "raw" / "scan.raw"):
        (tmp_path / "headers" / "scan.nhdr").write_text(f"NRRD0004\ndata file: {data}\n")
        assert describe_input(tmp_path / "headers" / "scan.nhdr")["files"] == 2


def test_the_parts_of_a_sinogram_folder_are_those_that_are_read() -> None:
    assert {*SINOGRAM_PARTS} == {PROMPTS, *FACTOR_FILES.values(), ADDITIVE}


def test_the_manifest_names_no_folder(tmp_path: Path) -> None:
    series = tmp_path / "Doe^Jane"
    series.mkdir()
    (series / "0.dcm").write_bytes(b"x")
    job = Job("denoise", {"image": series}, {"image": tmp_path / "out.nrrd"}, {"model": str(tmp_path / "mine.json")})
    manifest = json.dumps(make_manifest(job, {"image": describe_input(series)}, {}, {}))
    assert "Doe" not in manifest and str(tmp_path) not in manifest and '"mine.json"' in manifest


def test_one_slice_stands_for_its_series(shared_data: Path, tmp_path: Path) -> None:
    slices = sorted((shared_data / "wb_fdg_ge_STS_001").rglob("*.dcm"))[:3]
    if len(slices) < 3:
        pytest.skip("the DICOM series is not there")
    for path in slices:
        shutil.copy(path, tmp_path)
    assert describe_input(tmp_path / slices[0].name)["files"] == 3


def test_a_package_that_is_not_installed_has_no_version() -> None:
    versions = package_versions(("numpy", "surely-not-installed-package"))
    assert versions["numpy"] and versions["surely-not-installed-package"] is None
