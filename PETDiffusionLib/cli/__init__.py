"""The command line: `petdiffusion COMMAND ...`. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import io
import signal
import sys
import warnings
from collections.abc import Sequence

from PETDiffusionLib import __version__
from PETDiffusionLib.cli import (
    job_commands,
    model_commands,
    research_commands,
    simulate_command,
    sinogram_commands,
    volume_commands,
)
from PETDiffusionLib.cli.terminal import TerminalReporter
from PETDiffusionLib.jobs.runner import report_failure


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each stores its function as `run`, from parsed arguments to the exit status."""
    parser = argparse.ArgumentParser(
        prog="petdiffusion",
        description="Denoise PET volumes and reconstruct PET sinograms with diffusion models.",
        epilog="For research use only. Not a medical device; not for diagnosis or treatment.",
    )
    parser.add_argument("--version", action="version", version=f"petdiffusion {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    rooms = (job_commands, volume_commands, sinogram_commands, simulate_command, research_commands, model_commands)
    for room in rooms:
        room.add_commands(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0, 2 (something the user can mend), 130 (stopped) or 1 (a fault of this program)."""
    parser = build_parser()
    if "" in (sys.argv[1:] if argv is None else argv):
        parser.error("an argument is empty: a variable that is not set, perhaps")
    arguments = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path may hold what the terminal cannot show
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    warnings.formatwarning = lambda message, *where, **line: f"Warning: {message}\n"
    try:
        return arguments.run(arguments)
    except (Exception, KeyboardInterrupt) as error:
        return report_failure(error, TerminalReporter())
