"""One widget for one option or further file of a method, made from the rule that the engine declares for it."""

import math

import ctk
import qt
from slicer.i18n import tr as _


def makeField(option, onChanged):
    """The field for an option (or a file, whose kind is "volume" or "sinogram") as `petdiffusion info` describes it.

    It has a `widget`, `value()` (None is the method's own choice) and `show(value)`; it calls `onChanged()`.
    """
    kinds = {"choice": ChoiceField, "flag": FlagField, "volume": FileField, "sinogram": FileField}
    isNumber = option["kind"] in ("whole", "number") and option["count"] == 1
    field = NumberField(option) if isNumber else kinds.get(option["kind"], TextField)(option)
    field.widget.toolTip = option["help"]
    field.show(None)
    field.widget.connect(field.signal, lambda *_arguments: onChanged())
    return field


class NumberField:
    """A number between its bounds; a step below them stands for the method's own choice where there is no default."""

    def __init__(self, option) -> None:
        isWhole = option["kind"] == "whole"
        self.signal = "valueChanged(int)" if isWhole else "valueChanged(double)"
        self.widget = qt.QSpinBox() if isWhole else qt.QDoubleSpinBox()
        self._default = option["default"]
        step = 1
        if not isWhole:
            self.widget.decimals = 2 - min(0, math.floor(math.log10(self._default or 1)))
            step = 10.0**-self.widget.decimals
            self.widget.singleStep = (self._default or 1) / 10
        lowest = (option["lowest"] or 0) + (step if option["above"] else 0)
        self._automatic = lowest - step
        self.widget.minimum = lowest if self._default is not None else self._automatic
        self.widget.maximum = min(option["highest"] or 10**6, 10**9)
        if self._default is None:
            self.widget.specialValueText = _("automatic")

    def value(self):
        isOwnChoice = self._default is None and self.widget.value == self.widget.minimum
        return None if isOwnChoice or self.widget.value == self._default else self.widget.value

    def show(self, value) -> None:
        shown = self._default if value is None else value
        self.widget.value = self._automatic if shown is None else shown


class ChoiceField:
    """One of the rule's words, or nothing where the method may decide."""

    signal = "currentIndexChanged(int)"

    def __init__(self, option) -> None:
        self._default = option["default"]
        self._values = ([None] if self._default is None else []) + list(option["choices"])
        self.widget = qt.QComboBox()
        for value in self._values:
            self.widget.addItem(_("automatic") if value is None else value)

    def value(self):
        chosen = self._values[self.widget.currentIndex]
        return None if chosen == self._default else chosen

    def show(self, value) -> None:
        self.widget.currentIndex = self._values.index(self._default if value is None else value)


class FlagField:
    """Yes or no."""

    signal = "toggled(bool)"

    def __init__(self, option) -> None:
        self._default, self.widget = bool(option["default"]), qt.QCheckBox()

    def value(self):
        return None if self.widget.checked == self._default else self.widget.checked

    def show(self, value) -> None:
        self.widget.checked = self._default if value is None else value


class TextField:
    """A text, or several numbers with spaces between them."""

    signal = "textChanged(QString)"

    def __init__(self, option) -> None:
        self._option, self.widget = option, qt.QLineEdit()
        self.widget.placeholderText = self._words(option["default"]) or _("automatic")

    def value(self):
        words = self.widget.text.split()
        if not words:
            return None
        if self._option["kind"] == "text":
            return self.widget.text.strip()
        try:
            return [int(word) if self._option["kind"] == "whole" else float(word) for word in words]
        except ValueError:
            return words  # which the engine refuses with a sentence

    def show(self, value) -> None:
        self.widget.text = self._words(value)

    @staticmethod
    def _words(value):
        return " ".join(map(str, value)) if isinstance(value, list) else value or ""


class FileField:
    """The path of a file."""

    signal = "currentPathChanged(QString)"

    def __init__(self, _option) -> None:
        self.widget = ctk.ctkPathLineEdit()

    def value(self):
        return self.widget.currentPath or None

    def show(self, value) -> None:
        self.widget.currentPath = value or ""
