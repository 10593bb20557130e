"""Commands that run a job: one a kind of method, made from what the methods declare; `run` reads it from a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from PETDiffusionLib.cli.arguments import UNITS, add_dose_arguments, add_option, add_stated_unit
from PETDiffusionLib.cli.terminal import TerminalReporter
from PETDiffusionLib.jobs import CancelWatch, Job, JsonLinesReporter, Reporter, run_job
from PETDiffusionLib.jobs.runner import report_failure
from PETDiffusionLib.methods.catalogue import FIELDS, METHODS, Method
from PETDiffusionLib.methods.catalogue.rules import STATED_SUV

KINDS = {
    "denoise": "denoise a PET volume",
    "restore-sinogram": "restore a low-dose sinogram",
    "reconstruct": "reconstruct a volume from a sinogram",
}


def add_commands(commands: Any) -> None:
    """Add this file's commands to the parser."""
    for kind, words in KINDS.items():
        methods = {name: method for name, method in METHODS.items() if method.kind == kind}
        if methods:
            parser = commands.add_parser(kind, help=words, description=f"{words[0].upper()}{words[1:]}.")
            _add_method_arguments(parser, methods)
            parser.set_defaults(run=_run_method)

    run = commands.add_parser(
        "run",
        help="run a job from its JSON document",
        description="Run a job: events as JSON lines on standard output; a line 'cancel' on standard input, "
        "or its end when it is a pipe, stops the job.",
    )
    run.add_argument("job", metavar="JOB.json", type=Path)
    run.set_defaults(run=_run_file)


def _add_method_arguments(parser: argparse.ArgumentParser, methods: dict[str, Method]) -> None:
    """The arguments of all methods of a kind; what a method has not is refused when the job is made."""
    first = next(iter(methods))
    titles = "; ".join(f"{name}: {method.title}" for name, method in methods.items())
    parser.add_argument("--method", choices=tuple(methods), default=first, help=f"{titles} (default: {first})")
    (main_input, input_file), *inputs = _merged(method.inputs for method in methods.values())
    (main_output, output_file), *outputs = _merged(method.outputs for method in methods.values())
    parser.add_argument("input", metavar="INPUT", type=Path, help=input_file[0].help)
    parser.add_argument("output", metavar="OUTPUT", type=Path, help=output_file[0].help)
    for role, files in (*inputs, *outputs):
        parser.add_argument("--" + role.replace("_", "-"), type=Path, metavar="PATH", help=files[0].help)
    options = dict(_merged(method.rules for method in methods.values()))
    for name in options:
        if name not in STATED_SUV:
            rules = {key: method.rules[name] for key, method in methods.items() if name in method.rules}
            add_option(parser, name, rules, methods)
    for name, rule in FIELDS.items():
        add_option(parser, name, {name: rule})
    parser.add_argument("--json", action="store_true", help="events as JSON lines on standard output")
    if "unit" in options:
        add_stated_unit(parser, "--unit")
        add_dose_arguments(parser)
    parser.set_defaults(
        inputs={main_input: "input", **{role: role for role, _ in inputs}},
        outputs={main_output: "output", **{role: role for role, _ in outputs}},
        options=tuple(options),
    )


def _merged(tables: Iterable[Any]) -> list[tuple[str, list[Any]]]:
    """What several tables have under each of their names, in the order of the names."""
    merged: dict[str, list[Any]] = {}
    for name, value in chain.from_iterable(table.items() for table in tables):
        merged.setdefault(name, []).append(value)
    return list(merged.items())


def _run_method(arguments: argparse.Namespace) -> int:
    def given(names: dict[str, str]) -> dict[str, Any]:
        values = {name: getattr(arguments, argument) for name, argument in names.items()}
        return {name: value for name, value in values.items() if value is not None}

    def make_job() -> Job:
        options = given({name: name for name in arguments.options})
        if "unit" in options:
            options["unit"] = UNITS[options["unit"]]
        fields = given({name: name for name in FIELDS})
        return Job(arguments.method, given(arguments.inputs), given(arguments.outputs), options, **fields)

    reporter: Reporter = JsonLinesReporter(sys.stdout) if arguments.json else TerminalReporter()
    return _run(make_job, reporter, CancelWatch())


def _run_file(arguments: argparse.Namespace) -> int:
    watch = CancelWatch()
    watch.watch_pipe()
    return _run(lambda: Job.load(arguments.job), JsonLinesReporter(sys.stdout), watch)


def _run(make_job: Callable[[], Job], reporter: Reporter, watch: CancelWatch) -> int:
    """Make the job and run it. Returns the exit status of the program."""
    watch.watch_signals()
    try:
        job = make_job()
    except Exception as error:
        return report_failure(error, reporter)
    return run_job(job, reporter, watch)
