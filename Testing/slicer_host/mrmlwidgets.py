"""The qMRML widgets that the module's .ui uses: a widget that carries the scene, and the node selector."""

import qt
import slicer
import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal


def _setting(name, kind):
    """A Qt property kept in the widget's settings, after whose change the list is made anew."""

    def write(self, value) -> None:
        self._settings[name] = value
        self._refresh()

    return Property(kind, lambda self: self._settings[name], write)


class qMRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene


class qSlicerWidget(qMRMLWidget):
    isEntered = False


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Chooses one of the scene's nodes of some classes, or none, or makes a new one."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._scene, self._node, self._observations, self._ids = None, None, [], []
        self._settings = {
            "nodeTypes": [],
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "renameEnabled": False,
            "showHidden": False,
            "showChildNodeTypes": True,
            "selectNodeUponCreation": True,
            "noneDisplay": "None",
            "baseName": "",
        }
        self._comboBox = QtWidgets.QComboBox()
        self._comboBox.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._comboBox)
        self.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._comboBox.activated.connect(self._onActivated)

    nodeTypes = _setting("nodeTypes", "QStringList")
    noneEnabled = _setting("noneEnabled", bool)
    addEnabled = _setting("addEnabled", bool)
    removeEnabled = _setting("removeEnabled", bool)
    renameEnabled = _setting("renameEnabled", bool)
    showHidden = _setting("showHidden", bool)
    showChildNodeTypes = _setting("showChildNodeTypes", bool)
    selectNodeUponCreation = _setting("selectNodeUponCreation", bool)
    noneDisplay = _setting("noneDisplay", str)
    baseName = _setting("baseName", str)

    def setMRMLScene(self, scene) -> None:
        for observed, tag in self._observations:
            observed.RemoveObserver(tag)
        self._scene, self._observations = scene, []
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
                self._observations.append((scene, scene.AddObserver(event, self._onNode)))
            for event in (scene.EndCloseEvent, scene.EndBatchProcessEvent):
                self._observations.append((scene, scene.AddObserver(event, lambda *_: self._refresh())))
        self._refresh()

    def currentNode(self):
        return self._node

    def setCurrentNode(self, node) -> None:
        if isinstance(node, str):
            node = self._scene.GetNodeByID(node)
        self._choose(node if node in self._nodes() else None)

    def addNode(self, className=None):
        node = self._scene.AddNewNodeByClass(className or self.nodeTypes[0], self.baseName)
        if self.selectNodeUponCreation:
            self._choose(node)
        return node

    def _nodes(self):
        nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())] if self._scene else []
        return [node for node in nodes if self._accepts(node)]

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNode(self, _scene, _event, node) -> None:
        """A node came or went: the list is made anew where it is one of its kind, as Slicer's adds a row or not."""
        if self._accepts(node):
            self._refresh()

    def _accepts(self, node):
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        exact = not self.showChildNodeTypes
        return any(node.GetClassName() == name if exact else node.IsA(name) for name in self.nodeTypes)

    def _refresh(self) -> None:
        nodes = self._nodes()
        items = [(self.noneDisplay, None)] if self.noneEnabled else []
        items += [(node.GetName(), node.GetID()) for node in nodes]
        if self.addEnabled:
            items += [(f"Create new {self.baseName or name}", f"+{name}") for name in self.nodeTypes]
        self._ids = [identifier for _, identifier in items]
        self._comboBox.clear()
        self._comboBox.addItems([text for text, _ in items])
        self._choose(self._node if self._node in nodes else (None if self.noneEnabled or not nodes else nodes[0]))

    def _choose(self, node) -> None:
        identifier = node.GetID() if node is not None else None
        if identifier is not None and identifier not in self._ids:
            self._node = node
            self._refresh()
            return
        self._comboBox.setCurrentIndex(self._ids.index(identifier) if identifier in self._ids else -1)
        if node is not self._node:
            self._node = node
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit(identifier or "")

    def _onActivated(self, index) -> None:
        identifier = self._ids[index]
        if identifier and identifier.startswith("+"):
            self.addNode(identifier[1:])
        else:
            self._choose(self._scene.GetNodeByID(identifier) if identifier else None)


def install() -> None:
    """Publish the widgets in the slicer namespace and to the .ui loader, with names for those only compared with."""
    widgets = {cls.__name__: cls for cls in (qMRMLWidget, qSlicerWidget, qMRMLNodeComboBox)}
    for name in ("qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLRangeWidget", "qMRMLScreenShotDialog"):
        widgets[name] = type(name, (QtWidgets.QWidget,), {})
    qt.CUSTOM_WIDGETS.update(widgets)
    for name, cls in widgets.items():
        setattr(slicer, name, cls)
