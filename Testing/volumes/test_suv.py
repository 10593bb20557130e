"""SUV by body weight from DICOM headers: every vendor's case, and the sentence where there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import describe_suv, read_volume, suv_facts, to_bqml, to_suv
from PETDiffusionLib.volumes.scan_time import frame_average_s
from Testing.volumes.dicom_series import HALF_LIFE_S, SUV_PER_BQML, stored_values, tracer_of

MakeSeries = Callable[..., Path]


def setting(**tags: object) -> Callable[[Dataset, int], None]:
    """A bend that sets (or, with None, removes) tags of every slice."""

    def bend(dataset: Dataset, _: int) -> None:
        for keyword, value in tags.items():
            target = tracer_of(dataset) if keyword.startswith("Radio") else dataset
            if value is None:
                delattr(target, keyword)
            else:
                setattr(target, keyword, value)

    return bend


def refusal_of(folder: Path) -> str:
    with pytest.raises(PETDiffusionError) as caught:
        suv_facts(folder)
    assert caught.value.code == "no-suv"
    return str(caught.value)


def philips(dataset: Dataset, element: int, value: str) -> None:
    dataset.add_new((0x7053, 0x0010), "LO", "Philips PET Private Group")
    dataset.add_new((0x7053, element), "DS", value)


def test_bqml_corrected_to_the_start_decays_the_dose_to_the_series_time(make_series: MakeSeries) -> None:
    folder = make_series()
    facts = suv_facts(folder)
    assert facts.suv_factor == pytest.approx(SUV_PER_BQML, rel=1e-12)
    assert facts.minutes == 60 and facts.dose_at_reference_mbq == pytest.approx(70)
    suv = to_suv(read_volume(folder))
    assert suv.unit == "suvbw"
    np.testing.assert_allclose(suv.array[2], stored_values(2) * SUV_PER_BQML, rtol=1e-6)


def test_correction_to_the_administration_keeps_the_dose(make_series: MakeSeries) -> None:
    facts = suv_facts(make_series(setting(DecayCorrection="ADMIN", RadionuclideHalfLife=None)))
    assert facts.suv_factor == pytest.approx(SUV_PER_BQML / 2, rel=1e-12)
    assert facts.minutes == 0


def test_a_series_time_after_the_acquisition_gives_way_to_the_acquisition(make_series: MakeSeries) -> None:
    facts = suv_facts(make_series(setting(SeriesTime="153000", AcquisitionTime="110000")))
    assert facts.suv_factor == pytest.approx(SUV_PER_BQML, rel=1e-12)
    assert "earliest AcquisitionTime" in str(facts.reference_source)


def test_the_earliest_acquisition_counts_when_beds_have_their_own(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        dataset.SeriesTime, dataset.AcquisitionTime = "153000", f"11{3 * (4 - index):02}00"

    assert suv_facts(make_series(bend)).minutes == 60


@pytest.mark.parametrize("representation", ["DT", "UN"])
def test_ge_tells_the_scan_time_of_a_reprocessed_series(make_series: MakeSeries, representation: str) -> None:
    def bend(dataset: Dataset, _: int) -> None:
        dataset.SeriesTime, dataset.AcquisitionTime = "153000", "113000"
        dataset.add_new((0x0009, 0x0010), "LO", "GEMS_PETD_01")
        value = "20240105110000.00"
        dataset.add_new((0x0009, 0x100D), representation, value.encode() if representation == "UN" else value)

    facts = suv_facts(make_series(bend))
    assert facts.suv_factor == pytest.approx(SUV_PER_BQML, rel=1e-12)
    assert facts.reference_source == "GE scan date and time (0009,100D)"


def test_group_nine_of_another_vendor_is_not_taken_for_a_scan_time(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, _: int) -> None:
        dataset.SeriesTime = "153000"
        dataset.add_new((0x0009, 0x0010), "LO", "SPI RELEASE 1")
        dataset.add_new((0x0009, 0x100D), "LO", "20240105130000")

    assert suv_facts(make_series(bend)).minutes == 60


def test_frame_times_tell_when_a_cropped_series_began(make_series: MakeSeries) -> None:
    """The first bed was cut off: its 5 minutes are still in the FrameReferenceTime of the others."""
    average_ms = 1000 * frame_average_s(300, HALF_LIFE_S)

    def bend(dataset: Dataset, index: int) -> None:
        bed = 1 + index // 3
        dataset.SeriesTime, dataset.AcquisitionTime = "153000", f"11{5 * bed:02}00"
        dataset.ActualFrameDuration, dataset.FrameReferenceTime = 300000, f"{300000 * bed + average_ms:.3f}"

    facts = suv_facts(make_series(bend))
    assert facts.minutes == pytest.approx(60, abs=1e-4)
    assert "FrameReferenceTime" in str(facts.reference_source)


def test_a_frame_time_of_zero_is_one_that_nobody_filled(make_series: MakeSeries) -> None:
    """Taken for a time it would put the reference half a frame after the scan's beginning."""

    def bend(dataset: Dataset, _: int) -> None:
        dataset.SeriesTime, dataset.ActualFrameDuration, dataset.FrameReferenceTime = "153000", 1200000, 0

    facts = suv_facts(make_series(bend))
    assert "earliest AcquisitionTime" in str(facts.reference_source) and facts.minutes == 60


