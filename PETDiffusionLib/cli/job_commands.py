"""Commands that run a job: `denoise` builds it from arguments, `run` reads it from a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from PETDiffusionLib.cli.arguments import (
    UNITS,
    add_dose_arguments,
    add_stated_unit,
    dose_facts,
    whole_number_from,
)
from PETDiffusionLib.cli.terminal import TerminalReporter
from PETDiffusionLib.jobs import CancelWatch, Job, JsonLinesReporter, Reporter, run_job
from PETDiffusionLib.jobs.runner import report_failure


def add_commands(commands: Any) -> None:
    """Add this file's commands to the parser."""
    denoise = commands.add_parser("denoise", help="denoise a PET volume", description="Denoise a PET volume.")
    denoise.add_argument("input", metavar="INPUT", type=Path, help="NIfTI, NRRD, MHA or a folder of DICOM PT")
    denoise.add_argument("output", metavar="OUTPUT", type=Path, help="the denoised volume: .nii.gz, .nii, .nrrd, .mha")
    denoise.add_argument("--preset", choices=("fast", "balanced", "best"), help="speed against quality")
    denoise.add_argument(
        "--samples", type=whole_number_from(1), metavar="N", help="average N draws (default: the preset's)"
    )
    denoise.add_argument("--uncertainty", type=Path, metavar="PATH", help="also write the voxelwise standard deviation")
    add_stated_unit(denoise, "--unit")
    denoise.add_argument("--grid", choices=("input", "model"), default="input", help="the grid of the outputs")
    denoise.add_argument(
        "--model", metavar="ID", help="a model's id or the path of its card (petdiffusion models list)"
    )
    denoise.add_argument("--seed", type=whole_number_from(0), default=0, metavar="N", help="same seed, same result")
    denoise.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    denoise.add_argument("--threads", type=whole_number_from(1), metavar="N", help="CPU threads")
    denoise.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    denoise.add_argument("--json", action="store_true", help="events as JSON lines on standard output")
    add_dose_arguments(denoise)
    denoise.set_defaults(run=_denoise)

    run = commands.add_parser(
        "run",
        help="run a job from its JSON document",
        description="Run a job: events as JSON lines on standard output; a line 'cancel' on standard input, "
        "or its end when it is a pipe, stops the job.",
    )
    run.add_argument("job", metavar="JOB.json", type=Path)
    run.set_defaults(run=_run)


def _denoise(arguments: argparse.Namespace) -> int:
    outputs = {"image": arguments.output}
    if arguments.uncertainty is not None:
        outputs["uncertainty"] = arguments.uncertainty
    job = Job(
        method="denoise",
        inputs={"image": arguments.input},
        outputs=outputs,
        options={
            "unit": UNITS.get(arguments.unit),
            **dose_facts(arguments),
            **{name: getattr(arguments, name) for name in ("preset", "samples", "grid", "model", "overwrite")},
        },
        device=arguments.device,
        threads=arguments.threads,
        seed=arguments.seed,
    )
    reporter: Reporter = JsonLinesReporter(sys.stdout) if arguments.json else TerminalReporter()
    watch = CancelWatch()
    watch.watch_signals()
    return run_job(job, reporter, watch)


def _run(arguments: argparse.Namespace) -> int:
    reporter = JsonLinesReporter(sys.stdout)
    watch = CancelWatch()
    watch.watch_signals()
    watch.watch_pipe()
    try:
        job = Job.load(arguments.job)
    except Exception as error:
        return report_failure(error, reporter)
    return run_job(job, reporter, watch)
