"""The layout that opens with a result: which volumes it shows, and that its slices move together."""

import pytest
import slicer
from driving import click, makeVolume, turnWheel, until

COLUMNS = range(3)


@pytest.fixture
def panel(panel_over_fake_engine):
    return panel_over_fake_engine


@pytest.fixture
def compared(panel, volume):
    """The panel with an input and results, whose Compare button was clicked."""
    node = panel._parameterNode
    node.inputVolume = volume
    assert not panel.ui.compareButton.enabled
    node.denoisedVolume, node.uncertaintyVolume = makeVolume("denoised"), makeVolume("uncertainty")
    slicer.app.layoutManager().layoutLogic().GetLayoutNode().SetViewArrangement(0)
    click(panel.ui.compareButton)
    return node


def view(orientation, column):
    return slicer.app.layoutManager().sliceWidget(f"PETDiffusion{orientation}{column}")


def offsets(orientation):
    return [view(orientation, column).sliceLogic().GetSliceOffset() for column in COLUMNS]


def test_the_compare_button_opens_input_denoised_and_uncertainty(compared, module) -> None:
    assert slicer.app.layoutManager().layout == module.comparison.LAYOUT_ID
    expected = [compared.inputVolume, compared.denoisedVolume, compared.uncertaintyVolume]
    for orientation in ("Axial", "Coronal"):
        composites = [view(orientation, column).mrmlSliceCompositeNode() for column in COLUMNS]
        assert [composite.GetBackgroundVolumeID() for composite in composites] == [one.GetID() for one in expected]
        assert {view(orientation, column).mrmlSliceNode().GetOrientation() for column in COLUMNS} == {orientation}


def test_without_an_uncertainty_the_difference_is_compared(compared, panel) -> None:
    compared.uncertaintyVolume, compared.differenceVolume = None, makeVolume("difference")
    click(panel.ui.compareButton)
    shown = view("Axial", 2).mrmlSliceCompositeNode().GetBackgroundVolumeID()
    assert shown == compared.differenceVolume.GetID()


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("orientation", ["Axial", "Coronal"])
def test_moving_through_one_view_moves_the_others_of_its_row(compared, orientation, column) -> None:
    other = "Coronal" if orientation == "Axial" else "Axial"
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    before, beforeOfOthers, beforeOfRed = offsets(orientation), offsets(other), red.GetSliceOffset()
    assert len(set(before)) == 1

    turnWheel(view(orientation, column), notches=3)

    after = offsets(orientation)
    assert after[column] - before[column] == pytest.approx(3 * (3.3 if orientation == "Axial" else 4.2), rel=1e-3)
    assert after == [after[column]] * len(COLUMNS)
    assert offsets(other) == beforeOfOthers and red.GetSliceOffset() == beforeOfRed


def test_zooming_one_view_zooms_the_others_of_its_row(compared) -> None:
    logic = view("Axial", 0).sliceLogic()
    node = logic.GetSliceNode()
    logic.StartSliceNodeInteraction(node.FieldOfViewFlag)
    x, y, z = node.GetFieldOfView()
    node.SetFieldOfView(x / 2, y / 2, z)
    logic.EndSliceNodeInteraction()
    fields = [view("Axial", column).mrmlSliceNode().GetFieldOfView()[0] for column in COLUMNS]
    assert fields == [pytest.approx(x / 2)] * len(COLUMNS)


def test_the_views_draw_the_volumes(compared) -> None:
    def brightness(column):
        picture = view("Axial", column).grab().toImage().scaled(1, 1)
        return picture.pixelColor(0, 0).value()

    until(lambda: all(brightness(column) > 20 for column in COLUMNS))
