"""The engine as a process of its own: started, listened to, asked to stop, and ended with everything it started.

The engine writes one JSON object a line on standard output; everything else it writes is text for the log. It stops by
itself when its standard input closes. PythonSlicer is a launcher whose child does the work, so ending the process by
force means ending its whole tree.
"""

import collections
import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from .places import home

GRACE_MS = 1500  # what the engine has to stop by itself before it is ended
MOST_LINE_BYTES = 1_000_000
MOST_TEXT_LINES = 2000  # more text than this is not an engine's


class EngineError(Exception):
    """Why the engine gave no result, in a sentence for the user; `code` is stable and meant for programs."""

    def __init__(self, code, sentence) -> None:
        super().__init__(sentence)
        self.code = code


class Cancelled(EngineError):
    """The job was stopped on purpose."""

    def __init__(self, sentence=None) -> None:
        super().__init__("cancelled", sentence or _("Stopped. Nothing was changed."))


def pythonSlicer():
    """Slicer's own Python, found through the application."""
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    return str(Path(slicer.app.slicerHome) / "bin" / name)


class Engine:
    """Which Python runs the engine (Slicer's own where none is given), and where it looks for further models."""

    def __init__(self, python="", modelsFolder="") -> None:
        self.isSlicerPython = not python
        self.python = python or pythonSlicer()
        self.modelsFolder = modelsFolder

    def environment(self):
        """Slicer's environment for Slicer's Python; for another one the environment from before Slicer started."""
        if self.isSlicerPython:
            environment = qt.QProcessEnvironment.systemEnvironment()
            paths = [str(home()), environment.value("PYTHONPATH", "")]
        else:
            environment = slicer.app.startupEnvironment()
            environment.remove("PYTHONHOME")
            paths = [str(home())]
        environment.insert("PYTHONPATH", os.pathsep.join(path for path in paths if path))
        if self.modelsFolder:
            environment.insert("PETDIFFUSION_MODELS", self.modelsFolder)
        return environment

    def start(self, arguments, onEvent=None, onFinished=None):
        """Run `python -m PETDiffusionLib` with arguments; see EngineProcess."""
        return EngineProcess(self, arguments, onEvent, onFinished)


class Lines:
    """Bytes in, whole lines out, however they were cut and whatever their encoding."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data):
        """The lines that `data` completes; a line that never ends is given out in pieces."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MOST_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def rest(self):
        """What came after the last line's end."""
        return self.feed(b"\n") if self._rest else []


