"""Volumes in and out: reading, writing, SUV, DICOM, resampling."""

from PETDiffusionLib.volumes.conversion import to_bqml, to_suv
from PETDiffusionLib.volumes.frame_writing import FrameWriter, frame_files
from PETDiffusionLib.volumes.frames import FrameSelection, FrameSeries, FrameTime
from PETDiffusionLib.volumes.reading import FORMATS, open_frames, read_volume
from PETDiffusionLib.volumes.series import SeriesSummary, list_series
from PETDiffusionLib.volumes.suv import suv_facts
from PETDiffusionLib.volumes.suv_report import SuvFacts, describe_suv
from PETDiffusionLib.volumes.volume import UNITS, Unit, Volume
from PETDiffusionLib.volumes.writing import WRITABLE, check_writable_name, write_volume

__all__ = [
    "FORMATS",
    "UNITS",
    "WRITABLE",
    "FrameSelection",
    "FrameSeries",
    "FrameTime",
    "FrameWriter",
    "SeriesSummary",
    "SuvFacts",
    "Unit",
    "Volume",
    "check_writable_name",
    "describe_suv",
    "frame_files",
    "list_series",
    "open_frames",
    "read_volume",
    "suv_facts",
    "to_bqml",
    "to_suv",
    "write_volume",
]
