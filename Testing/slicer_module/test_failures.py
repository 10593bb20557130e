"""What goes wrong ends in a sentence for the user, with nothing left behind and nothing half done.

The engines here are small programs that misbehave in one way each; they are started as the real one is.
"""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import slicer
from driving import click, fairTime, makeVolume, until

# Says its process id, then progress up to a fraction, then waits; stops when its standard input closes.
SLOW = """
if "run" in sys.argv:
    open(os.environ["ENGINE_PID_FILE"], "w").write(str(os.getpid()))
    for percent in range(int(100 * {fraction}) + 1):
        say(event="progress", stage="Denoising", fraction=percent / 100, seconds_left=100 - percent)
    sys.stdin.read()
    say(event="cancelled")
    sys.exit(130)
"""
DEAF = SLOW.replace("sys.stdin.read()", "time.sleep(600)")  # never listens


@pytest.fixture
def pid_file(tmp_path, monkeypatch):
    path = tmp_path / "engine.pid"
    monkeypatch.setenv("ENGINE_PID_FILE", str(path))
    return path


@pytest.fixture
def panel(panel_over_fake_engine):
    return panel_over_fake_engine


@pytest.fixture
def run_with(panel, volume, module, fake_engine):
    """Choose the volume and a fake engine of the given lines, and click Denoise."""

    def run(lines) -> None:
        module.settings.save(python=fake_engine(lines))
        panel._parameterNode.inputVolume = volume
        click(panel.ui.applyButton)

    return run


@pytest.fixture(autouse=True)
def nothing_left(application, scene):
    """After every test: no job folder, and no volumes beside the inputs."""
    yield
    assert not list(Path(application.temporaryPath).glob("PETDiffusion-*"))


def is_running(pid_file):
    try:
        os.kill(int(pid_file.read_text()), 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid_file.read_text()}/stat")
    return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def sentence_at_the_end(panel):
    until(lambda: panel.logic.job is None)
    assert panel.ui.applyButton.text == "Denoise" and panel.ui.applyButton.enabled
    return panel.ui.statusLabel.text


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("lines", [SLOW, DEAF], ids=["listens", "deaf"])
def test_cancel_ends_the_engine_within_three_seconds(run_with, panel, pid_file, lines, fraction) -> None:
    run_with(lines.format(fraction=fraction))
    until(lambda: panel.ui.progressBar.value >= int(94 * fraction))
    until(lambda: panel.ui.applyButton.enabled)
    assert panel.ui.applyButton.text == "Cancel"
    started = fairTime()
    click(panel.ui.applyButton)
    assert sentence_at_the_end(panel) == "Stopped. Nothing was changed."
    until(lambda: not is_running(pid_file))
    assert fairTime() - started < 3.0
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def test_an_engine_killed_from_outside_is_a_message(run_with, panel, pid_file) -> None:
    run_with(SLOW.format(fraction=0.3))
    until(lambda: panel.ui.progressBar.value >= 28)
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    assert "The engine ended unexpectedly" in sentence_at_the_end(panel)
    assert not panel.ui.logButton.collapsed


def test_an_engine_that_dies_says_its_last_words(run_with, panel) -> None:
    run_with("sys.exit('MemoryError: no more')")
    assert sentence_at_the_end(panel) == "The engine ended unexpectedly (exit code 1). MemoryError: no more"


@pytest.mark.parametrize(
    "garbage",
    ['b\'\\xff\\xfe{"event"\\n{}\\n[1]\\n{"event": 7}\\nnull\\n\'', 'b\'{"event": "result", "outputs": 3}\\n\''],
)
def test_garbage_is_a_message(run_with, panel, garbage) -> None:
    run_with(f"sys.stdout.buffer.write({garbage})")
    assert sentence_at_the_end(panel) == "The engine ended without its results. See the log."


