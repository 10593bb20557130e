"""PETDiffusion in 3D Slicer: denoise a PET volume with a diffusion model, watch it, and compare. Research use only."""

import sys
from pathlib import Path
from typing import Annotated

import qt
import slicer
import vtk
from slicer import (
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if str(Path(__file__).parent) not in sys.path:
    sys.path.append(str(Path(__file__).parent))

from PETDiffusionSlicer import comparison, licences, settings, units, words
from PETDiffusionSlicer.advanced import AdvancedSection
from PETDiffusionSlicer.engine import Cancelled, EngineError
from PETDiffusionSlicer.inputs import InputsSection
from PETDiffusionSlicer.job import Job
from PETDiffusionSlicer.offers import Offers, volumeMethods
from PETDiffusionSlicer.packages import ensurePackages
from PETDiffusionSlicer.places import resource
from PETDiffusionSlicer.questions import Questions
from PETDiffusionSlicer.request import Request, requestFrom
from PETDiffusionSlicer.samples import registerSampleData

DOUBLE_CLICK_MS = 600  # a second click within this time is the first one's echo and does not cancel


class PETDiffusion(ScriptedLoadableModule):
    """What Slicer shows of the module: title, category, help."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("PETDiffusion")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Nuclear Medicine")]
        self.parent.dependencies = []
        self.parent.contributors = ["PETDiffusion contributors"]
        self.parent.icon = qt.QIcon(resource("Icons/PETDiffusion.png"))
        self.parent.helpText = _("""
Denoises low-dose PET with a diffusion model and says, voxel by voxel, how sure it is; reconstructs PET from sinograms.
Choose a PET volume, click <b>Denoise</b>, and compare. Everything runs on this computer.
<p><b>For research use only. Not a medical device; not for diagnosis or treatment.</b></p>
""")
        self.parent.acknowledgementText = _("""
The bundled model was trained on simulated data. Every model's licence and training data are shown in the panel and kept
in its card. The sample patient comes from the Soft-tissue-Sarcoma collection of The Cancer Imaging Archive, prepared by
the Image Biomarker Standardisation Initiative (CC BY 3.0).
""")
        slicer.app.connect("startupCompleted()", registerSampleData)


@parameterNodeWrapper
class PETDiffusionParameterNode:
    """
    The choices that are saved with the scene.

    inputVolume, sinogramPath - What is denoised, or reconstructed by the methods that take a sinogram.
    segmentation - The regions of the table; the whole body where there is none.
    unit - What the voxels are: "" (as the volume says), "suvbw" or "bqml"; for the latter weight, dose, minutes
        and half-life (0 is fluorine-18's).
    method, model, preset, device - As the engine names them; "" is its default.
    samples - Draws that are averaged; 0 is as many as the preset takes.
    options - Every method's own options and further files, as JSON; what is not in it has its default.
    wantUncertainty, wantDifference - Whether these volumes are made.
    denoisedVolume, uncertaintyVolume, differenceVolume, table - The results; those empty are created.
    referenceVolume - What a reconstruction is compared with.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    sinogramPath: str
    segmentation: vtkMRMLSegmentationNode
    unit: str
    weightKg: Annotated[float, WithinRange(0, 400)] = 0
    doseMBq: Annotated[float, WithinRange(0, 5000)] = 0
    minutes: Annotated[float, WithinRange(0, 1000)] = 60
    halfLifeMinutes: Annotated[float, WithinRange(0, 10000)] = 0
    method: str
    model: str
    preset: str
    device: str
    samples: Annotated[int, WithinRange(0, 100)] = 0
    options: str
    wantUncertainty: bool = True
    wantDifference: bool = False
    denoisedVolume: vtkMRMLScalarVolumeNode
    uncertaintyVolume: vtkMRMLScalarVolumeNode
    differenceVolume: vtkMRMLScalarVolumeNode
    table: vtkMRMLTableNode
    referenceVolume: vtkMRMLScalarVolumeNode


class PETDiffusionWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It shows and asks; what is done is in the logic."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic, self._parameterNode, self._guiTag = None, None, None
        self.offers, self._inputs, self._advanced, self._asked = None, None, None, None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(resource("UI/PETDiffusion.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = PETDiffusionLogic()
        self.offers = Offers(self.ui, self.logic, self._onParametersChanged)
        self._inputs = InputsSection(self.ui, self.logic, self.offers)
        self._advanced = AdvancedSection(self.ui, self.offers)
        self._connect()
        self.initializeParameterNode()
        self.offers.ask()

    def cleanup(self) -> None:
        """The module is reloaded or the application quits: nothing may go on."""
        self.logic.stop()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        self.initializeParameterNode()

    def exit(self) -> None:
        if self._parameterNode:
            self.setParameterNode(None)

    def _connect(self) -> None:
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, lambda *_arguments: self.setParameterNode(None))
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.compareButton.connect("clicked(bool)", lambda *_arguments: self.showComparison())

    # ---- parameter node

    def _onSceneEndClose(self, *_arguments) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Make sure that there is a parameter node, with the first PET chosen where none is."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            self._parameterNode.inputVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")

    def setParameterNode(self, parameterNode) -> None:
        """Show a parameter node and follow it; None lets go of the one shown."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
        self._parameterNode, self._asked = parameterNode, None
        self._inputs.setParameterNode(parameterNode)
        self.offers.setParameterNode(parameterNode)
        if parameterNode:
            self._guiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
            self._onParametersChanged()

    def _onParametersChanged(self, *_arguments) -> None:
        self.offers.update()
        self._inputs.update()
        self._letGoOfResults()
        self._showState()

    def _letGoOfResults(self) -> None:
        """Another input or method has no results yet: the volumes keep what they are named after."""
        node = self._parameterNode
        before, self._asked = self._asked, node and (node.method or "denoise", node.inputVolume, node.sinogramPath)
        if before in (None, self._asked) or not node or not node.denoisedVolume:
            return
        with slicer.util.NodeModify(node):
            isSameSinogram = self.offers.takesSinogram and before[2] == node.sinogramPath
            node.referenceVolume = node.denoisedVolume if isSameSinogram else None
            node.denoisedVolume = node.uncertaintyVolume = node.differenceVolume = node.table = None

    # ---- running

    def onApplyButton(self, *_arguments) -> None:
        """Denoise, or Cancel while a job runs."""
        if self.logic.job:
            self.logic.job.cancel()
            return
        try:
            self._start()
        except EngineError as error:
            self._showEnd(str(error), isError=True)

    def _start(self) -> None:
        ensurePackages()
        if not (self.offers.info and self.offers.info["torch"]):
            self.offers.ask()  # what has just been installed is known to the lists only then
        licences.requireAccepted(self.offers.card)
        self.ui.logText.plainText = self.ui.warningLabel.text = ""
        callbacks = {"onProgress": self._onProgress, "onFinished": self._onFinished, "onLog": self._onLog}
        self.logic.start(requestFrom(self._parameterNode), **callbacks)
        self.ui.progressBar.value = 0
        self._showState()
        self.ui.applyButton.enabled = False
        qt.QTimer.singleShot(DOUBLE_CLICK_MS, self._showState)

    def _onProgress(self, job) -> None:
        self.ui.progressBar.value = int(100 * job.progress)
        self.ui.statusLabel.text = words.ofProgress(job)
        self.ui.warningLabel.text = "\n".join(job.warnings)

    def _onLog(self, text) -> None:
        self.ui.logText.appendPlainText(text)

    def _onFinished(self, job) -> None:
        if job.error:
            self._showEnd(str(job.error), isError=not isinstance(job.error, Cancelled))
            return
        node = self._parameterNode or self.logic.getParameterNode()  # another module may be shown meanwhile
        with slicer.util.NodeModify(node):
            node.denoisedVolume = job.results.denoised
            node.uncertaintyVolume = job.results.uncertainty
            node.differenceVolume = job.results.difference
            node.table = job.results.table
        self.ui.progressBar.value = 100
        self._showEnd(_("Done: '{name}'.").format(name=job.results.denoised.GetName()))
        qt.QTimer.singleShot(0, self.showComparison)  # building the views takes a turn of the event loop for itself

    def _showEnd(self, sentence, isError=False) -> None:
        self.ui.statusLabel.text = sentence
        self.ui.logText.appendPlainText(sentence)
        self._showState()
        if isError:
            self.ui.progressBar.value = 0
            self.ui.logButton.collapsed = False
            slicer.util.errorDisplay(sentence, parent=self.parent)

    def _showState(self) -> None:
        """Enable what can be used now, and say in the main button's tooltip what is missing."""
        running = self.logic.job is not None
        for section in (self.ui.inputsButton, self.ui.methodButton, self.ui.outputsButton, self.ui.advancedButton):
            section.enabled = not running
        problem = self._inputs.problem()
        verb = _("Reconstruct") if self.offers.takesSinogram else _("Denoise")
        self.ui.denoisedLabel.text = _("Reconstructed:") if self.offers.takesSinogram else _("Denoised:")
        self.ui.applyButton.text = _("Cancel") if running else verb
        self.ui.applyButton.enabled = running or not problem
        self.ui.applyButton.toolTip = _("Stop the job") if running else problem or _("Run the job in the background")
        self.ui.compareButton.enabled = len(self._compared()) > 1 and not running

    def showComparison(self) -> None:
        """Open the layout with the input, the result and the uncertainty, or else the difference."""
        volumes = self._compared()
        if volumes:
            comparison.showComparison(volumes)

    def _compared(self):
        """The volumes to compare, title -> node; none before there is a result."""
        node = self._parameterNode
        if not node or not node.denoisedVolume:
            return {}
        if self.offers.takesSinogram:
            volumes = {_("before"): node.referenceVolume, _("reconstructed"): node.denoisedVolume}
            volumes[_("uncertainty")] = node.uncertaintyVolume
        else:
            volumes = {_("low-dose"): node.inputVolume, _("denoised"): node.denoisedVolume}
            third = _("uncertainty") if node.uncertaintyVolume else _("difference")
            volumes[third] = node.uncertaintyVolume or node.differenceVolume
        return {title: volume for title, volume in volumes.items() if volume}


class PETDiffusionLogic(ScriptedLoadableModuleLogic):
    """Everything without a widget: from the Python console `PETDiffusionLogic().denoise(volume)`."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.job = None
        self._questions = Questions()

    def getParameterNode(self):
        return PETDiffusionParameterNode(super().getParameterNode())

    # ---- asking the engine

    def info(self):
        """What the engine has: "methods", "models", "devices", versions. Raises EngineError."""
        process = settings.engine().start(["info", "--json"])
        while not process.finished:
            slicer.app.processEvents()
            process.wait(20)
        return process.answer()

    def methods(self):
        """The methods with their presets and models, as the panel lists them."""
        return volumeMethods(self.info())

    def askInfo(self, onAnswer) -> None:
        """The same without waiting: `onAnswer(info, error)`, one of them None."""
        self._questions.ask("info", ["info", "--json"], onAnswer)

    def askSuvFacts(self, volumeNode, onAnswer) -> None:
        """What the DICOM header of a volume says of SUV, without waiting: `onAnswer(volumeNode, facts, error)`."""
        arguments = ["suv", units.dicomFile(volumeNode), "--json"]
        self._questions.ask("suv", arguments, lambda facts, error: onAnswer(volumeNode, facts, error))

    # ---- running jobs

    def denoise(self, inputVolume, waitForCompletion=True, onProgress=None, onFinished=None, onLog=None, **options):
        """Denoise a volume node; the options are the fields of Request: preset, samples, model, unit, segmentation ...

        Returns the result nodes (denoised, uncertainty, difference, table, manifest); with waitForCompletion=False the
        running Job instead, which has progress, cancel() and wait(), and whose end `onFinished(job)` tells.
        Raises EngineError with a sentence where it cannot be done.
        """
        job = self.start(Request(inputVolume=inputVolume, **options), onProgress, onFinished, onLog)
        return job.wait() if waitForCompletion else job

    def reconstruct(self, sinogram, waitForCompletion=True, onProgress=None, onFinished=None, onLog=None, **options):
        """Reconstruct the file of a sinogram by a `method`; all else as in `denoise`, with nothing to compare."""
        job = self.start(Request(sinogram=str(sinogram), **options), onProgress, onFinished, onLog)
        return job.wait() if waitForCompletion else job

    def start(self, request, onProgress=None, onFinished=None, onLog=None):
        """Start a job; there is one at a time."""
        if self.job:
            raise EngineError("busy", _("A job is running already. Wait for it or cancel it."))

        def onEnd(job) -> None:
            self.job = None
            if onFinished:
                onFinished(job)

        self.job = Job(settings.engine(), request, onProgress, onEnd, onLog)
        return self.job

    def stop(self) -> None:
        """End the job and all questions to the engine, and return when they are gone."""
        if self.job:
            self.job.stop()
        self._questions.stop()


class PETDiffusionTest(ScriptedLoadableModuleTest):
    """The module's own test: a small simulated volume through the real engine."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_denoise()

    def test_denoise(self) -> None:
        from PETDiffusionSlicer.samples import simulatedVolume

        self.delayDisplay("Simulating a low-dose PET")
        volume = simulatedVolume()
        self.delayDisplay("Denoising it")
        nodes = PETDiffusionLogic().denoise(volume, preset="fast", difference=True)
        before, after = slicer.util.arrayFromVolume(volume), slicer.util.arrayFromVolume(nodes.denoised)
        self.assertEqual(before.shape, after.shape)
        self.assertAlmostEqual(float(after.sum() / before.sum()), 1.0, delta=0.05)
        self.assertGreater(slicer.util.arrayFromVolume(nodes.uncertainty).max(), 0.0)
        self.assertTrue(units.isCodedSuv(nodes.denoised))
        self.assertEqual(nodes.table.GetNumberOfRows(), 1)
        self.assertIn("research use", nodes.manifest.GetText())
        self.delayDisplay("Test passed")
