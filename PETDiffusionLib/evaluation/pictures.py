"""The comparison picture: low-dose, denoised, reference, difference and uncertainty, in three planes and as MIP.

Radiological convention whatever the file's axes are: the patient's right is on the left of the picture, anterior is up
in axial planes and on the left in sagittal ones, superior is up in coronal and sagittal planes and in the projections.
Drawn with Pillow alone.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image, ImageDraw, ImageFont

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.evaluation import metrics
from PETDiffusionLib.evaluation.colours import BLUE_WHITE_RED, INVERTED_GREY, MAGMA, ColourScale, round_limit
from PETDiffusionLib.evaluation.grids import patient_array, patient_image, require_same_grid

SUV_WINDOW = 6.0
USE_LINE = "For research use only. Not for diagnosis."

# Everything that is measured in pixels.
COLUMN_WIDTH, ROW_HEIGHT = 330, 620  # the largest panel; the scale is chosen to fit
GAP, MARGIN = 12, 36
ROW_LABEL_WIDTH, HEADER_HEIGHT, COLOUR_BAR_HEIGHT, FOOTER_HEIGHT = 34, 40, 78, 46
INK, SOFT_INK, FRAME = (25, 28, 33), (105, 110, 120), (208, 211, 217)
AIR_MARGIN_MM = 15.0

Plane = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Column:
    """One column: its heading, its values in each plane, and its colours."""

    heading: str
    planes: tuple[np.ndarray, ...]  # axial, coronal, sagittal, coronal MIP; each [row, column] as it is seen
    scale: ColourScale


@dataclass(frozen=True)
class Row:
    """One row: its name, what is at the left and right of its panels, and its pixels' size in mm."""

    name: str
    left: str
    right: str
    pixel_mm: tuple[float, float]  # (across, down)


def comparison_picture(
    image: sitk.Image,
    *,
    low_dose: sitk.Image | None = None,
    reference: sitk.Image | None = None,
    uncertainty: sitk.Image | None = None,
    image_name: str = "Denoised",
    title: str = "",
    suv_window: float = SUV_WINDOW,
    position_mm: Sequence[float] | None = None,
) -> Image.Image:
    """Draw the volumes (SUV, one grid) side by side: columns as given, rows axial, coronal, sagittal, coronal MIP.

    The difference is taken from the reference, or from the low-dose volume where there is no reference. Planes go
    through `position_mm` (a point in the patient, LPS), or else through the most activity within the window. Raises
    PETDiffusionError "grid-mismatch", "not-3d", "not-finite", or "outside" for a position that is not in the volume.
    """
    given = {"low-dose image": low_dose, "image": image, "reference": reference, "uncertainty": uncertainty}
    for name, other in given.items():
        if other is not None:
            require_same_grid(image, "image", other, name)
    arrays = {name: patient_array(other, name) for name, other in given.items() if other is not None}
    upright = patient_image(image)
    voxel_size_mm = upright.GetSpacing()
    guide = arrays.get("reference", arrays["image"])  # decides what is shown
    at = _most_active(guide, suv_window) if position_mm is None else _index_of(upright, position_mm)
    box = _body_box(guide, voxel_size_mm, at)
    cropped = {name: array[box] for name, array in arrays.items()}
    inner = tuple(index - part.start for index, part in zip(at, box, strict=True))

    columns = _columns(cropped, _slicers(inner), image_name, suv_window)
    x_mm, y_mm, z_mm = voxel_size_mm
    rows = (
        Row("Axial", "R", "L", (x_mm, y_mm)),
        Row("Coronal", "R", "L", (x_mm, z_mm)),
        Row("Sagittal", "A", "P", (y_mm, z_mm)),
        Row("Coronal MIP", "R", "L", (x_mm, z_mm)),
    )
    return _page(columns, rows, title)


