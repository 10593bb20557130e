"""Driving the host from tests and the demo: wait in the event loop, click, make a volume."""

import time
from pathlib import Path

import numpy as np
import qt
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtTest


def until(condition, seconds=300.0):
    """Run the event loop until a condition holds; fails the test where it does not in time, on a slow machine too."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        slicer.app.processEvents()
        time.sleep(0.005)


def click(button):
    """A real mouse click in the middle of a widget."""
    QtTest.QTest.mouseClick(button, QtCore.Qt.LeftButton)


def turnWheel(widget, notches):
    """Turn the mouse wheel in the middle of a widget."""
    at = QtCore.QPointF(widget.rect.center())
    no = (QtCore.Qt.NoButton, QtCore.Qt.NoModifier, QtCore.Qt.NoScrollPhase)
    turn = QtCore.QPoint(0, 120 * notches)
    event = QtGui.QWheelEvent(at, widget.mapToGlobal(at), QtCore.QPoint(), turn, *no, False)
    qt.QApplication.sendEvent(widget, event)


def makeVolume(name="PET", coded=True):
    """A small PET volume node: a warm ball with a hot spot, on a shifted and rotated grid."""
    from PETDiffusionSlicer.results import codeAsSuv

    z, y, x = np.indices((20, 24, 28), dtype=np.float32)
    ball = ((z - 10) / 8) ** 2 + ((y - 12) / 9) ** 2 + ((x - 14) / 11) ** 2 < 1
    array = (np.random.default_rng(0).normal(1, 0.1, ball.shape) * ball).clip(0)
    array[9:12, 11:14, 12:16] += 4
    node = slicer.util.addVolumeFromArray(array.astype(np.float32), name=name)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy((0, -4.1, 0, 13.7, 4.2, 0, 0, -50.3, 0, 0, 3.3, 120.01, 0, 0, 0, 1))
    node.SetIJKToRASMatrix(matrix)
    if coded:
        codeAsSuv(node)
    return node


def fairTime():
    """Seconds on a clock that stands still while other programs keep this thread waiting for a processor."""
    statistics = Path("/proc/thread-self/schedstat")
    waited = int(statistics.read_text().split()[1]) / 1e9 if statistics.exists() else 0.0
    return time.monotonic() - waited


class Stalls:
    """A context in which the gaps between the ticks of a 10 ms timer are kept: how long the event loop did not turn.

    The time for which other programs kept this thread waiting for a processor is not counted. What it did not wait for
    a file, the memory or another process either is its own work, the thread's processor time.
    """

    def __enter__(self):
        self.restart()
        self._timer = qt.QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(10)
        return self

    def __exit__(self, *_exception):
        self._timer.stop()

    def restart(self):
        """Forget the gaps so far, with the one that lasts: the driver itself was busy."""
        self.gaps, self._last = [], self._now()  # (seconds, of which own work)

    def longest(self):
        """The longest gap in seconds."""
        return max(seconds for seconds, _work in self.gaps)

    def longestWork(self):
        """The most seconds of processor time that the event loop's thread spent between two ticks."""
        return max(work for _seconds, work in self.gaps)

    def _tick(self, *_arguments):
        now = self._now()
        self.gaps.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now

    @staticmethod
    def _now():
        return fairTime(), time.thread_time()
