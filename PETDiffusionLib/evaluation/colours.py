"""Colour maps for pictures: values to RGB through tables of 256 colours, interpolated between a few anchors."""

from dataclasses import dataclass

import numpy as np

# Inverted grey: no activity is white, as PET is read.
INVERTED_GREY = ("ffffff", "000000")
# Nine samples of "magma", perceptually uniform from black over purple and orange to a pale yellow.
MAGMA = ("000004", "1c1044", "4f127b", "812581", "b5367a", "e55964", "fb8761", "fec287", "fbfdbf")
# ColorBrewer's blue to red with a pure white middle, so that no difference disappears into the page.
BLUE_WHITE_RED = (
    *("053061", "2166ac", "4393c3", "92c5de", "d1e5f0", "ffffff"),
    *("fddbc7", "f4a582", "d6604d", "b2182b", "67001f"),
)


@dataclass(frozen=True)
class ColourScale:
    """A colour map over the values from `low` to `high`; what lies outside takes the end colours."""

    anchors: tuple[str, ...]
    low: float
    high: float
    caption: str

    def rgb(self, values: np.ndarray) -> np.ndarray:
        """Values of any shape to bytes with a last axis of red, green, blue."""
        share = (np.asarray(values, dtype=np.float64) - self.low) / (self.high - self.low)
        return _table(self.anchors)[np.clip(np.rint(share * 255), 0, 255).astype(np.uint8)]

    def ticks(self) -> list[float]:
        """The values to print along a colour bar: its ends, round steps between them, and zero where it is inside."""
        span = self.high - self.low
        counts = (4, 6) if self.low < 0 else (3, 4, 5, 6)
        parts = next(
            (count for count in counts if f"{span / count:.3e}"[:5] in ("1.000", "2.000", "4.000", "5.000")), 2
        )
        return [self.low + span * part / parts for part in range(parts + 1)]


def round_limit(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten that is not below a positive value."""
    decade = 10.0 ** np.floor(np.log10(value))
    return float(next(step * decade for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * decade >= value * (1 - 1e-9)))


def _table(anchors: tuple[str, ...]) -> np.ndarray:
    colours = np.array(
        [[int(code[start : start + 2], 16) for start in (0, 2, 4)] for code in anchors], dtype=np.float64
    )
    where = np.linspace(0.0, len(anchors) - 1.0, 256)
    channels = [np.interp(where, np.arange(len(anchors)), colours[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)  # [256, 3]
