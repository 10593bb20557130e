"""Planes side by side as one picture: inverted grey, a heading over every column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from PETDiffusionLib.evaluation.pictures import USE_LINE

ENLARGED, LINE_HEIGHT = 3, 26


def write_gallery(path: Path, headings: Sequence[str], rows: Sequence[tuple[Sequence[np.ndarray], float]]) -> None:
    """A column a heading; a row is its planes [row, column], all of one shape, and the value that is black."""
    strips = [255 * (1 - (np.concatenate(planes, axis=1) / black).clip(0, 1)) for planes, black in rows]
    grey = Image.fromarray(np.concatenate(strips).astype(np.uint8))
    planes = grey.resize((ENLARGED * grey.width, ENLARGED * grey.height), Image.Resampling.NEAREST)
    page = Image.new("L", (planes.width, planes.height + 2 * LINE_HEIGHT), 255)
    page.paste(planes, (0, LINE_HEIGHT))
    draw, font, column = ImageDraw.Draw(page), ImageFont.load_default(size=15), planes.width / len(headings)
    for number, heading in enumerate(headings):
        draw.text(((number + 0.5) * column, LINE_HEIGHT / 2), heading, fill=0, font=font, anchor="mm")
    draw.text((page.width / 2, page.height - LINE_HEIGHT / 2), USE_LINE, fill=90, font=font, anchor="mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)
