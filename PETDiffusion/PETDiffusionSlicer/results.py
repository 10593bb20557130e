"""Results as nodes: on the input's grid, beside it in the subject hierarchy, coded as SUV, shown as PET is."""

from typing import NamedTuple

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from . import units
from .engine import EngineError

PET_WINDOW_SUV = (0.0, 6.0)
INVERTED_GREY = "vtkMRMLColorTableNodeInvertedGrey"
INFERNO = "vtkMRMLColorTableNodeFileInferno.txt"
BLUE_RED = "vtkMRMLColorTableNodeFileDivergingBlueRed.txt"


SUV = ("126400", "DCM", "Standardized Uptake Value")
UNITS = {  # by the engine's names, as DICOM codes them
    "suvbw": (units.SUVBW_CODE, "UCUM", "Standardized Uptake Value body weight"),
    "bqml": ("Bq/ml", "UCUM", "Becquerels/milliliter"),
}


class Results(NamedTuple):
    """The nodes that a job made; None for what was not asked for."""

    denoised: slicer.vtkMRMLScalarVolumeNode
    uncertainty: slicer.vtkMRMLScalarVolumeNode | None
    difference: slicer.vtkMRMLScalarVolumeNode | None
    table: slicer.vtkMRMLTableNode | None
    manifest: slicer.vtkMRMLTextNode


def requireVolume(volumeNode) -> None:
    """Raises EngineError with a sentence where the node is not a 3D volume with voxels."""
    if volumeNode is None:
        raise EngineError("no-input", _("Choose a PET volume under Inputs."))
    name, image = volumeNode.GetName(), volumeNode.GetImageData()
    if image is None or min(image.GetDimensions()) == 0:
        raise EngineError("empty", _("The volume '{name}' holds no voxels. Choose another one.").format(name=name))
    if image.GetNumberOfScalarComponents() != 1:
        sentence = _("The volume '{name}' has {count} values in every voxel. Choose one frame of it as a 3D volume.")
        raise EngineError("not-3d", sentence.format(name=name, count=image.GetNumberOfScalarComponents()))
    if min(image.GetDimensions()) == 1:
        sentence = _("The volume '{name}' is a single slice. Choose a 3D volume.")
        raise EngineError("not-3d", sentence.format(name=name))


def place(targetNode, resultNode, inputNode, name, unit):
    """Give a result's voxels to the target node (a new one where None), on the input's geometry and beside it.

    Where there is no input node (a sinogram was reconstructed) the result keeps its own geometry.
    """
    if targetNode is None or targetNode.GetScene() is None:
        name = slicer.mrmlScene.GenerateUniqueName(name)
        targetNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    targetNode.SetAndObserveImageData(resultNode.GetImageData())
    targetNode.CopyOrientation(inputNode or resultNode)
    code(targetNode, unit)
    if inputNode:
        if resultNode.GetImageData().GetDimensions() != inputNode.GetImageData().GetDimensions():
            raise EngineError("bad-file", _("The engine's result does not have the input's grid."))
        targetNode.SetAndObserveTransformNodeID(inputNode.GetTransformNodeID())
        placeBeside(targetNode, inputNode)
    return targetNode


def code(volumeNode, unit) -> None:
    """Quantity and unit as DICOM codes them, so that Segment Statistics and PET tools know what the voxels are.

    What is in no unit that has a code (counts of an uncalibrated sinogram) is left without.
    """
    volumeNode.SetVoxelValueQuantity(_entry(*SUV) if unit == "suvbw" else None)
    volumeNode.SetVoxelValueUnits(_entry(*UNITS[unit]) if unit in UNITS else None)


def _entry(value, scheme, meaning):
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(value, scheme, meaning)
    return entry


def placeBeside(node, inputNode) -> None:
    """Put a node under the same parent in the subject hierarchy (study, folder) as the input, where there is one."""
    if inputNode is None:
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    hierarchy.SetItemParent(_item(hierarchy, node), hierarchy.GetItemParent(_item(hierarchy, inputNode)))


def _item(hierarchy, node):
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def show(volumeNode, colorNodeID, lowest, highest) -> None:
    """Display a volume in a colour map between two values."""
    volumeNode.CreateDefaultDisplayNodes()
    display = volumeNode.GetDisplayNode()
    display.SetAndObserveColorNodeID(colorNodeID)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(lowest, highest)
    display.SetInterpolate(True)


def showPet(volumeNode, factor=1.0) -> None:
    """Inverted grey in the common SUV window; `factor` turns the volume's voxels into SUV."""
    show(volumeNode, INVERTED_GREY, *(limit / factor for limit in PET_WINDOW_SUV))


def showActivity(volumeNode) -> None:
    """Inverted grey from nothing to the hottest voxels, for what is not in SUV."""
    show(volumeNode, INVERTED_GREY, 0.0, _highest(volumeNode))


def showUncertainty(volumeNode) -> None:
    show(volumeNode, INFERNO, 0.0, _highest(volumeNode))


def showDifference(volumeNode) -> None:
    show(volumeNode, BLUE_RED, -_highest(volumeNode), _highest(volumeNode))


def _highest(volumeNode):
    """A value that few voxels exceed, from a regular sample of them."""
    values = np.abs(slicer.util.arrayFromVolume(volumeNode)[::3, ::3, ::3])
    return float(np.percentile(values, 99.5)) or 1.0


def makeTable(rows, inputNode):
    """A table node of SUVmean, SUVmax and SUVpeak before and after, one row a region of the engine's evaluation."""
    name = slicer.mrmlScene.GenerateUniqueName(_("{name} SUV before and after").format(name=inputNode.GetName()))
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    names = vtk.vtkStringArray()
    names.SetName(_("Region"))
    for row in rows:
        names.InsertNextValue(row["name"])
    table.AddColumn(names)
    _addColumn(table, _("Volume (ml)"), [row["volume_ml"] for row in rows])
    titles = {"suvmean": "SUVmean", "suvmax": "SUVmax", "suvpeak": "SUVpeak"}
    for figure, title in titles.items():
        figures = [row[figure] for row in rows]
        _addColumn(table, _("{figure} before").format(figure=title), [one["reference"] for one in figures])
        _addColumn(table, _("{figure} after").format(figure=title), [one["image"] for one in figures])
        _addColumn(table, _("{figure} change (%)").format(figure=title), [one["bias_percent"] for one in figures])
    placeBeside(table, inputNode)
    return table


def _addColumn(table, title, values) -> None:
    column = vtk.vtkDoubleArray()
    column.SetName(title)
    for value in values:
        column.InsertNextValue(float("nan") if value is None else round(value, 4))
    table.AddColumn(column)


def makeManifest(text, inputNode, name):
    """A text node that keeps the job's manifest: versions, model, seed, options, timings."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", slicer.mrmlScene.GenerateUniqueName(name))
    node.SetText(text)
    placeBeside(node, inputNode)
    return node
