"""What the engine offers, in the panel's lists: methods, and the chosen method's models and presets; devices."""

from slicer.i18n import tr as _

from . import words
from .choices import ChoiceBox


class Offers:
    """Asks the engine what it has and fills the lists with the answer, `info`; calls `onChanged()` when it came."""

    def __init__(self, ui, logic, onChanged):
        self.info = None
        self._ui, self._logic, self._onChanged, self._parameterNode = ui, logic, onChanged, None
        names = ("method", "model", "preset", "device")
        self._choices = {name: ChoiceBox(getattr(ui, f"{name}Selector"), name) for name in names}

    def setParameterNode(self, parameterNode):
        self._parameterNode = parameterNode
        for choice in self._choices.values():
            choice.setParameterNode(parameterNode)

    def ask(self):
        """Ask the engine; the lists fill when it has answered."""
        self._ui.checkLabel.text = _("Asking the engine...")
        self._logic.askInfo(self._onInfo)

    def _onInfo(self, info, error):
        self.info = info
        self._ui.checkLabel.text = str(error) if error else words.ofInfo(info)
        self._onChanged()

    @property
    def method(self):
        """The chosen method's description, or None."""
        return self._chosen("methods", "method")

    @property
    def card(self):
        """The chosen model's card, or None."""
        return self._chosen("models", "model")

    @property
    def takesSinogram(self):
        """Whether the chosen method's input is a sinogram and not a volume."""
        return bool(self.method) and self.method["input"] == "sinogram"

    def _chosen(self, kind, parameterName):
        if not self.info or not self._parameterNode:
            return None
        identifier = getattr(self._parameterNode, parameterName)
        return next((one for one in self.info[kind] if one["id"] == identifier), None)

    def update(self):
        """Fill the lists, and say what is known of the chosen model and preset."""
        if not self.info or not self._parameterNode:
            return
        self._choices["method"].setChoices((method["id"], method["title"]) for method in self.info["methods"])
        devices = {"auto": _("automatic"), **{name: name for name in self.info["devices"]}}
        self._choices["device"].setChoices(devices.items())
        described = {}
        if self.method:
            cards = {card["id"]: card for card in self.info["models"]}
            models = ((name, cards[name]["title"]) for name in self.method["models"])
            self._choices["model"].setChoices(models, self.method.get("default_model"))
            presets = self.method["presets"]
            self._choices["preset"].setChoices(
                ((preset["id"], preset["title"]) for preset in presets), self.method["default_preset"]
            )
            described = {preset["id"]: preset["description"] for preset in presets}
        self._ui.modelLabel.text = words.ofCard(self.card)
        self._ui.presetLabel.text = described.get(self._parameterNode.preset, "")
