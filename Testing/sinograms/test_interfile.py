"""Interfile sinograms come back as they were written, and headers that say half a geometry are refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms import SCANNERS, ScannerGeometry, Segment, TimeOfFlight, parallel_beam
from PETDiffusionLib.sinograms.files import read_red_pair, read_sinogram
from PETDiffusionLib.sinograms.interfile import read_interfile, write_interfile

SMALL = ScannerGeometry("small", 100.0, 3, 48, 5.0, 6, 5, (Segment(-2, -2), Segment(-1, 1), Segment(2, 2)), bin_mm=4.0)


def counts(geometry: ScannerGeometry) -> torch.Tensor:
    return torch.arange(float(np.prod(geometry.data_shape))).reshape(geometry.data_shape)


@pytest.mark.parametrize("name", list(SCANNERS))
def test_every_named_scanner_survives_its_header(name: str, tmp_path: Path) -> None:
    geometry = replace(SCANNERS[name], rings=3, tangential_bins=6, segments=(Segment(-1, 1), Segment(2, 2)))
    write_interfile(counts(geometry), geometry, tmp_path / "a.hs")
    read = read_interfile(tmp_path / "a.hs")
    assert read.geometry == geometry
    assert torch.equal(read.prompts, counts(geometry))


@settings(max_examples=25, deadline=None)
@given(
    rings=st.integers(1, 4),
    views=st.integers(1, 5),
    bins=st.integers(1, 7),
    bin_mm=st.sampled_from([None, 2.7]),
    offset=st.floats(-20, 20),
    tof=st.sampled_from([None, TimeOfFlight(3, 40.0, 20.0)]),
)
def test_geometries_come_back(
    rings: int, views: int, bins: int, bin_mm: float | None, offset: float, tof: TimeOfFlight | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("interfile") / "a.hs"
    segments = tuple(Segment(d, d) for d in range(1 - rings, rings))
    geometry = ScannerGeometry("any", 80.0, rings, 40, 4.0, views, bins, segments, bin_mm, offset, None, tof)
    write_interfile(counts(geometry), geometry, path)
    read = read_interfile(path)
    assert torch.equal(read.prompts, counts(geometry))
    for side, expected in zip(read.geometry.end_points_mm(), geometry.end_points_mm(), strict=True):
        np.testing.assert_allclose(side, expected, atol=1e-6)
    if tof is not None:
        assert read.geometry.tof is not None
        assert read.geometry.tof.bin_width_mm == pytest.approx(40.0)


def test_a_written_header_is_what_stir_reads(tmp_path: Path) -> None:
    """STIR takes planes inside views, its highest TOF bin nearest to detector 1, and ";" as a comment."""
    geometry = replace(SMALL, tof=TimeOfFlight(2, 50.0, 20.0))
    write_interfile(counts(geometry), geometry, tmp_path / "a.hs")
    stored = np.fromfile(tmp_path / "a.s", "<f4")
    first_segment = counts(geometry)[:1, ..., 1].numpy()  # the bin nearest to the line's end comes first
    np.testing.assert_array_equal(stored[: first_segment.size], first_segment.swapaxes(0, 1).ravel())
    text = (tmp_path / "a.hs").read_text()
    assert "matrix axis label [3] := view" in text and "applied corrections := {arc correction}" in text
    write_interfile(counts(parallel_beam(4, 6)), parallel_beam(4, 6), tmp_path / "b.hs")
    assert ";PETDiffusion central bin := 2.5" in (tmp_path / "b.hs").read_text()
    assert read_interfile(tmp_path / "b.hs").geometry == parallel_beam(4, 6)


def edited(folder: Path, *changes: tuple[str, str]) -> Path:
    """The header of SMALL with lines exchanged."""
    write_interfile(counts(SMALL), SMALL, folder / "a.hs")
    text = (folder / "a.hs").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "a.hs").write_text(text)
    return folder / "a.hs"


@pytest.mark.parametrize(
    "key",
    [
        "name of data file",
        "number format",
        "number of bytes per pixel",
        "number of dimensions",
        "matrix axis label [3]",
        "matrix size [1]",
        "matrix size [2]",
        "minimum ring difference per segment",
        "maximum ring difference per segment",
        "Number of rings",
        "Number of detectors per ring",
        "Inner ring diameter (cm)",
        "Average depth of interaction (cm)",
        "Distance between rings (cm)",
    ],
)
def test_a_half_stated_geometry_names_what_is_missing(key: str, tmp_path: Path) -> None:
    path = edited(tmp_path, (key, f"{key} not"))
    with pytest.raises(PETDiffusionError) as refusal:
        read_interfile(path)
    named = key.lower().replace(" [", "[")
    assert named in refusal.value.sentence or ("label" in key and "view" in refusal.value.sentence)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("{ 1, 5, 1 }", "{ 1, 4, 1 }", "axial coordinate"),
        ("{ 1, 5, 1 }", "{ 1, 5 }", "3 whole number"),
        ("number of time frames := 1", "number of time frames := 2", "time frames"),
        (":= float", ":= complex", "number format"),
        ("pixel := 4", "pixel := 3", "number format"),
        ("LITTLEENDIAN", "MIDDLE", "byte order"),
        ("Number of rings := 3", "Number of rings := three", "number of rings"),
    ],
)
def test_a_contradiction_names_the_key(old: str, new: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(PETDiffusionError, match=named):
        read_interfile(edited(tmp_path, (old, new)))


def test_a_scanner_of_the_table_may_be_left_undescribed(tmp_path: Path) -> None:
    geometry = replace(SCANNERS["mmr"], rings=64, views=4, tangential_bins=6, segments=(Segment(0, 0),))
    write_interfile(counts(geometry), geometry, tmp_path / "a.hs")
    lines = (tmp_path / "a.hs").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("Inner", "Average", "Distance", "Number of", "View"))]
    (tmp_path / "a.hs").write_text("\n".join(kept))
    assert read_interfile(tmp_path / "a.hs").geometry == geometry


@pytest.mark.parametrize(
    ("kind", "size", "stored"), [("signed integer", 2, ">i2"), ("unsigned integer", 4, ">u4"), ("float", 8, ">f8")]
)
def test_other_types_byte_orders_and_axis_orders_are_read(kind: str, size: int, stored: str, tmp_path: Path) -> None:
    path = edited(
        tmp_path,
        ("number format := float", f"number format := {kind}"),
        ("pixel := 4", f"pixel := {size}"),
        ("LITTLEENDIAN", "BIGENDIAN"),
        ("label [3] := view", "label [3] := axial coordinate"),
        ("label [2] := axial coordinate", "label [2] := view"),
        ("size [3] := 6", "size [3] := { 1, 5, 1 }"),
        ("size [2] := { 1, 5, 1 }", "size [2] := 6"),
        ("factor[1] := 1", "factor[1] := 0.5"),
        ("bytes[1] := 0", "bytes[1] := 16"),
    )
    data = counts(SMALL).numpy().astype(stored)
    (tmp_path / "a.s").write_bytes(b"\0" * 16 + data.tobytes())
    assert torch.equal(read_interfile(path).prompts, counts(SMALL) / 2)


def test_data_that_do_not_fit_the_header_are_refused(tmp_path: Path) -> None:
    path = edited(tmp_path)
    with open(tmp_path / "a.s", "ab") as stream:
        stream.write(b"\0")
    with pytest.raises(PETDiffusionError, match="bytes"):
        read_interfile(path)
    (tmp_path / "a.s").unlink()
    with pytest.raises(PETDiffusionError, match="not beside it"):
        read_interfile(path)
    (tmp_path / "b.hs").write_text("nonsense")
    with pytest.raises(PETDiffusionError, match="no Interfile header"):
        read_sinogram(tmp_path / "b.hs")


def test_stirs_demonstration_sinogram_is_read(shared_data: Path) -> None:
    read = read_interfile(shared_data / "sim_small_sinogram_STIR" / "smalllong.hs")
    assert read.geometry.data_shape == (27, 64, 75)
    assert read.geometry.radius_mm == pytest.approx(307.0)
    assert read.geometry.bin_mm == pytest.approx(3.0)
    assert float((read.prompts < 0).float().mean()) == pytest.approx(0.285, abs=0.001)


def test_the_red_layout_is_turned_to_this_geometry(tmp_path: Path) -> None:
    """A point at x = 10, y = 20 downwards is seen at s = 10 cos(theta) - 20 sin(theta) in those files."""
    theta = np.pi * np.arange(36) / 36
    pair = np.zeros((2, 36, 64), np.float32)
    position = 10 * np.cos(theta) - 20 * np.sin(theta) + 31.5
    for view, place in enumerate(position):
        left = int(np.floor(place))
        pair[:, view, left] = left + 1 - place
        pair[:, view, left + 1] = place - left
    pair[1] *= 4
    np.savez(tmp_path / "a.npz", sino_image=pair, dcm_path=np.array(["low", "full"]))
    low, full = read_red_pair(tmp_path / "a.npz")
    geometry = low.geometry
    seen = (low.prompts[0] * torch.as_tensor(geometry.tangential_mm, dtype=torch.float32)).sum(dim=1).numpy()
    np.testing.assert_allclose(seen, 10 * np.cos(geometry.view_angles) + 20 * np.sin(geometry.view_angles), atol=1e-4)
    assert torch.equal(full.prompts, 4 * low.prompts)
    assert torch.equal(read_sinogram(tmp_path / "a.npz").prompts, low.prompts)
    np.savez(tmp_path / "b.npz", something=pair)
    with pytest.raises(PETDiffusionError, match="sino_image"):
        read_sinogram(tmp_path / "b.npz")
