"""The bodies of the reconstruction benchmark: heads and trunks with a lesion that only PET sees, as sinograms.

The prior's training draws seeds from 2 000 000, procedural phantoms only. Tuning uses procedural seeds from 820 000;
testing uses seeds from 720 000 and the label volumes, which no training saw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import binary_erosion, gaussian_filter

from PETDiffusionLib.evaluation.metrics import FWHM_PER_SIGMA
from PETDiffusionLib.simulation.anatomy import anatomical_image
from PETDiffusionLib.simulation.bodies import procedural_body
from PETDiffusionLib.simulation.labels import organ_of
from PETDiffusionLib.simulation.phantom import Phantom
from PETDiffusionLib.simulation.regridding import labels_on_grid, regridded
from PETDiffusionLib.simulation.sinogram import ExpectedSinogram, project_phantom
from PETDiffusionLib.sinograms import ImageGrid, parallel_beam
from PETDiffusionLib.sinograms.orientation import in_scanner_order
from Testing.benchmarks.bodies import SHARED_DATA, cut_about, labelled_head, labelled_torso

RESOLUTION_MM = 4.5
LESION_RADIUS_MM, LESION_FACTOR = 8.0, 3.0
PLANES, VIEWS = 24, 96
# An MR-like grey value by organ; every other organ lies between fat and muscle.
MR_CONTRAST = {
    "white matter": 0.9, "grey matter": 0.6, "csf": 0.2, "cortical bone": 0.1, "gas": 0.02, "fat": 1.0, "muscle": 0.45,
    "liver": 0.6, "spleen": 0.4, "kidney cortex": 0.5, "lung": 0.08, "marrow": 0.8,
}  # fmt: skip


@dataclass(frozen=True)
class Body:
    """How a body is made, which organ holds the lesion, and the side of its voxels."""

    name: str
    make: Callable[[], Phantom]
    lesion_in: str
    size: int
    voxel_mm: float
    seed: int


@dataclass(frozen=True)
class Study:
    """A body in the scanner. Volumes are [z, y, x] on `expected.grid`; `reference`: the activity at PET resolution."""

    expected: ExpectedSinogram
    reference: np.ndarray
    anatomy: sitk.Image
    organs: dict[str, np.ndarray]
    lesion: np.ndarray
    background: np.ndarray


def study_of(body: Body) -> Study:
    """Plant the lesion, draw the anatomy without it, and project."""
    phantom = body.make()
    names = {label: organ_of(name) or "muscle" for label, name in phantom.label_names.items()}
    contrast = {label: MR_CONTRAST.get(organ, 0.5) for label, organ in names.items()}
    anatomy = anatomical_image(phantom.labels, phantom.voxel_size_mm, np.random.default_rng(body.seed), contrast)
    home = np.isin(phantom.labels, [label for label, organ in names.items() if organ == body.lesion_in])
    lesion = _ball_inside(home, phantom.voxel_size_mm)
    phantom.activity[lesion] = LESION_FACTOR * float(np.median(phantom.activity[home]))
    grid = ImageGrid((PLANES, body.size, body.size), (body.voxel_mm,) * 3)
    geometry = parallel_beam(VIEWS, body.size, body.voxel_mm, PLANES, body.voxel_mm)
    size, new_size = phantom.voxel_size_mm, grid.voxel_size_mm[::-1]
    sigma = [RESOLUTION_MM / FWHM_PER_SIGMA / side for side in size]

    def gridded(volume: np.ndarray) -> np.ndarray:
        return regridded(volume.astype(np.float32), size, grid.shape, new_size).astype(np.float32)

    labels = labels_on_grid(phantom.labels, size, grid.shape, new_size)
    organs = {
        organ: np.isin(labels, [label for label, name in names.items() if name == organ])
        for organ in set(names.values())
    }
    on_lesion = gridded(lesion) > 0.6
    around = organs[body.lesion_in] & ~(gridded(gaussian_filter(lesion.astype(np.float32), 4)) > 0.01)
    core = binary_erosion(around)
    return Study(
        project_phantom(phantom, geometry, grid, resolution_mm=RESOLUTION_MM),
        gridded(gaussian_filter(phantom.activity, sigma)),
        grid.to_image(in_scanner_order(gridded(anatomy), grid.position)),
        organs,
        on_lesion,
        core if core.sum() > 100 else around,
    )


def _ball_inside(home: np.ndarray, voxel_size_mm: tuple[float, ...]) -> np.ndarray:
    """A ball where there is most of `home` around, near the middle plane."""
    depth = gaussian_filter(home.astype(np.float32), [LESION_RADIUS_MM / side for side in voxel_size_mm])
    third = len(depth) // 3
    depth[:third] = depth[-third:] = 0
    centre = np.unravel_index(depth.argmax(), depth.shape)
    squares = [((np.arange(n) - c) * side) ** 2 for n, c, side in zip(home.shape, centre, voxel_size_mm, strict=True)]
    z, y, x = squares
    return z[:, None, None] + y[None, :, None] + x[None, None, :] < LESION_RADIUS_MM**2


def test_bodies() -> list[Body]:
    """A procedural head, and heads and torsos of the label volumes where these are there; the last two are no FDG."""
    bodies = [_head("head FDG", 720_001, "fdg")]
    if not SHARED_DATA.is_dir():
        return bodies
    return bodies + [
        Body("brain labels FDG", lambda: _brain("fdg", 720_002), "white matter", 80, 3.0, 720_002),
        Body("torso labels FDG", lambda: _torso("fdg", 720_003), "liver", 104, 4.0, 720_003),
        Body(
            "brain labels amyloid-negative",
            lambda: _brain("amyloid-negative", 720_004),
            "grey matter",
            80,
            3.0,
            720_004,
        ),
        Body("torso labels DOTATATE", lambda: _torso("dotatate", 720_005), "liver", 104, 4.0, 720_005),
    ]


def tuning_bodies() -> list[Body]:
    """Bodies for choosing every method's parameter: never scored."""
    return [
        _head("tuning head", 820_001, "fdg"),
        Body(
            "tuning abdomen",
            lambda: procedural_body(820_002, "fdg", 560, 110, 2.5, lesions=3),
            "liver",
            104,
            4.0,
            820_002,
        ),
    ]


def _head(name: str, seed: int, tracer: str) -> Body:
    return Body(name, lambda: procedural_body(seed, tracer, 50, 90, 2.0, lesions=0), "white matter", 80, 3.0, seed)


def _brain(tracer: str, seed: int) -> Phantom:
    return cut_about(labelled_head(tracer, seed, lesions=0), 0.6, 3.0 * PLANES)


def _torso(tracer: str, seed: int) -> Phantom:
    return cut_about(labelled_torso(tracer, seed, lesions=3), 0.75, 4.0 * PLANES)
