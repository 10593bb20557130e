"""Procedural bodies: a head-to-thigh anatomy drawn from a seed, each one different.

Positions are millimetres in the body's own frame: x to the patient's left, y to the back, and `h` down from the vertex.
Shapes are ellipsoids, tubes and level sets seen through a smooth random warp, so no two organs are alike and none is
an ellipsoid. The anatomy is a caricature with the right sizes, uptakes and textures; it is not a model of anyone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from PETDiffusionLib.projection.attenuation import BONE_MU_PER_MM, FAT_MU_PER_MM, LUNG_MU_PER_MM, WATER_MU_PER_MM
from PETDiffusionLib.simulation.phantom import (
    Phantom,
    add_lesions,
    empty_phantom,
    smooth_field,
    texture,
)
from PETDiffusionLib.simulation.tracers import draw_uptake

# h: half-widths of the outline in x and y
OUTLINE = np.array(
    [
        (0, 20, 25), (25, 60, 75), (80, 76, 96), (160, 70, 90), (215, 55, 62), (265, 58, 60), (300, 150, 80),
        (340, 175, 105), (450, 165, 115), (560, 158, 112), (700, 150, 108), (820, 165, 112), (920, 178, 118),
        (1000, 180, 112), (1100, 175, 105),
    ],
    dtype=float,
)  # fmt: skip

# organ, uptake, centre (x, y, h), radii (x, y, h)
ORGANS = (
    ("liver", "liver", (-70, -10, 600), (85, 75, 80)),
    ("liver", "liver", (0, -45, 570), (75, 40, 45)),
    ("spleen", "spleen", (95, 40, 590), (32, 28, 55)),
    ("stomach", "stomach", (60, -40, 590), (45, 38, 60)),
    ("pancreas", "pancreas", (15, -5, 645), (65, 14, 14)),
    ("kidney left", "kidney cortex", (65, 50, 665), (28, 26, 55)),
    ("kidney right", "kidney cortex", (-65, 50, 680), (28, 26, 55)),
    ("kidney pelvis left", "kidney pelvis", (58, 48, 665), (10, 12, 26)),
    ("kidney pelvis right", "kidney pelvis", (-58, 48, 680), (10, 12, 26)),
    ("adrenal left", "adrenal", (38, 35, 605), (7, 10, 16)),
    ("adrenal right", "adrenal", (-36, 35, 612), (7, 10, 16)),
    ("bladder", "bladder", (0, -30, 945), (42, 34, 34)),
    ("prostate", "prostate", (0, -10, 985), (22, 18, 20)),
    ("thyroid left", "gland", (17, -25, 262), (9, 10, 22)),
    ("thyroid right", "gland", (-17, -25, 262), (9, 10, 22)),
    ("parotid left", "gland", (58, 20, 170), (12, 18, 24)),
    ("parotid right", "gland", (-58, 20, 170), (12, 18, 24)),
)
BODY_LENGTH_MM = 1050.0


@dataclass(frozen=True)
class Folds:
    """A cortex: sulci are the sheets where a random field of `scale_mm` is near zero, down to `reach_mm` in the brain.

    Grey matter is where the field is within `grey` of zero, fluid where it is within `fluid` and 4 mm less deep.
    """

    scale_mm: float = 11.0
    reach_mm: float = 22.0
    grey: float = 0.55
    fluid: float = 0.1

    @classmethod
    def random(cls, rng: np.random.Generator) -> Folds:
        """From shallow and fine to sheets that leave thin blades of white matter between them."""
        return cls(
            float(rng.uniform(9, 22)),
            float(rng.uniform(15, 60)),
            float(rng.uniform(0.35, 0.9)),
            float(rng.uniform(0, 0.15)),
        )


def procedural_body(
    seed: int,
    tracer: str = "fdg",
    top_mm: float = 0.0,
    length_mm: float = BODY_LENGTH_MM,
    voxel_mm: float = 2.5,
    lesions: int | None = None,
    folds: Folds | None = None,
) -> Phantom:
    """A body drawn from `seed`, cut `length_mm` long starting `top_mm` below the vertex, on cubic voxels.

    `tracer` is a name of `tracers.TRACERS` or "any"; `lesions` is drawn from 3 to 14 unless given;
    `folds` shape the cortex of the head.
    """
    rng = np.random.default_rng([seed, 1])
    uptake = draw_uptake(tracer, rng)
    girth, half_width = rng.uniform(0.82, 1.2), 200.0
    half_depth = 140.0
    shape = (round(length_mm / voxel_mm), round(2 * half_depth / voxel_mm), round(2 * half_width / voxel_mm))
    phantom = empty_phantom(shape, (voxel_mm,) * 3)
    frame = _warped_frame(phantom, top_mm, girth, rng)
    _paint_trunk(phantom, frame, uptake, rng)
    _paint_skeleton(phantom, frame, uptake)
    _paint_chest(phantom, frame, uptake, rng)
    _paint_abdomen(phantom, frame, uptake, rng)
    _paint_head(phantom, frame, uptake, folds or Folds(), rng)
    phantom.activity *= texture(phantom, rng.uniform(0.05, 0.22), rng)
    count = int(rng.integers(3, 15)) if lesions is None else lesions
    add_lesions(phantom, count, rng)
    return phantom


class _Frame:
    """Warped body coordinates (x, y, h) of every voxel, in float32 [z, y, x], and the scaled radius of the outline."""

    def __init__(self, x: np.ndarray, y: np.ndarray, h: np.ndarray, girth: float) -> None:
        self.x, self.y, self.h, self.girth = x, y, h, girth
        width = np.interp(h, OUTLINE[:, 0], OUTLINE[:, 1]).astype(np.float32) * girth
        depth = np.interp(h, OUTLINE[:, 0], OUTLINE[:, 2]).astype(np.float32) * girth
        self.radius = ((np.abs(x) / width) ** 2.4 + (np.abs(y) / depth) ** 2.4) ** (1 / 2.4)
        self.width = width

    def ellipsoid(self, centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        """The scaled radius from `centre` (x, y, h): below one inside the ellipsoid of `radii`."""
        parts = ((self.x - centre[0]) / radii[0]) ** 2 + ((self.y - centre[1]) / radii[1]) ** 2
        return np.sqrt(parts + ((self.h - centre[2]) / radii[2]) ** 2)

    def between(self, top: float, bottom: float) -> np.ndarray:
        """Voxels between two heights."""
        return (self.h > top) & (self.h < bottom)


def _warped_frame(phantom: Phantom, top_mm: float, girth: float, rng: np.random.Generator) -> _Frame:
    shape, size = phantom.activity.shape, phantom.voxel_size_mm
    z, y, x = (((np.arange(n) - (n - 1) / 2) * s).astype(np.float32) for n, s in zip(shape, size, strict=True))
    h = top_mm + (np.arange(shape[0])[::-1].astype(np.float32) + 0.5) * size[0]  # z grows towards the head
    grids = [x[None, None, :], y[None, :, None], h[:, None, None]]
    warped = []
    for grid in grids:
        bend = rng.uniform(2, 7) * smooth_field(shape, size, 60.0, rng) + smooth_field(shape, size, 18.0, rng)
        warped.append(grid + bend)
    x_mm, y_mm, h_mm = warped
    return _Frame(x_mm, y_mm, h_mm, girth)


def _paint_trunk(phantom: Phantom, frame: _Frame, uptake: dict, rng: np.random.Generator) -> None:
    """The outline, its fat and the muscle beneath; below the pelvis two thighs; sometimes arms along the sides."""
    body = frame.radius < 1
    gap = (np.abs(frame.x) < 0.12 * (frame.h - 980)) & (frame.h > 980)
    body &= ~gap
    phantom.paint(body, "fat", uptake["fat"], FAT_MU_PER_MM)
    rim_mm = rng.uniform(6, 30)
    strands = smooth_field(body.shape, phantom.voxel_size_mm, 14.0, rng)
    muscle = body & (frame.radius < 1 - rim_mm / frame.width + 0.02 * strands) & (strands < 1.3)
    phantom.paint(muscle, "muscle", uptake["muscle"], WATER_MU_PER_MM)
    if rng.random() < 0.4:
        for side in (-1, 1):
            axis = side * (frame.girth * 172 + 8)
            arm = (np.hypot(frame.x - axis, frame.y - 10) < 30) & (frame.h > 330) & ~body
            phantom.paint(arm, "muscle", uptake["muscle"], WATER_MU_PER_MM)
            phantom.paint(arm & (np.hypot(frame.x - axis, frame.y - 10) < 10), "bone", uptake["cortical bone"],
                          BONE_MU_PER_MM)  # fmt: skip


def _paint_skeleton(phantom: Phantom, frame: _Frame, uptake: dict) -> None:
    """Vertebrae with discs, ribs, pelvis and femurs: marrow inside cortical bone."""
    spine_y = 52 * frame.girth
    column = np.hypot(frame.x, frame.y - spine_y)
    along = np.mod(frame.h, 30.0)
    vertebra = (column < 20) & (along < 23) & frame.between(200, 900)
    _paint_bone(phantom, vertebra, vertebra & (column < 17) & (along > 2) & (along < 21), uptake)
    canal = (np.hypot(frame.x, frame.y - spine_y - 28) < 8) & frame.between(150, 860)
    phantom.paint(canal, "spinal cord", uptake["white matter"] * 0.8, WATER_MU_PER_MM)
    slant = np.mod(frame.h + 0.5 * frame.y, 27.0)
    ribs = (np.abs(frame.radius - 0.83) < 0.035) & (slant < 10) & frame.between(320, 620)
    _paint_bone(phantom, ribs, ribs & (np.abs(frame.radius - 0.83) < 0.02), uptake)
    for side in (-1, 1):
        wing = np.abs(frame.ellipsoid((side * 80, 40, 880), (62, 58, 85)) - 0.9) < 0.12
        wing &= frame.between(800, 990) & (side * frame.x > 25)
        _paint_bone(phantom, wing, wing & (np.abs(frame.ellipsoid((side * 80, 40, 880), (62, 58, 85)) - 0.9) < 0.07),
                    uptake)  # fmt: skip
        shaft = np.hypot(frame.x - side * 95, frame.y - 5)
        femur = ((shaft < 15) & (frame.h > 985)) | (frame.ellipsoid((side * 92, 10, 965), (25, 25, 25)) < 1)
        _paint_bone(phantom, femur, femur & (shaft < 9), uptake)


def _paint_bone(phantom: Phantom, bone: np.ndarray, marrow: np.ndarray, uptake: dict) -> None:
    inside = phantom.mu > 0
    phantom.paint(bone & inside, "bone", uptake["cortical bone"], BONE_MU_PER_MM)
    phantom.paint(marrow & inside, "marrow", uptake["marrow"], WATER_MU_PER_MM * 1.08)


def _paint_chest(phantom: Phantom, frame: _Frame, uptake: dict, rng: np.random.Generator) -> None:
    """Lungs with vessels, heart wall and blood, the great vessels."""
    scale = frame.girth
    vessels = smooth_field(frame.x.shape, phantom.voxel_size_mm, 9.0, rng)
    for side, name in ((-1, "lung right"), (1, "lung left")):
        lung = frame.ellipsoid((side * 78 * scale, 0, 440), (62 * scale, 85 * scale, 135)) < 1
        phantom.paint(lung, name, uptake["lung"], LUNG_MU_PER_MM)
        phantom.paint(lung & (vessels > 1.9), name, uptake["blood"] * 0.8, WATER_MU_PER_MM)
    phantom.paint((np.abs(frame.x) < 24) & (np.abs(frame.y) < 60) & frame.between(320, 480), "mediastinum",
                  uptake["blood"] * 0.8, WATER_MU_PER_MM)  # fmt: skip
    heart = frame.ellipsoid((28, -28, 490), (52, 46, 52))
    phantom.paint(heart < 1, "blood pool", uptake["blood"], WATER_MU_PER_MM)
    ventricle = frame.ellipsoid((42, -28, 498), (36, 32, 42))
    wall = (ventricle < 1) & (ventricle > 0.68) & (frame.y < 8)
    phantom.paint(wall, "myocardium", uptake["myocardium"], WATER_MU_PER_MM)
    for x, y, top, bottom, width in ((14, 30, 370, 800, 12), (-14, 26, 560, 820, 12), (0, -5, 330, 440, 14)):
        vessel = (np.hypot(frame.x - x, frame.y - y * scale) < width) & frame.between(top, bottom)
        phantom.paint(vessel, "blood pool", uptake["blood"], WATER_MU_PER_MM)
    trachea = (np.hypot(frame.x, frame.y) < 9) & frame.between(240, 400)
    phantom.paint(trachea, "airway", 0.05, 0.0)


def _paint_abdomen(phantom: Phantom, frame: _Frame, uptake: dict, rng: np.random.Generator) -> None:
    """Bowel loops as level sets of a random field, then the solid organs over them."""
    cavity = (frame.radius < 0.72) & frame.between(620, 930) & (frame.y < 35 * frame.girth)
    loops = smooth_field(frame.x.shape, phantom.voxel_size_mm, 26.0, rng)
    brightness = np.exp(0.6 * smooth_field(frame.x.shape, phantom.voxel_size_mm, 50.0, rng))
    phantom.paint(cavity, "mesentery", uptake["fat"] * 1.3, FAT_MU_PER_MM)
    phantom.paint(cavity & (np.abs(loops) < 0.55), "bowel", uptake["bowel"] * brightness, WATER_MU_PER_MM)
    phantom.paint(cavity & (np.abs(loops) < 0.12), "bowel content", uptake["bowel"] * 0.6 * brightness)
    for name, organ, centre, radii in ORGANS:
        jitter, stretch = rng.normal(0, 6, 3), rng.uniform(0.85, 1.15, 3)
        placed = (centre[0] * frame.girth + jitter[0], centre[1] * frame.girth + jitter[1], centre[2] + jitter[2])
        distance = frame.ellipsoid(placed, tuple(np.asarray(radii) * stretch))
        phantom.paint(distance < 1, name, uptake[organ], WATER_MU_PER_MM)
        if organ == "stomach":
            phantom.paint(distance < 0.72, "stomach content", uptake[organ] * 0.4, WATER_MU_PER_MM)


def _paint_head(phantom: Phantom, frame: _Frame, uptake: dict, folds: Folds, rng: np.random.Generator) -> None:
    """Skull, folded cortex, white matter, ventricles and deep nuclei; air in the mouth and sinuses."""
    if not frame.between(0, 200).any():
        return
    brain = frame.ellipsoid((0, 5, 85), (64, 80, 66))
    skull = (brain < 1.14) & (brain > 1.03)
    phantom.paint(skull, "bone", uptake["cortical bone"], BONE_MU_PER_MM)
    paint_brain(phantom, brain, np.abs(frame.x), frame.ellipsoid, uptake, folds, rng)
    cerebellum = frame.ellipsoid((0, 45, 140), (48, 30, 24))
    folia = np.sin(frame.h / 1.3 + smooth_field(frame.x.shape, phantom.voxel_size_mm, 12.0, rng))
    phantom.paint(cerebellum < 1, "cerebellum", uptake["grey matter"] * (0.75 + 0.15 * folia), WATER_MU_PER_MM)
    airway = frame.ellipsoid((0, -50, 165), (16, 26, 26)) < 1
    phantom.paint(airway, "airway", 0.05, 0.0)


def paint_brain(
    phantom: Phantom,
    radius: np.ndarray,
    lateral: np.ndarray,
    ellipsoid: Callable[[tuple[float, ...], tuple[float, ...]], np.ndarray],
    uptake: dict[str, float],
    folds: Folds,
    rng: np.random.Generator,
) -> None:
    """A folded cortex inside `radius` < 1, white matter beneath it, ventricles and deep nuclei."""
    inside = radius < 1
    depth_mm = (1 - radius) * 68
    field = smooth_field(radius.shape, phantom.voxel_size_mm, folds.scale_mm, rng)
    midline = (lateral < 2.0) & (depth_mm < 40)
    near_sulcus = (np.abs(field) < folds.grey) & (depth_mm < folds.reach_mm)
    sulcus = (np.abs(field) < folds.fluid) & (depth_mm < folds.reach_mm - 4)
    phantom.paint(inside, "white matter", uptake["white matter"], WATER_MU_PER_MM)
    phantom.paint(inside & ((depth_mm < 5) | near_sulcus), "grey matter", uptake["grey matter"])
    phantom.paint(inside & (midline | sulcus | (depth_mm < 1.5)), "csf", uptake["csf"])
    for side in (-1, 1):
        for name, organ, centre, radii in (
            ("ventricle", "csf", (side * 13, -5, 75), (7, 32, 14)),
            ("thalamus", "grey matter", (side * 11, 12, 92), (9, 14, 10)),
            ("putamen", "grey matter", (side * 27, -8, 90), (6, 20, 12)),
            ("caudate", "grey matter", (side * 15, -25, 80), (6, 12, 12)),
        ):
            jitter = rng.normal(0, 1.5, 3)
            placed = tuple(np.asarray(centre) + jitter)
            phantom.paint((ellipsoid(placed, radii) < 1) & inside, name, uptake[organ])
