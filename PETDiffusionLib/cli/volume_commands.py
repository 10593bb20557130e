"""Commands on volumes: `suv` says how SUV follows from a DICOM series, `convert` changes format and unit."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PETDiffusionLib.cli.arguments import UNITS, add_dose_arguments, add_stated_unit
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.catalogue.rules import stated_suv

if TYPE_CHECKING:
    from PETDiffusionLib.volumes import Volume


def add_commands(commands: Any) -> None:
    """Add this file's commands to the parser."""
    suv = commands.add_parser(
        "suv",
        help="show the SUV factor of a DICOM series",
        description="Show the SUV factor of a DICOM PT series, its variant, and every fact used.",
    )
    suv.add_argument("folder", metavar="FOLDER", type=Path, help="a folder of DICOM PT slices")
    suv.add_argument("--json", action="store_true", help="as JSON")
    suv.set_defaults(run=_suv)

    convert = commands.add_parser(
        "convert",
        help="write a volume in another format or unit",
        description="Write any readable volume as .nii.gz, .nii, .nrrd or .mha, in SUV or Bq/ml.",
    )
    convert.add_argument("input", metavar="INPUT", type=Path, help="NIfTI, NRRD, MHA or a folder of DICOM PT")
    convert.add_argument("output", metavar="OUTPUT", type=Path)
    convert.add_argument("--unit", choices=("suv", "bqml"), help="the unit to write (as it is, if not given)")
    add_stated_unit(convert, "--input-unit")
    convert.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    add_dose_arguments(convert)
    convert.set_defaults(run=_convert)


def _suv(arguments: argparse.Namespace) -> int:
    from PETDiffusionLib.volumes import describe_suv
    from PETDiffusionLib.volumes.series import pet_series
    from PETDiffusionLib.volumes.suv import gather_suv_facts, require_suv

    facts = gather_suv_facts(pet_series(arguments.folder))
    print(json.dumps(facts.to_dict(), indent=2) if arguments.json else describe_suv(facts))
    require_suv(facts)
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from PETDiffusionLib.jobs.input_files import with_data
    from PETDiffusionLib.jobs.manifest import manifest_path
    from PETDiffusionLib.jobs.runner import check_output
    from PETDiffusionLib.volumes import read_volume, to_bqml, to_suv, write_volume

    check_output(arguments.output, with_data(arguments.input), arguments.overwrite)
    volume = read_volume(arguments.input, UNITS.get(arguments.input_unit))
    if arguments.unit is not None:
        _require_known_unit(volume, arguments)
        volume = {"suv": to_suv, "bqml": to_bqml}[arguments.unit](volume, **stated_suv(vars(arguments)))
    write_volume(volume, arguments.output)
    manifest_path(arguments.output).unlink(missing_ok=True)  # it was of the volume that stood there
    for sentence in volume.warnings:
        print(f"Warning: {sentence}", file=sys.stderr)
    print(f"{arguments.output} ({volume.unit})")
    return 0


def _require_known_unit(volume: Volume, arguments: argparse.Namespace) -> None:
    """A conversion starts from a known unit; here --unit is where it goes, so the start has an option of its own."""
    if volume.unit == "unknown":
        raise PETDiffusionError(
            "no-unit",
            f"'{arguments.input}' does not say the unit of its values, so they cannot become {arguments.unit}. "
            "State what they are: --input-unit suv or --input-unit bqml.",
        )
