"""One run of the real engine with regions chosen: everything it leaves in the scene. And the console's way to it."""

import json
import os

import numpy as np
import pytest
import slicer
from driving import makeVolume, until
from files import matrixOf


@pytest.fixture
def segmentation(volume):
    """Two segments that overlap: the warm ball, and the hot spot in it."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Regions")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    array = slicer.util.arrayFromVolume(volume)
    for name, mask in {"ball": array > 0.3, "hot spot": array > 3}.items():
        segment = node.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segment, volume)
    return node


def columns(table):
    return {table.GetColumnName(i): i for i in range(table.GetNumberOfColumns())}


def test_the_results_of_a_job(module, volume, segmentation) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.CreateItem(study, volume)
    given = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "of the user's naming")

    nodes = module.PETDiffusionLogic().denoise(
        volume, model="untrained", preset="fast", segmentation=segmentation, difference=True, denoisedVolume=given
    )

    assert nodes.denoised is given
    assert nodes.uncertainty.GetName() == "PET uncertainty" and nodes.difference.GetName() == "PET difference"
    for node in nodes:
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    for node in nodes[:3]:
        assert matrixOf(node) == matrixOf(volume)
        assert node.GetVoxelValueQuantity().GetCodeValue() == "126400"
        assert node.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml"
    pets = [volume.GetDisplayNode(), nodes.denoised.GetDisplayNode()]
    assert {(pet.GetWindowLevelMin(), pet.GetWindowLevelMax()) for pet in pets} == {(0.0, 6.0)}
    assert {pet.GetColorNodeID() for pet in pets} == {"vtkMRMLColorTableNodeInvertedGrey"}
    assert nodes.uncertainty.GetDisplayNode().GetColorNode().GetName() == "Inferno"

    at = columns(nodes.table)
    text = {nodes.table.GetCellText(row, 0): row for row in range(nodes.table.GetNumberOfRows())}
    assert set(text) == {"ball", "hot spot"}
    array = slicer.util.arrayFromVolume(volume)
    for name, mask in {"ball": array > 0.3, "hot spot": array > 3}.items():
        before = float(nodes.table.GetCellText(text[name], at["SUVmean before"]))
        assert before == pytest.approx(array[mask].mean(), rel=1e-3), name
        assert float(nodes.table.GetCellText(text[name], at["SUVmax before"])) == pytest.approx(
            array[mask].max(), rel=1e-3
        )
    manifest = json.loads(nodes.manifest.GetText())
    assert manifest["job"]["method"] == "denoise"


def test_bqml_with_stated_facts_becomes_suv(module, scene) -> None:
    from PETDiffusionSlicer.request import Request
    from PETDiffusionSlicer.units import statedFactor

    def factor(minutes, halfLifeMinutes=None):
        stated = {"weightKg": 70.0, "doseMBq": 350.0, "minutes": minutes, "halfLifeMinutes": halfLifeMinutes}
        return statedFactor(Request(unit="bqml", **stated))

    assert factor(0.0) == pytest.approx(70e3 / 350e6)
    assert factor(6586.2 / 60) == pytest.approx(2 * 70e3 / 350e6)
    assert factor(67.7, halfLifeMinutes=67.7) == pytest.approx(2 * 70e3 / 350e6)


def test_a_handle_with_progress_callback_and_cancel(module, volume, fake_engine) -> None:
    module.settings.save(python=fake_engine("say(event='progress', stage='Denoising', fraction=0.5); sys.stdin.read()"))
    logic, stages, ended = module.PETDiffusionLogic(), [], []
    options = {"onProgress": lambda job: stages.append(job.stage), "onFinished": ended.append}
    job = logic.denoise(volume, waitForCompletion=False, **options)
    with pytest.raises(module.EngineError, match="A job is running already"):
        logic.denoise(volume)
    until(lambda: job.progress > 0.4)
    job.cancel()
    with pytest.raises(module.Cancelled, match="Stopped"):
        job.wait()
    assert ended == [job] and "Denoising" in stages and logic.job is None


def test_an_unknown_option_is_named(module, volume) -> None:
    with pytest.raises(TypeError, match="presset"):
        module.PETDiffusionLogic().denoise(volume, presset="fast")


def test_the_console_lists_what_the_panel_lists(panel) -> None:
    methods = panel.logic.methods()
    titles = [panel.ui.methodSelector.itemText(i) for i in range(panel.ui.methodSelector.count)]
    assert titles == [method["title"] for method in methods]
    presets = [panel.ui.presetSelector.itemText(i) for i in range(panel.ui.presetSelector.count)]
    assert presets == [preset["title"] for preset in methods[0]["presets"]]
    assert panel._parameterNode.preset == methods[0]["default_preset"]


def test_the_batch_example_over_three_volumes(module, scene, tmp_path, repository_example, monkeypatch) -> None:
    for name in ("one", "two", "three"):
        slicer.util.saveNode(makeVolume(name), str(tmp_path / "studies" / f"{name}.nrrd"))
    slicer.mrmlScene.Clear(0)
    monkeypatch.chdir(tmp_path)
    exec(repository_example.replace('preset="balanced"', 'preset="fast", model="untrained"'), {})
    assert sorted(os.listdir(tmp_path / "denoised")) == ["one.nrrd", "three.nrrd", "two.nrrd"]


def test_the_choices_survive_saving_and_loading_the_scene(panel, volume, tmp_path) -> None:
    panel._parameterNode.inputVolume = volume
    panel._parameterNode.samples, panel._parameterNode.preset = 7, "best"
    panel.ui.differenceCheckBox.checked = True
    volume.SetName("The chosen one")
    slicer.util.saveNode(volume, str(tmp_path / "chosen.nrrd"))
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Commit()
    slicer.mrmlScene.Clear(0)
    assert panel._parameterNode.samples == 0
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Connect()
    panel.initializeParameterNode()
    assert panel._parameterNode.inputVolume.GetName() == "The chosen one"
    assert panel.ui.samplesSpinBox.value == 7 and panel.ui.presetSelector.currentText == "Best"
    assert panel.ui.differenceCheckBox.checked


def test_the_modules_own_test(module, scene) -> None:
    slicer.selfTests["PETDiffusion"](msec=0)
