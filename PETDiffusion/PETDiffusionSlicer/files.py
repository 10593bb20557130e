"""Volumes to files and back, slab by slab: a whole-body volume is hundreds of megabytes, and the window must not stall.

The functions that take long are generators: they yield, so that the event loop gets a turn between two slabs.
"""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from .engine import EngineError

SLAB_VOXELS = 2_000_000
NRRD_TYPES = {"<f4": "float", "<i2": "short"}


def writeVolume(array, dtype, geometryNode, path, factor=1):
    """Write an array [k, j, i] times a factor as NRRD, on a node's grid without its transform: the engine works there.

    Raises EngineError where it cannot be written.
    """
    try:
        with open(path, "wb") as file:
            file.write(_header(array.shape, dtype, geometryNode))
            for slab in _slabs(array.shape):
                file.write(np.multiply(array[slab], factor, dtype=np.dtype(dtype), casting="unsafe").tobytes())
                yield
    except OSError as error:
        sentence = _("'{path}' could not be written. Is the disk full, or the temporary folder read-only?")
        raise EngineError("cannot-write", sentence.format(path=path)) from error


def writtenArray(shape, dtype, path):
    """The array [k, j, i] in a file of `writeVolume`, read where it is looked at."""
    offset = path.stat().st_size - np.dtype(dtype).itemsize * int(np.prod(shape))
    return np.memmap(path, dtype, "r", offset, shape)


def readVolume(path):
    """A volume node, in no scene, with the voxels and the geometry of a file that the engine wrote."""
    node, storage = slicer.vtkMRMLScalarVolumeNode(), slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        raise EngineError("bad-file", _("The engine's result '{path}' could not be read.").format(path=path))
    return node


def subtracted(minuend, subtrahend):
    """A generator whose return value is a volume node, in no scene, with the difference of two arrays [k, j, i]."""
    image = vtk.vtkImageData()
    image.SetDimensions(minuend.shape[::-1])
    image.AllocateScalars(vtk.VTK_FLOAT, 1)
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(minuend.shape)
    for slab in _slabs(minuend.shape):
        np.subtract(minuend[slab], subtrahend[slab], out=values[slab])
        yield
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetAndObserveImageData(image)
    return node


def _slabs(shape):
    """Slices along the first axis that hold a bearable number of voxels each."""
    thickness = max(1, SLAB_VOXELS // (shape[1] * shape[2]))
    return [slice(first, first + thickness) for first in range(0, shape[0], thickness)]


def _header(shape, dtype, geometryNode):
    """The header of a raw NRRD file with a node's geometry, which MRML has in RAS and files have in LPS."""
    matrix = vtk.vtkMatrix4x4()
    geometryNode.GetIJKToRASMatrix(matrix)
    columns = [
        ",".join(repr(sign * matrix.GetElement(row, column)) for row, sign in enumerate((-1, -1, 1)))
        for column in range(4)
    ]
    fields = {
        "type": NRRD_TYPES[dtype],
        "dimension": 3,
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, shape[::-1])),
        "space directions": " ".join(f"({column})" for column in columns[:3]),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": f"({columns[3]})",
    }
    return ("NRRD0004\n" + "".join(f"{name}: {value}\n" for name, value in fields.items()) + "\n").encode("ascii")
