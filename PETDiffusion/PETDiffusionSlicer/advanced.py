"""The part of the panel that sets what belongs to this computer and not to the scene: Python, models, threads."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from . import settings


class AdvancedSection:
    """Keeps the widgets of the section and the application's settings the same; opens and clears the models' folder."""

    def __init__(self, ui, offers) -> None:
        self._ui, self._offers = ui, offers
        self._fill()
        ui.checkButton.connect("clicked(bool)", lambda *_arguments: offers.ask())
        ui.openModelsButton.connect("clicked(bool)", self._onOpenModels)
        ui.clearModelsButton.connect("clicked(bool)", self._onClearModels)
        ui.pythonPath.connect("currentPathChanged(QString)", self._onEdited)
        ui.modelsPath.connect("currentPathChanged(QString)", self._onEdited)
        ui.threadsSpinBox.connect("valueChanged(int)", self._onEdited)

    def _fill(self) -> None:
        saved = settings.load()
        self._ui.pythonPath.currentPath = saved["python"]
        self._ui.modelsPath.currentPath = saved["modelsFolder"]
        self._ui.threadsSpinBox.value = saved["threads"]

    def _onEdited(self, *_arguments) -> None:
        settings.save(
            python=self._ui.pythonPath.currentPath,
            modelsFolder=self._ui.modelsPath.currentPath,
            threads=self._ui.threadsSpinBox.value,
        )

    def _onOpenModels(self, *_arguments) -> None:
        folder = Path(settings.modelsFolder(self._offers.info))
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _onClearModels(self, *_arguments) -> None:
        files = settings.modelFiles(self._offers.info)
        question = _("Delete {count} model files in {folder}?")
        text = question.format(count=len(files), folder=settings.modelsFolder(self._offers.info))
        if files and slicer.util.confirmYesNoDisplay(text):
            for file in files:
                file.unlink()
            self._offers.ask()
