"""Slips of entry and contradictions of DICOM headers: the right SUV, or a sentence that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import read_volume, suv_facts, to_suv
from PETDiffusionLib.volumes.plausibility import implausible_patient
from Testing.volumes.dicom_series import SUV_PER_BQML
from Testing.volumes.test_suv import philips, setting

MakeSeries = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")  # that is what these headers are


@pytest.mark.parametrize(
    ("date_and_time", "time"),
    [
        ("2024-01-05T10:00:00", None),
        ("20240105100000.00000000", None),
        (None, "10:00:00 a.m."),
        (None, "10:00"),
        ("20240105", "100000"),
        ("not known", "100000"),
        # Dates that hide the patient, or that nobody filled: the other tag has the time of day.
        ("19700101000000", "100000"),
        ("20140105100000", "100000"),
    ],
)
def test_a_time_of_injection_is_read_however_it_is_written(
    make_series: MakeSeries, date_and_time: str | None, time: str | None
) -> None:
    tags = {"RadiopharmaceuticalStartDateTime": date_and_time, "RadiopharmaceuticalStartTime": time}
    bend = setting(**{tag: value for tag, value in tags.items() if value or "DateTime" in tag})
    assert suv_facts(make_series(bend)).minutes == 60


def test_a_time_of_injection_that_cannot_be_read_is_shown(make_series: MakeSeries) -> None:
    folder = make_series(setting(RadiopharmaceuticalStartDateTime="about ten"))
    with pytest.raises(PETDiffusionError, match=r"StartDateTime \(0018,1078\) 'about ten' is no time of day"):
        to_suv(read_volume(folder))


@pytest.mark.parametrize("injected", ["20240105120100", "20240105220000", "20240105080000"])
def test_no_suv_follows_from_an_injection_that_cannot_be(make_series: MakeSeries, injected: str) -> None:
    """After the scan or many half-lives before it, on whatever day: the dose is never decayed by it in silence."""
    folder = make_series(setting(RadiopharmaceuticalStartDateTime=injected, RadionuclideHalfLife=600.0))
    volume = read_volume(folder)
    with pytest.raises(PETDiffusionError, match="plausible time from injection to scan, --minutes"):
        to_suv(volume)
    assert volume.facts["minutes"] is None
    assert to_suv(volume, minutes=30).unit == "suvbw"


@pytest.mark.parametrize(
    ("weight_kg", "dose_mbq", "half_life_s"),
    [
        (0.025, 5, 6586),  # mouse
        (0.02, 30, 1223),  # mouse, carbon-11
        (0.022, 1.5, 282276),  # mouse, zirconium-89
        (0.3, 20, 6586),  # rat
        (7, 25, 6586),  # infant
        (70, 3000, 230760),  # radioembolisation with yttrium-90
        (70, 1500, 75),  # rubidium-82
    ],
)
def test_usual_studies_are_not_nagged_about(weight_kg: float, dose_mbq: float, half_life_s: float) -> None:
    assert implausible_patient(weight_kg, dose_mbq, half_life_s) == []


def test_philips_factors_that_contradict_each_other_are_said(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, _: int) -> None:
        dataset.Units = "CNTS"
        philips(dataset, 0x1000, "0.002")
        philips(dataset, 0x1009, "0.5")

    facts = suv_facts(make_series(bend))
    assert facts.suv_factor == 0.002 and any("is 0.002" in one and "give 0.0005" in one for one in facts.warnings)


def test_decay_that_is_corrected_by_one_tag_and_not_by_the_other_is_said(make_series: MakeSeries) -> None:
    facts = suv_facts(make_series(setting(DecayCorrection="NONE")))
    assert any("DECY" in one and "NONE" in one for one in facts.warnings)


def test_small_letters_mean_the_same(make_series: MakeSeries) -> None:
    facts = suv_facts(make_series(setting(DecayCorrection="Start", CorrectedImage=["attn", "decy"])))
    assert facts.suv_factor == pytest.approx(SUV_PER_BQML)


def test_decay_that_one_tag_leaves_out_can_be_stated(make_series: MakeSeries) -> None:
    volume = read_volume(make_series(setting(CorrectedImage=["ATTN", "SCAT"])))
    with pytest.raises(PETDiffusionError, match="DECY is missing.*state it with --corrected"):
        to_suv(volume)
    stated = to_suv(volume, corrected=True)
    assert stated.facts["suv_per_bqml"] == pytest.approx(SUV_PER_BQML)
