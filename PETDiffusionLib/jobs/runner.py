"""Running a job: checks before work begins, the method, then results and manifest at once."""

from __future__ import annotations

import importlib
import json
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from PETDiffusionLib.errors import Cancelled, PETDiffusionError
from PETDiffusionLib.jobs.document import Job
from PETDiffusionLib.jobs.failures import explain
from PETDiffusionLib.jobs.manifest import describe_input, make_manifest, manifest_path
from PETDiffusionLib.jobs.progress import Progress
from PETDiffusionLib.jobs.reporters import Reporter, plain
from PETDiffusionLib.jobs.staging import Staging

EXIT_OK, EXIT_INTERNAL, EXIT_USER, EXIT_CANCELLED = 0, 1, 2, 130

# A method is a module with DESCRIPTION and run(job, progress, warn) -> summary; imported only when it is needed.
METHODS = {"denoise": "PETDiffusionLib.methods.denoise"}


def run_job(job: Job, reporter: Reporter, is_cancelled: Callable[[], bool]) -> int:
    """Run a job to its end, saying everything through the reporter. Returns the exit status of the program."""
    try:
        _run(job, reporter, is_cancelled)
        return EXIT_OK
    except (Exception, KeyboardInterrupt) as error:
        return report_failure(error, reporter)


def report_failure(error: BaseException, reporter: Reporter) -> int:
    """Say through the reporter what ended the work. Returns the exit status of the program."""
    if isinstance(error, (Cancelled, KeyboardInterrupt)):
        reporter.cancelled()
        return EXIT_CANCELLED
    known = explain(error)
    if known is not None:
        reporter.error(known.code, known.sentence)
        return EXIT_USER
    reporter.log("".join(traceback.format_exception(error)))
    reporter.error("internal", f"Something unexpected went wrong ({type(error).__name__}: {error}). Please report it.")
    return EXIT_INTERNAL


def load_method(name: str) -> ModuleType:
    """The method's module. Raises PETDiffusionError "no-method"."""
    if name not in METHODS:
        raise PETDiffusionError("no-method", f'There is no method "{name}"; the methods are {", ".join(METHODS)}.')
    return importlib.import_module(METHODS[name])


def _run(job: Job, reporter: Reporter, is_cancelled: Callable[[], bool]) -> None:
    progress = Progress(reporter, is_cancelled)
    progress.begin("Preparing")
    _check_files(job)
    with Staging(job.outputs) as staging:
        method = load_method(job.method)
        job = _fit_to_method(job, method.DESCRIPTION)
        _set_threads(job.threads)
        inputs = {role: describe_input(path) for role, path in job.inputs.items()}
        summary: dict[str, Any] = method.run(replace(job, outputs=staging.paths), progress, reporter.warning)
        progress.begin("Writing")
        manifest = make_manifest(job, inputs, summary, progress.finish())
        image = staging.paths["image"]
        manifest_path(image).write_text(json.dumps(plain(manifest), indent=2) + "\n", encoding="utf-8")
        if is_cancelled():
            raise Cancelled
        staging.publish()
    reporter.result(job.outputs, manifest_path(job.outputs["image"]), summary)


def _check_files(job: Job) -> None:
    """Everything about the job's files that can be known before work begins."""
    for role, path in job.inputs.items():
        if not path.exists():
            raise PETDiffusionError(
                "missing-file", f"There is no file or folder '{path}' (the job's {role}). Check the path."
            )
    if "image" not in job.outputs:
        raise PETDiffusionError("bad-job", 'The job cannot be run: "outputs" should name the file of the "image".')
    for path in job.outputs.values():
        check_output(path, list(job.inputs.values()), job.options["overwrite"])
    if len({path.resolve() for path in job.outputs.values()}) < len(job.outputs):
        raise PETDiffusionError("bad-job", "The job cannot be run: two outputs have the same path.")


def check_output(path: Path, inputs: list[Path], overwrite: bool) -> None:
    """Refuse an output volume that would overwrite an input, or (unless `overwrite`) anything, or cannot be written."""
    # Imported here, so that a job can be described and checked without SimpleITK.
    from PETDiffusionLib.volumes.writing import check_writable_name

    check_writable_name(path)
    if any(path.exists() and given.exists() and path.samefile(given) for given in inputs):
        raise PETDiffusionError(
            "overwrites-input", f"'{path}' is an input and is not overwritten. Choose another name."
        )
    if path.exists() and not overwrite:
        raise PETDiffusionError("exists", f"'{path}' exists already. Choose another name or allow overwriting.")


def _fit_to_method(job: Job, description: dict[str, Any]) -> Job:
    """The job with the default preset where none is given; refused if the method has not what it asks."""
    if description["input"] == "volume" and "image" not in job.inputs:
        raise PETDiffusionError("bad-job", 'The job cannot be run: "inputs" should name the "image".')
    for role in job.outputs:
        if role not in description["outputs"]:
            known = ", ".join(description["outputs"])
            raise PETDiffusionError("bad-job", f'{job.method} has no output "{role}"; it has {known}.')
    preset = job.options["preset"] or description["default_preset"]
    presets = [known["id"] for known in description["presets"]]
    if preset not in presets:
        raise PETDiffusionError("bad-job", f'{job.method} has no preset "{preset}"; it has {", ".join(presets)}.')
    return replace(job, options={**job.options, "preset": preset})


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
