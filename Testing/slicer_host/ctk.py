"""The `ctk` module: those CTK widgets that the module's .ui and Slicer's own Python files use."""

import qt
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A titled header that shows or hides what the widget holds."""

    contentsCollapsed = Signal(bool)
    clicked = Signal(bool)

    def __init__(self, *arguments) -> None:
        super().__init__(*[argument for argument in arguments if isinstance(argument, QtWidgets.QWidget)])
        self._collapsed = False
        self._header = QtWidgets.QToolButton(self)
        self._header.setObjectName("qt_ctk_header")
        self._header.setToolButtonStyle(QtCore.Qt.ToolButtonTextBesideIcon)
        self._header.setStyleSheet("QToolButton { text-align: left; font-weight: 600; padding: 3px; }")
        self._header.clicked.connect(lambda *_: self._setCollapsed(not self._collapsed))
        self.setContentsMargins(0, 26, 0, 0)
        self._updateArrow()

    def resizeEvent(self, event) -> None:
        self._header.setGeometry(0, 0, event.size().width(), 26)
        super().resizeEvent(event)

    def childEvent(self, event) -> None:
        child = event.child()
        if event.type() == QtCore.QEvent.ChildPolished and self.__dict__.get("_collapsed") and self._isContent(child):
            child.hide()

    def _isContent(self, child):
        return isinstance(child, QtWidgets.QWidget) and child is not self._header

    def _updateArrow(self) -> None:
        self._header.setArrowType(QtCore.Qt.RightArrow if self._collapsed else QtCore.Qt.DownArrow)

    def _setCollapsed(self, collapsed) -> None:
        self._collapsed = bool(collapsed)
        self._updateArrow()
        for child in self.children():
            if self._isContent(child):
                child.setVisible(not collapsed)
        self.setMaximumHeight(26 if collapsed else 16777215)
        self.contentsCollapsed.emit(self._collapsed)

    collapsed = Property(bool, lambda self: self._collapsed, _setCollapsed)
    text = Property(str, lambda self: self._header.text, lambda self, text: self._header.setText(text))


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path with a browse button."""

    currentPathChanged = Signal(str)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._edit, button = QtWidgets.QLineEdit(), QtWidgets.QToolButton()
        button.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit, 1)
        layout.addWidget(button)
        self._edit.textChanged.connect(self.currentPathChanged)

    currentPath = Property(str, lambda self: self._edit.text, lambda self, path: self._edit.setText(path))

    def _filters(self):
        return getattr(self, "_filterFlags", "")

    filters = Property("QStringList", _filters, lambda self, flags: setattr(self, "_filterFlags", flags))


class ctkMessageBox(QtWidgets.QMessageBox):
    dontShowAgain = False
    dontShowAgainSettingsKey = ""


class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    pass


class ctkComboBox(QtWidgets.QComboBox):
    pass


class ctkCheckBox(QtWidgets.QCheckBox):
    pass


def __getattr__(name):
    """A class that Slicer's own files only compare types with."""
    if not name.startswith("ctk"):
        raise AttributeError(name)
    globals()[name] = type(name, (QtWidgets.QWidget,), {})
    return globals()[name]


qt.CUSTOM_WIDGETS.update({name: member for name, member in list(globals().items()) if name.startswith("ctk")})
