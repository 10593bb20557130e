"""Combo boxes whose choices come from the engine, tied to strings of the parameter node."""


class ChoiceBox:
    """A combo box of (identifier, title) choices that holds one string parameter of the parameter node.

    The parameter keeps an identifier that is not among the choices (yet): the engine may only be starting.
    """

    def __init__(self, comboBox, parameterName) -> None:
        self.comboBox, self.parameterName, self._parameterNode = comboBox, parameterName, None
        self._identifiers = []
        comboBox.connect("currentIndexChanged(int)", self._onChosen)

    def setParameterNode(self, parameterNode) -> None:
        self._parameterNode = parameterNode
        self.update()

    def setChoices(self, choices, default=None) -> None:
        """Offer choices; a parameter that is none of them becomes the default, or the first."""
        choices = list(choices)
        identifiers = [identifier for identifier, _title in choices]
        if identifiers != self._identifiers:
            self._identifiers = identifiers
            blocked = self.comboBox.blockSignals(True)
            self.comboBox.clear()
            for _identifier, title in choices:
                self.comboBox.addItem(title)
            self.comboBox.blockSignals(blocked)
        if self._parameterNode and self._identifiers and self.value not in self._identifiers:
            chosen = default if default in self._identifiers else self._identifiers[0]
            setattr(self._parameterNode, self.parameterName, chosen)
        self.update()

    @property
    def value(self):
        return getattr(self._parameterNode, self.parameterName) if self._parameterNode else ""

    def update(self) -> None:
        """Show the parameter's value."""
        index = self._identifiers.index(self.value) if self.value in self._identifiers else -1
        blocked = self.comboBox.blockSignals(True)
        self.comboBox.currentIndex = index
        self.comboBox.blockSignals(blocked)

    def _onChosen(self, index) -> None:
        if self._parameterNode and index >= 0:
            setattr(self._parameterNode, self.parameterName, self._identifiers[index])
