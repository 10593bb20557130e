"""Which widget shows which kind of parameter: the signal it changes with, and how it is read and written."""

import ctk
import qt
import slicer

from .validators import Maximum, Minimum, WithinRange


class _Connector:
    """A widget as a value; `attribute` is the Qt property that holds it."""

    def __init__(self, widget, signal, attribute) -> None:
        self.widget, self.signal, self.attribute, self._callback = widget, signal, attribute, None

    def read(self):
        return getattr(self.widget, self.attribute)

    def write(self, value) -> None:
        if value != self.read():
            setattr(self.widget, self.attribute, value)

    def connect(self, callback) -> None:
        self._callback = lambda *_: callback()
        getattr(self.widget, self.signal).connect(self._callback)

    def disconnect(self) -> None:
        getattr(self.widget, self.signal).disconnect(self._callback)


class _NodeConnector(_Connector):
    def read(self):
        return self.widget.currentNode()

    def write(self, value) -> None:
        self.widget.setCurrentNode(value)


class _IntegerConnector(_Connector):
    def read(self):
        return int(super().read())


def _applyRange(widget, annotations) -> None:
    for annotation in annotations:
        if isinstance(annotation, (WithinRange, Minimum)):
            widget.minimum = annotation.minimum
        if isinstance(annotation, (WithinRange, Maximum)):
            widget.maximum = annotation.maximum


def createConnector(widget, parameter):
    """The connector of a widget and a parameter; a pair that Slicer cannot connect either raises RuntimeError."""
    kind, widgetType = parameter.kind, type(widget)
    numbers = (qt.QDoubleSpinBox, ctk.ctkDoubleSpinBox, ctk.ctkSliderWidget, slicer.qMRMLSliderWidget)
    if kind is bool and widgetType in (qt.QCheckBox, ctk.ctkCheckBox):
        return _Connector(widget, "stateChanged", "checked")
    if kind is str and widgetType is qt.QLineEdit:
        return _Connector(widget, "textChanged", "text")
    if kind is int and widgetType in (qt.QSpinBox, qt.QSlider, *numbers):
        _applyRange(widget, parameter.annotations)
        return _IntegerConnector(widget, "valueChanged", "value")
    if kind is float and widgetType in numbers:
        _applyRange(widget, parameter.annotations)
        return _Connector(widget, "valueChanged", "value")
    if widgetType is slicer.qMRMLNodeComboBox and issubclass(kind, slicer.vtkMRMLNode):
        widget.nodeTypes = [kind.__name__]
        return _NodeConnector(widget, "currentNodeChanged", "")
    raise RuntimeError(f"Unable to create GUI connector from datatype {kind} to widget type {widgetType}")