def test_frame_times_that_contradict_each_other_are_not_used(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        dataset.SeriesTime, dataset.ActualFrameDuration = "153000", 240000
        dataset.FrameReferenceTime = 243000 * index  # every bed says the same AcquisitionTime

    assert "earliest AcquisitionTime" in str(suv_facts(make_series(bend)).reference_source)


def test_slices_without_decay_correction_each_decay_to_their_own_frame(make_series: MakeSeries) -> None:
    """A uniform patient, measured bed by bed while the activity halves every hour, is uniform in SUV."""

    def bend(dataset: Dataset, index: int) -> None:
        dataset.DecayCorrection, dataset.CorrectedImage = "NONE", ["ATTN", "SCAT"]
        dataset.AcquisitionTime, dataset.ActualFrameDuration = f"11{10 * index:02}00", 600000
        seconds = 600 * index + frame_average_s(600, HALF_LIFE_S)
        dataset.PixelData = np.full((6, 8), 1000, np.int16).tobytes()
        dataset.RescaleSlope = f"{2 ** (-seconds / HALF_LIFE_S):.12f}"

    volume = read_volume(make_series(bend))
    assert any("no decay correction" in warning for warning in volume.warnings)
    np.testing.assert_allclose(to_suv(volume).array, 1.0, rtol=1e-6)


def test_a_short_frame_averages_at_its_middle_and_a_long_one_before() -> None:
    assert frame_average_s(1.0, HALF_LIFE_S) == pytest.approx(0.5, rel=1e-3)
    seconds = np.linspace(0, 7200, 200001)
    mean = np.mean(2 ** (-seconds / HALF_LIFE_S))
    assert 2 ** (-frame_average_s(7200, HALF_LIFE_S) / HALF_LIFE_S) == pytest.approx(mean, rel=1e-5)


def test_philips_counts_with_an_suv_factor_are_suv_at_once(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, _: int) -> None:
        dataset.Units = "CNTS"
        philips(dataset, 0x1000, "0.0005")
        del dataset.PatientWeight

    folder = make_series(bend)
    assert suv_facts(folder).suv_factor == 0.0005
    volume = read_volume(folder)
    assert volume.unit == "suvbw"
    np.testing.assert_allclose(volume.array[0], stored_values(0) * 0.0005, rtol=1e-6)


def test_philips_counts_with_an_activity_factor_go_through_bqml(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, _: int) -> None:
        dataset.Units = "CNTS"
        philips(dataset, 0x1000, "0")  # Philips writes zero where it has none
        philips(dataset, 0x1009, "0.5")

    folder = make_series(bend)
    assert suv_facts(folder).suv_factor == pytest.approx(0.5 * SUV_PER_BQML)
    volume = read_volume(folder)
    assert volume.unit == "bqml"
    np.testing.assert_allclose(to_suv(volume).array[4], stored_values(4) * 0.5e-3, rtol=1e-6)


@pytest.mark.parametrize("suv_type", ["BW", None])
def test_gml_by_body_weight_is_suv_and_needs_no_dose(make_series: MakeSeries, suv_type: str | None) -> None:
    def bend(dataset: Dataset, _: int) -> None:
        dataset.Units = "GML"
        if suv_type:
            dataset.SUVType = suv_type
        del dataset.PatientWeight, dataset.RadiopharmaceuticalInformationSequence

    folder = make_series(bend)
    assert suv_facts(folder).suv_factor == 1
    volume = read_volume(folder)
    assert volume.unit == "suvbw"
    np.testing.assert_array_equal(volume.array[1], stored_values(1))


def test_gml_goes_back_to_bqml_where_dose_and_weight_are_known(make_series: MakeSeries) -> None:
    volume = to_bqml(read_volume(make_series(setting(Units="GML"))))
    np.testing.assert_allclose(volume.array[0], stored_values(0) / SUV_PER_BQML, rtol=1e-6)


@pytest.mark.parametrize(
    ("tags", "variant"),
    [
        ({"Units": "GML", "SUVType": "LBM"}, "SUVlbm"),
        ({"Units": "GML", "SUVType": "IBW"}, "SUVibw"),
        ({"Units": "CM2ML"}, "SUVbsa"),
    ],
)
def test_another_variant_of_suv_is_never_called_suvbw(
    make_series: MakeSeries, tags: dict[str, object], variant: str
) -> None:
    folder = make_series(setting(**tags))
    assert variant in refusal_of(folder)
    volume = read_volume(folder)
    assert volume.unit.startswith("suv") and volume.facts["suv_variant"].startswith(variant)
    with pytest.raises(PETDiffusionError, match=variant):
        to_suv(volume, weight_kg=70, dose_mbq=140, minutes=60)


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({"Units": "PROPCPS"}, r"Units \(0054,1001\) PROPCPS"),
        ({"Units": None}, r"no Units \(0054,1001\)"),
        ({"Units": "CNTS"}, r"\(7053,1000\)"),
        ({"CorrectedImage": ["DECY"]}, "ATTN"),
        ({"CorrectedImage": ["ATTN"]}, "DECY"),
        ({"CorrectedImage": None}, "ATTN and DECY"),
        ({"DecayCorrection": None}, r"DecayCorrection \(0054,1102\)"),
        ({"DecayCorrection": "NONE", "RadionuclideHalfLife": None}, "NONE needs the half-life"),
        ({"PatientWeight": None}, r"PatientWeight \(0010,1030\)"),
        ({"PatientWeight": 0}, r"weight above zero"),
        ({"RadionuclideTotalDose": None}, r"RadionuclideTotalDose \(0018,1074\)"),
        ({"RadionuclideTotalDose": 0}, r"dose above zero"),
        ({"RadionuclideHalfLife": None}, r"RadionuclideHalfLife \(0018,1075\)"),
        ({"RadionuclideHalfLife": 0}, "half-life above zero"),
        ({"RadiopharmaceuticalStartDateTime": None}, "time of injection"),
        ({"RadiopharmaceuticalStartDateTime": "20240106000000"}, "plausible time from injection"),
        ({"SeriesTime": None, "AcquisitionTime": None}, r"AcquisitionTime \(0008,0032\)"),
    ],
)
def test_what_is_missing_is_named_and_not_guessed(make_series: MakeSeries, tags: dict[str, object], named: str) -> None:
    sentence = refusal_of(make_series(setting(**tags)))
    assert re.search(named, sentence), sentence


