"""A whole simulated study: phantom, scan and reconstruction as images that share one geometry."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.simulation.acquisition import Scan, scan
from PETDiffusionLib.simulation.bodies import procedural_body
from PETDiffusionLib.simulation.labels import label_phantom, read_label_names, read_uptake
from PETDiffusionLib.simulation.mosaics import random_mosaic
from PETDiffusionLib.simulation.nema import nema_iq
from PETDiffusionLib.simulation.phantom import Phantom
from PETDiffusionLib.simulation.scanners import SCANNERS
from PETDiffusionLib.simulation.shapes import random_shapes
from PETDiffusionLib.simulation.spots import random_spots
from PETDiffusionLib.simulation.tracers import TRACERS
from PETDiffusionLib.volumes.volume import check_geometry

# name: maker(seed, tracer)
PHANTOMS: dict[str, Callable[[int, str], Phantom]] = {
    "body": lambda seed, tracer: procedural_body(seed, tracer),
    "head": lambda seed, tracer: procedural_body(seed, tracer, 0, 220, 2.0, lesions=2),
    "chest": lambda seed, tracer: procedural_body(seed, tracer, 330, 180),
    "abdomen": lambda seed, tracer: procedural_body(seed, tracer, 530, 180),
    "pelvis": lambda seed, tracer: procedural_body(seed, tracer, 800, 200),
    "shapes": lambda seed, tracer: random_shapes(seed),
    "mosaic": lambda seed, tracer: random_mosaic(seed),
    "spots": lambda seed, tracer: random_spots(seed),
    "nema-iq": lambda seed, tracer: nema_iq(),
}
OWN_UPTAKE = ("shapes", "mosaic", "spots", "nema-iq")  # whatever the tracer
LEAST_KEPT = 0.95  # of the activity, by OSEM


@dataclass(frozen=True)
class Study:
    """Images of one geometry, in SUV but for the labels, and the facts of how they came about."""

    low_dose: sitk.Image
    reference: sitk.Image
    phantom: sitk.Image
    labels: sitk.Image
    facts: dict[str, Any]


def simulate_study(
    phantom: str,
    drf: float,
    seed: int = 0,
    scanner: str = "whole-body-4.1",
    tracer: str = "fdg",
    names: str | None = None,
    ct: str | None = None,
    uptake: str | None = None,
) -> Study:
    """Simulate a study at a dose reduction factor of `drf`.

    `phantom` is a name of PHANTOMS or the path of a label volume, for which `names` is a .tsv or .csv table of label
    numbers and names, `ct` a CT on the same patient, and `uptake` a table of those names and the SUV they shall have
    instead of the tracer's. The seed decides anatomy, uptake, lesions and noise.

    Raises PETDiffusionError where a name is not known, labels have no names, or the dose reduction is below one.
    """
    if not drf >= 1:
        raise PETDiffusionError("bad-drf", f"A dose reduction factor is 1 or more; found {drf}.")
    chosen = SCANNERS[_known("scanner", scanner, SCANNERS)]
    made = make_phantom(phantom, seed, tracer, names, ct, uptake)
    result = scan(made, chosen, [1 / drf], np.random.default_rng([seed, 5]))
    to_image = partial(_to_image, result)
    label_names = {int(key): name for key, name in made.label_names.items() if (result.labels == key).any()}
    kept = float(result.low_dose[0].sum() / result.reference.sum())
    if kept < LEAST_KEPT:
        warnings.warn(
            f"So few counts are left at a dose reduction of {drf:g} that OSEM keeps {kept:.0%} of the activity.",
            stacklevel=2,
        )
    facts = {
        "phantom": phantom,
        "drf": drf,
        "seed": seed,
        "tracer": None if phantom in OWN_UPTAKE else tracer,
        "unit": "suvbw",
        "scanner": asdict(chosen),
        "activity_kept": round(kept, 4),
    }
    return Study(
        to_image(result.low_dose[0]),
        to_image(result.reference),
        to_image(result.truth),
        to_image(result.labels),
        facts | {"label_names": label_names},
    )


def make_phantom(
    phantom: str,
    seed: int,
    tracer: str,
    names: str | None = None,
    ct: str | None = None,
    uptake: str | None = None,
) -> Phantom:
    """The phantom of a name of PHANTOMS or of the path of a label volume, as `simulate_study` takes it."""
    _known("tracer", tracer, TRACERS)
    if phantom in PHANTOMS:
        given = [f"--{name}" for name, value in (("names", names), ("ct", ct), ("uptake", uptake)) if value]
        if phantom in OWN_UPTAKE and tracer != "fdg":
            given.append("--tracer")
        if given:
            raise PETDiffusionError("bad-option", f'The phantom "{phantom}" takes no {", ".join(given)}. Leave it out.')
        return PHANTOMS[phantom](seed, tracer)
    if not Path(phantom).is_file():
        known = ", ".join(PHANTOMS)
        raise PETDiffusionError("no-phantom", f'There is no phantom "{phantom}" and no such file; phantoms: {known}.')
    try:
        labels = sitk.ReadImage(phantom)
        hounsfield = sitk.ReadImage(ct, sitk.sitkFloat32) if ct else None
    except RuntimeError as error:
        raise PETDiffusionError("bad-file", f"{ct or phantom} cannot be read as a volume.") from error
    check_geometry(labels, f"'{phantom}'")
    if hounsfield is not None:
        check_geometry(hounsfield, f"'{ct}'")
    if not names:
        raise PETDiffusionError(
            "no-names", f"What the labels of '{phantom}' are is not known: give their numbers and names as --names."
        )
    table = read_label_names(Path(names))
    own = read_uptake(Path(uptake)) if uptake else None
    return label_phantom(labels, table, tracer, seed, hounsfield, uptake=own)


def _known(what: str, name: str, table: dict) -> str:
    if name not in table:
        raise PETDiffusionError(f"no-{what}", f'There is no {what} "{name}"; known: {", ".join(table)}.')
    return name


def _to_image(result: Scan, array: np.ndarray) -> sitk.Image:
    """[z, y, x] as an LPS image centred on the origin: x to the patient's left, y to the back, z to the head."""
    image = sitk.GetImageFromArray(array)
    spacing = result.voxel_size_mm[::-1]
    image.SetSpacing(spacing)
    image.SetOrigin([-(n - 1) / 2 * s for n, s in zip(image.GetSize(), spacing, strict=True)])
    return image
