"""The part of the panel with the inputs: a PET volume and what is known of its unit, or the file of a sinogram."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

from . import units
from .choices import ChoiceBox


class InputsSection:
    """Says in words what is known of the input, and what is missing. A DICOM header is read by the engine."""

    def __init__(self, ui, logic, offers) -> None:
        self._ui, self._logic, self._offers = ui, logic, offers
        self._parameterNode, self._askedVolume = None, None
        self._unit = ChoiceBox(ui.unitSelector, "unit")
        self._unit.setChoices({"": _("as the volume says"), "suvbw": "SUVbw", "bqml": "Bq/ml"}.items())
        ui.sinogramButton.connect("clicked(bool)", self._onLoadSinogram)

    def setParameterNode(self, parameterNode) -> None:
        self._parameterNode = parameterNode
        self._unit.setParameterNode(parameterNode)

    def update(self) -> None:
        """Show the parameter node's inputs; those that the chosen method does not take cannot be chosen."""
        node, takesSinogram = self._parameterNode, self._offers.takesSinogram
        self._unit.update()
        self._askUnit(node.inputVolume if node else None)
        for widget in (self._ui.statedLabel, self._ui.statedWidget):
            widget.visible = bool(node) and node.unit == "bqml"
        for widget in (
            self._ui.inputSelector,
            self._ui.unitSelector,
            self._ui.statedWidget,
            self._ui.segmentationSelector,
        ):
            widget.enabled = not takesSinogram
        path = node.sinogramPath if node else ""
        self._ui.sinogramLabel.text = Path(path).name if path else _("none")
        self._ui.sinogramLabel.enabled = takesSinogram

    def problem(self):
        """What is missing before a job can start, or ""."""
        if not self._parameterNode:
            return _("The scene is being closed.")
        if self._offers.lacksModel:
            return _("This method needs a model, and none is installed: put one into the folder of models (Advanced).")
        if self._offers.takesSinogram:
            return "" if self._parameterNode.sinogramPath else _("Load a sinogram under Inputs.")
        return "" if self._parameterNode.inputVolume else _("Choose a PET volume under Inputs.")

    def _askUnit(self, volume) -> None:
        if volume is self._askedVolume:
            return
        self._askedVolume = volume
        if volume is None:
            self._ui.unitLabel.text = _("No volume is chosen.")
        elif units.isCodedSuv(volume):
            self._ui.unitLabel.text = _("SUVbw, as coded in the volume.")
        elif units.dicomFile(volume):
            self._ui.unitLabel.text = _("Reading the DICOM header...")
            self._logic.askSuvFacts(volume, self._onSuvFacts)
        else:
            self._ui.unitLabel.text = _("The unit is not known. State below what the voxels are.")

    def _onSuvFacts(self, volume, facts, error) -> None:
        if volume is self._askedVolume:
            self._ui.unitLabel.text = str(error) if error else units.wordsForSeries(facts)

    def _onLoadSinogram(self, *_arguments) -> None:
        filters = _("Sinograms (*.hs *.npz);;All files (*)")
        path = qt.QFileDialog.getOpenFileName(self._ui.sinogramButton.window(), _("Load a sinogram"), "", filters)
        if path and self._parameterNode:
            self._parameterNode.sinogramPath = path
            self._offers.chooseSinogramMethod()
