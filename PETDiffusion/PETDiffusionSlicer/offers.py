"""What the engine offers, in the panel's lists: methods, and the chosen method's models and presets; devices."""

from slicer.i18n import tr as _

from . import words
from .choices import ChoiceBox
from .options import MethodOptions

# The widgets for what not every method has.
ROWS = {
    "models": ("modelTitle", "modelSelector", "modelSpace", "modelLabel"),
    "presets": ("presetTitle", "presetSelector", "presetSpace", "presetLabel"),
    "samples": ("samplesLabel", "samplesSpinBox"),
    "uncertainty": ("uncertaintyCheckBox", "uncertaintySelector"),
    "difference": ("differenceCheckBox", "differenceSelector"),
    "reference": ("referenceLabel", "referenceSelector"),
}


def volumeMethods(info):
    """Those methods of an answer of the engine whose result is a volume; a restored sinogram is none."""
    return [method for method in info["methods"] if method["kind"] in ("denoise", "reconstruct")]


class Offers:
    """Asks the engine what it has and fills the lists with the answer, `info`; calls `onChanged()` when it came."""

    def __init__(self, ui, logic, onChanged) -> None:
        self.info = None
        self._ui, self._logic, self._onChanged, self._parameterNode = ui, logic, onChanged, None
        names = ("method", "model", "preset", "device")
        self._choices = {name: ChoiceBox(getattr(ui, f"{name}Selector"), name) for name in names}
        self._options = MethodOptions(ui)
        self._options.update(None)

    def setParameterNode(self, parameterNode) -> None:
        self._parameterNode = parameterNode
        for choice in (*self._choices.values(), self._options):
            choice.setParameterNode(parameterNode)

    def ask(self) -> None:
        """Ask the engine; the lists fill when it has answered."""
        self._ui.checkLabel.text = _("Asking the engine...")
        self._logic.askInfo(self._onInfo)

    def _onInfo(self, info, error) -> None:
        self.info = info
        self._ui.checkLabel.text = str(error) if error else words.ofInfo(info)
        self._onChanged()

    @property
    def methods(self):
        """The methods to choose from."""
        return volumeMethods(self.info)

    @property
    def method(self):
        """The chosen method's description, or None."""
        return self._chosen("methods", "method")

    @property
    def card(self):
        """The chosen model's card, or None."""
        card = self._chosen("models", "model")
        return card if card and self.method and card["id"] in self.method["models"] else None

    @property
    def takesSinogram(self):
        """Whether the chosen method's input is a sinogram and not a volume."""
        return bool(self.method) and self.method["input"] == "sinogram"

    @property
    def lacksModel(self):
        """Whether the chosen method needs a model and none is installed."""
        return bool(self.method) and self.method["task"] is not None and not self.method["models"]

    def chooseSinogramMethod(self) -> None:
        """Choose the first method that takes a sinogram, where the chosen one does not."""
        if self.info and not self.takesSinogram:
            method = next((method for method in self.methods if method["input"] == "sinogram"), None)
            if method:
                self._parameterNode.method = method["id"]

    def _chosen(self, kind, parameterName):
        if not self.info or not self._parameterNode:
            return None
        identifier = getattr(self._parameterNode, parameterName)
        return next((one for one in self.info[kind] if one["id"] == identifier), None)

    def update(self) -> None:
        """Fill the lists, and say what is known of the chosen model and preset."""
        if not self.info or not self._parameterNode:
            return
        self._choices["method"].setChoices((method["id"], method["title"]) for method in self.methods)
        devices = {"auto": _("automatic"), **{name: name for name in self.info["devices"]}}
        self._choices["device"].setChoices(devices.items())
        if self.method:
            self._updateMethod(self.method)
        self._options.update(self.method)
        self._ui.modelLabel.text = words.ofCard(self.card)

    def _updateMethod(self, method) -> None:
        """What the chosen method has, with its models and presets."""
        cards = {card["id"]: card for card in self.info["models"]}
        models = ((name, cards[name]["title"]) for name in method["models"])
        self._choices["model"].setChoices(models, method["default_model"])
        presets = {preset["id"]: preset for preset in method["presets"]}
        self._choices["preset"].setChoices(
            ((name, preset["title"]) for name, preset in presets.items()), method["default_preset"]
        )
        chosen = presets.get(self._parameterNode.preset)
        self._ui.presetLabel.text = chosen["description"] if chosen else ""
        has = {
            "models": method["task"] is not None,
            "presets": bool(presets),
            "samples": any(option["name"] == "samples" for option in method["options"]),
            "uncertainty": "uncertainty" in method["outputs"],
            "difference": not self.takesSinogram,
            "reference": self.takesSinogram,
        }
        for what, names in ROWS.items():
            for name in names:
                getattr(self._ui, name).visible = has[what]
