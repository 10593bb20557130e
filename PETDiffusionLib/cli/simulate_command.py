"""The command `simulate`: a study of known truth in a folder, all of it or nothing."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PETDiffusionLib.cli.arguments import number_above, whole_number_from
from PETDiffusionLib.cli.simulate_sinogram import SINOGRAMS, simulate_sinogram, thin
from PETDiffusionLib.cli.study_folder import study_folder
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.jobs.manifest import RESEARCH_USE
from PETDiffusionLib.jobs.reporters import plain
from PETDiffusionLib.methods.catalogue import METHODS

if TYPE_CHECKING:
    from PETDiffusionLib.simulation import Study

# Said here, since help must not wait for what simulates; a test compares them.
SCANNERS = "whole-body-4.7, whole-body-4.1 (the default), digital-2.7, head-2.1, long-3.3"
TRACERS = "fdg (the default), dotatate, amyloid-negative, amyloid-positive"
POSITIONS = METHODS["osem"].options["patient_position"].choices
VOLUMES = ("low_dose", "reference", "phantom")
FILES = {"study": "study.json", **{name: f"{name}.nii.gz" for name in (*VOLUMES, "labels")}}


def add_commands(commands: Any) -> None:
    """Add this file's command to the parser."""
    simulate = commands.add_parser(
        "simulate",
        help="simulate a low-dose PET study",
        description="Simulate a PET study into a folder: the low-dose volume, the same reconstruction of noise-free "
        "data (reference), the phantom and its labels, all on one grid, and study.json. With --sinogram, the sinogram "
        "that a scanner counts, with its terms, ready for `petdiffusion reconstruct`; with --from, the counts of a "
        "measured sinogram thinned to a lower dose.",
    )
    simulate.add_argument("out", metavar="OUT", type=Path, help="the folder, made if it does not exist")
    simulate.add_argument(
        "--phantom",
        default="body",
        metavar="NAME|LABELS",
        help="body, head, chest, abdomen, pelvis, shapes, mosaic, spots, nema-iq, or a label volume's file "
        "(default: body)",
    )
    simulate.add_argument(
        "--drf",
        type=number_above(1, limit_allowed=True),
        default=10.0,
        metavar="K",
        help="dose reduction factor: counts are divided by it (default: 10)",
    )
    kinds = simulate.add_mutually_exclusive_group()
    kinds.add_argument("--sinogram", metavar="SCANNER", help=f"a sinogram instead of volumes: {', '.join(SINOGRAMS)}")
    kinds.add_argument("--from", dest="measured", type=Path, metavar="SINOGRAM", help="the sinogram to thin by --drf")
    simulate.add_argument(
        "--seed", type=whole_number_from(0), default=0, metavar="N", help="same seed, same study (default: 0)"
    )
    simulate.add_argument(
        "--patient-position",
        choices=POSITIONS,
        help=f"how the phantom lies in the scanner of --sinogram (default: {POSITIONS[0]})",
    )
    simulate.add_argument("--scanner", default="whole-body-4.1", help=f"voxels, resolution, reconstruction: {SCANNERS}")
    simulate.add_argument("--tracer", default="fdg", help=f"which uptake the organs have: {TRACERS}")
    simulate.add_argument("--names", metavar="TABLE", help="label numbers and names (.tsv, .csv) of a label volume")
    simulate.add_argument(
        "--uptake", metavar="TABLE", help="names of labels and the SUV that they shall have (.tsv, .csv)"
    )
    simulate.add_argument("--ct", metavar="CT", help="the CT of a label volume, for its attenuation")
    simulate.add_argument("--overwrite", action="store_true", help="replace the study in OUT")
    simulate.set_defaults(run=_simulate)


def _simulate(arguments: argparse.Namespace) -> int:
    if arguments.patient_position and arguments.sinogram is None:
        raise PETDiffusionError(
            "bad-option",
            "--patient-position is how a phantom lies in the scanner of --sinogram. Leave it out, or give one.",
        )
    if arguments.measured is not None:
        return thin(arguments.measured, arguments.out, arguments.drf, arguments.seed, arguments.overwrite)
    phantom = {name: getattr(arguments, name) for name in ("phantom", "seed", "tracer", "names", "ct", "uptake")}
    if arguments.sinogram is not None:
        return simulate_sinogram(
            arguments.sinogram,
            phantom,
            arguments.out,
            arguments.drf,
            arguments.patient_position or POSITIONS[0],
            arguments.overwrite,
        )
    with study_folder(arguments.out, FILES, arguments.overwrite) as paths:
        from PETDiffusionLib.simulation import simulate_study

        print(f"Simulating {arguments.phantom} at a dose reduction of {arguments.drf:g} ...", file=sys.stderr)
        _write(simulate_study(drf=arguments.drf, scanner=arguments.scanner, **phantom), paths)
    return 0


def _write(study: Study, paths: dict[str, Path]) -> None:
    import SimpleITK as sitk

    from PETDiffusionLib.volumes import Volume, write_volume
    from PETDiffusionLib.volumes.nifti import check_nifti

    for name in VOLUMES:
        write_volume(Volume(sitk.Cast(getattr(study, name), sitk.sitkFloat32), "suvbw"), paths[name])
    sitk.WriteImage(study.labels, str(paths["labels"]), useCompression=True)
    check_nifti(paths["labels"])
    facts = {"notice": RESEARCH_USE, **study.facts}
    paths["study"].write_text(json.dumps(plain(facts), indent=2) + "\n", encoding="utf-8")
