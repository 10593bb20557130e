"""A small Slicer without the application: the real MRML scene, nodes and logics of slicer-core under PySide6 widgets.

`start()` fills the slicer namespace as the application does, `loadModule(path)` and `showModule(module)` do what the
module factory and the module panel do. With SLICER_BASE_PYTHON naming a Slicer checkout's Base/Python the real
ScriptedLoadableModule, parameterNodeWrapper, i18n and packaging are used instead of the stand-ins beside this file,
and the checkout's SampleData where it has that too.
"""

import importlib
import os
import stat
import sys
import tempfile
import types
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import ctk  # noqa: E402, F401 - fills the .ui loader
import numpy as np  # noqa: E402
import qt  # noqa: E402
import slicer  # noqa: E402
import slicer.util  # noqa: E402
import vtk  # noqa: E402
from display import ensureDisplay  # noqa: E402
from files import DicomDatabase, IOManager  # noqa: E402

BASE_PYTHON = os.environ.get("SLICER_BASE_PYTHON")
slicer.__path__.append(str(Path(BASE_PYTHON, "slicer") if BASE_PYTHON else HERE / "standins"))
if BASE_PYTHON:  # the checkout may hold more than that folder
    sys.path.insert(0, str(Path(BASE_PYTHON, "..", "..", "Modules", "Scripted", "SampleData")))

_LOGICS = {
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Units": "vtkSlicerUnitsLogic",
}


COLOR_TABLES = {
    "Inferno": [(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)],
    "DivergingBlueRed": [(59, 76, 192), (141, 176, 254), (221, 221, 221), (244, 152, 122), (180, 4, 38)],
}


class ModuleManager(qt.QObject):
    moduleAboutToBeUnloaded = qt.Signal(str)

    def module(self, name):
        return getattr(slicer.modules, name.lower(), None)


class Module:
    """What slicer.modules.<name> is: a logic, or a scripted module's path, icon and help."""

    def __init__(self, path=None, logic=None) -> None:
        self.path, self._logic, self._widget = path, logic, None

    def logic(self):
        return self._logic

    def widgetRepresentation(self):
        return self._widget


class Application(qt.QObject):
    """slicer.app, as far as slicer.util and modules ask it."""

    startupCompleted = qt.Signal()
    aboutToQuit = qt.Signal()

    applicationName, majorVersion, minorVersion = "Slicer", 5, 13

    def __init__(self, qtApplication, scene, testing) -> None:
        super().__init__()
        self._qt, self._testing, self._scene = qtApplication, testing, scene
        self._logic = slicer.vtkSlicerApplicationLogic()
        self._logic.SetMRMLScene(scene)
        self._modules, self._io, self._layoutManager = ModuleManager(self), IOManager(), None
        self.temporaryPath = tempfile.mkdtemp(prefix="slicer-host-")
        self.slicerHome = self._makeHome()
        self._addColorTables()
        qtApplication.aboutToQuit.connect(self.aboutToQuit)

    def _makeHome(self):
        """A home with bin/PythonSlicer: like the real one a launcher, whose child is the Python that does the work."""
        launcher = Path(self.temporaryPath, "Slicer home", "bin", "PythonSlicer")
        launcher.parent.mkdir(parents=True)
        python = os.environ.get("PETDIFFUSION_ENGINE_PYTHON", sys.executable)
        launcher.write_text(f'#!/bin/sh\n"{python}" "$@"\nexit $?\n')
        launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
        return str(launcher.parent.parent)

    def _addColorTables(self) -> None:
        """The two colour files of Slicer's share folder that the module shows with, coarser than the real ones."""
        folder = Path(self.temporaryPath, "share", "ColorFiles")
        folder.mkdir(parents=True)
        for name, anchors in COLOR_TABLES.items():
            places, at = np.linspace(0, 1, len(anchors)), np.linspace(0, 1, 256)
            colors = np.stack([np.interp(at, places, channel) for channel in np.transpose(anchors)], axis=1)
            lines = [f"{i} {i} {red:.0f} {green:.0f} {blue:.0f} 255" for i, (red, green, blue) in enumerate(colors)]
            (folder / f"{name}.txt").write_text("# 256 values\n" + "\n".join(lines) + "\n")
        self._logic.SetHomeDirectory(self.temporaryPath)
        self._logic.SetShareDirectory("share")

    def applicationLogic(self):
        return self._logic

    def mrmlScene(self):
        return self._scene

    def moduleManager(self):
        return self._modules

    def coreIOManager(self):
        return self._io

    ioManager = coreIOManager

    def layoutManager(self):
        return self._layoutManager

    def showViews(self, viewport) -> None:
        from layouts import LayoutManager

        self._layoutManager = LayoutManager(viewport)

    def testingEnabled(self):
        return self._testing

    def setTesting(self, testing) -> None:
        self._testing = testing

    def processEvents(self, *_) -> None:
        self._qt.processEvents()

    def topLevelWidgets(self):
        return self._qt.topLevelWidgets()

    def userSettings(self):
        return qt.QSettings()

    def setOverrideCursor(self, cursor) -> None:
        self._qt.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        self._qt.restoreOverrideCursor()

    def translate(self, context, text):
        return text

    def startupEnvironment(self):
        return qt.QProcessEnvironment.systemEnvironment()


