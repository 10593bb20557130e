"""What the tests of volumes share: a maker of small DICOM PET series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from Testing.volumes.dicom_series import pet_slice


@pytest.fixture
def make_series(tmp_path: Path) -> Callable[..., Path]:
    """make_series(bend, slices=5, folder="PT"): write a series whose slices `bend(dataset, index)` has changed.

    File names run against the order of the positions.
    """

    def make(bend: Callable[[Dataset, int], None] | None = None, slices: int = 5, folder: str = "PT") -> Path:
        target = tmp_path / folder
        target.mkdir(parents=True, exist_ok=True)
        series_uid = generate_uid()
        for index in range(slices):
            dataset = pet_slice(index, series_uid)
            if bend is not None:
                bend(dataset, index)
            dataset.save_as(target / f"{series_uid[-6:]}-{slices - index:03}.dcm")
        return target

    return make
