"""What is unusual about many frames, said once and not once a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class FrameWarnings:
    """The warnings of many frames: the same one is said once, with the frames that it is about."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], dict[int, str]] = {}

    def add(self, frame: int, code: str, message: str) -> None:
        """A warning about a frame, counted from 1; messages that differ in numbers alone are one."""
        pattern = "".join("0" if character.isdigit() else character for character in message)
        self._told.setdefault((code, _squeezed(pattern)), {})[frame] = message

    def say(self, warn: Callable[[str, str], None], count: int) -> None:
        """Say all of them; `count` is the number of frames."""
        for (code, _), messages in self._told.items():
            first = next(iter(messages.values()))
            if len(set(messages.values())) > 1:
                first = (
                    f"{first.rstrip('.')} (frame {next(iter(messages))}; likewise, with their own numbers, the others)."
                )
            warn(code, first if len(messages) == count else f"{frame_ranges(list(messages))}: {first}")


def _squeezed(pattern: str) -> str:
    """A pattern in which numbers of any length look alike."""
    while "00" in pattern or "0.0" in pattern:
        pattern = pattern.replace("00", "0").replace("0.0", "0")
    return pattern


def frame_ranges(frames: Sequence[int]) -> str:
    """Frame numbers as people write them: "Frame 3", "Frames 1-4, 9"."""
    runs: list[list[int]] = []
    for number in sorted(frames):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    text = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return f"Frame {text}" if len(frames) == 1 else f"Frames {text}"
