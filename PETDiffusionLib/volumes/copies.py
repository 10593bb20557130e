"""Slices that are in a series twice: copied files, and slices that were exported again under another UID."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydicom.dataset import Dataset

from PETDiffusionLib.volumes.frame_groups import telling_tags
from PETDiffusionLib.volumes.pixels import stored_values


def without_copies(headers: Sequence[Dataset]) -> tuple[list[Dataset], list[str]]:
    """The slices with every copy left out, and sentences about what was found.

    A copy has the position, the time, the gate and the pixels of another slice. Slices that share one SOPInstanceUID
    and differ in any of these are slices of their own, under a UID that was spoilt on the way.
    """
    kept: list[Dataset] = []
    again = 0
    for alike in _alike(headers):
        distinct = {_content(header): header for header in reversed(alike)} if len(alike) > 1 else {b"": alike[0]}
        kept += reversed(distinct.values())
        again += len({_instance(header) for header in alike}) - len({_instance(one) for one in distinct.values()})
    warnings = []
    if again:
        warnings.append(
            f"{again} slices were exported twice under new UIDs (same position, time and pixels); one of each was read."
        )
    shared = len(kept) - len({_instance(header) for header in kept})
    if shared:
        warnings.append(
            f"{shared} slices share their SOPInstanceUID (0008,0018) with another slice though they differ from it "
            "(a fault of whatever rewrote the files); all were read."
        )
    return kept, warnings


def _instance(header: Dataset) -> tuple[str, int]:
    return str(header.get("SOPInstanceUID")), getattr(header, "frame", 0)


def _alike(headers: Sequence[Dataset]) -> list[list[Dataset]]:
    """Slices by all that may tell them apart but their pixels, in the order in which they came."""
    places: dict[tuple[str, str], list[Dataset]] = {}
    for header in headers:
        place = str(header.get("ImagePositionPatient")), str(header.get("ImageOrientationPatient"))
        places.setdefault(place, []).append(header)
    groups: dict[object, list[Dataset]] = {}
    for place, here in places.items():
        for header in here:
            groups.setdefault((place, telling_tags(header) if len(here) > 1 else ()), []).append(header)
    return list(groups.values())


def _content(header: Dataset) -> bytes:
    """What the values of a slice are made of, as a digest."""
    rescale = f"{header.get('RescaleSlope')} {header.get('RescaleIntercept')} {header.get('Units')}"
    return hashlib.sha256(stored_values(header).tobytes() + rescale.encode()).digest()
