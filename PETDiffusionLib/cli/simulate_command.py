"""The command `simulate`: a study of known truth in a folder, all of it or nothing."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PETDiffusionLib.cli.arguments import number_above, whole_number_from
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.jobs.manifest import RESEARCH_USE
from PETDiffusionLib.jobs.reporters import plain
from PETDiffusionLib.jobs.staging import Staging

if TYPE_CHECKING:
    from PETDiffusionLib.simulation import Study

VOLUMES = ("low_dose", "reference", "phantom")
FILES = {"study": "study.json", **{name: f"{name}.nii.gz" for name in (*VOLUMES, "labels")}}


def add_commands(commands: Any) -> None:
    """Add this file's command to the parser."""
    simulate = commands.add_parser(
        "simulate",
        help="simulate a low-dose PET study",
        description="Simulate a PET study into a folder: the low-dose volume, the same reconstruction of noise-free "
        "data (reference), the phantom and its labels, all on one grid, and study.json.",
    )
    simulate.add_argument("out", metavar="OUT", type=Path, help="the folder, made if it does not exist")
    simulate.add_argument(
        "--phantom",
        default="body",
        metavar="NAME|LABELS",
        help="body, head, chest, abdomen, pelvis, shapes, nema-iq, or the file of a label volume (default: body)",
    )
    simulate.add_argument(
        "--drf",
        type=number_above(1, limit_allowed=True),
        default=10.0,
        metavar="K",
        help="dose reduction factor: counts are divided by it (default: 10)",
    )
    simulate.add_argument("--seed", type=whole_number_from(0), default=0, metavar="N", help="same seed, same study")
    simulate.add_argument("--scanner", default="whole-body-4.1", help="voxels, resolution, reconstruction")
    simulate.add_argument("--tracer", default="fdg", help="which uptake the organs have")
    simulate.add_argument("--names", metavar="TABLE", help="label numbers and names (.tsv, .csv) of a label volume")
    simulate.add_argument("--ct", metavar="CT", help="the CT of a label volume, for its attenuation")
    simulate.add_argument("--overwrite", action="store_true", help="replace the study in OUT")
    simulate.set_defaults(run=_simulate)


def _simulate(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.out
    files = {role: folder / name for role, name in FILES.items()}
    existing = [path for path in files.values() if path.exists()]
    if existing and not arguments.overwrite:
        raise PETDiffusionError("exists", f"'{existing[0]}' exists already. Choose another folder or give --overwrite.")
    with _made(folder), Staging(files) as staging:
        from PETDiffusionLib.simulation import simulate_study

        print(f"Simulating {arguments.phantom} at a dose reduction of {arguments.drf:g} ...", file=sys.stderr)
        options = {name: getattr(arguments, name) for name in ("scanner", "tracer", "names", "ct")}
        _write(simulate_study(arguments.phantom, arguments.drf, arguments.seed, **options), staging.paths)
        staging.publish()
    for path in files.values():
        print(path)
    return 0


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder exists inside the context; folders that were made for it go again if the work fails."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


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
