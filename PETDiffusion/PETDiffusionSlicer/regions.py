"""The regions that a table of SUV has rows for: the segments of a segmentation, or the whole body."""

import numpy as np
import slicer
from slicer.i18n import tr as _


def regionLayers(volume, segmentation=None):
    """A generator whose return value is a list of (labels [k, j, i] on the volume's grid, {label: name}).

    Segments that overlap are in different layers, since a voxel has one label. It yields after every segment.
    """
    shape = slicer.util.arrayFromVolume(volume).shape
    if segmentation is None:
        return [(np.ones(shape, np.int16), {1: _("Whole body")})]
    layers = []
    for segmentId in segmentation.GetSegmentation().GetSegmentIDs():
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentId, volume) != 0
        layer = next((layer for layer in layers if not layer[0][mask].any()), None)
        if layer is None:
            layer = (np.zeros(shape, np.int16), {})
            layers.append(layer)
        labels, names = layer
        label = len(names) + 1
        labels[mask] = label
        names[label] = segmentation.GetSegmentation().GetSegment(segmentId).GetName()
        yield
    return layers


def rowsOf(report, names, isWholeBody):
    """The rows of an evaluation by the engine, under the regions' names."""
    rows = [{**row, "name": names[row["label"]]} for row in report["labels"]]
    if isWholeBody:
        # Outside the body there is no uptake to average, but maximum and peak are the volume's.
        rows[0] |= {"volume_ml": report["body"]["volume_ml"], "suvmean": report["body"]["suvmean"]}
    return rows
