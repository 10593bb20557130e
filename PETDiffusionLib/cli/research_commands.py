"""Commands of research: `evaluate` judges an image against its reference, `train` makes a model."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PETDiffusionLib.cli.arguments import UNITS, add_dose_arguments, add_stated_unit
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.jobs.runner import EXIT_CANCELLED
from PETDiffusionLib.jobs.staging import Staging
from PETDiffusionLib.methods.catalogue.rules import stated_suv

if TYPE_CHECKING:
    from PETDiffusionLib.volumes import Volume

# The volumes that `evaluate` reads: PET, then regions.
INPUTS = ("reference", "image", "uncertainty", "low_dose", "mask", "labels")
# What can be trained: the names of modules in PETDiffusionLib.training.
TRAININGS = ("denoiser", "ddpm3d", "prior", "red", "counts")


def add_commands(commands: Any) -> None:
    """Add this file's commands to the parser."""
    evaluate = commands.add_parser(
        "evaluate",
        help="compare an image with its reference",
        description="Compare an image with its reference, both on one grid: PSNR, SSIM, NRMSE, SUV and bias per label.",
    )
    evaluate.add_argument("reference", metavar="REFERENCE", type=Path)
    evaluate.add_argument("image", metavar="IMAGE", type=Path)
    evaluate.add_argument(
        "--mask", type=Path, metavar="M", help="where to compare (default: the body, found by itself)"
    )
    evaluate.add_argument(
        "--labels",
        type=Path,
        metavar="L",
        help="regions for SUVmean, SUVmax and SUVpeak: a label volume (its names from the study.json "
        "beside it, where there is one), a DICOM RTSTRUCT or a DICOM SEG",
    )
    evaluate.add_argument("--uncertainty", type=Path, metavar="U", help="the image's standard deviation")
    evaluate.add_argument("--low-dose", type=Path, metavar="V", help="the volume before denoising, for the picture")
    evaluate.add_argument(
        "--frames", metavar="TEXT", help="which frame of dynamic or gated ones, from 1: 3; mean or mean:3-7"
    )
    evaluate.add_argument("--json", type=Path, metavar="PATH", help="also write the figures as JSON")
    evaluate.add_argument("--picture", type=Path, metavar="PATH", help="also write a comparison picture (PNG)")
    evaluate.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    add_stated_unit(evaluate, "--unit")
    add_dose_arguments(evaluate)
    evaluate.set_defaults(run=_evaluate)

    train = commands.add_parser("train", help="train a model on simulated data", description="Train a model.")
    train.add_argument("what", choices=TRAININGS)
    train.add_argument("arguments", nargs=argparse.REMAINDER, help="see: petdiffusion train denoiser --help, and so on")
    train.set_defaults(run=_train)


def _evaluate(arguments: argparse.Namespace) -> int:
    from PETDiffusionLib import evaluation
    from PETDiffusionLib.jobs.runner import refuse_overwriting

    wanted = {kind: path for kind in ("json", "picture") if (path := getattr(arguments, kind)) is not None}
    inputs = [path for name in INPUTS if (path := getattr(arguments, name)) is not None]
    for path in wanted.values():
        refuse_overwriting(path, inputs, arguments.overwrite)
    if len({path.resolve() for path in wanted.values()}) < len(wanted):
        raise PETDiffusionError("bad-option", "The figures and the picture have the same path; give two.")
    with Staging(wanted) as staging:
        given = _read_images(arguments)
        regions = _dicom_regions(arguments, given["reference"])
        names = _label_names(arguments.labels)
        judged = {name: image for name, image in given.items() if name != "low_dose"}
        report = evaluation.evaluate(**judged, label_names=names, regions=regions)
        if arguments.json is not None:
            staging.paths["json"].write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        if arguments.picture is not None:
            seen = {name: given[name] for name in ("image", "low_dose", "reference", "uncertainty")}
            evaluation.write_picture(evaluation.comparison_picture(**seen), staging.paths["picture"])
        staging.publish()
    for sentence in report.get("warnings", []):
        print(f"Warning: {sentence}", file=sys.stderr)
    print(evaluation.format_report(report))
    return 0


def _read_images(arguments: argparse.Namespace) -> dict[str, Any]:
    """The images that the arguments name (None for those not given): PET in SUV, mask and labels as they are."""
    from PETDiffusionLib.evaluation.regions import is_dicom_regions
    from PETDiffusionLib.volumes import read_volume, to_suv

    images: dict[str, Any] = {}
    facts = stated_suv(vars(arguments))
    for name in INPUTS[:4]:
        path = getattr(arguments, name)
        volume = None if path is None else to_suv(_one_volume(path, arguments), **facts)
        images[name] = None if volume is None else volume.image
        for sentence in volume.warnings if volume is not None else []:
            print(f"Warning: {path}: {sentence}", file=sys.stderr)
    for name in INPUTS[4:]:
        path = getattr(arguments, name)
        images[name] = None if path is None or is_dicom_regions(path) else read_volume(path).image
    return images


def _one_volume(path: Path, arguments: argparse.Namespace) -> Volume:
    """A PET volume; of a dynamic or gated one the frame, or the mean, that --frames chooses."""
    from PETDiffusionLib.volumes.dicom import the_only_frame
    from PETDiffusionLib.volumes.frames import FrameSelection
    from PETDiffusionLib.volumes.reading import open_frames

    series = open_frames(path, UNITS.get(arguments.unit))
    if arguments.frames is not None and len(series) > 1:
        series = series.selected(FrameSelection.parse(arguments.frames))
    return the_only_frame(series)


def _dicom_regions(arguments: argparse.Namespace, reference: Any) -> Any:
    """The regions of --labels on the grid of the reference, where they are an RTSTRUCT or SEG; else None."""
    from PETDiffusionLib.evaluation.regions import dicom_regions, is_dicom_regions
    from PETDiffusionLib.volumes.dicom_files import frame_of_reference

    if arguments.labels is None or not is_dicom_regions(arguments.labels):
        return None
    room = frame_of_reference(arguments.reference) or frame_of_reference(arguments.image)
    return dicom_regions(arguments.labels, reference, room)


def _label_names(labels: Path | None) -> dict[int, str]:
    """The names that `petdiffusion simulate` left beside its labels; none for labels from elsewhere."""
    study = labels.with_name("study.json") if labels is not None else None
    if study is None or not study.is_file():
        return {}
    names = json.loads(study.read_text(encoding="utf-8"))["label_names"]
    return {int(value): name for value, name in names.items()}


def _train(arguments: argparse.Namespace) -> int:
    training = importlib.import_module(f"PETDiffusionLib.training.{arguments.what}")
    try:
        training.main(arguments.arguments)
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        return EXIT_CANCELLED
    return 0
