"""Commands on volumes: `suv` says how SUV follows from a DICOM series, `convert` changes format and unit."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PETDiffusionLib.cli.arguments import (
    UNITS,
    add_dose_arguments,
    add_stated_unit,
    number_above,
    whole_number_from,
)
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.catalogue.rules import FRAMES, stated_suv

SUV_VARIANTS = ("bw", "lbm", "lbm-janma", "bsa", "ibw")  # those of volumes.variants, which --help need not import

if TYPE_CHECKING:
    from PETDiffusionLib.volumes import Volume
    from PETDiffusionLib.volumes.frames import FrameSeries
    from PETDiffusionLib.volumes.regridding import Grid


def add_commands(commands: Any) -> None:
    """Add this file's commands to the parser."""
    suv = commands.add_parser(
        "suv",
        help="show the SUV factor of a DICOM series",
        description="Show the SUV factor of a DICOM PT series, its variant, and every fact used.",
    )
    suv.add_argument("folder", metavar="FOLDER", type=Path, help="a folder of DICOM PT slices")
    suv.add_argument("--json", action="store_true", help="as JSON")
    _add_variant(suv, "the SUV whose factor is shown (default: bw, by body weight)")
    suv.set_defaults(run=_suv)

    convert = commands.add_parser(
        "convert",
        help="write a volume in another format, unit or grid",
        description="Write any readable volume as .nii.gz, .nii, .nrrd or .mha, in SUV or Bq/ml, on its own grid or "
        "another. Of a dynamic or gated series every frame is written.",
    )
    convert.add_argument("input", metavar="INPUT", type=Path, help="NIfTI, NRRD, MHA or a folder of DICOM PT")
    convert.add_argument("output", metavar="OUTPUT", type=Path)
    units = convert.add_mutually_exclusive_group()
    units.add_argument("--unit", choices=("suv", "bqml"), help="the unit to write (as it is, if not given)")
    _add_variant(units, "write this SUV: by body weight, lean body mass (James, Janmahasatian), surface, ideal weight")
    add_stated_unit(convert, "--input-unit")
    convert.add_argument("--frames", metavar="TEXT", help=FRAMES.help)
    _add_grid_arguments(convert)
    convert.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    add_dose_arguments(convert)
    convert.set_defaults(run=_convert)


def _add_variant(parser: argparse._ActionsContainer, told: str) -> None:
    parser.add_argument("--suv", choices=SUV_VARIANTS, help=told)


def _add_grid_arguments(convert: argparse.ArgumentParser) -> None:
    group = convert.add_argument_group("another grid (the total activity is kept; what is cut off is said)")
    grids = group.add_mutually_exclusive_group()
    grids.add_argument(
        "--voxel-mm",
        type=number_above(0),
        metavar="X",
        help="cubic voxels of this side about the same centre, in SUV where that is known",
    )
    grids.add_argument(
        "--grid",
        choices=("ddpm3d",),
        help="the grid of the published 3D DDPM: --voxel-mm 1.65 --shape 288 192 520",
    )
    grids.add_argument("--like", type=Path, metavar="REFERENCE", help="the grid of this volume, to the bit")
    group.add_argument(
        "--shape",
        type=whole_number_from(2),
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="with --voxel-mm: so many voxels from right to left, front to back and foot to head (default: all that "
        "cover the volume)",
    )


def _suv(arguments: argparse.Namespace) -> int:
    from PETDiffusionLib.volumes import describe_suv
    from PETDiffusionLib.volumes.series import pet_series
    from PETDiffusionLib.volumes.suv import gather_suv_facts, in_variant, require_suv

    facts = gather_suv_facts(pet_series(arguments.folder))
    if facts.suv_factor is not None and arguments.suv not in (None, "bw"):
        facts = in_variant(facts, arguments.suv)
    print(json.dumps(facts.to_dict(), indent=2) if arguments.json else describe_suv(facts))
    require_suv(facts)
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from PETDiffusionLib.jobs.input_files import with_data
    from PETDiffusionLib.jobs.manifest import manifest_path
    from PETDiffusionLib.jobs.runner import check_output
    from PETDiffusionLib.volumes import write_volume
    from PETDiffusionLib.volumes.frame_warnings import FrameWarnings
    from PETDiffusionLib.volumes.frames import FrameSelection
    from PETDiffusionLib.volumes.reading import open_frames
    from PETDiffusionLib.volumes.regridding import regridded

    if arguments.shape is not None and arguments.voxel_mm is None:
        raise PETDiffusionError("bad-option", "--shape counts voxels of a size that is given: add --voxel-mm.")
    read = [*with_data(arguments.input), *(with_data(arguments.like) if arguments.like else [])]
    check_output(arguments.output, read, arguments.overwrite)
    series = open_frames(arguments.input, UNITS.get(arguments.input_unit))
    if arguments.frames is not None:
        series = series.selected(FrameSelection.parse(arguments.frames))
    first = _in_unit(series.read(0), arguments)
    unit, grid = first.unit, _wanted_grid(first, arguments)
    told = FrameWarnings()
    at_hand = [first]  # given away with the first frame, so that no second one is in memory with the others
    del first

    def prepared(index: int) -> Volume:
        volume = at_hand.pop() if at_hand else _in_unit(series.read(index), arguments)
        volume = volume if grid is None else regridded(volume, grid)
        for sentence in volume.warnings:
            told.add(index + 1, "input", sentence)
        return volume

    if len(series) == 1:
        write_volume(prepared(0), arguments.output, arguments.overwrite)
    else:
        _write_frames(series, prepared, arguments)
    manifest_path(arguments.output).unlink(missing_ok=True)  # it was of the volume that stood there
    told.say(lambda _, sentence: print(f"Warning: {sentence}", file=sys.stderr), len(series))
    frames = f"{len(series)} frames, " if len(series) > 1 else ""
    print(f"{arguments.output} ({frames}{unit})")
    return 0


