"""A model whose licence must be accepted: asked for once, with the link to it, and nothing runs where it is not."""

import uuid

import pytest
import qt
import slicer
from driving import click, until

from PETDiffusionLib.methods.catalogue import METHODS
from PETDiffusionLib.models import ModelCard

LICENCE = {
    "name": "CC BY-NC-SA 4.0, not for commercial use",
    "url": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    "must_accept": True,
}


@pytest.fixture
def panel(panel_over_fake_engine, untrained_model, fake_engine, module, volume):
    """The panel over an engine that has one model, with a licence to accept, and says only that it was started."""
    panel, card = panel_over_fake_engine, ModelCard.load(untrained_model).to_json()
    card |= {"title": "A published model", "licence": LICENCE, "sha256": uuid.uuid4().hex}  # new in every test
    method = {**METHODS["denoise"].to_json(), "models": [card["id"]]}
    said = "say(event='error', code='started', message='It was started.'); sys.exit(2)"
    module.settings.save(python=fake_engine(said, [method], [card]))
    panel.offers.ask()
    until(lambda: panel.offers.card)
    panel._parameterNode.inputVolume = volume
    return panel


@pytest.fixture
def answer(application):
    """Answer the next question that appears, by a click on a button; the texts of the questions asked."""
    asked, timer = [], qt.QTimer()

    def make(button):
        def look(*_arguments) -> None:
            box = qt.QApplication.activeModalWidget()
            if box:
                asked.append(box.text)
                click(box.button(button))

        timer.timeout.connect(look)
        timer.start(50)
        application.setTesting(False)
        return asked

    yield make
    timer.stop()
    application.setTesting(True)


def clickInLoop(button) -> None:
    """A click from within an event loop, as in the application: a dialog deletes itself when it comes back to it."""
    loop = qt.QEventLoop()

    def clickAndLeave() -> None:
        click(button)
        loop.quit()

    qt.QTimer.singleShot(0, clickAndLeave)
    loop.exec_()


def test_a_licence_is_asked_for_with_its_link_and_nothing_runs_unless_it_is_accepted(panel, answer) -> None:
    assert LICENCE["name"] in panel.ui.modelLabel.text and LICENCE["url"] in panel.ui.modelLabel.text
    asked = answer(qt.QMessageBox.No)
    clickInLoop(panel.ui.applyButton)
    assert len(asked) == 1 and LICENCE["name"] in asked[0] and LICENCE["url"] in asked[0]
    assert panel.ui.statusLabel.text == "The model's licence was not accepted, so nothing was computed."
    assert panel.logic.job is None


def test_an_accepted_licence_is_not_asked_for_again_until_the_weights_change(panel, answer, monkeypatch) -> None:
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda *_arguments, **_options: None)
    asked = answer(qt.QMessageBox.Yes)
    for _click in range(2):
        clickInLoop(panel.ui.applyButton)
        until(lambda: panel.logic.job is None)
        assert panel.ui.statusLabel.text == "It was started."
        until(lambda: panel.ui.applyButton.enabled)
    assert len(asked) == 1
    panel.offers.card["sha256"] = uuid.uuid4().hex
    clickInLoop(panel.ui.applyButton)
    assert len(asked) == 2
    until(lambda: panel.logic.job is None)
