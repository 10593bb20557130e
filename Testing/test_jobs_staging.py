"""Results that appear together: what stands in their places when publishing fails half way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.jobs.staging import Staging


def test_what_was_there_is_put_back_when_publishing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {"image": tmp_path / "image.nrrd", "uncertainty": tmp_path / "sd.nrrd"}
    outputs["uncertainty"].write_text("old")

    def failing(source: Path, place: Path) -> None:
        if place == outputs["image"]:
            raise OSError("no more room")
        rename(source, place)

    rename = os.replace
    with pytest.raises(OSError, match="no more room"), Staging(outputs) as staging:
        for path in staging.paths.values():
            path.write_text("new")
        monkeypatch.setattr(os, "replace", failing)
        staging.publish()
    assert [path.name for path in tmp_path.iterdir()] == ["sd.nrrd"]
    assert outputs["uncertainty"].read_text() == "old"


def test_all_of_it_replaces_what_was_there(tmp_path: Path) -> None:
    outputs = {"image": tmp_path / "image.nrrd", "uncertainty": tmp_path / "sd.nrrd"}
    outputs["image"].write_text("old")
    with Staging(outputs) as staging:
        for path in staging.paths.values():
            path.write_text("new")
        staging.publish()
    assert {path.read_text() for path in outputs.values()} == {"new"}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_second_job_on_the_same_output_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    outputs = {"image": tmp_path / "image.nrrd"}
    with Staging(outputs) as first:
        first.paths["image"].write_text("first")
        with pytest.raises(PETDiffusionError, match=r"image.nrrd is being written by another job"):
            Staging({"other": tmp_path / "other.nrrd", **outputs}).__enter__()
        first.publish()
    assert outputs["image"].read_text() == "first"
    with Staging(outputs) as second:
        second.paths["image"].write_text("second")
        second.publish()
    assert outputs["image"].read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["image.nrrd"]


def test_what_a_killed_job_left_does_not_stand_in_the_way(tmp_path: Path) -> None:
    output = tmp_path / "image.nrrd"
    script = f"""
import os
from pathlib import Path
from PETDiffusionLib.jobs.staging import Staging
staging = Staging({{"image": Path({str(output)!r})}}).__enter__()
staging.paths["image"].write_text("half of it")
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert list(tmp_path.iterdir())  # what it left
    with Staging({"image": output}) as staging:
        staging.paths["image"].write_text("whole")
        staging.publish()
    assert [path.name for path in tmp_path.iterdir()] == ["image.nrrd"]
