"""A sinogram in the panel: the methods that take it, their own options, and a volume that stands alone."""

import json

import pytest
import qt
import slicer
from driving import click, methodOption, until
from PySide6 import QtCore, QtTest


@pytest.fixture
def loaded(panel, sinogram, monkeypatch):
    """The panel with the sinogram loaded by its button."""
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", staticmethod(lambda *_arguments: str(sinogram)))
    click(panel.ui.sinogramButton)
    return panel


def run(panel):
    click(panel.ui.applyButton)
    until(lambda: not panel.logic.job)
    return panel._parameterNode.denoisedVolume


def test_loading_a_sinogram_chooses_a_method_for_it(loaded) -> None:
    assert loaded.ui.sinogramLabel.text == "block.hs" and loaded.ui.methodSelector.currentText == "OSEM"
    assert loaded.ui.applyButton.text == "Reconstruct" and loaded.ui.applyButton.enabled
    assert not loaded.ui.inputSelector.enabled
    hidden = (loaded.ui.modelSelector, loaded.ui.presetSelector, loaded.ui.samplesSpinBox, loaded.ui.differenceSelector)
    assert not any(widget.isVisible() for widget in hidden)


def test_a_method_that_takes_a_sinogram_asks_for_one(panel) -> None:
    panel._parameterNode.method = "osem"
    assert not panel.ui.applyButton.enabled and panel.ui.applyButton.toolTip == "Load a sinogram under Inputs."


def shownVolumes():
    """The volumes of the comparison's axial views, left and middle."""
    widgets = [slicer.app.layoutManager().sliceWidget(f"PETDiffusionAxial{i}") for i in (0, 1)]
    return [widget and widget.mrmlSliceCompositeNode().GetBackgroundVolumeID() for widget in widgets]


def test_reconstructing_with_clicks(loaded) -> None:
    loaded.ui.optionsButton.collapsed = False
    iterations = methodOption(loaded, "Iterations")
    iterations.selectAll()
    QtTest.QTest.keyClicks(iterations, "2")
    QtTest.QTest.keyClick(iterations, QtCore.Qt.Key_Tab)
    osem = run(loaded)
    assert loaded.ui.statusLabel.text == "Done: 'block OSEM'." and osem.GetName() == "block OSEM"
    assert "Not corrected for attenuation" in loaded.ui.warningLabel.text
    assert slicer.util.arrayFromVolume(osem)[2, 14:18, 14:18].mean() == pytest.approx(1.0, rel=0.1)
    assert osem.GetVoxelValueUnits() is None  # counts have no unit that Slicer knows
    manifest = json.loads(slicer.util.getNode("block PETDiffusion manifest").GetText())
    assert manifest["job"]["method"] == "osem" and manifest["job"]["options"]["iterations"] == 2

    loaded._parameterNode.method = "fbp"
    assert loaded._parameterNode.denoisedVolume is None and loaded.ui.referenceSelector.currentNode() is osem
    fbp = run(loaded)
    assert fbp.GetName() == "block FBP" and osem.GetScene()
    until(lambda: shownVolumes() == [osem.GetID(), fbp.GetID()])


def test_every_method_keeps_its_own_options_and_only_what_differs_from_their_defaults(loaded) -> None:
    node = loaded._parameterNode
    methodOption(loaded, "Subsets").value = 6
    methodOption(loaded, "Voxel (mm)").value = 8.0
    methodOption(loaded, "Shape").text = "16 16 4"
    methodOption(loaded, "Unit of the mu-map").currentIndex = 2
    methodOption(loaded, "Attenuation").currentPath = "/data/mu.nii.gz"
    chosen = {"subsets": 6, "voxel_mm": 8.0, "shape": [16, 16, 4], "attenuation_unit": "hu"}
    assert json.loads(node.options)["osem"] == {**chosen, "attenuation": "/data/mu.nii.gz"}
    node.method = "rdp"
    assert methodOption(loaded, "Subsets").text == "automatic" and methodOption(loaded, "Beta").value == pytest.approx(
        0.001
    )
    node.method = "osem"
    assert methodOption(loaded, "Subsets").value == 6 and methodOption(loaded, "Shape").text == "16 16 4"
    methodOption(loaded, "Subsets").value = methodOption(loaded, "Subsets").minimum
    assert "subsets" not in json.loads(node.options)["osem"]


def test_from_the_console(module, scene, sinogram) -> None:
    nodes = module.PETDiffusionLogic().reconstruct(sinogram, method="osem", options={"iterations": 1, "voxel_mm": 8.0})
    assert nodes.denoised.GetSpacing()[0] == pytest.approx(8.0) and nodes.table is None
    with pytest.raises(module.EngineError, match='osem has no option "beta"'):
        module.PETDiffusionLogic().reconstruct(sinogram, method="osem", options={"beta": 1.0})
    with pytest.raises(module.EngineError, match="no method 'ossem'"):
        module.PETDiffusionLogic().reconstruct(sinogram, method="ossem")
