"""Tags of DICOM headers: how sentences call them, and the one value that all slices of a series share."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from PETDiffusionLib.errors import PETDiffusionError


def tag_name(keyword: str) -> str:
    """A tag as people look it up, for example 'PatientWeight (0010,1030)'."""
    tag = Tag(keyword)
    return f"{keyword} ({tag.group:04x},{tag.element:04x})"


def common_value(headers: Sequence[Dataset], keyword: str) -> object | None:
    """The one value of a tag in a series; None where it is absent or empty.

    Raises PETDiffusionError "inconsistent-series" where slices disagree.
    """
    values = [header.get(keyword) for header in headers]
    first = values[0]
    if any(value != first for value in values):
        found = ", ".join(sorted({"nothing" if value in (None, "") else str(value) for value in values})[:4])
        raise PETDiffusionError(
            "inconsistent-series",
            f"{tag_name(keyword)} should be the same in all slices of a series, found {found}. Export it again.",
        )
    return None if first in (None, "") else first
