"""One job from a volume node to result nodes: ask for the unit, write the input, run the engine, judge, make nodes.

The job runs on the event loop. Its work is a generator that yields either the arguments of an engine process, whose
result it is sent back, or None to let the event loop have a turn. `wait()` runs it to its end from a script.
"""

import json
import shutil
import tempfile
from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from . import files, results, units
from .engine import Cancelled, EngineError
from .regions import regionLayers, rowsOf
from .request import INPUT_FILE

SUV_TYPE = "<f4"  # of the input's voxels in its file
ENGINE_SHARE = 0.94  # of the progress bar; the rest is for the table and the nodes


class Job:
    """A running job: `progress` (0 to 1), `stage`, `secondsLeft`, `cancel()`, `wait()`; then `results` or `error`.

    `warnings` are the engine's sentences about an input that lies outside what the model knows.

    `onProgress(job)` is called when one of the first three changes, `onLog(text)` with the engine's text and warnings,
    `onFinished(job)` once at the end.
    """

    def __init__(self, engine, request, onProgress=None, onFinished=None, onLog=None) -> None:
        if not request.sinogram:
            results.requireVolume(request.inputVolume)
        self.request, self.results, self.error, self.running = request, None, None, True
        self.warnings = []
        self.progress, self.stage, self.secondsLeft = 0.0, _("Starting"), None
        self._engine, self._process, self._cancelled = engine, None, None
        self._onProgress, self._onFinished, self._onLog = onProgress, onFinished, onLog
        scene = slicer.mrmlScene
        self._observations = [
            scene.AddObserver(scene.StartCloseEvent, self._onSceneClose),
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._onNodeRemoved),
        ]
        self._work = self._steps()
        qt.QTimer.singleShot(0, self._advance)

    # ---- from outside

    def cancel(self, sentence=None) -> None:
        """Stop the job; `onFinished` follows when the engine is gone."""
        if not self.running or self._cancelled:
            return
        self._cancelled = Cancelled(sentence)
        self._report(_("Stopping"))
        if self._process:
            self._process.cancel()

    def stop(self, sentence=None) -> None:
        """Stop the job and return only when the engine is gone."""
        if self.running:
            self._cancelled = Cancelled(sentence)
            if self._process:
                self._process.stop()
            self._advance()

    def wait(self):
        """Run to the end, with the application responsive; returns the results, or raises what went wrong."""
        while self.running:
            slicer.app.processEvents()
            if self._process and not self._process.finished:
                self._process.wait(20)
        if self.error:
            raise self.error
        return self.results

    # ---- the work

    def _steps(self):
        with TemporaryFolder() as folder:
            factor = (yield from self._writeInput(folder)) if self.request.inputVolume else None
            document = self.request.document(folder)
            (folder / "job.json").write_text(json.dumps(document), encoding="utf-8")
            result = yield ["run", str(folder / "job.json")]
            _requireFiles(result, document["outputs"])
            rows = (yield from self._judge(folder)) if self.request.inputVolume else []
            self._report(_("Making the volumes"), 0.99)
            yield
            return (yield from self._makeNodes(folder, result, factor, rows))

    def _writeInput(self, folder):
        """Write the input in SUV for the engine; what its voxels were multiplied by is returned."""
        factor, volume = (yield from self._suvFactor()), self.request.inputVolume
        self._report(_("Writing the input"))
        yield
        voxels = slicer.util.arrayFromVolume(volume)
        yield from files.writeVolume(voxels, SUV_TYPE, volume, folder / INPUT_FILE, factor)
        return factor

    def _suvFactor(self):
        """What turns the input's voxels into SUVbw."""
        request, volume = self.request, self.request.inputVolume
        if request.unit is None and units.isCodedSuv(volume):
            return 1.0
        dicomFile = units.dicomFile(volume)
        if request.unit is None and dicomFile:
            self._report(_("Reading the DICOM header"))
            facts = json.loads((yield ["suv", dicomFile, "--json"]))
            self._log(units.wordsForSeries(facts))
            return units.factorOfSeries(facts)
        return units.statedFactor(request)

    def _judge(self, folder):
        """The engine's figures per region, [] where it could not make them: the volumes matter more than the table."""
        self._report(_("Comparing SUV before and after"), ENGINE_SHARE)
        yield
        request, rows, figures = self.request, [], folder / "figures.json"
        layers = yield from regionLayers(request.inputVolume, request.segmentation)
        options = ["--unit", "suv", "--labels", str(folder / "regions.nrrd"), "--json", str(figures), "--overwrite"]
        for labels, names in layers:
            yield from files.writeVolume(labels, "<i2", request.inputVolume, folder / "regions.nrrd")
            try:
                yield ["evaluate", str(folder / INPUT_FILE), str(folder / f"{request.outputs[0]}.nrrd"), *options]
            except Cancelled:
                raise
            except EngineError as error:
                self._log(_("The table of SUV could not be made: {reason}").format(reason=error))
                return []
            report = json.loads(figures.read_text(encoding="utf-8"))
            rows += rowsOf(report, names, isWholeBody=request.segmentation is None)
        return rows

    def _makeNodes(self, folder, result, factor, rows):
        """Read what the engine wrote and make the nodes, with turns for the event loop in between."""
        request, volume = self.request, self.request.inputVolume
        unit = "suvbw" if volume else result["summary"].get("unit")
        targets = [request.denoisedVolume, request.uncertaintyVolume]
        names = [self._name(_("denoised") if volume else request.method.upper()), self._name(_("uncertainty"))]
        nodes = []
        for role, target, name in zip(request.outputs, targets, names, strict=False):
            read = files.readVolume(result["outputs"][role])
            yield
            nodes.append(results.place(target, read, volume, name, unit))
            yield
        denoised, uncertainty = [*nodes, None][:2]
        self._showPets(denoised, volume, factor, unit)
        yield
        if uncertainty:
            results.showUncertainty(uncertainty)
            yield
        difference = None
        if request.difference and volume:
            after = slicer.util.arrayFromVolume(denoised)
            before = files.writtenArray(after.shape, SUV_TYPE, folder / INPUT_FILE)
            change = yield from files.subtracted(after, before)
            difference = results.place(request.differenceVolume, change, volume, self._name(_("difference")), unit)
            results.showDifference(difference)
            yield
        table = results.makeTable(rows, volume) if rows else None
        text = Path(result["manifest"]).read_text(encoding="utf-8")
        manifest = results.makeManifest(text, volume, self._name(_("PETDiffusion manifest")))
        yield
        return results.Results(denoised, uncertainty, difference, table, manifest)

    def _showPets(self, denoised, volume, factor, unit) -> None:
        """The result, and the input beside it, in one common window."""
        if unit != "suvbw":
            results.showActivity(denoised)
            return
        results.showPet(denoised)
        if volume:
            results.showPet(volume, factor)

    def _name(self, suffix) -> str:
        return f"{self.request.name} {suffix}"

    # ---- driving it

    def _advance(self, value=None, error=None) -> None:
        if not self.running:
            return
        error = self._cancelled or error
        try:
            step = self._work.throw(error) if error else self._work.send(value)
        except StopIteration as end:
            self._finish(end.value, None)
        except Exception as failure:
            self._finish(None, failure)
        else:
            if step is None:
                qt.QTimer.singleShot(0, self._advance)
            else:
                self._process = self._engine.start(step, self._onEvent, self._onProcessFinished)

    def _onProcessFinished(self, process) -> None:
        self._process = None
        try:
            value, error = process.result(), None
        except EngineError as failure:
            value, error = None, failure
        self._advance(value, error)

    def _onEvent(self, event) -> None:
        kind = event["event"]
        if kind == "progress":
            fraction = float(event.get("fraction") or 0.0)
            fraction = ENGINE_SHARE * min(max(fraction, 0.0), 1.0)
            self._report(str(event.get("stage")), fraction, event.get("seconds_left"))
        elif kind == "stage":
            self._report(str(event.get("stage")))
        elif kind in ("log", "warning"):
            if kind == "warning":
                self.warnings.append(str(event.get("message")))
            self._log(str(event.get("message")))

    def _report(self, stage, progress=None, secondsLeft=None) -> None:
        if self._cancelled:
            stage, secondsLeft = _("Stopping"), None
        self.stage, self.secondsLeft = stage, secondsLeft
        self.progress = self.progress if progress is None else max(self.progress, progress)
        if self._onProgress:
            self._onProgress(self)

    def _log(self, text) -> None:
        if self._onLog:
            self._onLog(text)

    def _onSceneClose(self, *_arguments) -> None:
        self.stop(_("The scene was closed, so the job was stopped."))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _scene, _event, node) -> None:
        if node in (self.request.inputVolume, self.request.segmentation):
            self.cancel(_("'{name}' was removed from the scene, so the job was stopped.").format(name=node.GetName()))

    def _finish(self, nodes, error) -> None:
        self.running, self.results, self.error = False, nodes, error
        for tag in self._observations:
            slicer.mrmlScene.RemoveObserver(tag)
        if error is None:
            self.progress = 1.0
        if self._onFinished:
            self._onFinished(self)


class TemporaryFolder:
    """A folder in the application's temporary path for the job's files, removed with all it holds."""

    def __enter__(self):
        try:
            self._path = Path(tempfile.mkdtemp(prefix="PETDiffusion-", dir=slicer.app.temporaryPath))
        except OSError as error:
            sentence = _("The temporary folder '{path}' cannot be written. Choose another in the application settings.")
            raise EngineError("cannot-write", sentence.format(path=slicer.app.temporaryPath)) from error
        return self._path

    def __exit__(self, *_exception):
        shutil.rmtree(self._path, ignore_errors=True)


def _requireFiles(result, outputs) -> None:
    """Refuse a result that does not name the files that were asked for."""
    named = result.get("outputs") if isinstance(result, dict) else None
    if not isinstance(named, dict) or not all(Path(str(named.get(role))).is_file() for role in outputs):
        raise EngineError("no-result", _("The engine ended without its results. See the log."))