def write_picture(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write the picture as PNG, whole or not at all (a temporary file beside it, then renamed)."""
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        picture.save(partial, format="PNG")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


# ---- what is shown


def _most_active(guide: np.ndarray, suv_window: float) -> tuple[int, int, int]:
    """The planes with the most activity within the window: [z, y, x] indices. Beyond the window nothing counts more."""
    shown = np.clip(guide, 0.0, suv_window)
    profiles = [shown.sum(axis=others, dtype=np.float64) for others in ((1, 2), (0, 2), (0, 1))]
    z, y, x = (int(np.argmax(profile)) for profile in profiles)
    return z, y, x


def _index_of(upright: sitk.Image, position_mm: Sequence[float]) -> tuple[int, int, int]:
    x, y, z = upright.TransformPhysicalPointToIndex([float(value) for value in position_mm])
    if any(not 0 <= index < count for index, count in zip((x, y, z), upright.GetSize(), strict=True)):
        raise PETDiffusionError("outside", f"The position {tuple(position_mm)} mm is not inside the volume.")
    return z, y, x


def _body_box(
    guide: np.ndarray, voxel_size_mm: tuple[float, float, float], at: tuple[int, int, int]
) -> tuple[slice, ...]:
    """The part of the volume around the body and the chosen planes, the air beyond left away."""
    x_step, y_step, z_step = (max(int(4.0 // size), 1) for size in voxel_size_mm)  # 4 mm are fine enough for a box
    x_mm, y_mm, z_mm = voxel_size_mm
    coarse_size = (x_mm * x_step, y_mm * y_step, z_mm * z_step)
    try:
        body = metrics.body_mask(guide[::z_step, ::y_step, ::x_step], coarse_size)
    except PETDiffusionError:  # an image without a body is shown whole
        return tuple(slice(0, count) for count in guide.shape)
    box = []
    for axis, (step, size) in enumerate(((z_step, z_mm), (y_step, y_mm), (x_step, x_mm))):
        used = np.flatnonzero(body.any(axis=tuple(other for other in range(3) if other != axis))) * step
        margin = round(AIR_MARGIN_MM / size)
        start = min(int(used[0]) - margin, at[axis])
        stop = max(int(used[-1]) + step + margin, at[axis] + 1)
        box.append(slice(max(start, 0), min(stop, guide.shape[axis])))
    return tuple(box)


def _slicers(at: tuple[int, int, int]) -> tuple[Plane, ...]:
    """Volume [z, y, x] to the planes as they are seen: rows go down the picture, columns to its right."""
    z, y, x = at
    return (
        lambda volume: volume[z],
        lambda volume: volume[::-1, y],
        lambda volume: volume[::-1, :, x],
        lambda volume: volume.max(axis=1)[::-1],
    )


def _columns(
    arrays: dict[str, np.ndarray], slicers: tuple[Plane, ...], image_name: str, suv_window: float
) -> list[Column]:
    def planes(name: str) -> tuple[np.ndarray, ...]:
        return tuple(np.asarray(slicer(arrays[name])) for slicer in slicers)

    grey = ColourScale(INVERTED_GREY, 0.0, suv_window, "SUV")
    headings = {"low-dose image": "Low dose", "image": image_name, "reference": "Reference"}
    columns = [Column(heading, planes(name), grey) for name, heading in headings.items() if name in arrays]
    other = next((name for name in ("reference", "low-dose image") if name in arrays), None)
    if other is not None:
        # In the MIP row this is the difference of the two projections, the one thing an eye can check there.
        differences = tuple(mine - theirs for mine, theirs in zip(planes("image"), planes(other), strict=True))
        limit = _upper_limit([np.abs(plane) for plane in differences], suv_window)
        caption = f"{image_name} minus {headings[other].lower()}, SUV"
        columns.append(Column("Difference", differences, ColourScale(BLUE_WHITE_RED, -limit, limit, caption)))
    if "uncertainty" in arrays:
        deviations = planes("uncertainty")
        scale = ColourScale(MAGMA, 0.0, _upper_limit(deviations, suv_window), "One standard deviation, SUV")
        columns.append(Column("Uncertainty", deviations, scale))
    return columns


def _upper_limit(planes: Sequence[np.ndarray], suv_window: float) -> float:
    """A round limit that 99.5 % of the planes' values do not pass, at most the SUV window."""
    highest = float(np.percentile(np.concatenate([plane.ravel() for plane in planes]), 99.5))
    return min(round_limit(highest), suv_window) if highest > 0 else suv_window


# ---- how it is drawn


def _page(columns: Sequence[Column], rows: Sequence[Row], title: str) -> Image.Image:
    sizes_mm = [
        (plane.shape[1] * row.pixel_mm[0], plane.shape[0] * row.pixel_mm[1])
        for plane, row in zip(columns[0].planes, rows, strict=True)
    ]
    # One scale for the whole page: a patient is as large in every panel.
    pixels_per_mm = min(
        COLUMN_WIDTH / max(width for width, _ in sizes_mm), ROW_HEIGHT / max(height for _, height in sizes_mm)
    )
    panels = [(max(round(w * pixels_per_mm), 1), max(round(h * pixels_per_mm), 1)) for w, h in sizes_mm]
    column_width = max(200, *(width for width, _ in panels))
    top = MARGIN + (HEADER_HEIGHT if title else 0)
    page = Image.new(
        "RGB",
        (
            2 * MARGIN + ROW_LABEL_WIDTH + len(columns) * (column_width + GAP) - GAP,
            top + HEADER_HEIGHT + sum(h + GAP for _, h in panels) + COLOUR_BAR_HEIGHT + FOOTER_HEIGHT,
        ),
        "white",
    )
    draw = ImageDraw.Draw(page)
    left = MARGIN + ROW_LABEL_WIDTH
    if title:
        draw.text((left, MARGIN + 4), title, fill=INK, font=_font(24), anchor="ls")
    for number, column in enumerate(columns):
        centre = left + number * (column_width + GAP) + column_width // 2
        draw.text((centre, top + HEADER_HEIGHT - 14), column.heading, fill=INK, font=_font(20), anchor="ms")
    y = top + HEADER_HEIGHT
    for index, (row, size) in enumerate(zip(rows, panels, strict=True)):
        _row_name(page, row.name, (MARGIN, y), size[1])
        for number, column in enumerate(columns):
            x = left + number * (column_width + GAP) + (column_width - size[0]) // 2
            _panel(page, (x, y), size, column.planes[index], column.scale, row if number == 0 else None)
        y += size[1] + GAP
    _colour_bars(draw, page, columns, (left, y + 6), column_width)
    _footer(draw, page, left, pixels_per_mm)
    return page


def _panel(
    page: Image.Image,
    corner: tuple[int, int],
    size: tuple[int, int],
    values: np.ndarray,
    scale: ColourScale,
    sides: Row | None,
) -> None:
    """Resample the values, then colour them: blending colours would show values that are not there."""
    plane = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32)).resize(size, Image.Resampling.BILINEAR)
    page.paste(Image.fromarray(scale.rgb(np.asarray(plane))), corner)
    draw = ImageDraw.Draw(page)
    x, y = corner
    draw.rectangle((x - 1, y - 1, x + size[0], y + size[1]), outline=FRAME)
    if sides is not None:
        draw.text((x + 7, y + size[1] // 2), sides.left, fill=SOFT_INK, font=_font(14), anchor="lm")
        draw.text((x + size[0] - 7, y + size[1] // 2), sides.right, fill=SOFT_INK, font=_font(14), anchor="rm")


def _row_name(page: Image.Image, name: str, corner: tuple[int, int], height: int) -> None:
    strip = Image.new("RGB", (height, ROW_LABEL_WIDTH - 8), "white")
    ImageDraw.Draw(strip).text((height // 2, strip.height // 2), name, fill=INK, font=_font(17), anchor="mm")
    page.paste(strip.transpose(Image.Transpose.ROTATE_90), corner)


def _colour_bars(
    draw: ImageDraw.ImageDraw, page: Image.Image, columns: Sequence[Column], corner: tuple[int, int], column_width: int
) -> None:
    """One bar under each run of columns that share a scale, in the width of one column."""
    start = 0
    while start < len(columns):
        scale = columns[start].scale
        stop = start
        while stop < len(columns) and columns[stop].scale is scale:
            stop += 1
        span = (stop - start) * (column_width + GAP) - GAP
        bar_width = min(span, column_width) - 48
        x = corner[0] + start * (column_width + GAP) + (span - bar_width) // 2
        y = corner[1]
        ramp = np.linspace(scale.low, scale.high, bar_width)[None].repeat(14, axis=0)
        page.paste(Image.fromarray(scale.rgb(ramp)), (x, y))
        draw.rectangle((x - 1, y - 1, x + bar_width, y + 14), outline=FRAME)
        for value in scale.ticks():
            tick_x = x + round((value - scale.low) / (scale.high - scale.low) * (bar_width - 1))
            draw.line((tick_x, y + 15, tick_x, y + 19), fill=SOFT_INK)
            draw.text((tick_x, y + 23), f"{value:.4g}", fill=INK, font=_font(14), anchor="mt")
        draw.text((x + bar_width // 2, y + 44), scale.caption, fill=SOFT_INK, font=_font(14), anchor="mt")
        start = stop


def _footer(draw: ImageDraw.ImageDraw, page: Image.Image, left: int, pixels_per_mm: float) -> None:
    y = page.height - 24
    draw.text((left, y), USE_LINE, fill=SOFT_INK, font=_font(15), anchor="lm")
    bar_mm = next(length for length in (100, 50, 20, 10, 5, 2, 1) if length * pixels_per_mm <= 160 or length == 1)
    right, width = page.width - MARGIN, round(bar_mm * pixels_per_mm)
    draw.line((right - width, y, right, y), fill=INK, width=3)
    draw.text((right - width - 8, y), f"{bar_mm} mm", fill=SOFT_INK, font=_font(15), anchor="rm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
