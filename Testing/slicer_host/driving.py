"""Driving the host from tests and the demo: wait in the event loop, click, make a volume."""

import gc
import signal
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import numpy as np
import qt
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtTest

WORTH_A_LOOK_S = 0.05  # a gap this long is looked into
FRAMES_SHOWN = 4


def until(condition, seconds=300.0) -> None:
    """Run the event loop until a condition holds; fails the test where it does not in time, on a slow machine too."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        slicer.app.processEvents()
        time.sleep(0.005)


def click(button) -> None:
    """A real mouse click in the middle of a widget."""
    QtTest.QTest.mouseClick(button, QtCore.Qt.LeftButton)


def methodOption(panel, title):
    """The widget of the method's option with a title."""
    layout = panel.ui.optionsWidget.layout()
    rows = [(layout.itemAt(row, qt.QFormLayout.LabelRole), layout.itemAt(row, qt.QFormLayout.FieldRole))
            for row in range(layout.rowCount())]  # fmt: skip
    return next(widget.widget() for label, widget in rows if label.widget().text == f"{title}:")


def turnWheel(widget, notches) -> None:
    """Turn the mouse wheel in the middle of a widget."""
    at = QtCore.QPointF(widget.rect.center())
    no = (QtCore.Qt.NoButton, QtCore.Qt.NoModifier, QtCore.Qt.NoScrollPhase)
    turn = QtCore.QPoint(0, 120 * notches)
    event = QtGui.QWheelEvent(at, widget.mapToGlobal(at), QtCore.QPoint(), turn, *no, False)
    qt.QApplication.sendEvent(widget, event)


def makeVolume(name="PET", coded=True):
    """A small PET volume node: a warm ball with a hot spot, on a shifted and rotated grid."""
    from PETDiffusionSlicer.results import code

    z, y, x = np.indices((20, 24, 28), dtype=np.float32)
    ball = ((z - 10) / 8) ** 2 + ((y - 12) / 9) ** 2 + ((x - 14) / 11) ** 2 < 1
    array = (np.random.default_rng(0).normal(1, 0.1, ball.shape) * ball).clip(0)
    array[9:12, 11:14, 12:16] += 4
    node = slicer.util.addVolumeFromArray(array.astype(np.float32), name=name)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy((0, -4.1, 0, 13.7, 4.2, 0, 0, -50.3, 0, 0, 3.3, 120.01, 0, 0, 0, 1))
    node.SetIJKToRASMatrix(matrix)
    if coded:
        code(node, "suvbw")
    return node


def fairTime():
    """Seconds on a clock that stands still while other programs keep this thread waiting for a processor."""
    statistics = Path("/proc/thread-self/schedstat")
    waited = int(statistics.read_text().split()[1]) / 1e9 if statistics.exists() else 0.0
    return time.monotonic() - waited


class Stalls:
    """A context in which the gaps between the ticks of a 10 ms timer are kept: how long the event loop did not turn.

    The time for which other programs kept this thread waiting for a processor is not counted. What it did not wait for
    a file, the memory or another process either is its own work, the thread's processor time. In a gap that lasts an
    alarm writes down what is running; compiled code is named by the Python line that called it. What the tests before
    have left in memory is kept from the garbage collector meanwhile: half a second of looking through it is no stall of
    the module's.
    """

    def __enter__(self):
        gc.collect()
        gc.freeze()
        self._handler = signal.signal(signal.SIGALRM, self._onAlarm)
        self.restart()
        self._timer = qt.QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(10)
        return self

    def __exit__(self, *_exception):
        self._timer.stop()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler)
        gc.unfreeze()

    def restart(self) -> None:
        """Forget the gaps so far, with the one that lasts: the driver itself was busy."""
        self.gaps = []
        self._begin()

    def longest(self):
        """The longest gap."""
        return max(self.gaps, key=lambda gap: gap.seconds)

    def longestWork(self):
        """The gap with the most processor time of the event loop's thread."""
        return max(self.gaps, key=lambda gap: gap.work)

    def _begin(self) -> None:
        self._started, self._running = (fairTime(), time.thread_time()), ""
        signal.setitimer(signal.ITIMER_REAL, WORTH_A_LOOK_S)

    def _tick(self, *_arguments) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        seconds, work = fairTime() - self._started[0], time.thread_time() - self._started[1]
        self.gaps.append(Gap(seconds, work, self._running))
        self._begin()

    def _onAlarm(self, _signal, frame) -> None:
        innermost = traceback.extract_stack(frame, limit=FRAMES_SHOWN)
        self._running = " > ".join(f"{one.name} ({Path(one.filename).name}:{one.lineno})" for one in innermost)


class Gap(NamedTuple):
    """A gap between two turns of the event loop: its length, its own work, and what ran where it was long."""

    seconds: float
    work: float
    running: str

    def __str__(self) -> str:
        words = f"{self.seconds:.3f} s, {self.work:.3f} s of it own work"
        return f"{words}, in {self.running}" if self.running else words
