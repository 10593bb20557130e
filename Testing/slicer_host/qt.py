"""The `qt` module as PythonQt offers it, on top of PySide6.

The differences that matter to a Slicer module: Qt properties are plain attributes (`label.text`, never `label.text()`),
signals are also reached by signature (`button.connect("clicked(bool)", f)`; a wrong signature returns False and is only
printed), and a C++ object neither invents nor accepts unknown attributes. PySide6's own classes are patched in place
rather than wrapped, because Slicer's GUI connectors compare types.
"""

import ctypes
import inspect
import re
import sys
import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets
from PySide6.QtCore import QObject

_VIRTUAL = {"sizeHint", "minimumSizeHint"}  # overridden in C++ as methods: patching them would recurse
_property, _setProperty = QObject.property, QObject.setProperty
_getattribute = QObject.__getattribute__

CUSTOM_WIDGETS: dict[str, type] = {}  # class name in a .ui file -> Python class, filled by ctk and the MRML widgets


class _Property:
    """A Qt property as a Python attribute; from the class it is what PySide6 had there (QTimer.singleShot)."""

    _types: dict[tuple[type, str], str] = {}

    def __init__(self, name, original=None) -> None:
        self.name, self.original = name, original

    def __get__(self, instance, owner=None):
        if instance is None:
            return self if self.original is None else self.original
        return _property(instance, self.name)

    def __set__(self, instance, value) -> None:
        key = (type(instance), self.name)
        if key not in self._types:
            meta = _getattribute(instance, "metaObject")()
            self._types[key] = meta.property(meta.indexOfProperty(self.name)).typeName()
        if self._types[key] == "int" and isinstance(value, float):
            value = int(value)
        elif self._types[key] == "QString" and not isinstance(value, str):
            value = str(value)
        _setProperty(instance, self.name, value)


def _makePropertiesAttributes(cls) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyCount()):
        name = meta.property(index).name()
        if name in _VIRTUAL or (name == "text" and issubclass(cls, QtWidgets.QProgressBar)):
            continue
        if index >= meta.propertyOffset() or name in cls.__dict__:
            setattr(cls, name, _Property(name, getattr(cls, name, None)))


def _strictSetattr(self, name, value) -> None:
    for cls in type(self).__mro__:
        descriptor = cls.__dict__.get(name)
        if isinstance(descriptor, QtCore.Property):
            _setProperty(self, name, value)
            return
        if hasattr(type(descriptor), "__set__"):
            type(descriptor).__set__(descriptor, self, value)
            return
        if descriptor is not None:
            break
    isNamedChild = isinstance(value, QObject) and value.objectName == name  # PySide6's .ui loader sets these
    if type(self).__module__.startswith("PySide6") and not hasattr(type(self), name) and not isNamedChild:
        raise AttributeError(f"'{name}' does not exist on {self.className()} and cannot be created on a C++ object")
    _getattribute(self, "__dict__")[name] = value


def _signal(self, signature):
    """The bound signal of a signature such as "clicked(bool)", or None and PythonQt's message where there is none."""
    signature = re.sub(r"vtkMRML\w+\s*\*", "PyObject", signature)  # how PySide6 spells a MRML node in a signature
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    meta = self.metaObject()
    if meta.indexOfSignal(normalized) < 0:
        print(f"PythonQt: QObject::connect() signal '{signature}' does not exist on {self.className()}")
        return None
    name, arguments = normalized[:-1].split("(", 1)
    signal = getattr(self, name)
    overloads = [
        meta.method(i) for i in range(meta.methodCount()) if bytes(meta.method(i).name().data()).decode() == name
    ]
    return signal[arguments] if len(overloads) > 1 and arguments else signal


def _callback(rest):
    return rest[0] if len(rest) == 1 else getattr(rest[0], rest[1].split("(")[0])


def _connect(self, signal, *rest):
    if isinstance(signal, QObject) or signal[:1] in "12":  # PySide6's own calls
        return QtCore.QObject.connect(*((signal, *rest) if isinstance(signal, QObject) else (self, signal, *rest)))
    bound = _signal(self, signal)
    if bound is None:
        return False
    bound.connect(_callback(rest))
    return True


def _disconnect(self, signal, *rest) -> bool:
    bound = _signal(self, signal)
    if bound is None:
        return False
    bound.disconnect(*([_callback(rest)] if rest else []))
    return True


_PYTHONQT_METHODS = {"connect": _connect, "disconnect": _disconnect}


def _getattributeWithPythonQt(self, name):  # Shiboken answers 'connect' itself, before any class attribute
    method = _PYTHONQT_METHODS.get(name)
    return method.__get__(self) if method else _getattribute(self, name)


def _keepConstants() -> None:
    """Give None, True and False more references than any session takes.

    PySide6 6.12 is compiled for Pythons that never free them (3.12 on). In Python 3.11 each of its calls that returns
    one of them takes a reference that it has not got, until the interpreter aborts: after some minutes of tests.
    """
    if sys.implementation.name == "cpython" and sys.version_info < (3, 12):
        for constant in (None, True, False, NotImplemented):
            ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 40


def _publish() -> None:
    """Patch PySide6 and fill this module with its names; what is defined below replaces some of them."""
    classes = set()
    for module in (QtCore, QtGui, QtWidgets, QtUiTools, QtNetwork):
        for name in dir(module):  # PySide6 fills its modules lazily, so vars() would miss most of it
            member = getattr(module, name)
            if not name.startswith("_"):
                globals().setdefault(name, member)
            if inspect.isclass(member) and issubclass(member, QObject):
                classes.add(member)
    for cls in sorted(classes, key=lambda cls: len(cls.__mro__)):
        _makePropertiesAttributes(cls)
        cls.__setattr__ = _strictSetattr
    QObject.__getattribute__ = _getattributeWithPythonQt
    QObject.name = _Property("objectName")
    QObject.className = lambda self: self.metaObject().className()
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu, QtCore.QCoreApplication, QtCore.QEventLoop):
        cls.exec_ = cls.exec
    QtCore.QByteArray.__bytes__ = None


_keepConstants()
_publish()


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file with the promoted widgets and makes its signal-slot connections, each of which must be valid."""

    def createWidget(self, className, parent=None, name=""):
        if className in CUSTOM_WIDGETS:
            widget = CUSTOM_WIDGETS[className](parent)
            widget.objectName = name
            return widget
        if className not in self.availableWidgets():
            raise RuntimeError(f"the .ui file uses {className!r}, which the host does not offer")
        return super().createWidget(className, parent, name)

    def load(self, file, parent=None):
        path = file if isinstance(file, str) else file.fileName()
        QtCore.QLoggingCategory.setFilterRules("qt.core.qobject.connect=false")  # it cannot make those made below
        root = super().load(path, parent)
        QtCore.QLoggingCategory.setFilterRules("")
        widgets = {widget.objectName: widget for widget in [root, *root.findChildren(QtWidgets.QWidget)]}
        for connection in ElementTree.parse(path).getroot().iterfind("./connections/connection"):
            sender, signal, receiver, slot = (
                connection.find(tag).text for tag in ("sender", "signal", "receiver", "slot")
            )
            if "vtkMRML" in signal:  # no such C++ type here: Qt's own loader could not make this connection
                getattr(widgets[sender], signal.split("(")[0]).connect(getattr(widgets[receiver], slot.split("(")[0]))
        return root


class QFileDialog(QtWidgets.QFileDialog):
    """PythonQt returns the path alone where PySide6 returns the path and the chosen filter."""

    @staticmethod
    def getOpenFileName(*args):
        return QtWidgets.QFileDialog.getOpenFileName(*args)[0]