def test_what_an_answer_is_accompanied_by_is_no_part_of_it(panel, module, fake_engine) -> None:
    """Warnings come on standard error: a card that cannot be used, what PyTorch has to say when it is imported."""
    module.settings.save(python=fake_engine("print('a warning', file=sys.stderr)\nprint('[1, 2]')"))
    process = module.settings.engine().start(["suv"])
    until(lambda: process.finished)
    assert process.answer() == [1, 2]


def test_an_answer_that_is_no_json_is_an_error_of_the_engine(panel, module, fake_engine) -> None:
    module.settings.save(python=fake_engine("print('Bonjour')"))
    process = module.settings.engine().start(["suv"])
    until(lambda: process.finished)
    with pytest.raises(module.EngineError, match="cannot be understood: Bonjour"):
        process.answer()


def test_endless_garbage_is_ended(run_with, panel) -> None:
    run_with("while True: print('nonsense')")
    assert "The engine wrote text instead of its progress" in sentence_at_the_end(panel)


def test_lines_cut_in_two_and_foreign_bytes_do_not_break_the_reader(module) -> None:
    from PETDiffusionSlicer.engine import MOST_LINE_BYTES, Lines, eventIn

    lines = Lines()
    assert lines.feed(b'{"event": "sta') == []
    assert [eventIn(line) for line in lines.feed(b'ge"}\r\n\xff\xfe\n')] == [{"event": "stage"}, None]
    assert len(lines.feed(b"x" * (MOST_LINE_BYTES + 1))) == 1
    lines.feed(b"last words")
    assert lines.rest() == ["last words"] and lines.rest() == []


def test_the_engines_own_sentence_is_shown(run_with, panel) -> None:
    run_with("say(event='error', code='bad-weights', message='The weights are damaged.'); sys.exit(2)")
    assert sentence_at_the_end(panel) == "The weights are damaged."


def test_a_python_that_is_not_there(panel, volume, module) -> None:
    module.settings.save(python="/no/such/python")
    panel._parameterNode.inputVolume = volume
    click(panel.ui.applyButton)
    assert "could not be started: /no/such/python" in sentence_at_the_end(panel)


def test_a_temporary_folder_that_cannot_be_written(panel, volume, application, monkeypatch) -> None:
    panel._parameterNode.inputVolume = volume
    with monkeypatch.context() as patched:
        patched.setattr(application, "temporaryPath", "/proc/no-such-folder")
        click(panel.ui.applyButton)
        assert "The temporary folder '/proc/no-such-folder' cannot be written." in sentence_at_the_end(panel)


def test_the_volume_deleted_while_the_job_runs(run_with, panel, volume, pid_file) -> None:
    run_with(SLOW.format(fraction=0.2))
    until(lambda: panel.ui.progressBar.value >= 18)
    slicer.mrmlScene.RemoveNode(volume)
    until(lambda: panel.logic.job is None)
    assert panel.ui.statusLabel.text == "'PET' was removed from the scene, so the job was stopped."
    until(lambda: not is_running(pid_file))


@pytest.mark.parametrize("lines", [SLOW, DEAF], ids=["listens", "deaf"])
def test_closing_the_scene_ends_the_job(run_with, panel, pid_file, lines) -> None:
    run_with(lines.format(fraction=0.2))
    until(lambda: panel.ui.progressBar.value >= 18)
    slicer.mrmlScene.Clear(0)
    assert panel.logic.job is None
    until(lambda: not is_running(pid_file))
    assert panel.ui.statusLabel.text == "The scene was closed, so the job was stopped."
    assert panel._parameterNode.inputVolume is None


def test_reloading_the_module_ends_the_job(run_with, panel, pid_file) -> None:
    run_with(DEAF.format(fraction=0.2))
    until(lambda: panel.ui.progressBar.value >= 18)
    slicer.util.reloadScriptedModule("PETDiffusion")
    until(lambda: not is_running(pid_file))
    slicer.modules.PETDiffusionWidget.cleanup()


