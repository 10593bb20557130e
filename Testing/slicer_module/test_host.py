"""The host is as strict as PythonQt: it answers the idioms that the module uses as the real PythonQt was seen to.

pythonqt_idioms.json beside the host holds what PythonQt 4.1 on Qt 5.15 answered: "ok" and a value, or "EXC".
"""

import json
import sys
import time
from pathlib import Path

import pytest

IDIOMS = Path(__file__).resolve().parents[1] / "slicer_host" / "pythonqt_idioms.json"
TRUTH = json.loads(IDIOMS.read_text())


def assign(instance, name, value):
    setattr(instance, name, value)
    return getattr(instance, name)


def widget_idioms(qt):
    button, label, bar, combo = qt.QPushButton("x"), qt.QLabel("lab"), qt.QProgressBar(), qt.QComboBox()
    button.objectName = "b"
    combo.addItems(["a", "b"])
    parent = qt.QWidget()
    parent.objectName = "w"
    qt.QVBoxLayout(parent).addWidget(button)
    return {
        "b.enabled=False; b.enabled": lambda: assign(button, "enabled", False),
        "b.text": lambda: button.text,
        "b.text()": lambda: button.text(),
        "b.objectName": lambda: button.objectName,
        "b.objectName()": lambda: button.objectName(),
        "b.className()": lambda: button.className(),
        "b.bogus=1 (unknown attr set)": lambda: assign(button, "bogus", 1),
        "b.visible": lambda: button.visible,
        "b.isVisible()": lambda: button.isVisible(),
        "connect('clicked(bool)', f1arg)": lambda: button.connect("clicked(bool)", lambda checked: None),
        "connect('nosuch()', f)": lambda: button.connect("nosuch()", lambda: None),
        "progressBar.value=3": lambda: assign(bar, "value", 3),
        "progressBar.value=3.5": lambda: assign(bar, "value", 3.5),
        "combo.currentIndex": lambda: combo.currentIndex,
        "combo.currentIndex()": lambda: combo.currentIndex(),
        "combo.currentText": lambda: combo.currentText,
        "combo.count": lambda: combo.count,
        "combo.itemText(1)": lambda: combo.itemText(1),
        "combo.connect currentIndexChanged(int)": lambda: combo.connect("currentIndexChanged(int)", lambda i: None),
        "label.text='q'": lambda: assign(label, "text", "q"),
        "label.text=3 (int)": lambda: assign(label, "text", 3),
        "w.findChildren(qt.QPushButton)": lambda: len(parent.findChildren(qt.QPushButton)),
        "type(child)==qt.QPushButton": lambda: type(parent.findChild(qt.QPushButton, "b")) is qt.QPushButton,
        "b.setProperty/b.property": lambda: (
            button.setProperty("SlicerParameterName", "z"),
            button.property("SlicerParameterName"),
        )[1],
        "b.property(missing)": lambda: button.property("nope"),
        "b.toolTip=": lambda: assign(button, "toolTip", "tt"),
        "plaintext.appendPlainText": lambda: qt.QPlainTextEdit().appendPlainText("x"),
        "checkbox.checked": lambda: qt.QCheckBox().checked,
        "b.blockSignals": lambda: button.blockSignals(True),
        "QTimer.singleShot(0,f)": lambda: qt.QTimer.singleShot(0, lambda: None),
    }


def process_idioms(qt):
    process = qt.QProcess()
    code = "import sys; sys.stdout.buffer.write('h\u00e9llo\\nE'.encode())"
    process.start(sys.executable, ["-c", code])
    process.waitForFinished(10000)
    output = process.readAllStandardOutput()
    return {
        "ba.data()": lambda: output.data(),
        "bytes(ba)": lambda: bytes(output),
        "ba.data().decode()": lambda: output.data().decode(),
        "P.exitCode()": lambda: process.exitCode(),
        "P.exitStatus()==NormalExit": lambda: process.exitStatus() == qt.QProcess.NormalExit,
        "P.processId()": lambda: process.processId(),
        "P.setProcessEnvironment": lambda: process.setProcessEnvironment(qt.QProcessEnvironment.systemEnvironment()),
    }


def answer(idiom):
    try:
        return ["ok", repr(idiom())]
    except Exception as error:
        return ["EXC", type(error).__name__]


@pytest.mark.parametrize("idioms", [widget_idioms, process_idioms])
def test_the_host_answers_as_pythonqt_does(application, idioms) -> None:
    import qt

    answers = {name: answer(idiom) for name, idiom in idioms(qt).items()}
    truth = {name: [TRUTH[name][0], TRUTH[name][1].split(":")[0]] for name in answers}
    assert answers == truth


def test_files_that_the_ui_loader_does_not_know_are_errors(application, tmp_path) -> None:
    import slicer

    ui = '<ui version="4.0"><class>F</class><widget class="qMRMLNoSuchWidget" name="F"/></ui>'
    (tmp_path / "f.ui").write_text(ui)
    with pytest.raises(RuntimeError, match="qMRMLNoSuchWidget"):
        slicer.util.loadUI(str(tmp_path / "f.ui"))


def test_every_widget_of_the_panel_that_is_chosen_from_has_a_tooltip(panel) -> None:
    import qt

    inside = (qt.QComboBox, qt.QSpinBox, qt.QDoubleSpinBox, qt.QPushButton, qt.QCheckBox)
    named = [widget for widget in vars(panel.ui).values() if isinstance(widget, inside)]
    assert len(named) > 12
    assert [widget.objectName for widget in named if not widget.toolTip] == []


def test_the_panel_follows_the_parameter_node(panel) -> None:
    panel._parameterNode.preset, panel._parameterNode.samples = "fast", 3
    assert panel.ui.presetSelector.currentText == "Fast" and panel.ui.samplesSpinBox.value == 3


def test_the_interpreters_constants_outlast_any_number_of_qt_calls(application) -> None:
    assert all(sys.getrefcount(constant) > 1 << 28 for constant in (None, True, False))


def test_a_stall_of_the_event_loop_is_measured_and_says_what_ran(application) -> None:
    import qt
    from driving import Stalls, until

    def work() -> None:
        end = time.thread_time() + 0.15
        while time.thread_time() < end:
            pass

    with Stalls() as stalls:
        qt.QTimer.singleShot(20, work)
        until(lambda: stalls.gaps and stalls.longestWork().work > 0.1)
    assert 0.15 <= stalls.longestWork().work < 0.25
    assert "work (test_host.py" in str(stalls.longestWork())
