"""Jobs: one JSON document in, a stream of events out, results that appear whole or not at all."""

from .cancel import CancelWatch
from .document import Job
from .reporters import JsonLinesReporter, Reporter
from .runner import METHODS, run_job

__all__ = ["METHODS", "CancelWatch", "Job", "JsonLinesReporter", "Reporter", "run_job"]
