"""The module in the host on simulated data (make slicer-demo), and its screenshots.

`demo.py` opens a window to play with; without a display, or with --screenshots FOLDER, it clicks through the whole path
and leaves pictures of the panel before, during and after, and of the comparison. --dicom FOLDER takes a series instead.
"""

import argparse
import os
import time
from pathlib import Path

import host
import qt
import slicer

MODULE = Path(__file__).resolve().parents[2] / "PETDiffusion" / "PETDiffusion.py"
PANEL_WIDTH = 440


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER", help="click through and leave pictures there")
    parser.add_argument("--dicom", type=Path, metavar="FOLDER", help="a DICOM PET series instead of a simulation")
    parser.add_argument("--preset", help="the preset to choose")
    arguments = parser.parse_args()
    hasScreen = bool(os.environ.get("DISPLAY")) or os.name == "nt"
    folder = arguments.screenshots or (None if hasScreen else Path("demo"))

    application = host.start(testing=folder is not None)
    window, panel = openWindow(application)
    from driving import until

    panel._parameterNode.inputVolume = loadVolume(arguments.dicom and arguments.dicom.resolve())
    until(lambda: panel.offers.info and not panel.ui.unitLabel.text.startswith("Reading"), seconds=300)
    if arguments.preset:
        panel._parameterNode.preset = arguments.preset
    if folder is None:
        qt.QApplication.instance().exec_()
    else:
        folder.mkdir(parents=True, exist_ok=True)
        clickThrough(window, panel, folder)
    panel.cleanup()


def openWindow(application):
    """A window with the module's panel on the left and the views on the right."""
    python = host.loadModule(MODULE)
    window, views = qt.QWidget(), qt.QWidget()
    window.windowTitle = "PETDiffusion in the test host"
    application.showViews(views)
    widget, panel = host.showModule(python)
    scrolled = qt.QScrollArea()
    scrolled.widgetResizable = True
    scrolled.setWidget(widget)
    scrolled.setFixedWidth(PANEL_WIDTH)
    layout = qt.QHBoxLayout(window)
    layout.addWidget(scrolled)
    layout.addWidget(views, 1)
    window.resize(1500, 900)
    window.show()
    return window, panel


def loadVolume(dicomFolder):
    from files import loadDicomSeries
    from PETDiffusionSlicer.samples import simulatedVolume

    return loadDicomSeries(dicomFolder, "PET") if dicomFolder else simulatedVolume()


def clickThrough(window, panel, folder) -> None:
    """Click Denoise and Compare, with pictures on the way; prints the longest gap between turns of the event loop."""
    from driving import Stalls, click, until

    column = window.findChild(qt.QScrollArea)  # the panel alone, while there is nothing beside it

    def picture(name, widget) -> None:
        slicer.app.processEvents()
        widget.grab().save(str(folder / f"{name}.png"))
        print(folder / f"{name}.png")

    picture("before", column)
    with Stalls() as stalls:
        started = time.monotonic()
        click(panel.ui.applyButton)
        until(lambda: panel.ui.progressBar.value >= 40 or not panel.logic.job, seconds=3600)
        gaps = stalls.gaps
        picture("during", column)
        stalls.restart()
        until(lambda: not panel.logic.job, seconds=3600)
        print(f"{panel.ui.statusLabel.text} {time.monotonic() - started:.0f} s")
        settled = time.monotonic() + 1  # the views are built and draw themselves a moment later
        until(lambda: time.monotonic() > settled)
        stalls.gaps += gaps
        print(f"Longest stall of the event loop: {stalls.longest()}")
    picture("after", window)


if __name__ == "__main__":
    main()
