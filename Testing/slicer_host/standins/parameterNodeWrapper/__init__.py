"""Stand-in for slicer.parameterNodeWrapper: typed properties over a parameter node, bound to widgets by name.

A class of annotated members becomes a wrapper whose members are stored in a vtkMRMLScriptedModuleNode: numbers, strings
and booleans as parameters, nodes as node references. Widgets with the dynamic property SlicerParameterName follow them.
"""

import typing

import slicer
import vtk

from .connectors import createConnector
from .validators import Choice, Maximum, Minimum, WithinRange

__all__ = ["parameterNodeWrapper", "Choice", "Maximum", "Minimum", "WithinRange"]


def _splitType(annotation):
    if typing.get_origin(annotation) is typing.Annotated:
        kind, *annotations = typing.get_args(annotation)
        return kind, annotations
    return annotation, []


def _isNodeType(kind):
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


class _Parameter:
    """One member: how it is checked, and where in the parameter node it lies."""

    def __init__(self, name, annotation, default) -> None:
        self.name = name
        self.kind, self.annotations = _splitType(annotation)
        self.default = default if default is not None or _isNodeType(self.kind) else self.kind()

    def __get__(self, wrapper, owner=None):
        if wrapper is None:
            return self
        node = wrapper.parameterNode
        if _isNodeType(self.kind):
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.kind is bool else self.kind(text)

    def __set__(self, wrapper, value) -> None:
        node = wrapper.parameterNode
        if _isNodeType(self.kind):
            if value is not None and not isinstance(value, self.kind):
                raise TypeError(f"{self.name} must be a {self.kind.__name__}, not {type(value).__name__}")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, (int, float) if self.kind is float else self.kind):
            raise ValueError(f"{self.name} must be a {self.kind.__name__}, not {value!r}")
        for annotation in self.annotations:
            annotation.validate(value)
        node.SetParameter(self.name, str(self.kind(value)))


class _Wrapper:
    """What every wrapped class can do beside its members."""

    def __init__(self, parameterNode, prefix=None) -> None:
        self.parameterNode = parameterNode
        self._guis, self._updatingGui = {}, False
        for parameter in self.allParameters.values():
            if not _isNodeType(parameter.kind) and not parameterNode.HasParameter(parameter.name):
                parameter.__set__(self, parameter.default)

    def getValue(self, name):
        return self.allParameters[name].__get__(self)

    def setValue(self, name, value) -> None:
        self.allParameters[name].__set__(self, value)

    def connectGui(self, gui):
        widgets = [widget for widget in vars(gui).values() if widget.property("SlicerParameterName")]
        return self.connectParametersToGui({widget.property("SlicerParameterName"): widget for widget in widgets})

    def connectParametersToGui(self, mapping):
        connectors = {}
        for name, widget in mapping.items():
            connector = createConnector(widget, self.allParameters[name])
            connector.write(self.getValue(name))
            connector.connect(lambda name=name, connector=connector: self._onWidgetChanged(name, connector))
            connectors[name] = connector
        tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._updateGui(connectors))
        self._guis[tag] = connectors
        return tag

    def disconnectGui(self, tag) -> None:
        if tag in self._guis:
            self.RemoveObserver(tag)
            for connector in self._guis.pop(tag).values():
                connector.disconnect()

    def _onWidgetChanged(self, name, connector) -> None:
        if not self._updatingGui:
            self.setValue(name, connector.read())

    def _updateGui(self, connectors) -> None:
        if self._updatingGui:
            return
        self._updatingGui = True
        try:
            for name, connector in connectors.items():
                connector.write(self.getValue(name))
        finally:
            self._updatingGui = False

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag) -> None:
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified) -> None:
        self.parameterNode.EndModify(wasModified)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(cls):
    """Class decorator: makes the annotated members of a class properties stored in a parameter node."""
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _Parameter(name, hint, getattr(cls, name, None)) for name, hint in hints.items()}
    return type(cls.__name__, (_Wrapper,), {**parameters, "allParameters": parameters, "__doc__": cls.__doc__})
