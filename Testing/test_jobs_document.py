"""A job document says exactly what it says: round trips, defaults, and a sentence for everything else."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.jobs import Job

COMPLETE = {
    "schema": 1,
    "method": "denoise",
    "inputs": {"image": "in.nii.gz"},
    "outputs": {"image": "out.nii.gz", "uncertainty": "sd.nii.gz"},
    "options": {
        "preset": "balanced",
        "steps": 2,
        "samples": 4,
        "unit": "bqml",
        "weight_kg": 70.5,
        "dose_mbq": 300,
        "minutes": 0,
        "half_life_minutes": 67.7,
        "corrected": True,
        "frames": "3-7",
        "grid": "model",
        "model": "some-model",
        "overwrite": True,
    },
    "device": "cpu",
    "threads": 2,
    "seed": 7,
}


def test_a_complete_document_round_trips() -> None:
    assert Job.from_json(COMPLETE).to_json() == COMPLETE


def test_a_short_document_gets_every_default() -> None:
    short = {"schema": 1, "method": "denoise", "inputs": {"image": "a"}, "outputs": {"image": "b", "uncertainty": None}}
    job = Job.from_json(short)
    assert job.outputs == {"image": Path("b")}
    assert job.options["samples"] is None and job.options["grid"] == "input" and job.options["overwrite"] is False
    assert (job.device, job.threads, job.seed) == ("auto", None, 0)


@given(
    samples=st.integers(1, 1000),
    weight=st.none() | st.floats(min_value=1e-3, max_value=1e6),
    seed=st.integers(0, 2**63 - 1),
    name=st.text(min_size=1, max_size=30).filter(
        lambda text: "/" not in text and "\\" not in text and text not in ".."
    ),
)
def test_any_valid_job_survives_json(samples: int, weight: float | None, seed: int, name: str) -> None:
    options = {"samples": samples, "weight_kg": weight}
    job = Job("denoise", {"image": Path(name)}, {"image": Path("out.nrrd")}, options, seed=seed)
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"schema": 2}, "schema"),
        ({"schema": None}, "schema"),
        ({"methods": "denoise"}, "methods"),
        ({"method": 3}, "method"),
        ({"inputs": ["in.nii.gz"]}, "inputs"),
        ({"inputs": {"image": 3}}, "inputs"),
        ({"outputs": {"image": ""}}, "outputs"),
        ({"options": []}, "options"),
        ({"options": {"sampels": 3}}, "sampels"),
        ({"options": {"samples": 0}}, "samples"),
        ({"options": {"samples": 2.0}}, "samples"),
        ({"options": {"samples": True}}, "samples"),
        ({"options": {"unit": "suv"}}, "unit"),
        ({"options": {"weight_kg": "70"}}, "weight_kg"),
        ({"options": {"weight_kg": -1}}, "weight_kg"),
        ({"options": {"weight_kg": float("nan")}}, "weight_kg"),
        ({"options": {"dose_mbq": 0}}, "dose_mbq"),
        ({"options": {"minutes": -1}}, "minutes"),
        ({"options": {"grid": "mine"}}, "grid"),
        ({"options": {"overwrite": 1}}, "overwrite"),
        ({"device": "tpu"}, "device"),
        ({"threads": 0}, "threads"),
        ({"seed": -1}, "seed"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(change: dict, named: str) -> None:
    document = copy.deepcopy(COMPLETE) | change
    with pytest.raises(PETDiffusionError) as caught:
        Job.from_json(document)
    assert caught.value.code == "bad-job"
    assert f'"{named}"' in caught.value.sentence and "\n" not in caught.value.sentence


@pytest.mark.parametrize("content", ["", "[]", '"text"', "{", '{"schema": 1}'])
def test_a_file_that_is_not_a_job_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(content)
    with pytest.raises(PETDiffusionError, match="cannot be run"):
        Job.load(path)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "nowhere.json", tmp_path, binary):
        with pytest.raises(PETDiffusionError) as caught:
            Job.load(path)
        assert caught.value.code == "bad-job"
