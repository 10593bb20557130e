"""An additive term in counts, or divided by the factors as STIR, SIRF and PETRIC have it: ybar = m (P x + a)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms import ScannerGeometry, Segment, TimeOfFlight
from PETDiffusionLib.sinograms.files import read_sinogram, read_term, with_additive
from PETDiffusionLib.sinograms.interfile import write_interfile
from PETDiffusionLib.sinograms.sinogram import Sinogram

GEOMETRY = ScannerGeometry("any", 100.0, 3, 48, 5.0, 6, 5, (Segment(0, 0), Segment(-1, -1), Segment(1, 1)), bin_mm=4.0)
FACTORS = torch.linspace(0.1, 0.9, 7 * 6 * 5).reshape(7, 6, 5)
ADDITIVE = 1 + torch.arange(7.0 * 6 * 5).reshape(7, 6, 5)


def folder_of(folder: Path, **terms: torch.Tensor) -> Path:
    for name, values in {"prompts": torch.ones(7, 6, 5), **terms}.items():
        write_interfile(values, GEOMETRY, folder / f"{name}.hs")
    return folder


@pytest.mark.parametrize(("factors", "additive"), [("mult_factors", "additive_term"), ("mult", "additive")])
def test_a_folder_of_petric_is_read_by_itself(factors: str, additive: str, tmp_path: Path) -> None:
    sinogram = read_sinogram(folder_of(tmp_path, **{factors: FACTORS, additive: ADDITIVE}))
    torch.testing.assert_close(sinogram.multiplicative, FACTORS)
    torch.testing.assert_close(sinogram.additive, FACTORS * ADDITIVE)
    assert not sinogram.not_corrected
    assert any("--additive-is counts" in said for said in sinogram.warnings)
    counts = read_sinogram(tmp_path, additive_is="counts")
    torch.testing.assert_close(counts.additive, ADDITIVE)


def test_a_folder_of_our_own_is_in_counts_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, attenuation=FACTORS, normalisation=FACTORS, additive=ADDITIVE)
    torch.testing.assert_close(read_sinogram(folder).additive, ADDITIVE)
    torch.testing.assert_close(read_sinogram(folder, "precorrected").additive, FACTORS**2 * ADDITIVE)


def test_what_is_given_twice_or_without_factors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PETDiffusionError, match="none is given"):
        with_additive(Sinogram(GEOMETRY, ADDITIVE), ADDITIVE, "precorrected")
    folder_of(tmp_path, mult_factors=FACTORS, attenuation=FACTORS)
    with pytest.raises(PETDiffusionError, match="Give them once"):
        read_sinogram(tmp_path)
    folder_of(tmp_path, mult=FACTORS)
    (tmp_path / "attenuation.hs").unlink()
    with pytest.raises(PETDiffusionError, match="Keep one"):
        read_sinogram(tmp_path)


def test_factors_of_lines_count_for_every_bin_of_time_of_flight() -> None:
    timed = replace(GEOMETRY, tof=TimeOfFlight(3, 40.0, 20.0))
    sinogram = Sinogram(timed, torch.ones(7, 6, 5, 3), multiplicative=FACTORS)
    additive = torch.rand(7, 6, 5, 3)
    torch.testing.assert_close(
        with_additive(sinogram, additive, "precorrected").additive, FACTORS[..., None] * additive
    )


def test_terms_may_list_their_segments_otherwise_and_lengths_with_few_digits(tmp_path: Path) -> None:
    """STIR lists segments from the most negative up, Siemens 0, -1, +1: planes are found by their segment."""
    ordered = replace(GEOMETRY, segments=(Segment(-1, -1), Segment(0, 0), Segment(1, 1)), radius_mm=100.001, name="b")
    write_interfile(ADDITIVE[[3, 4, 0, 1, 2, 5, 6]], ordered, tmp_path / "term.hs")
    torch.testing.assert_close(read_term(tmp_path / "term.hs", Sinogram(GEOMETRY, ADDITIVE)), ADDITIVE)
    write_interfile(ADDITIVE, replace(GEOMETRY, radius_mm=101.0), tmp_path / "far.hs")
    with pytest.raises(PETDiffusionError, match="same geometry"):
        read_term(tmp_path / "far.hs", Sinogram(GEOMETRY, ADDITIVE))
