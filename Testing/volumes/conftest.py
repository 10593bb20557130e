"""What the tests of volumes share: a maker of small DICOM PET series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from PETDiffusionLib.volumes.nuclides import NUCLIDES, Nuclide
from Testing.volumes.dicom_series import HALF_LIFE_S, pet_slice


@pytest.fixture(autouse=True)
def nuclide_of_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """The half-life of the tests' tracer is an hour, for mental arithmetic, and is not to be warned about."""
    monkeypatch.setitem(NUCLIDES, "X-60", Nuclide("X-60", "testium", HALF_LIFE_S))


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