def _write_frames(series: FrameSeries, prepared: Callable[[int], Volume], arguments: argparse.Namespace) -> None:
    """Write all frames of the series, one in memory."""
    from PETDiffusionLib.jobs.runner import refuse_overwriting
    from PETDiffusionLib.volumes.frame_writing import FrameWriter, frame_files

    for file in frame_files(arguments.output, len(series)):
        refuse_overwriting(file, [arguments.input], arguments.overwrite)
    with ExitStack() as stack:
        for index in range(len(series)):
            volume = prepared(index)
            if index == 0:
                writer = FrameWriter(arguments.output, volume, series.times, series.facts, arguments.overwrite)
                stack.enter_context(writer)
            writer.write(volume)
            del volume  # before the next one is read


def _in_unit(volume: Volume, arguments: argparse.Namespace) -> Volume:
    """The volume in the unit that is asked for; on cubic voxels, without being asked, in SUV where that is known."""
    from PETDiffusionLib.volumes import Volume, to_bqml, to_suv
    from PETDiffusionLib.volumes.conversion import to_suv_variant
    from PETDiffusionLib.volumes.variants import VARIANTS

    stated = stated_suv(vars(arguments))
    if arguments.suv is not None:
        _require_known_unit(volume, arguments)
        return to_suv_variant(volume, VARIANTS[arguments.suv], **stated)
    if arguments.unit is not None:
        _require_known_unit(volume, arguments)
        return {"suv": to_suv, "bqml": to_bqml}[arguments.unit](volume, **stated)
    if arguments.voxel_mm is None and arguments.grid is None:
        return volume
    try:
        return to_suv(volume, **stated)
    except PETDiffusionError as error:
        said = f"The values are not in SUV but stay as they are ({volume.unit}). {error.sentence}"
        return Volume(volume.image, volume.unit, {**volume.facts, "warnings": [*volume.warnings, said]})


def _wanted_grid(volume: Volume, arguments: argparse.Namespace) -> Grid | None:
    """The grid that is asked for, None for the volume's own."""
    from PETDiffusionLib.volumes import regridding
    from PETDiffusionLib.volumes.reading import open_frames

    if arguments.like is not None:
        _require_same_room(arguments.input, arguments.like)
        return regridding.Grid.of(open_frames(arguments.like).read(0).image)
    if arguments.grid is not None:
        return regridding.cubic_grid(volume.image, regridding.DDPM3D_VOXEL_MM, regridding.DDPM3D_SHAPE)
    if arguments.voxel_mm is not None:
        return regridding.cubic_grid(volume.image, arguments.voxel_mm, arguments.shape)
    return None


def _require_known_unit(volume: Volume, arguments: argparse.Namespace) -> None:
    """A conversion starts from a known unit; here --unit is where it goes, so the start has an option of its own."""
    from PETDiffusionLib.volumes.suv import NO_UNITS

    if volume.unit == "unknown":
        if (refusal := volume.facts.get("refusal")) and refusal != NO_UNITS:
            raise PETDiffusionError("no-suv", str(refusal))  # stating a unit would not help
        wanted = arguments.unit or f"SUV {arguments.suv}"
        raise PETDiffusionError(
            "no-unit",
            f"'{arguments.input}' does not say the unit of its values, so they cannot become {wanted}. "
            "State what they are: --input-unit suv or --input-unit bqml.",
        )


def _require_same_room(path: Path, reference: Path) -> None:
    """Refuse a reference that is known to lie in another frame of reference."""
    from PETDiffusionLib.volumes.dicom_files import frame_of_reference

    ours, theirs = frame_of_reference(path), frame_of_reference(reference)
    if ours and theirs and ours != theirs:
        raise PETDiffusionError(
            "other-frame",
            f"'{path}' lies in the frame of reference {ours} and '{reference}' in {theirs}: places in one mean nothing "
            "in the other. Give a reference of the same scan, or a registered volume in NIfTI, NRRD or MHA.",
        )
