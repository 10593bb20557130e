"""The radionuclides of PET: every code of DICOM, the ways in which headers and sidecars spell them, half-lives."""

from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes

from PETDiffusionLib.volumes.nuclides import CODES, NUCLIDES, nuclide_named, nuclide_of_code, nuclides_with_half_life


@pytest.mark.parametrize("name", codes.cid4020.dir())
def test_every_code_of_the_standard_is_the_nuclide_that_its_meaning_names(name: str) -> None:
    code = getattr(codes.cid4020, name)
    nuclide = nuclide_of_code(code.value)
    assert nuclide is not None and nuclide == nuclide_named(code.meaning)


def test_a_code_of_snomed_rt_is_that_of_snomed_ct() -> None:
    from pydicom.sr._snomed_dict import mapping

    old = [value for value in CODES if value.startswith("C-")]
    assert len(old) == 29
    assert all(CODES[mapping["SRT"][value]] == CODES[value] for value in old)


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("^18^Fluorine", "F-18"),
        ("F-18", "F-18"),
        ("18F", "F-18"),
        ("F18", "F-18"),
        ("Fluorine-18", "F-18"),
        ("Fluor 18", "F-18"),
        ("FDG", "F-18"),
        ("[18F]FDG", "F-18"),
        ("18FDG", "F-18"),
        ("Fluorodeoxyglucose F^18^", "F-18"),
        ("FDG -- fluorodeoxyglucose", "F-18"),
        ("68Ga-DOTATATE", "Ga-68"),
        ("Ga68 PSMA-11", "Ga-68"),
        ("PSMA-1007", "F-18"),
        ("^68^Gallium", "Ga-68"),
        ("[64Cu]Cu-DOTATATE", "Cu-64"),
        ("89Zr-trastuzumab", "Zr-89"),
        ("H2[15O]", "O-15"),
        ("H2O15", "O-15"),
        ("N13 Ammonia", "N-13"),
        ("11C-choline", "C-11"),
        ("Tc-94m", "Tc-94m"),
        ("^52m^Manganese", "Mn-52m"),
        ("^52^Manganese", "Mn-52"),
        ("Y-90 microspheres", "Y-90"),
    ],
)
def test_a_nuclide_is_known_by_any_of_its_spellings(text: str, symbol: str) -> None:
    assert nuclide_named(text) == NUCLIDES[symbol]


@pytest.mark.parametrize("text", ["", None, "Solution", "DOTATATE", "PSMA-11", "68Ga and 18F", "Lu-177", "PK 11195"])
def test_a_text_that_names_no_nuclide_or_several_is_not_guessed_at(text: str | None) -> None:
    assert nuclide_named(text) is None


@pytest.mark.parametrize(
    ("seconds", "symbol"), [(6588, "F-18"), (4080, "Ga-68"), (1220, "C-11"), (45721, "Cu-64"), (75, "Rb-82")]
)
def test_half_lives_of_other_tables_are_recognised(seconds: float, symbol: str) -> None:
    assert nuclides_with_half_life(seconds)[0].symbol == symbol


def test_a_half_life_of_no_nuclide_is_known_as_such() -> None:
    assert nuclides_with_half_life(109.77) == []
    assert nuclides_with_half_life(1e4) == []
