"""Where a job's events go: JSON lines for programs. (The terminal's bar is in cli/terminal.py.)"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

from PETDiffusionLib.errors import Cancelled


class Reporter(Protocol):
    """What a running job says."""

    def stage(self, stage: str) -> None: ...

    def progress(self, stage: str, fraction: float, seconds_left: float | None) -> None: ...

    def warning(self, code: str, message: str) -> None: ...

    def log(self, message: str) -> None: ...

    def result(self, outputs: Mapping[str, Path], manifest: Path, summary: Mapping[str, Any]) -> None: ...

    def error(self, code: str, message: str) -> None: ...

    def cancelled(self) -> None: ...


class JsonLinesReporter:
    """One ASCII JSON object a line, flushed. A reader that has gone away counts as the wish to stop."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._reader_gone = False

    def stage(self, stage: str) -> None:
        self._emit(event="stage", stage=stage)

    def progress(self, stage: str, fraction: float, seconds_left: float | None) -> None:
        left = None if seconds_left is None else round(seconds_left, 1)
        self._emit(event="progress", stage=stage, fraction=round(fraction, 4), seconds_left=left)

    def warning(self, code: str, message: str) -> None:
        self._emit(event="warning", code=code, message=message)

    def log(self, message: str) -> None:
        self._emit(event="log", message=message)

    def result(self, outputs: Mapping[str, Path], manifest: Path, summary: Mapping[str, Any]) -> None:
        self._emit(event="result", outputs=outputs, manifest=manifest, summary=summary)

    def error(self, code: str, message: str) -> None:
        self._emit(event="error", code=code, message=message)

    def cancelled(self) -> None:
        self._emit(event="cancelled")

    def _emit(self, **event: Any) -> None:
        if self._reader_gone:
            return
        try:
            self._stream.write(json.dumps(plain(event)) + "\n")
            self._stream.flush()
        except OSError as error:
            self._reader_gone = True
            _point_at_nothing(self._stream)
            raise Cancelled from error


def _point_at_nothing(stream: TextIO) -> None:
    """Let what is still in the stream's buffer go nowhere, so that Python's last flush at exit does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def plain(value: Any) -> Any:
    """The value in JSON's own types: numpy scalars and arrays, paths and tuples converted, NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
