"""Results that appear together: what stands in their places when publishing fails half way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
