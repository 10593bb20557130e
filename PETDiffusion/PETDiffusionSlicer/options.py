"""The part of the panel with the chosen method's own options and further files, made from what the method declares."""

import json

from .fields import makeField

# Options that have a place of their own in the panel, or that only make sense outside it.
ELSEWHERE = {
    "preset", "model", "samples", "unit", "weight_kg", "dose_mbq", "minutes", "half_life_minutes", "corrected",
    "overwrite", "grid", "frames",
}  # fmt: skip


def valuesOf(parameterNode, methodId):
    """What was chosen for a method: name of an option, or role of a further file -> value; defaults are left out."""
    return json.loads(parameterNode.options or "{}").get(methodId, {})


class MethodOptions:
    """Shows a field for each of the method's options, and keeps their values in the parameter node, a set a method."""

    def __init__(self, ui) -> None:
        self._ui, self._parameterNode, self._method, self._fields = ui, None, None, {}

    def setParameterNode(self, parameterNode) -> None:
        self._parameterNode = parameterNode

    def update(self, method) -> None:
        """Show the options of a method (as the engine describes it, or None) with the parameter node's values."""
        if method != self._method:
            self._method = method
            self._build()
        if self._parameterNode and self._fields:
            values = valuesOf(self._parameterNode, self._method["id"])
            for name, field in self._fields.items():
                blocked = field.widget.blockSignals(True)
                if field.value() != values.get(name):
                    field.show(values.get(name))
                field.widget.blockSignals(blocked)

    def _build(self) -> None:
        layout = self._ui.optionsWidget.layout()
        while layout.rowCount():
            layout.removeRow(0)
        self._fields = {}
        for name, title, option in _described(self._method):
            self._fields[name] = makeField(option, self._onChanged)
            layout.addRow(f"{title}:", self._fields[name].widget)
        self._ui.optionsButton.visible = bool(self._fields)

    def _onChanged(self) -> None:
        if not self._parameterNode:
            return
        values = {name: field.value() for name, field in self._fields.items()}
        everything = json.loads(self._parameterNode.options or "{}")
        everything[self._method["id"]] = {name: value for name, value in values.items() if value is not None}
        self._parameterNode.options = json.dumps(everything)


def _described(method):
    """(name, title, description) of what the section shows of a method: further files first, then its options."""
    if method is None:
        return
    for file in method["inputs"][1:]:
        yield file["role"], file["role"].replace("_", " ").capitalize(), file
    for option in method["options"]:
        if option["name"] not in ELSEWHERE:
            yield option["name"], option["title"], option
