"""The wish to stop: a signal, a closed standard input, or a line "cancel" on it."""

from __future__ import annotations

import os
import signal
import stat
import threading
from types import FrameType


class CancelWatch:
    """Collects the wish to stop; methods meet it as Cancelled, raised by their progress callback.

    The first signal asks; a second one interrupts whatever is running with KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> bool:
        return self._event.is_set()

    def cancel(self) -> None:
        self._event.set()

    def watch_signals(self) -> None:
        """Take Ctrl-C and SIGTERM as the wish to stop. Call from the main thread."""
        for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._event.is_set():
            raise KeyboardInterrupt
        self._event.set()

    def watch_pipe(self, descriptor: int = 0) -> None:
        """Take the end of a pipe, or a line "cancel" on it, as the wish to stop.

        A terminal, a file or /dev/null says nothing by ending, so it is not watched.
        """
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            return
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            threading.Thread(target=self._read_pipe, args=(descriptor,), daemon=True, name="cancel-watch").start()

    def _read_pipe(self, descriptor: int) -> None:
        # os.read and not sys.stdin: a thread waiting in a buffered reader would hold its lock when Python exits.
        text = b""
        while True:
            try:
                received = os.read(descriptor, 4096)
            except OSError:
                received = b""
            *lines, text = (text + received).split(b"\n")
            if not received or any(line.strip().lower() == b"cancel" for line in lines):
                self._event.set()
                return
