"""Headers that contradict themselves on injection, scan, half-life, dose and weight: the right number, or why none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes import SuvFacts, read_volume, suv_facts, to_bqml, to_suv
from PETDiffusionLib.volumes.conversion import to_suv_variant
from PETDiffusionLib.volumes.radiopharmacy import believed_dose
from PETDiffusionLib.volumes.scan_time import frame_average_s
from PETDiffusionLib.volumes.suv import gather_suv_facts
from PETDiffusionLib.volumes.variants import VARIANTS, per_suvbw
from Testing.volumes.dicom_series import pet_slice
from Testing.volumes.test_suv import setting
from Testing.volumes.test_unit_conversion import activities, volume_of

MakeSeries = Callable[..., Path]
F18_S, ZR89_S = 6586.2, 282276.0


def facts_of(**tags: object) -> SuvFacts:
    """The facts of a series of three slices with these tags; None removes one."""
    headers = [pet_slice(index, "1.2.3") for index in range(3)]
    for index, header in enumerate(headers):
        setting(**tags)(header, index)
    return gather_suv_facts(headers)


def fdg(**tags: object) -> SuvFacts:
    return facts_of(**{"RadionuclideHalfLife": F18_S, "Radiopharmaceutical": "FDG", **tags})


@pytest.mark.parametrize(
    ("series", "start_time", "minutes"),
    [
        ("110000", "110030", -0.5),  # a dynamic scan that was started before the injection
        ("110000", "115000", -50),
        ("003000", "233000", 60),
        ("235000", "000500", -15),
        ("110000", "100000", 60),
        ("110000", "10:00:00", 60),
        ("110000", "100000.250", 59.99583),
    ],
)
def test_a_time_of_day_is_of_the_day_that_suits_the_scan(series: str, start_time: str, minutes: float) -> None:
    facts = fdg(
        SeriesTime=series,
        AcquisitionTime=series,
        RadiopharmaceuticalStartDateTime=None,
        RadiopharmaceuticalStartTime=start_time,
    )
    assert facts.minutes == pytest.approx(minutes, abs=1e-4)
    assert facts.suv_factor == pytest.approx(70e3 / (140e6 * 2 ** (-60 * minutes / F18_S)))
    assert any("decayed backwards" in one for one in facts.warnings) == (minutes < 0)


def test_a_long_lived_tracer_without_a_date_of_injection_asks_for_the_minutes(make_series: MakeSeries) -> None:
    tags = {"RadiopharmaceuticalStartDateTime": None, "RadiopharmaceuticalStartTime": "100000"}
    folder = make_series(setting(**tags, RadionuclideHalfLife=ZR89_S, Radiopharmaceutical="89Zr-mAb"))
    with pytest.raises(PETDiffusionError, match="--minutes.*no date"):
        suv_facts(folder)
    with pytest.raises(PETDiffusionError, match="--minutes"):
        to_suv(read_volume(folder))
    minutes = 6 * 1440 + 60
    stated = to_suv(read_volume(folder), minutes=minutes)
    assert stated.facts["suv_per_bqml"] == pytest.approx(70e3 / (140e6 * 2 ** (-60 * minutes / ZR89_S)))


def test_an_injection_during_the_scan_has_a_day_even_if_long_lived() -> None:
    tags = {"RadiopharmaceuticalStartDateTime": None, "RadiopharmaceuticalStartTime": "110200"}
    facts = facts_of(
        **tags, RadionuclideHalfLife=45720.0, Radiopharmaceutical="64Cu-DOTATATE", ActualFrameDuration=3600000
    )
    assert facts.minutes == -2 and any("no date of injection" in one for one in facts.warnings)


@pytest.mark.parametrize("written", ["20240106100000", "19000101100000", "20231230100000"])
def test_a_date_that_cannot_be_leaves_the_time_of_day(written: str) -> None:
    facts = fdg(RadiopharmaceuticalStartDateTime=written)
    assert facts.minutes == 60 and any(written in one and "2024-01-05 10:00:00" in one for one in facts.warnings)


@pytest.mark.parametrize(
    ("full", "time", "minutes", "said"),
    [
        ("20240105090000+0000", "100000", 60, True),
        ("20240105100000+0100", "100000", 60, False),
        ("20240105100000+0100", None, 60, True),
        ("20240105100000", "093000", 60, True),
        ("20240105230000", "100000", 60, True),
    ],
)
def test_tags_that_disagree_on_the_injection_are_said(full: str, time: str | None, minutes: float, said: bool) -> None:
    tags = {} if time is None else {"RadiopharmaceuticalStartTime": time}
    facts = fdg(RadiopharmaceuticalStartDateTime=full, **tags)
    assert facts.minutes == minutes
    assert any(full in one for one in facts.warnings) == said


@pytest.mark.parametrize("empty", [{"AcquisitionDate": ""}, {"AcquisitionDate": None}, {"AcquisitionTime": None}])
def test_the_series_time_serves_where_the_acquisition_has_none(empty: dict[str, object]) -> None:
    assert fdg(**empty).minutes == 60


def test_a_series_date_that_was_shifted_gives_way_to_the_acquisition() -> None:
    facts = fdg(SeriesDate="20230101")
    assert facts.minutes == 60 and any("20230101" in one and "20240105" in one for one in facts.warnings)


def test_frame_times_and_decay_factor_together_outvote_the_series_time() -> None:
    average_s = frame_average_s(120, F18_S)
    times = {"SeriesTime": "104000", "ActualFrameDuration": 120000, "FrameReferenceTime": f"{1000 * average_s:.1f}"}
    alone = fdg(**times)
    assert alone.minutes == 40 and any("10:40:00" in one and "11:00:00" in one for one in alone.warnings)
    both = fdg(**times, DecayFactor=f"{2 ** (average_s / F18_S):.5f}")
    assert both.minutes == pytest.approx(60, abs=0.1) and any("10:40:00" in one for one in both.warnings)


def test_times_that_agree_say_nothing() -> None:
    average_s = frame_average_s(120, F18_S)
    facts = fdg(
        ActualFrameDuration=120000,
        FrameReferenceTime=f"{1000 * average_s:.1f}",
        DecayFactor=f"{2 ** (average_s / F18_S):.5f}",
    )
    assert facts.minutes == 60 and facts.warnings == ()


@pytest.mark.parametrize(
    ("tracer", "stated", "half_life_s"),
    [
        ("FDG", 6588, 6588),  # another table
        ("FDG", 109.77, F18_S),  # in minutes
        ("FDG", 1.83, F18_S),  # in hours
        ("FDG", 9000, F18_S),  # no nuclide's
        ("FDG", None, F18_S),
        ("FDG", 4062.6, None),  # another nuclide's: one against one
        ("Test", 109.77, None),
        ("89Zr-mAb", 78.41, ZR89_S),
    ],
)
def test_a_half_life_is_the_nuclides_or_asked_for(tracer: str, stated: float | None, half_life_s: float | None) -> None:
    facts = facts_of(Radiopharmaceutical=tracer, RadionuclideHalfLife=stated)
    assert facts.half_life_s == (None if half_life_s is None else pytest.approx(half_life_s))
    if half_life_s is None:
        assert "--half-life-minutes" in str(facts.missing)
    else:
        assert (facts.warnings == ()) == (stated == 6588)


@pytest.mark.parametrize(
    ("tag", "weight_kg", "half_life_s", "dose_mbq", "unit"),
    [
        (350e6, 70, F18_S, 350, "Bq"),
        (350, 70, F18_S, 350, "MBq"),
        (9.46, 70, F18_S, 350.02, "mCi"),
        (350e3, 70, F18_S, 350, "kBq"),
        (0.35, 70, F18_S, 350, "GBq"),
        (9460, 70, F18_S, 350.02, "uCi"),
        (37, 70, ZR89_S, 37, "MBq"),
        (30, 70, F18_S, None, ""),  # 30 MBq, or 1110 MBq: both may be
        (5e6, 0.025, F18_S, 5, "Bq"),
        (5, 0.025, F18_S, 5, "MBq"),
    ],
)
def test_a_dose_is_read_in_the_one_unit_that_it_can_be_in(
    tag: float, weight_kg: float, half_life_s: float, dose_mbq: float | None, unit: str
) -> None:
    found, in_unit, doubt = believed_dose(tag, weight_kg, half_life_s)
    assert found == (None if dose_mbq is None else pytest.approx(dose_mbq)) and in_unit == unit
    assert (doubt is None) == (dose_mbq is not None)


def test_a_weight_in_grams_is_refused_and_can_be_stated(make_series: MakeSeries) -> None:
    volume = read_volume(make_series(setting(PatientWeight=70000)))
    with pytest.raises(PETDiffusionError, match="a weight in kg, --weight-kg .*70000 kg"):
        to_suv(volume)
    assert to_suv(volume, weight_kg=70).facts["suv_per_bqml"] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"PatientWeight": 25, "RadionuclideTotalDose": 5e6}, "0.2 MBq/kg"),
        ({"PatientWeight": 0.07}, "MBq/kg"),
        ({"PatientWeight": 180, "PatientSize": 1.6}, "in pounds"),
        ({"RadiopharmaceuticalStartDateTime": "20240104230000"}, "half-lives"),
    ],
)
def test_what_hardly_goes_together_is_said_and_kept(tags: dict[str, object], said: str) -> None:
    facts = fdg(**tags)
    assert facts.suv_factor and any(said in one for one in facts.warnings)


def test_a_mouse_is_possible() -> None:
    assert fdg(PatientWeight=0.025, RadionuclideTotalDose=5e6).warnings == ()


@pytest.mark.parametrize("tags", [{"CorrectedImage": None}, {"DecayCorrection": None}])
def test_what_a_header_leaves_empty_on_corrections_can_be_stated(
    make_series: MakeSeries, tags: dict[str, object], petdiffusion, tmp_path: Path
) -> None:
    folder = make_series(setting(**tags))
    with pytest.raises(PETDiffusionError, match="--corrected"):
        to_suv(read_volume(folder))
    right = to_suv(read_volume(make_series(folder="whole")))
    np.testing.assert_array_equal(to_suv(read_volume(folder), corrected=True).array, right.array)
    done = petdiffusion("convert", folder, tmp_path / "out.nrrd", "--unit", "suv", "--corrected")
    assert done.returncode == 0 and "it was stated" in done.stderr
    assert read_volume(tmp_path / "out.nrrd").unit == "suvbw"


def test_stated_corrections_serve_denoise_and_a_job(
    make_series: MakeSeries, petdiffusion, untrained_model: Path, tmp_path: Path
) -> None:
    """Without the statement both name the option; with it both write the same, and say what was stated."""
    folder = make_series(setting(CorrectedImage=None), slices=8)
    options = {"preset": "fast", "model": str(untrained_model)}
    silent = petdiffusion("denoise", folder, "a.nrrd", "--model", untrained_model, "--preset", "fast")
    assert silent.returncode != 0 and "--corrected" in silent.stderr
    done = petdiffusion("denoise", folder, "a.nrrd", "--model", untrained_model, "--preset", "fast", "--corrected")
    assert done.returncode == 0 and "it was stated" in done.stderr, done.stderr
    job = {"schema": 1, "method": "denoise", "inputs": {"image": str(folder)}, "outputs": {"image": "b.nrrd"}}
    for stated in ({}, {"corrected": True}):
        (tmp_path / "job.json").write_text(json.dumps(job | {"options": options | stated}))
        run = petdiffusion("run", "job.json")
        assert (run.returncode == 0) == bool(stated), run.stdout
        assert ("it was stated" if stated else "--corrected") in run.stdout + run.stderr
    np.testing.assert_array_equal(*(read_volume(tmp_path / name).array for name in ("a.nrrd", "b.nrrd")))


def test_what_a_header_denies_cannot_be_stated(make_series: MakeSeries) -> None:
    with pytest.raises(PETDiffusionError, match="ATTN"):
        to_suv(read_volume(make_series(setting(CorrectedImage=["DECY"]))), corrected=True)


def test_philips_suv_factor_is_not_used_without_decay_correction(make_series: MakeSeries) -> None:
    def bend(dataset: Dataset, index: int, activity: bool = True) -> None:
        dataset.Units, dataset.DecayCorrection, dataset.CorrectedImage = "CNTS", "NONE", ["ATTN"]
        dataset.AcquisitionTime = f"11{10 * index:02}00"
        block = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0, "DS", "0.0005")
        if activity:
            block.add_new(9, "DS", "0.5")

    volume = read_volume(make_series(bend))
    assert volume.unit == "bqml" and any("was not used" in one for one in volume.warnings)
    with pytest.raises(PETDiffusionError, match=r"7053,1009"):
        suv_facts(make_series(lambda dataset, index: bend(dataset, index, False), folder="without"))


def test_suv_of_the_series_is_not_said_to_be_brought_to_one_time(make_series: MakeSeries) -> None:
    volume = read_volume(make_series(setting(Units="GML", DecayCorrection="NONE", CorrectedImage=["ATTN"])))
    assert volume.unit == "suvbw" and not any("brought to" in one for one in volume.warnings)
    assert any("DecayCorrection NONE" in one for one in volume.warnings)


BODY = {"weight_kg": 70.0, "height_m": 1.7, "sex": "F"}


@pytest.mark.parametrize(
    ("variant", "sex", "ratio"),
    [
        ("bw", "F", 1.0),
        ("lbm", "F", (1.07 * 70 - 148 * (70 / 170) ** 2) / 70),
        ("lbm", "M", (1.10 * 70 - 128 * (70 / 170) ** 2) / 70),
        ("lbm-janma", "F", 9270 / (8780 + 244 * 70 / 1.7**2)),
        ("lbm-janma", "M", 9270 / (6680 + 216 * 70 / 1.7**2)),
        ("ibw", "F", (45.5 + 0.91 * 18) / 70),
        ("ibw", "M", (48.0 + 1.06 * 18) / 70),
        ("bsa", "F", 0.007184 * 70**0.425 * 170**0.725 * 10 / 70),
    ],
)
def test_variants_are_by_their_formulas(variant: str, sex: str, ratio: float) -> None:
    assert per_suvbw(VARIANTS[variant], {**BODY, "sex": sex}) == pytest.approx(ratio)


@settings(deadline=None, max_examples=30)
@given(activities, st.sampled_from(list(VARIANTS)), st.sampled_from("FM"), st.floats(40, 110), st.floats(1.4, 2.0))
def test_any_way_through_the_units_ends_where_it_began(
    array: np.ndarray, variant: str, sex: str, weight_kg: float, height_m: float
) -> None:
    body = {"weight_kg": weight_kg, "height_m": height_m, "sex": sex}
    activity = volume_of(array, dose_mbq=350.0, minutes=60.0, half_life_s=F18_S, **body)
    other = to_suv_variant(activity, VARIANTS[variant])
    assert other.unit == VARIANTS[variant]
    np.testing.assert_allclose(to_suv(other).array, to_suv(activity).array, rtol=2e-6, atol=1e-30)
    np.testing.assert_allclose(to_bqml(other).array, array, rtol=2e-6, atol=1e-30)


@pytest.mark.parametrize(
    ("tags", "unit"),
    [
        ({"Units": "GML", "SUVType": "LBM"}, "suvlbm"),
        ({"Units": "GML", "SUVType": "LBMJAMES128"}, "suvlbm"),
        ({"Units": "GML", "SUVType": "LBMJANMA"}, "suvlbmjanma"),
        ({"Units": "GML", "SUVType": "IBW"}, "suvibw"),
        ({"Units": "CM2ML"}, "suvbsa"),
    ],
)
def test_another_variant_is_brought_to_suvbw_where_the_body_is_known(
    make_series: MakeSeries, tags: dict[str, object], unit: str
) -> None:
    volume = read_volume(make_series(setting(**tags, PatientSize=1.7, PatientSex="F")))
    assert volume.unit == unit
    suv = to_suv(volume)
    np.testing.assert_allclose(suv.array, volume.array / per_suvbw(unit, BODY), rtol=1e-6)


def test_a_written_variant_is_never_read_as_suvbw(make_series: MakeSeries, petdiffusion, tmp_path: Path) -> None:
    folder = make_series(setting(PatientSize=1.7, PatientSex="F"))
    for name in ("out.nrrd", "out.nii.gz", "out.mha"):
        assert petdiffusion("convert", folder, tmp_path / name, "--suv", "lbm").returncode == 0
        written = read_volume(tmp_path / name)
        assert written.unit == "suvlbm"
    plain = volume_of(np.ones((2, 2, 2)), "suvlbm")
    with pytest.raises(PETDiffusionError, match="height"):
        to_suv(plain, weight_kg=70)
    told = petdiffusion("suv", folder, "--suv", "lbm", "--json").stdout
    assert "SUVlbm (James)" in told


def test_values_that_cannot_be_suv_are_said_wherever_suv_is_made() -> None:
    hot = volume_of(np.full((4, 4, 4), 37.0), "suvbw")
    assert any("mean SUV" in one for one in to_suv(hot).warnings)
    much = volume_of(np.full((40, 40, 40), 5.0), "suvbw", weight_kg=0.1)
    assert any("injected activity" in one for one in to_suv(much).warnings)


def test_warnings_are_said_by_every_command(make_series: MakeSeries, petdiffusion, tmp_path: Path) -> None:
    folder = make_series(setting(RadiopharmaceuticalStartDateTime="19000101100000"))
    assert "19000101100000" in petdiffusion("suv", folder).stdout
    assert "19000101100000" in petdiffusion("suv", folder, "--json").stdout
    assert "19000101100000" in petdiffusion("convert", folder, tmp_path / "o.nrrd", "--unit", "suv").stderr
    assert "19000101100000" in petdiffusion("evaluate", folder, folder).stderr


def test_units_that_are_none_are_refused_by_name_whatever_is_stated(make_series: MakeSeries, petdiffusion) -> None:
    folder = make_series(setting(Units="KBQML"))
    for options in ((), ("--input-unit", "bqml")):
        done = petdiffusion("convert", folder, folder / "out.nrrd", "--unit", "suv", *options)
        assert done.returncode == 2 and "KBQML" in done.stderr and "--input-unit" not in done.stderr
