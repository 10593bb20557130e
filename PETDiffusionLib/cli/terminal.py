"""A job's events on a terminal: one bar with the time left; stages alone where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

BAR = "{desc} {percentage:3.0f} % |{bar}|"


class TerminalReporter:
    """Progress, warnings and errors on standard error, results on standard output."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def stage(self, stage: str) -> None:
        if sys.stderr.isatty():
            self._open_bar().set_description_str(stage)
        else:
            self._say(stage)

    def progress(self, stage: str, fraction: float, seconds_left: float | None) -> None:
        if not sys.stderr.isatty():
            return
        bar = self._open_bar()
        bar.n = round(100 * fraction)
        bar.bar_format = BAR if seconds_left is None else f"{BAR} {clock_time(seconds_left)} left"
        bar.refresh()

    def warning(self, code: str, message: str) -> None:
        self._say(f"Warning: {message}")

    def log(self, message: str) -> None:
        self._say(message)

    def result(self, outputs: Mapping[str, Path], manifest: Path, summary: Mapping[str, Any]) -> None:
        self._close_bar()
        for role, path in {**outputs, "manifest": manifest}.items():
            print(f"{role}: {path}")
        if "self_check" in summary:
            print(f"self-check: {summary['self_check']['text']}")
        print("For research use only.")

    def error(self, code: str, message: str) -> None:
        self._close_bar()
        self._say(f"petdiffusion: {message}")

    def cancelled(self) -> None:
        self._close_bar()
        self._say("Stopped; nothing was written.")

    def _open_bar(self) -> tqdm[Any]:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=100, bar_format=BAR, leave=False)
        return self._bar

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)


def clock_time(seconds: float) -> str:
    """Seconds as people read them: 0:07, 12:34, 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