def test_a_dose_in_mbq_is_recognised_and_said(make_series: MakeSeries) -> None:
    folder = make_series(setting(RadionuclideTotalDose=140))
    facts = suv_facts(folder)
    assert facts.dose_mbq == 140 and facts.dose_tag_in_mbq
    assert facts.suv_factor == pytest.approx(SUV_PER_BQML)
    assert any("MBq" in warning for warning in read_volume(folder).warnings)


def test_an_injection_before_midnight_is_on_the_day_before(make_series: MakeSeries) -> None:
    tags = {"SeriesTime": "003000", "AcquisitionTime": "003000", "RadiopharmaceuticalStartDateTime": None}
    facts = suv_facts(make_series(setting(**tags, RadiopharmaceuticalStartTime="233000")))
    assert facts.injection_time == "2024-01-04T23:30:00"
    assert facts.minutes == 60


def test_the_injection_time_is_of_the_day_of_the_scan(make_series: MakeSeries) -> None:
    tags = {"RadiopharmaceuticalStartDateTime": None, "RadiopharmaceuticalStartTime": "100000.00"}
    assert suv_facts(make_series(setting(**tags))).minutes == 60


def test_the_full_date_of_injection_comes_before_its_time(make_series: MakeSeries) -> None:
    facts = suv_facts(make_series(setting(RadiopharmaceuticalStartTime="093000")))
    assert "RadiopharmaceuticalStartDateTime" in str(facts.injection_source)
    assert facts.minutes == 60


def test_an_injection_in_another_time_zone_is_put_on_the_clock_of_the_scanner(make_series: MakeSeries) -> None:
    tags = {"TimezoneOffsetFromUTC": "+0200", "RadiopharmaceuticalStartDateTime": "20240105080000+0000"}
    assert suv_facts(make_series(setting(**tags))).minutes == 60


def test_slices_that_disagree_on_the_dose_are_refused(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        tracer_of(dataset).RadionuclideTotalDose = 1e8 + index

    with pytest.raises(PETDiffusionError, match="RadionuclideTotalDose") as caught:
        suv_facts(make_series(bend))
    assert caught.value.code == "inconsistent-series"


def test_the_facts_are_json_and_text_and_do_not_name_the_patient(make_series: MakeSeries) -> None:
    folder = make_series()
    facts = suv_facts(folder)
    texts = json.dumps(facts.to_dict()), describe_suv(facts), json.dumps(read_volume(folder).facts)
    assert not any("secret" in text.lower() for text in texts)
    assert "0.001" in texts[1] and "2024-01-05T10:00:00" in texts[1] and "SUVbw" in texts[1]


def test_facts_of_one_file_and_of_headers_are_those_of_the_folder(make_series: MakeSeries) -> None:
    folder = make_series()
    files = sorted(folder.iterdir())
    assert suv_facts(files[0]) == suv_facts(folder)
    assert suv_facts([pydicom.dcmread(file) for file in files]) == suv_facts(folder)


def test_suv_prints_what_it_knows_where_there_is_no_suv(petdiffusion, make_series) -> None:
    folder = make_series(lambda dataset, _: delattr(dataset, "PatientWeight"))
    told = petdiffusion("suv", folder, "--json")
    facts = json.loads(told.stdout)
    assert told.returncode == 2 and "PatientWeight" in told.stderr
    assert facts["suv_factor"] is None and "PatientWeight" in facts["missing"][0] and facts["dose_mbq"] > 0
    assert "missing" in petdiffusion("suv", folder).stdout
