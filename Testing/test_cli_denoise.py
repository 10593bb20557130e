"""Denoising and simulating from the command line, with a small denoiser that was never trained."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PETDiffusionLib.methods.catalogue import METHODS
from PETDiffusionLib.simulation import PHANTOMS, simulate_study
from PETDiffusionLib.simulation.scanners import SCANNERS
from PETDiffusionLib.simulation.tracers import TRACERS
from PETDiffusionLib.volumes import read_volume, write_volume


@pytest.fixture
def denoise(petdiffusion, small_pet: Path, untrained_model: Path):
    """Denoise the small volume into a file of the given name, with further options."""

    def run(output: str, *options: object, source: Path = small_pet):
        return petdiffusion("denoise", source, output, "--model", untrained_model, "--preset", "fast", *options)

    return run


def test_denoise_writes_image_uncertainty_and_manifest_on_the_inputs_grid(denoise, small_pet: Path) -> None:
    done = denoise("out.nrrd", "--samples", 2, "--uncertainty", "sd.nrrd", "--seed", 3)
    assert done.returncode == 0, done.stderr
    given = sitk.ReadImage(str(small_pet))
    for name in ("out.nrrd", "sd.nrrd"):
        image = sitk.ReadImage(str(small_pet.with_name(name)))
        assert image.GetSize() == given.GetSize() and image.GetOrigin() == given.GetOrigin()
        assert image.GetSpacing() == given.GetSpacing() and image.GetDirection() == given.GetDirection()
    manifest = json.loads(small_pet.with_name("out.nrrd.manifest.json").read_text())
    assert manifest["inputs"]["image"]["sha256"] == hashlib.sha256(small_pet.read_bytes()).hexdigest()
    assert manifest["summary"]["model"] == "untrained" and len(manifest["summary"]["model_sha256"]) == 64
    assert manifest["job"]["seed"] == 3 and manifest["timings_s"]["Denoising"] >= 0
    assert {path.name for path in small_pet.parent.iterdir()} == {
        "pet.nrrd",
        "out.nrrd",
        "sd.nrrd",
        "out.nrrd.manifest.json",
    }


def test_denoise_keeps_the_activity_and_repeats_itself(denoise, small_pet: Path) -> None:
    for name in ("one.nrrd", "two.nrrd"):
        assert denoise(name, "--seed", 1).returncode == 0
    given, one, two = (read_volume(small_pet.with_name(name)).array for name in ("pet.nrrd", "one.nrrd", "two.nrrd"))
    assert np.array_equal(one, two)
    assert one.sum() == pytest.approx(given.sum(), rel=0.02)


def test_denoise_with_json_and_run_say_the_same(denoise, petdiffusion, small_pet: Path, untrained_model: Path) -> None:
    events = [json.loads(line) for line in denoise("a.nrrd", "--json").stdout.splitlines()]
    assert events[0] == {"event": "stage", "stage": "Preparing"} and events[-1]["event"] == "result"
    job = {
        "schema": 1,
        "method": "denoise",
        "inputs": {"image": "pet.nrrd"},
        "outputs": {"image": "b.nrrd"},
        "options": {"preset": "fast", "model": str(untrained_model)},
    }
    small_pet.with_name("job.json").write_text(json.dumps(job))
    assert petdiffusion("run", "job.json").returncode == 0
    assert np.array_equal(*(read_volume(small_pet.with_name(name)).array for name in ("a.nrrd", "b.nrrd")))


def test_denoise_of_activity_needs_and_takes_the_patients_facts(denoise, small_pet: Path) -> None:
    volume = read_volume(small_pet)
    activity = small_pet.with_name("activity.nii.gz")
    write_volume(volume.with_array(volume.array * np.float32(5000), "bqml"), activity)
    assert "--weight-kg" in denoise("out.nrrd", source=activity).stderr
    done = denoise("out.nrrd", "--weight-kg", 70, "--dose-mbq", 350, "--minutes", 0, source=activity)
    assert done.returncode == 0, done.stderr
    assert read_volume(small_pet.with_name("out.nrrd")).unit == "suvbw"


def test_denoise_on_the_models_grid(denoise, small_pet: Path) -> None:
    assert denoise("out.nrrd", "--grid", "model").returncode == 0
    assert read_volume(small_pet.with_name("out.nrrd")).voxel_size_mm == pytest.approx((1.65, 1.65, 1.65))


def test_the_presets_offered_are_those_of_the_methods(petdiffusion) -> None:
    said = " ".join(petdiffusion("denoise", "--help").stdout.split())
    methods = [method for method in METHODS.values() if method.kind == "denoise"]
    names = dict.fromkeys(name for method in methods for name in method.presets)
    assert "{" + ",".join(names) + "}" in said and "best" in names and "published" in names


def test_simulate_help_names_every_phantom_scanner_and_tracer(petdiffusion) -> None:
    said = " ".join(petdiffusion("simulate", "--help").stdout.split())
    assert all(name in said for name in (*PHANTOMS, *SCANNERS, *TRACERS))


@pytest.mark.parametrize("options", [("--names", "x.tsv"), ("--ct", "x.nii"), ("--tracer", "dotatate")])
def test_simulate_refuses_what_a_phantom_does_not_take(petdiffusion, tmp_path: Path, options) -> None:
    done = petdiffusion("simulate", tmp_path / "study", "--phantom", "nema-iq", *options)
    assert done.returncode == 2 and options[0] in done.stderr
    assert not (tmp_path / "study").exists()


def test_activity_that_few_counts_lose_is_said() -> None:
    with pytest.warns(UserWarning, match="OSEM keeps"):
        study = simulate_study("nema-iq", 20_000, scanner="whole-body-4.7")
    assert study.facts["activity_kept"] < 0.9 and study.facts["tracer"] is None


@pytest.mark.parametrize(("dose_mbq", "warned"), [(350, False), (350e6, True)])
def test_an_implausible_suv_is_warned_about(denoise, small_pet: Path, dose_mbq: float, warned: bool) -> None:
    volume = read_volume(small_pet)
    activity = small_pet.with_name("activity.nii.gz")
    write_volume(volume.with_array(volume.array * np.float32(5000), "bqml"), activity)
    done = denoise("out.nrrd", "--weight-kg", 70, "--dose-mbq", dose_mbq, "--minutes", 0, source=activity)
    assert done.returncode == 0 and ("check the unit" in done.stderr) == warned
    manifest = json.loads(small_pet.with_name("out.nrrd.manifest.json").read_text())
    assert manifest["summary"]["suv"]["dose_mbq"] == dose_mbq


def test_simulate_makes_a_whole_study_or_none(petdiffusion, tmp_path: Path) -> None:
    arguments = ("simulate", "new/study", "--phantom", "shapes", "--scanner", "long-3.3", "--drf", 20, "--seed", 4)
    done = petdiffusion(*arguments)
    assert done.returncode == 0, done.stderr
    files = {"study.json", "low_dose.nii.gz", "reference.nii.gz", "phantom.nii.gz", "labels.nii.gz"}
    assert {path.name for path in (tmp_path / "new" / "study").iterdir()} == files
    low, reference = (read_volume(tmp_path / "new" / "study" / f"{name}.nii.gz") for name in ("low_dose", "reference"))
    assert low.unit == "suvbw" and low.image.GetSize() == reference.image.GetSize()
    assert 0 < np.abs(low.array - reference.array).mean() < reference.array.max()
    assert json.loads((tmp_path / "new" / "study" / "study.json").read_text())["drf"] == 20
    again = petdiffusion(*arguments)
    assert again.returncode == 2 and "--overwrite" in again.stderr
    assert petdiffusion("simulate", "none/study", "--phantom", "unheard-of").returncode == 2
    assert not (tmp_path / "none").exists()


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A label volume of two blocks, labels.nii.gz, with their names in names.tsv."""
    array = np.zeros((16, 20, 20), np.uint8)
    array[4:12, 4:10, 4:16], array[4:12, 10:16, 4:16] = 1, 2
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((6.0, 6.0, 6.0))
    sitk.WriteImage(image, str(tmp_path / "labels.nii.gz"))
    (tmp_path / "names.tsv").write_text("value\tname\n1\tliver\n2\tspleen\n")
    return tmp_path / "labels.nii.gz"


