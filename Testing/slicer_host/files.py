"""Reading and writing of nodes and DICOM series, for slicer.util.loadVolume, saveNode and slicer.dicomDatabase."""

from pathlib import Path

import pydicom
import slicer
import vtk


class IOManager:
    """slicer.app.coreIOManager() for the node types that the tests load and save."""

    def fileType(self, path) -> str:
        return "VolumeFile"

    def loadNodes(self, fileType, properties, loadedNodes, messages=None) -> bool:
        path = Path(properties["fileName"])
        node = readVolume(path, properties.get("name") or path.name.split(".")[0])
        if node is None:
            return False
        loadedNodes.AddItem(node)
        return True

    def fileWriterFileType(self, node) -> str:
        return "VolumeFile"

    def saveNodes(self, fileType, properties, messages=None):
        node, path = slicer.mrmlScene.GetNodeByID(properties["nodeID"]), Path(properties["fileName"])
        path.parent.mkdir(parents=True, exist_ok=True)
        node.AddDefaultStorageNode(str(path))
        node.GetStorageNode().SetFileName(str(path))
        return bool(node.GetStorageNode().WriteData(node))


def readVolume(path, name):
    """A scalar volume node with the file's voxels, geometry and default display; None where it cannot be read."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        slicer.mrmlScene.RemoveNode(storage)
        slicer.mrmlScene.RemoveNode(node)
        return None
    node.SetAndObserveStorageNodeID(storage.GetID())
    node.CreateDefaultDisplayNodes()
    return node


class DicomDatabase:
    """slicer.dicomDatabase: where the file of an instance lies."""

    def __init__(self) -> None:
        self._files = {}

    def add(self, instanceUID, path) -> None:
        self._files[instanceUID] = str(path)

    def fileForInstance(self, instanceUID):
        return self._files.get(instanceUID, "")


def loadDicomSeries(folder, name):
    """What loading a series in Slicer's DICOM browser leaves: rescaled voxels, instance UIDs, patient and study."""
    paths = sorted(Path(folder).iterdir())
    headers = {path: pydicom.dcmread(path, stop_before_pixels=True) for path in paths}
    paths.sort(key=lambda path: float(headers[path].ImagePositionPatient[2]))
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(paths[0]))
    for path in paths:
        storage.AddFileName(str(path))
    storage.SetSingleFile(0)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    if not storage.ReadData(node):
        raise RuntimeError(f"{folder} could not be read")
    for path in paths:
        slicer.dicomDatabase.add(headers[path].SOPInstanceUID, path)
    node.SetAttribute("DICOM.instanceUIDs", " ".join(headers[path].SOPInstanceUID for path in paths))
    node.CreateDefaultDisplayNodes()
    _placeUnderPatient(node, headers[paths[0]])
    return node


def _placeUnderPatient(node, header) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), str(header.PatientID))
    study = hierarchy.CreateStudyItem(patient, str(header.get("StudyDescription", "Study")))
    hierarchy.CreateItem(study, node)


def matrixOf(volumeNode):
    """The IJK-to-RAS matrix as sixteen numbers."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return [matrix.GetElement(row, column) for row in range(4) for column in range(4)]
