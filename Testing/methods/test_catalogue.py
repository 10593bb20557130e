"""What methods declare: light to import, checked in every job, and the same on the command line and in the panel."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from PETDiffusionLib.cli.arguments import add_option
from PETDiffusionLib.cli.job_commands import KINDS
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.jobs import Job
from PETDiffusionLib.methods.catalogue import METHODS, File, Method, Rule

RULES = [pytest.param(rule, id=f"{m.id}.{name}") for m in METHODS.values() for name, rule in m.rules.items()]
RECONSTRUCTION = Method(
    id="made-up",
    title="A reconstruction",
    kind="reconstruct",
    module="nowhere",
    inputs={"sinogram": File("sinogram", "the data", required=True), "attenuation": File("volume", "the mu-map")},
    outputs={"image": File("volume", "the volume", required=True)},
    options={
        "iterations": Rule("whole", "Iterations", "how often", default=4, lowest=1, highest=100),
        "side_mm": Rule("number", "Voxel (mm)", "sides along x, y, z", lowest=0, above=True, count=3),
    },
)


@pytest.fixture
def reconstruction(monkeypatch: pytest.MonkeyPatch) -> Method:
    """A method beside the real ones that takes a sinogram."""
    monkeypatch.setitem(METHODS, RECONSTRUCTION.id, RECONSTRUCTION)
    return RECONSTRUCTION


def test_the_catalogue_imports_nothing_but_python(engine_environment: dict[str, str]) -> None:
    code = "import sys, PETDiffusionLib.methods.catalogue; print({'torch', 'numpy', 'SimpleITK'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=engine_environment)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_can_be_run_and_described(method: Method) -> None:
    assert callable(importlib.import_module(method.module).run)
    assert METHODS[method.id] is method and method.kind in KINDS
    assert next(iter(method.inputs.values())).required and next(iter(method.outputs.values())).required
    assert (method.default_preset in method.presets) if method.presets else method.default_preset is None
    assert json.loads(json.dumps(method.to_json()))["options"]


@pytest.mark.parametrize("rule", RULES)
def test_every_default_is_allowed_and_every_option_has_words(rule: Rule) -> None:
    assert rule.default is None or rule.accepts(rule.default)
    assert rule.title and rule.help and rule.expected


def test_a_job_of_a_sinogram_needs_what_its_method_declares(reconstruction: Method) -> None:
    files = {"inputs": {"sinogram": Path("a.hs")}, "outputs": {"image": Path("a.nrrd")}}
    job = Job("made-up", **files, options={"side_mm": [2, 2, 3.5]})
    assert job.options == {"iterations": 4, "side_mm": [2, 2, 3.5], "overwrite": False}
    wrong = [
        ({"inputs": {"image": Path("a.nrrd")}}, 'no input "image"; it has sinogram, attenuation'),
        ({"inputs": {}}, '"inputs" should name the "sinogram"'),
        ({"outputs": {"uncertainty": Path("b.nrrd")}}, 'no output "uncertainty"'),
        ({"options": {"samples": 3}}, 'no option "samples"; it has iterations, side_mm, overwrite'),
        ({"options": {"side_mm": [2, 2]}}, '"side_mm" should be a list of 3, each a number above 0'),
        ({"options": {"iterations": 101}}, '"iterations" should be a whole number from 1 to 100, but is 101'),
    ]
    for change, sentence in wrong:
        with pytest.raises(PETDiffusionError, match=sentence):
            Job("made-up", **{**files, **change})


def test_the_command_of_a_kind_offers_what_its_methods_declare(reconstruction: Method, petdiffusion) -> None:
    said = petdiffusion("reconstruct", "--help").stdout
    assert "--attenuation PATH" in said and "--iterations N" in said and "osem" in said
    refused = petdiffusion("reconstruct", "a.hs", "b.nrrd", "--method", "made-up", "--side-mm", 2, 0, 3)
    assert refused.returncode == 2 and "above 0" in refused.stderr
    missing = petdiffusion(
        "reconstruct", "a.hs", "b.nrrd", "--method", "made-up", "--side-mm", 2, 2, 3, "--iterations", 3
    )
    assert missing.returncode == 2 and "no file or folder 'a.hs'" in missing.stderr


@given(st.integers(1, 1000), st.floats(1e-3, 1e6))
def test_what_a_rule_accepts_comes_back_from_the_command_line(whole: int, number: float) -> None:
    parser = argparse.ArgumentParser()
    add_option(parser, "some_count", {"m": Rule("whole", "t", "h", lowest=1, highest=1000)})
    add_option(parser, "some_size", {"m": Rule("number", "t", "h", lowest=0, above=True)})
    parsed = parser.parse_args(["--some-count", str(whole), "--some-size", repr(number)])
    assert (parsed.some_count, parsed.some_size) == (whole, number)
    assert parser.parse_args([]).some_count is None


def test_help_says_for_which_methods_an_option_is_and_whose_default_is_which() -> None:
    def helped(rules: dict[str, Rule], methods: str) -> str:
        parser = argparse.ArgumentParser(formatter_class=lambda prog: argparse.HelpFormatter(prog, width=300))
        add_option(parser, "option", rules, methods)
        return parser.format_help().splitlines()[-1].split(maxsplit=2)[2]

    def number(default: float | None, words: str = "how far") -> Rule:
        return Rule("number", "t", words, default)

    assert helped({"a": number(0.0), "b": number(0.0)}, "ab") == "how far (default: 0.0)"
    assert helped({"a": number(1.0), "b": number(None)}, "ab") == "how far (default: 1.0 for a)"
    assert helped({"a": number(1.0), "b": number(2.0)}, "abc") == "how far (not for c; default: 1.0 for a; 2.0 for b)"
    assert helped({"b": number(None, "how (as is)")}, "abc") == "how (as is; only for b)"
    assert helped({"a": number(None), "b": number(None, "how high")}, "ab") == "a: how far; b: how high"
    choices = {key: Rule("choice", "t", "which", "x", choices=("x", key)) for key in "ab"}
    assert helped(choices, "ab") == "which (a: only for a; b: only for b; default: x)"