def test_simulate_refuses_labels_without_names_and_frames(petdiffusion, labels: Path) -> None:
    unnamed = petdiffusion("simulate", "study", "--phantom", labels)
    assert unnamed.returncode == 2 and "--names" in unnamed.stderr
    frames = labels.with_name("frames.nii.gz")
    sitk.WriteImage(sitk.JoinSeries([sitk.ReadImage(str(labels))] * 2), str(frames))
    names = labels.with_name("names.tsv")
    for wrong in (("--phantom", frames), ("--phantom", labels, "--ct", frames)):
        refused = petdiffusion("simulate", "study", "--names", names, *wrong)
        assert refused.returncode == 2 and "A 3D volume is expected" in refused.stderr
    assert not labels.with_name("study").exists()


def test_simulate_takes_the_users_own_uptake(petdiffusion, labels: Path) -> None:
    table = labels.with_name("uptake.csv")
    arguments = ("simulate", "study", "--phantom", labels, "--names", labels.with_name("names.tsv"), "--uptake", table)
    table.write_text("name,SUV\nspleen,9.5\n")
    done = petdiffusion(*arguments)
    assert done.returncode == 0, done.stderr
    names = json.loads(labels.with_name("study").joinpath("study.json").read_text())["label_names"]
    spleen = next(int(value) for value, name in names.items() if name == "spleen")
    there = sitk.GetArrayFromImage(sitk.ReadImage(str(labels.with_name("study") / "labels.nii.gz"))) == spleen
    assert np.median(read_volume(labels.with_name("study") / "phantom.nii.gz").array[there]) == pytest.approx(
        9.5, rel=0.1
    )
    for content, word in {"name,SUV\npancreas,3\n": "pancreas", "name,SUV\nspleen,-3\n": "0 or more"}.items():
        table.write_text(content)
        refused = petdiffusion(*arguments, "--overwrite")
        assert refused.returncode == 2 and word in refused.stderr
