"""The command line: quick to answer, one sentence where something is wrong, and every command as documented."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PETDiffusionLib.cli import build_parser
from PETDiffusionLib.cli.terminal import clock_time
from PETDiffusionLib.methods.catalogue import METHODS
from PETDiffusionLib.volumes import Volume, read_volume, write_volume

HEAVY = ("torch", "numpy", "SimpleITK", "skimage", "scipy", "pydicom", "tqdm", "PIL")


def test_help_imports_nothing_heavy_and_is_quick(engine_environment: dict[str, str]) -> None:
    code = (
        "import sys, contextlib, io, PETDiffusionLib.cli as cli\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): cli.main(['--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=engine_environment)
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - started < 5  # 0.2 s on an idle machine; generous, so that a busy one passes


def test_every_command_has_help() -> None:
    parser = build_parser()
    commands = re.findall(r"^    ([\w-]+)(?:  |$)", parser.format_help(), flags=re.MULTILINE)
    volumes = {"denoise", "suv", "convert", "evaluate"}
    sinograms = {"reconstruct", "restore-sinogram", "histogram"}
    assert volumes | sinograms | {"run", "simulate", "models", "info", "train"} == set(commands)
    assert "research use only" in parser.format_help()


def test_no_command_and_an_unknown_one_are_refused(petdiffusion) -> None:
    for arguments in ([], ["paint"], ["denoise"], ["models"]):
        done = petdiffusion(*arguments)
        assert done.returncode == 2 and done.stderr.startswith("usage:") and "Traceback" not in done.stderr


def test_suv_prints_the_factor_and_every_fact(petdiffusion, shared_data: Path) -> None:
    folder = shared_data / "wb_fdg_ge_STS_001"
    text = petdiffusion("suv", folder)
    assert text.returncode == 0 and "0.000242903" in text.stdout and "SUVbw" in text.stdout
    facts = json.loads(petdiffusion("suv", folder, "--json").stdout)
    assert facts["suv_factor"] == pytest.approx(2.42903e-4, rel=1e-5)
    assert facts["weight_kg"] and facts["dose_mbq"] and facts["half_life_s"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_convert_writes_every_format_on_the_same_grid(petdiffusion, small_pet: Path, suffix: str) -> None:
    output = small_pet.with_name(f"out{suffix}")
    done = petdiffusion("convert", small_pet, output)
    assert done.returncode == 0, done.stderr
    before, after = read_volume(small_pet), read_volume(output)
    assert after.unit == "suvbw" and np.array_equal(before.array, after.array)
    assert after.image.GetSpacing() == pytest.approx(before.image.GetSpacing())
    assert after.image.GetOrigin() == pytest.approx(before.image.GetOrigin())


def test_convert_to_bqml_and_back_is_the_same(petdiffusion, small_pet: Path) -> None:
    facts = ("--weight-kg", 70, "--dose-mbq", 350, "--minutes", 0)
    activity, back = small_pet.with_name("activity.mha"), small_pet.with_name("back.mha")
    assert petdiffusion("convert", small_pet, activity, "--unit", "bqml", *facts).returncode == 0
    assert petdiffusion("convert", activity, back, "--unit", "suv", *facts).returncode == 0
    suv, bqml = read_volume(small_pet).array, read_volume(activity).array
    np.testing.assert_allclose(bqml, suv * 350e6 / 70e3, rtol=1e-5)
    np.testing.assert_allclose(read_volume(back).array, suv, rtol=1e-5)


def test_convert_decays_by_the_half_life_that_is_stated(petdiffusion, small_pet: Path) -> None:
    facts = ("--weight-kg", 70, "--dose-mbq", 140, "--minutes", 67.7, "--half-life-minutes", 67.7)
    activity = small_pet.with_name("gallium.mha")
    assert petdiffusion("convert", small_pet, activity, "--unit", "bqml", *facts).returncode == 0
    np.testing.assert_allclose(read_volume(activity).array, read_volume(small_pet).array * 70e6 / 70e3, rtol=1e-5)


def test_convert_of_a_volume_without_unit_asks_for_it(petdiffusion, small_pet: Path) -> None:
    plain = small_pet.with_name("plain.nii.gz")
    sitk.WriteImage(sitk.ReadImage(str(small_pet)), str(plain))
    without = petdiffusion("convert", plain, small_pet.with_name("a.mha"), "--unit", "suv")
    assert without.returncode == 2 and "--input-unit suv" in without.stderr
    stated = petdiffusion("convert", plain, small_pet.with_name("b.mha"), "--unit", "suv", "--input-unit", "suv")
    assert stated.returncode == 0 and read_volume(small_pet.with_name("b.mha")).unit == "suvbw"


def test_convert_overwrites_only_when_asked_and_never_its_input(petdiffusion, small_pet: Path) -> None:
    content = small_pet.read_bytes()
    output = small_pet.with_name("out.nrrd")
    output.write_bytes(b"precious")
    assert petdiffusion("convert", small_pet, output).returncode == 2 and output.read_bytes() == b"precious"
    manifest = small_pet.with_name("out.nrrd.manifest.json")
    manifest.write_text("{}")
    assert petdiffusion("convert", small_pet, output, "--overwrite").returncode == 0
    assert not manifest.exists()  # it was of what stood there before
    assert (
        petdiffusion("convert", small_pet, small_pet, "--overwrite").returncode == 2
        and small_pet.read_bytes() == content
    )


def test_the_values_beside_an_mhd_header_are_not_overwritten_either(petdiffusion, small_pet: Path) -> None:
    small_pet.with_name("out.raw").write_bytes(b"precious")
    done = petdiffusion("convert", small_pet, small_pet.with_name("out.mhd"))
    assert done.returncode == 2 and "out.raw" in done.stderr
    assert small_pet.with_name("out.raw").read_bytes() == b"precious"


def test_evaluate_prints_and_writes_the_figures_and_the_picture(petdiffusion, small_pet: Path) -> None:
    volume = read_volume(small_pet)
    write_volume(volume.with_array(volume.array * np.float32(1.1)), small_pet.with_name("ten-percent-up.nrrd"))
    labels = volume.with_array((volume.array > 3).astype(np.float32))
    sitk.WriteImage(sitk.Cast(labels.image, sitk.sitkUInt8), str(small_pet.with_name("labels.nii.gz")))
    report, picture = small_pet.with_name("report.json"), small_pet.with_name("picture.png")
    arguments = ["--labels", small_pet.with_name("labels.nii.gz"), "--json", report, "--picture", picture]
    done = petdiffusion("evaluate", small_pet, small_pet.with_name("ten-percent-up.nrrd"), *arguments)
    assert done.returncode == 0, done.stderr
    assert "PSNR" in done.stdout and "SUVpeak" in done.stdout
    figures = json.loads(report.read_text())
    assert figures["labels"][0]["suvmean"]["bias_percent"] == pytest.approx(10, abs=1e-3)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_evaluate_overwrites_only_when_asked_and_never_a_volume(petdiffusion, small_pet: Path) -> None:
    content, report = small_pet.read_bytes(), small_pet.with_name("report.json")
    report.write_text("precious")
    judge = ("evaluate", small_pet, small_pet)
    assert petdiffusion(*judge, "--json", report).returncode == 2 and report.read_text() == "precious"
    assert petdiffusion(*judge, "--picture", small_pet, "--overwrite").returncode == 2
    assert petdiffusion(*judge, "--json", report, "--picture", report, "--overwrite").returncode == 2
    assert small_pet.read_bytes() == content and report.read_text() == "precious"
    assert petdiffusion(*judge, "--json", report, "--overwrite").returncode == 0


def test_evaluate_on_different_grids_writes_nothing(petdiffusion, small_pet: Path) -> None:
    small = small_pet.with_name("small.nrrd")
    write_volume(Volume(sitk.ReadImage(str(small_pet))[:20, :, :], "suvbw"), small)
    done = petdiffusion("evaluate", small_pet, small, "--json", small_pet.with_name("report.json"))
    assert done.returncode == 2 and done.stderr.startswith("petdiffusion: ")
    assert {path.name for path in small_pet.parent.iterdir()} == {"pet.nrrd", "small.nrrd"}


def test_models_are_listed_shown_and_located(petdiffusion, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PETDIFFUSION_MODELS", str(tmp_path))
    assert petdiffusion("models", "path").stdout.splitlines()[-1] == str(tmp_path)
    for line in petdiffusion("models", "list").stdout.splitlines():
        shown = petdiffusion("models", "show", line.split()[0])
        assert json.loads(shown.stdout)["id"] == line.split()[0]
    unknown = petdiffusion("models", "show", "nothing")
    assert unknown.returncode == 2 and 'no model "nothing"' in unknown.stderr


def test_info_says_what_is_installed(petdiffusion) -> None:
    info = json.loads(petdiffusion("info", "--json").stdout)
    assert {"engine", "python", "torch", "devices", "parallelproj", "methods", "models", "models_folder"} <= set(info)
    assert "cpu" in info["devices"] and info["missing"] == []
    assert [method["id"] for method in info["methods"]] == list(METHODS) and info["methods"][0]["models"]
    assert petdiffusion("info").returncode == 0


def test_info_works_where_torch_is_missing(tmp_path: Path, petdiffusion_process, engine_environment) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('a broken installation')")
    path = f"{tmp_path}:{engine_environment['PYTHONPATH']}"
    done = petdiffusion_process("info", "--json", env={**engine_environment, "PYTHONPATH": path})
    info = json.loads(done.stdout)
    assert done.returncode == 0 and info["devices"] == [] and info["methods"] == []


def test_info_lists_the_methods_where_only_what_writes_results_is_missing(
    tmp_path: Path, petdiffusion_process, engine_environment
) -> None:
    (tmp_path / "filelock.py").write_text("raise ImportError('not installed yet')")
    path = f"{tmp_path}:{engine_environment['PYTHONPATH']}"
    done = petdiffusion_process("info", "--json", env={**engine_environment, "PYTHONPATH": path})
    assert done.returncode == 0 and [method["id"] for method in json.loads(done.stdout)["methods"]] == list(METHODS)


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "0:07"), (754, "12:34"), (3723, "1:02:03")])
def test_time_left_reads_like_a_clock(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text
