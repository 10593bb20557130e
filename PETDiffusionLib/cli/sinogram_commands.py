"""The command `histogram`: list mode binned to sinograms."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PETDiffusionLib.cli.arguments import number_above, whole_number_from
from PETDiffusionLib.cli.study_folder import study_folder
from PETDiffusionLib.cli.terminal import TerminalReporter

if TYPE_CHECKING:
    from PETDiffusionLib.jobs.progress import Progress
    from PETDiffusionLib.sinograms.list_mode_frames import BinnedFrame
    from PETDiffusionLib.sinograms.list_mode_reading import ListModeFrames

FILES = {
    "facts": "sinogram.json",
    **{name: f"{name}.hs" for name in ("prompts", "delayed", "randoms", "normalisation")},
}


def add_commands(commands: Any) -> None:
    """Add this file's command to the parser."""
    histogram = commands.add_parser(
        "histogram",
        help="bin list mode to a sinogram",
        description="Bin list mode to a sinogram folder: the prompts, and as normalisation.hs how many pairs of "
        "crystals each bin sums. Delayed coincidences go to delayed.hs, the randoms that are expected by them to "
        "randoms.hs. Where the bed stands at several places, or "
        "several frames are asked for, each has a folder of its own in OUT: part-001, part-002 and so on.",
    )
    histogram.add_argument(
        "list_mode",
        metavar="LISTMODE",
        type=Path,
        help="PETSIRD, or 32-bit list mode of Siemens: its header, its words (.l, .bf) with the header beside them, or "
        "their DICOM file",
    )
    histogram.add_argument("out", metavar="OUT", type=Path, help="the folder, made if it does not exist")
    histogram.add_argument(
        "--span",
        type=whole_number_from(1),
        metavar="N",
        help="merge so many ring differences (odd; default: none, or 11 where the sinogram would be large)",
    )
    histogram.add_argument("--from-s", type=number_above(0, True), metavar="S", help="begin at this time")
    histogram.add_argument("--to-s", type=number_above(0), metavar="S", help="end at this time")
    histogram.add_argument(
        "--frame-times", metavar="TEXT", help="several frames, like 0-60,60-120 (from and to) or 6x10,4x60 (lengths)"
    )
    histogram.add_argument("--overwrite", action="store_true", help="replace the sinogram in OUT")
    histogram.set_defaults(run=_histogram)


def _histogram(arguments: argparse.Namespace) -> int:
    from PETDiffusionLib.jobs import CancelWatch
    from PETDiffusionLib.jobs.progress import Progress
    from PETDiffusionLib.sinograms.list_mode_frames import binned_frames
    from PETDiffusionLib.sinograms.list_mode_reading import ListModeFrames, ListModeWindow

    reporter, watch = TerminalReporter(), CancelWatch()
    watch.watch_signals()
    progress = Progress(reporter, watch)
    progress.begin("Reading")
    window = ListModeWindow.of(vars(arguments))
    frames = ListModeFrames(arguments.list_mode, window)
    held: BinnedFrame | None = None
    number = 0
    for frame in binned_frames(frames.opened, frames.geometry, window.frames, progress):
        if held is not None:
            number += 1
            _write(frames, held, arguments, progress, number)
        held = frame
    assert held is not None, "binned_frames refuses files without events"
    _write(frames, held, arguments, progress, number + 1 if number else 0)
    for sentence in frames.opened.warnings:
        reporter.warning("list-mode", sentence)
    return 0


def _write(
    frames: ListModeFrames, frame: BinnedFrame, arguments: argparse.Namespace, progress: Progress, number: int
) -> None:
    """Write a sinogram folder: OUT itself where there is one alone (number 0), or a part of it."""
    import json

    import torch

    from PETDiffusionLib.corrections.randoms import estimated_randoms
    from PETDiffusionLib.sinograms.interfile import write_interfile

    folder = arguments.out / f"part-{number:03}" if number else arguments.out
    pairs = torch.ones(1) if frames.pairs is None else frames.pairs
    has_delayed = bool(frame.delayed.any())
    names = {role: name for role, name in FILES.items() if has_delayed or role != "randoms"}
    with study_folder(folder, names, arguments.overwrite, [arguments.list_mode]) as paths:
        write_interfile(frame.prompts, frames.geometry, paths["prompts"])
        write_interfile(frame.delayed, frames.geometry, paths["delayed"])
        shape = frames.geometry.data_shape[:3]
        write_interfile(pairs.expand(shape), frames.geometry.without_tof(), paths["normalisation"])
        facts = {**frames.facts_of(frame), "source": arguments.list_mode.name}
        if has_delayed:
            randoms = estimated_randoms(frame.delayed, frames.geometry, partial(progress, "Estimating randoms"))
            write_interfile(randoms, frames.geometry, paths["randoms"])
        facts["multiplicative_is"] = "pairs"
        facts["corrected"] = ["randoms"] if has_delayed else []  # the crystals' efficiencies are not known
        paths["facts"].write_text(json.dumps(facts) + "\n", encoding="utf-8")