def start(testing=True):
    """The application, with a scene and the logics the module needs; the same one on every call."""
    if hasattr(slicer, "app"):
        return slicer.app
    ensureDisplay()
    # Waiting for VTK's other threads on a busy machine would look like a stall of the event loop.
    vtk.vtkMultiThreader.SetGlobalMaximumNumberOfThreads(1)
    qtApplication = qt.QApplication.instance() or qt.QApplication(["Slicer"])
    qtApplication.setStyle("Fusion")
    qt.QCoreApplication.setOrganizationName("SlicerHost")
    qt.QCoreApplication.setApplicationName("SlicerHost")
    settings = tempfile.mkdtemp(prefix="slicer-host-settings-")
    qt.QSettings.setDefaultFormat(qt.QSettings.IniFormat)
    qt.QSettings.setPath(qt.QSettings.IniFormat, qt.QSettings.UserScope, settings)
    slicer.mrmlScene = scene = slicer.vtkMRMLScene()
    slicer.app = Application(qtApplication, scene, testing)
    slicer.dicomDatabase = DicomDatabase()
    for name in ("modules", "moduleNames"):
        setattr(slicer, name, types.ModuleType(f"slicer.{name}"))
        sys.modules[f"slicer.{name}"] = getattr(slicer, name)
    _addLogics(scene, slicer.app.applicationLogic())
    import mrmlwidgets

    mrmlwidgets.install()
    return slicer.app


def _addLogics(scene, applicationLogic) -> None:
    colors = slicer.vtkSlicerColorLogic()
    colors.SetMRMLApplicationLogic(applicationLogic)
    applicationLogic.SetModuleLogic("Colors", colors)
    applicationLogic.SetColorLogic(colors)
    colors.SetMRMLScene(scene)
    slicer.modules.colors = Module(logic=colors)
    for name, className in _LOGICS.items():
        logic = getattr(slicer, className)()
        logic.SetMRMLApplicationLogic(applicationLogic)
        applicationLogic.SetModuleLogic(name, logic)
        logic.SetMRMLScene(scene)
        setattr(slicer.modules, name.lower(), Module(logic=logic))


def loadModule(path):
    """The Python module of a scripted module, imported as by the module factory: its folder ends sys.path."""
    path = Path(path)
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    python = importlib.import_module(name)
    parent = Module(str(path))
    instance = getattr(python, name)(parent)
    setattr(slicer.modules, name.lower(), parent)
    setattr(slicer.modules, f"{name}Instance", instance)
    slicer.app.startupCompleted.emit()
    return python


def showModule(python):
    """The module's panel, entered: (the Qt widget, the module's widget object)."""
    name = python.__name__
    panel = slicer.qSlicerWidget()
    panel.setLayout(qt.QVBoxLayout())
    panel.setMRMLScene(slicer.mrmlScene)
    panel.isEntered = True
    getattr(slicer.modules, name.lower())._widget = panel

    def build():
        widget = getattr(sys.modules[name], f"{name}Widget")(panel)
        setattr(slicer.modules, f"{name}Widget", widget)
        widget.setup()
        widget.enter()
        return widget

    panel.reload = build
    return panel, build()
