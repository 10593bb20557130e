"""Jobs: one JSON document in, a stream of events out, results that appear whole or not at all."""

from PETDiffusionLib.jobs.cancel import CancelWatch
from PETDiffusionLib.jobs.document import Job
from PETDiffusionLib.jobs.reporters import JsonLinesReporter, Reporter
from PETDiffusionLib.jobs.runner import run_job

__all__ = ["CancelWatch", "Job", "JsonLinesReporter", "Reporter", "run_job"]
