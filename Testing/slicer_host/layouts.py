"""The layout manager: Slicer's own layout logic makes the views' nodes, their slices are blended by MRML slice logic.

A view here is a label that shows the logic's output image; of qMRMLSliceWidget's interaction there is the mouse wheel,
which moves through the slices as there, so that linked views follow by MRML's own link logic.
"""

import xml.etree.ElementTree as ElementTree

import numpy as np
import qt
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtkmodules.util.numpy_support import vtk_to_numpy


class SliceWidget(QtWidgets.QWidget):
    """One slice view: a header with the view's label and the name of the volume it shows, and the slice."""

    def __init__(self, name, label, color) -> None:
        super().__init__()
        self._name, self._label = name, label
        self._logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(name) or self._newLogic(name)
        self._header, self._image = QtWidgets.QLabel(), QtWidgets.QLabel()
        self._header.setStyleSheet(f"background: {color}; color: white; padding: 2px 6px;")
        self._image.setStyleSheet("background: black;")
        self._image.setAlignment(QtCore.Qt.AlignCenter)
        self._image.setMinimumSize(60, 60)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._header)
        layout.addWidget(self._image, 1)
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.render)
        self._tag = self._logic.AddObserver("ModifiedEvent", lambda *_: self._timer.start(20))
        self.destroyed.connect(lambda *_, logic=self._logic, tag=self._tag: logic.RemoveObserver(tag))

    @staticmethod
    def _newLogic(name):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        logic.SetMRMLScene(slicer.mrmlScene)
        logic.SetSliceNode(slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode"))  # made by the layout logic
        slicer.app.layoutManager().mrmlSliceLogics().AddItem(logic)
        return logic

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def resizeEvent(self, event) -> None:
        super().resizeEvent(event)
        self._logic.ResizeSliceNode(self.width, self.height - self._header.sizeHint().height())

    def wheelEvent(self, event) -> None:
        logic, notches = self._logic, event.angleDelta().y() / 120
        logic.StartSliceOffsetInteraction()
        logic.SetSliceOffset(logic.GetSliceOffset() + notches * logic.GetLowestVolumeSliceSpacing()[2])
        logic.EndSliceOffsetInteraction()

    def render(self):
        background = slicer.mrmlScene.GetNodeByID(self.mrmlSliceCompositeNode().GetBackgroundVolumeID() or "")
        self._header.setText(f"{self._label}   {background.GetName() if background else ''}")
        connection = self._logic.GetImageDataConnection()
        if background is None or connection is None:
            return self._image.clear()
        connection.GetProducer().Update()
        image = connection.GetProducer().GetOutputDataObject(connection.GetIndex())
        width, height = image.GetDimensions()[:2]
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1]
        opacity = pixels[..., 3:] / 255 if pixels.shape[-1] == 4 else 1.0  # nothing is there outside the volume
        pixels = np.ascontiguousarray(pixels[..., :3] * opacity, dtype=np.uint8)
        picture = QtGui.QImage(pixels.data, width, height, 3 * width, QtGui.QImage.Format_RGB888)
        return self._image.setPixmap(QtGui.QPixmap.fromImage(picture))


class LayoutManager(qt.QObject):
    """slicer.app.layoutManager(): shows the layout that the layout node holds, built of slice widgets."""

    def __init__(self, viewport) -> None:
        super().__init__(viewport)
        self._viewport, self._sliceWidgets = viewport, {}
        viewport.setLayout(QtWidgets.QVBoxLayout())
        viewport.layout().setContentsMargins(0, 0, 0, 0)
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(slicer.mrmlScene)
        slicer.app.applicationLogic().SetSliceLogics(vtk.vtkCollection())
        self._shown = None

    def layoutLogic(self):
        return self._logic

    def viewport(self):
        return self._viewport

    @property
    def layout(self):
        return self._logic.GetLayoutNode().GetViewArrangement()

    def setLayout(self, layout) -> None:
        self._logic.GetLayoutNode().SetViewArrangement(layout)
        description = self._logic.GetLayoutNode().GetLayoutDescription(layout)
        if description != self._shown:
            self._shown = description
            self._build(ElementTree.fromstring(description))
            slicer.app.processEvents()  # the views get their sizes, so that slices can be fitted to them

    def sliceViewNames(self):
        return list(self._sliceWidgets)

    def sliceWidget(self, name):
        return self._sliceWidgets.get(name)

    def mrmlSliceLogics(self):
        return slicer.app.applicationLogic().GetSliceLogics()

    def _build(self, root) -> None:
        while self._viewport.layout().count():
            self._viewport.layout().takeAt(0).widget().deleteLater()
        self._sliceWidgets = {}
        self._viewport.layout().addWidget(self._widget(root))

    def _widget(self, element):
        if element.tag == "view":
            return self._view(element)
        box = QtWidgets.QWidget()
        layout = QtWidgets.QHBoxLayout(box) if element.get("type") == "horizontal" else QtWidgets.QVBoxLayout(box)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for item in element.findall("item"):
            layout.addWidget(self._widget(item[0]), int(item.get("splitSize", 1)))
        return box

    def _view(self, element):
        if element.get("class") != "vtkMRMLSliceNode":
            return QtWidgets.QLabel(element.get("class"))
        name = element.get("singletontag")
        properties = {item.get("name"): item.text for item in element.findall("property")}
        label, color = properties.get("viewlabel", name), properties.get("viewcolor", "#555555")
        widget = SliceWidget(name, label, color)
        node = widget.mrmlSliceNode()
        node.SetLayoutLabel(label)
        node.SetOrientation(properties.get("orientation", "Axial"))
        if "viewgroup" in properties:
            node.SetViewGroup(int(properties["viewgroup"]))
        node.SetMappedInLayout(1)
        self._sliceWidgets[name] = widget
        return widget