def eventIn(line):
    """The event that a line of output is, or None where it is anything else."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


class EngineProcess:
    """One run of the engine: `onEvent(event)` for its events (text as "log" events), `onFinished(process)` at the end.

    Afterwards `result()` is what it achieved, or raises EngineError with the reason why there is nothing.
    """

    def __init__(self, engine, arguments, onEvent=None, onFinished=None) -> None:
        self._engine, self._onEvent, self._onFinished = engine, onEvent, onFinished
        self._output, self._errors = Lines(), Lines()
        self._text, self._textLines = collections.deque(maxlen=MOST_TEXT_LINES), 0
        self._answer = []  # of the text what came on standard output: the rest are warnings and reasons
        self._outcome, self._cancelled, self.finished = None, False, False
        self._process = qt.QProcess()
        self._process.setProcessEnvironment(engine.environment())
        self._process.setWorkingDirectory(slicer.app.temporaryPath)
        self._process.readyReadStandardOutput.connect(self._readOutput)
        self._process.readyReadStandardError.connect(self._readErrors)
        self._process.finished.connect(self._onProcessEnd)
        self._process.errorOccurred.connect(self._onProcessError)
        slicer.app.connect("aboutToQuit()", self.stop)
        self._process.start(engine.python, ["-m", "PETDiffusionLib", *arguments])

    @property
    def processId(self):
        return self._process.processId()

    def result(self):
        """The "result" event, or the JSON or text that was printed. Raises EngineError where the engine failed."""
        if self._cancelled:
            raise Cancelled()
        if self._textLines > MOST_TEXT_LINES:
            sentence = _("The engine wrote text instead of its progress, and was ended. See the log.")
            raise EngineError("nonsense", sentence)
        if self._outcome is None:
            return self._printed()
        if self._outcome["event"] == "result":
            return self._outcome
        if self._outcome["event"] == "cancelled":
            raise Cancelled()
        raise EngineError(str(self._outcome.get("code")), str(self._outcome.get("message")))

    def _printed(self):
        """What a command other than a job printed."""
        if self._process.error() == qt.QProcess.FailedToStart:
            sentence = _("The engine's Python could not be started: {python}. Choose another one under Advanced.")
            raise EngineError("not-started", sentence.format(python=self._engine.python))
        if self._process.exitStatus() != qt.QProcess.NormalExit or self._process.exitCode() != 0:
            sentence = _("The engine ended unexpectedly (exit code {code}). {last}")
            last = self._text[-1] if self._text else _("It said nothing; it may have been ended, or be out of memory.")
            raise EngineError("died", sentence.format(code=self._process.exitCode(), last=last))
        return "\n".join(self._answer)

    def answer(self):
        """What a question's process printed, as JSON. Raises EngineError."""
        printed = self.result()
        try:
            return json.loads(printed)
        except ValueError as error:
            sentence = _("The engine gave an answer that cannot be understood: {start}")
            raise EngineError("nonsense", sentence.format(start=printed[:200])) from error

    def cancel(self) -> None:
        """Ask the engine to stop, and end it where it does not."""
        if not self.finished:
            self._cancelled = True
            self._process.closeWriteChannel()
            qt.QTimer.singleShot(GRACE_MS, self.kill)

    def stop(self) -> None:
        """Cancel and wait until it has stopped; for closing scenes, reloading and quitting."""
        if self.finished:
            return
        self._cancelled = True
        self._process.closeWriteChannel()
        if not self._process.waitForFinished(GRACE_MS):
            self.kill()
            self._process.waitForFinished(GRACE_MS)

    def kill(self) -> None:
        """End the process and everything it started."""
        if self.finished:
            return
        endTree(self._process.processId())
        self._process.kill()

    def wait(self, milliseconds) -> None:
        """Let the process run for a while without the event loop; its events are delivered meanwhile."""
        self._process.waitForFinished(milliseconds)

    def _readOutput(self, *_arguments) -> None:
        self._take(self._output.feed(self._process.readAllStandardOutput().data()), self._answer)

    def _readErrors(self, *_arguments) -> None:
        self._take(self._errors.feed(self._process.readAllStandardError().data()))

    def _take(self, lines, answer=None):
        """Deliver lines of output as events; text is also kept in `answer`."""
        for line in lines:
            event = eventIn(line)
            if event is None:
                self._text.append(line)
                self._textLines += 1
                if answer is not None:
                    answer.append(line)
                event = {"event": "log", "message": line}
            elif event["event"] in ("result", "error", "cancelled"):
                self._outcome = event
            if self._onEvent and not self.finished:
                self._onEvent(event)
            if self._textLines > MOST_TEXT_LINES:
                return self.kill()
        return None

    def _onProcessError(self, *_arguments) -> None:
        if self._process.error() == qt.QProcess.FailedToStart:
            self._finish()

    def _onProcessEnd(self, *_arguments) -> None:
        self._readOutput()
        self._readErrors()
        self._take(self._output.rest(), self._answer)
        self._take(self._errors.rest())
        self._finish()

    def _finish(self) -> None:
        if self.finished:
            return
        self.finished = True
        slicer.app.disconnect("aboutToQuit()", self.stop)
        if self._onFinished:
            qt.QTimer.singleShot(0, lambda: self._onFinished(self))


def endTree(processId) -> None:
    """End a process and its descendants by force."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(processId)], capture_output=True, check=False)
        return
    for one in [*_descendants(processId), processId]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _descendants(processId):
    """The processes that a process started, and those that they started, deepest first."""
    table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
    children = collections.defaultdict(list)
    for line in table.splitlines():
        child, parent = map(int, line.split())
        children[parent].append(child)
    found, waiting = [], [processId]
    while waiting:
        found[:0] = children[waiting[0]]
        waiting += children[waiting.pop(0)]
    return found