def test_quitting_ends_the_job(run_with, panel, pid_file, application) -> None:
    run_with(DEAF.format(fraction=0.2))
    until(lambda: panel.ui.progressBar.value >= 18)
    application.aboutToQuit.emit()
    until(lambda: not is_running(pid_file))
    until(lambda: panel.logic.job is None)


def test_the_second_click_of_a_double_click_does_not_cancel(run_with, panel, pid_file) -> None:
    run_with(SLOW.format(fraction=0.2))
    click(panel.ui.applyButton)
    until(lambda: panel.ui.progressBar.value >= 18)
    until(lambda: panel.ui.applyButton.enabled)
    click(panel.ui.applyButton)
    click(panel.ui.applyButton)
    assert sentence_at_the_end(panel) == "Stopped. Nothing was changed."


def test_a_volume_without_a_unit(panel, scene) -> None:
    panel._parameterNode.inputVolume = makeVolume(coded=False)
    assert panel.ui.unitLabel.text == "The unit is not known. State below what the voxels are."
    click(panel.ui.applyButton)
    assert sentence_at_the_end(panel).startswith("The unit of this volume is not known.")


def test_activity_without_weight_and_dose(panel, scene) -> None:
    panel._parameterNode.inputVolume = makeVolume(coded=False)
    panel._parameterNode.unit = "bqml"
    assert panel.ui.weightSpinBox.isVisible()
    click(panel.ui.applyButton)
    assert sentence_at_the_end(panel).startswith("For SUV from Bq/ml state the weight, the injected dose")


def test_volumes_that_are_not_3d(panel, scene) -> None:
    sentences = {}
    for name, array in {"empty": None, "slice": np.ones((1, 8, 8)), "4D": np.ones((4, 8, 8, 5))}.items():
        className = "vtkMRMLVectorVolumeNode" if name == "4D" else "vtkMRMLScalarVolumeNode"
        node = slicer.mrmlScene.AddNewNodeByClass(className, name)
        if array is not None:
            slicer.util.updateVolumeFromArray(node, array.astype(np.float32))
        panel._parameterNode.inputVolume = node
        click(panel.ui.applyButton)
        sentences[name] = sentence_at_the_end(panel)
    assert sentences["empty"] == "The volume 'empty' holds no voxels. Choose another one."
    assert sentences["slice"] == "The volume 'slice' is a single slice. Choose a 3D volume."
    assert sentences["4D"] == "The volume '4D' has 5 values in every voxel. Choose one frame of it as a 3D volume."


def test_nothing_chosen_disables_the_button_and_says_why(panel) -> None:
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Choose a PET volume under Inputs."


def test_torch_missing_is_a_sentence_and_no_traceback(panel, volume, module, monkeypatch) -> None:
    from PETDiffusionSlicer import packages

    module.settings.save(python="")
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    panel._parameterNode.inputVolume = volume
    click(panel.ui.applyButton)
    assert sentence_at_the_end(panel).startswith("PyTorch is not installed. Install the PyTorch extension")


def test_the_lists_are_asked_for_again_where_torch_was_missing(run_with, panel, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(panel.offers, "ask", lambda: asked.append(1))
    run_with("sys.exit('started')")
    sentence_at_the_end(panel)
    assert panel.offers.info["torch"] is None and asked == [1]


def test_declining_to_install_torch_is_a_sentence(panel, volume, module, monkeypatch, tmp_path) -> None:
    from PETDiffusionSlicer import packages

    module.settings.save(python="")
    declines = "class PyTorchUtilsLogic:\n    def installTorch(self, askConfirmation): return None\n"
    (tmp_path / "PyTorchUtils.py").write_text(declines)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None if name == "torch" else True)
    panel._parameterNode.inputVolume = volume
    click(panel.ui.applyButton)
    assert sentence_at_the_end(panel) == "PyTorch was not installed, and nothing can be computed without it."
