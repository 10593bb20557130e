"""Running a job: checks before work begins, the method, then results and manifest at once."""

from __future__ import annotations

import importlib
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PETDiffusionLib.errors import Cancelled, PETDiffusionError
from PETDiffusionLib.jobs.document import Job
from PETDiffusionLib.jobs.failures import explain
from PETDiffusionLib.jobs.input_files import with_data
from PETDiffusionLib.jobs.manifest import describe_input, make_manifest, manifest_path
from PETDiffusionLib.jobs.progress import Progress
from PETDiffusionLib.jobs.reporters import Reporter, plain
from PETDiffusionLib.jobs.staging import Staging

EXIT_OK, EXIT_INTERNAL, EXIT_USER, EXIT_CANCELLED = 0, 1, 2, 130
SINOGRAM_ENDINGS = (".hs",)


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


def _run(job: Job, reporter: Reporter, is_cancelled: Callable[[], bool]) -> None:
    progress = Progress(reporter, is_cancelled)
    progress.begin("Preparing")
    _check_files(job)
    main_output = next(iter(job.declared.outputs))
    with Staging({main_output: job.outputs[main_output], **job.outputs}) as staging:
        method = importlib.import_module(job.declared.module)
        _set_threads(job.threads)
        inputs = {role: describe_input(path) for role, path in job.inputs.items()}
        summary: dict[str, Any] = method.run(
            replace(job, outputs=staging.paths, places=job.outputs), progress, reporter.warning
        )
        progress.begin("Writing")
        manifest = json.dumps(plain(make_manifest(job, inputs, summary, progress.finish())), indent=2)
        manifest_path(staging.paths[main_output]).write_text(manifest + "\n", encoding="utf-8")
        if is_cancelled():
            raise Cancelled
        placed = {role: staging.files(role) for role in job.outputs}
        _check_parts(job, placed, manifest_path(job.outputs[main_output]))
        staging.publish()
    outputs = {role: _main_file(path, placed[role]) for role, path in job.outputs.items()}
    reporter.result(outputs, manifest_path(job.outputs[main_output]), summary)


def _check_files(job: Job) -> None:
    """Everything about the job's files that can be known before work begins."""
    for role, path in job.inputs.items():
        if not path.exists():
            raise PETDiffusionError(
                "missing-file", f"There is no file or folder '{path}' (the job's {role}). Check the path."
            )
    read = [file for path in job.inputs.values() for file in with_data(path)]
    for role, path in job.outputs.items():
        check_output(path, read, job.options["overwrite"], job.declared.outputs[role].kind)
    if len({path.resolve() for path in job.outputs.values()}) < len(job.outputs):
        raise PETDiffusionError("bad-job", "The job cannot be run: two outputs have the same path.")


def _main_file(output: Path, placed: Sequence[Path]) -> Path:
    """An output's file; of one with a file a frame the first."""
    return output if output in placed else next(file for file in placed if file.suffix == output.suffix)


def _check_parts(job: Job, placed: Mapping[str, Sequence[Path]], manifest: Path) -> None:
    """Refuse to replace what could not be known before: the files beside outputs, or those of several frames."""
    from PETDiffusionLib.volumes.sidecar import sidecar_path

    read = [file for path in job.inputs.values() for file in with_data(path)]
    for role, path in job.outputs.items():
        for file in placed[role]:
            if file not in (*written_files(path), sidecar_path(path), manifest):
                refuse_overwriting(file, read, job.options["overwrite"])


def check_output(path: Path, inputs: Sequence[Path], overwrite: bool, kind: str = "volume") -> None:
    """Refuse an output that would overwrite an input, or (unless `overwrite`) anything, or cannot be written."""
    # Imported here, so that a job can be described and checked without SimpleITK.
    from PETDiffusionLib.volumes.sidecar import check_sidecar, sidecar_path
    from PETDiffusionLib.volumes.writing import WRITABLE, check_writable_name, is_nifti

    check_writable_name(path, SINOGRAM_ENDINGS if kind == "sinogram" else WRITABLE)
    if is_nifti(path):
        check_sidecar(path, overwrite)
        refuse_overwriting(sidecar_path(path), inputs, overwrite=True)
    for file in written_files(path):
        refuse_overwriting(file, inputs, overwrite)


def written_files(path: Path) -> list[Path]:
    """An output, and the file of its values where they are in one of their own."""
    data = {".mhd": ".raw", ".hs": ".s"}.get(path.suffix.lower())
    return [path, path.with_suffix(data)] if data else [path]


def refuse_overwriting(path: Path, inputs: Sequence[Path], overwrite: bool) -> None:
    """Refuse an output that would overwrite an input, or (unless `overwrite`) anything."""
    if any(path.exists() and given.exists() and path.samefile(given) for given in inputs):
        raise PETDiffusionError(
            "overwrites-input", f"'{path}' is an input and is not overwritten. Choose another name."
        )
    if path.exists() and not overwrite:
        raise PETDiffusionError("exists", f"'{path}' exists already. Choose another name or allow overwriting.")


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
