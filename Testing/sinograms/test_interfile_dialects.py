"""The same sinogram however its header is spelt and its axes are ordered; what cannot be read says why."""

from __future__ import annotations

import gzip
import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.interfile import read_interfile
from PETDiffusionLib.sinograms.interfile_layout import AXES, Layout
from Testing.sinograms.stir_header import GEOMETRY, SEGMENTS, TEXT, VALUES, written


def is_the_sinogram(path: Path, warnings: int = 0) -> None:
    sinogram = read_interfile(path)
    assert replace(sinogram.geometry, name=GEOMETRY.name, patient_position=GEOMETRY.patient_position) == GEOMETRY
    assert torch.equal(sinogram.prompts, torch.from_numpy(VALUES))
    assert len(sinogram.facts["warnings"]) == warnings, sinogram.facts["warnings"]


def refusal(path: Path) -> str:
    with pytest.raises(PETDiffusionError) as caught:
        read_interfile(path)
    assert caught.value.sentence.count("\n") == 0
    return caught.value.sentence


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_order_of_axes_changes_nothing(data: st.DataObject) -> None:
    """A file of any order, written by walking through its axes as they are numbered, is read to the bit."""
    timed = data.draw(st.booleans())
    axes = data.draw(st.permutations(AXES if timed else AXES[:4]))  # from the slowest to the fastest
    planes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    views, bins, tof = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)), 3 if timed else 1
    size = {"tangential coordinate": bins, "view": views, "axial coordinate": max(planes), "segment": len(planes)}
    size["timing positions"] = tof
    values = np.arange(sum(planes) * views * bins * tof, dtype=np.float32).reshape(-1, views, bins, tof)
    stored = []
    for place in itertools.product(*(range(size[axis]) for axis in axes)):
        at = dict(zip(axes, place, strict=True))
        if at["axial coordinate"] < planes[at["segment"]]:
            plane = sum(planes[: at["segment"]]) + at["axial coordinate"]
            stored.append(
                values[plane, at["view"], at["tangential coordinate"], tof - 1 - at.get("timing positions", 0)]
            )
    layout = Layout(tuple(axes), views, bins, planes, tof if timed else None)
    np.testing.assert_array_equal(layout.arranged(np.array(stored)), values if timed else values[..., 0])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_segments_come_in_any_order(order: tuple[int, ...], tmp_path: Path) -> None:
    """Prompts follow the segments that the header lists, wherever the direct planes are among them."""
    starts = {0: [0], 1: [1, 2, 3, 4, 5], 2: [6]}
    chosen = [SEGMENTS[number] for number in order]
    path = written(
        tmp_path,
        ("{ 1,5,1}", "{" + ",".join(str(segment.planes(3)) for segment in chosen) + "}"),
        ("{ -2,-1,2}", "{" + ",".join(str(segment.lowest) for segment in chosen) + "}"),
        ("{ -2,1,2}", "{" + ",".join(str(segment.highest) for segment in chosen) + "}"),
        values=VALUES[[plane for number in order for plane in starts[number]]],
    )
    sinogram = read_interfile(path)
    assert sinogram.geometry.segments == tuple(chosen)
    first = [segment.planes(3) for segment in chosen[: order.index(1)]]
    np.testing.assert_array_equal(sinogram.prompts[sum(first) : sum(first) + 5].numpy(), VALUES[1:6])


SPACES = st.sampled_from(["", " ", "\t", "  \t "])


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_spelling_of_keys_changes_nothing(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Case, "!", "%", spaces, tabs, underscores, the index's place, comments, line ends and encodings."""
    folder = tmp_path_factory.mktemp("spelling")

    def spelt(line: str) -> str:
        key, value = line.split(" :=", 1)
        key = "".join(data.draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in key.lstrip("!"))
        key = re.sub(r" (?!\[)", lambda _: data.draw(st.sampled_from([" ", "_", "\t", "  "])), key)
        key = key.replace(" [", data.draw(st.sampled_from([" [", "[", "_["])))
        mark, comment = data.draw(st.sampled_from(["", "!", "%", "! "])), data.draw(st.sampled_from(["", " ; wide"]))
        return f"{mark}{key}{data.draw(SPACES)}:={data.draw(SPACES)}{value.strip()}{comment}"

    path = written(folder)
    lines = [line if line.startswith("!INTERFILE") else spelt(line) for line in TEXT.splitlines()]
    if data.draw(st.booleans()):
        lines.insert(3, "; a comment := that says nothing")
        lines.insert(5, "")
    text = data.draw(st.sampled_from(["\n", "\r\n", "\r", "\r\r\n"])).join(lines)
    path.write_bytes(text.encode(data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]))))
    is_the_sinogram(path)


@pytest.mark.parametrize(
    "changes",
    [
        [("imagedata byte order", "image data byte order")],
        [("{ -2,-1,2}", "{ -2,\\\n-1,\\\n2}")],
        [("{ -2,-1,2}", "{ -2,\n-1, 2\n}")],
        [("{ -2,-1,2}", "{-2 -1 2}")],
        [("originating system := unheard of", "originating system := Universit\xe9 ; de Gen\xe8ve")],
        [("Number of rings := 3", "Number of rings := 3;rings")],
        [("name of data file := a.s", "name of data file := C:\\scans\\a.s")],
        [("name of data file := a.s", 'name of data file := "a.s"')],
        [("!INTERFILE :=", "!INTERFILE")],
        [("!END OF INTERFILE :=", "!END OF INTERFILE :=\nnumber of rings := 99")],
        [("number of time frames := 1", "image scaling factor := 1\nquantification units := 1")],
        [
            (
                "number of time frames := 1",
                "Default number of arc-corrected bins := 9\nenergy window lower level[1] := 430",
            )
        ],
        [("end scanner parameters :=", "effective central bin size (cm) := 0.4\nend scanner parameters :=")],
    ],
)
def test_dialects_mean_the_same(changes: list[tuple[str, str]], tmp_path: Path) -> None:
    is_the_sinogram(written(tmp_path, *changes))


@pytest.mark.parametrize(
    "key",
    [
        "image scaling factor[1] := 0.5",
        "image scaling factor := 0.5",
        "image scaling factor[1] := {0.5,0.5,0.5}",
        "rescale slope := 0.5",
        "rescale slope[1] := 0.5",
        "quantification units := 0.5",
        "image scaling factor[1] := 0.5\nquantification units := 0.5",
        "image scaling factor[1] := 1\nquantification units := 0.5",
    ],
)
def test_the_factor_of_the_values_has_many_names(key: str, tmp_path: Path) -> None:
    is_the_sinogram(written(tmp_path, ("number of time frames := 1", key), values=2 * VALUES))


@pytest.mark.parametrize(
    ("key", "offset"),
    [
        ("data offset in bytes[1] := 16", 16),
        ("data offset in bytes := 16", 16),
        ("data starting block := 2", 4096),
        ("data starting block := 1\ndata offset in bytes[1] := 2048", 2048),
    ],
)
def test_the_data_begin_where_the_header_says(key: str, offset: int, tmp_path: Path) -> None:
    path = written(tmp_path, ("number of time frames := 1", key))
    (tmp_path / "a.s").write_bytes(b"\1" * offset + VALUES.tobytes())
    is_the_sinogram(path)


def test_header_and_data_may_be_one_file(tmp_path: Path) -> None:
    changes = [
        ("name of data file := a.s", "name of data file := a.hs"),
        ("number of time", "data starting block := 1\nx"),
    ]
    path = written(tmp_path, changes[0])
    assert "template" in refusal(path)
    path = written(tmp_path, changes[0], ("number of time frames := 1", "data starting block := 1"))
    path.write_bytes(path.read_bytes().ljust(2048, b"\n") + VALUES.tobytes())
    is_the_sinogram(path)


@pytest.mark.parametrize("name", ["a.s.gz", "a.s", "a.sino"])
def test_packed_data_are_unpacked(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, ("name of data file := a.s", f"name of data file := {name}"))
    (tmp_path / "a.s").unlink()
    stored = tmp_path / ("a.s.gz" if name == "a.s" else name)
    stored.write_bytes(gzip.compress(VALUES.tobytes()))
    is_the_sinogram(path)
    stored.write_bytes(gzip.compress(VALUES.tobytes())[:-20])
    assert "cannot be unpacked" in refusal(path)
    stored.write_bytes(gzip.compress(VALUES.tobytes()[:-4]))
    assert "should hold" in refusal(path)


@pytest.mark.parametrize(
    ("kind", "size", "stored"),
    [
        ("signed integer", 1, "i1"),
        ("unsigned integer", 1, "u1"),
        ("signed integer", 2, "<i2"),
        ("unsigned integer", 2, "<u2"),
        ("signed integer", 4, "<i4"),
        ("float", 8, "<f8"),
        ("short float", 4, "<f4"),
        ("long float", 8, "<f8"),
        ("Unsigned_Integer", 2, "<u2"),
    ],
)
def test_number_formats(kind: str, size: int, stored: str, tmp_path: Path) -> None:
    wanted = VALUES % 100
    path = written(
        tmp_path, (":= float", f":= {kind}"), ("pixel := 4", f"pixel := {size}"), values=wanted.astype(stored)
    )
    np.testing.assert_array_equal(read_interfile(path).prompts.numpy(), wanted)


def warnings_of(folder: Path, *changes: tuple[str, str]) -> str:
    return " | ".join(read_interfile(written(folder, *changes)).facts["warnings"])


def test_keys_that_are_not_understood_are_named_in_one_sentence(tmp_path: Path) -> None:
    said = warnings_of(tmp_path, ("number of time frames := 1", "%Colour of_gantry := red\nphase of moon [2] := 3"))
    assert said.count("not understood") == 1
    assert '"%Colour of_gantry"' in said and '"phase of moon [2]"' in said


def test_data_without_a_word_on_corrections_are_arc_corrected_and_said_to_be(tmp_path: Path) -> None:
    path = written(tmp_path, ("applied corrections := {arc correction}\n", ""))
    is_the_sinogram(path, warnings=1)
    assert "arc-corrected" in read_interfile(path).facts["warnings"][0]
    plain = read_interfile(written(tmp_path, ("{arc correction}", "{None}")))
    assert plain.geometry.bin_mm is None and plain.facts["warnings"] == []


def test_data_corrected_before_say_so(tmp_path: Path) -> None:
    sinogram = read_interfile(
        written(tmp_path, ("{arc correction}", "{Arc_Correction, attenuation correction,scatter}"))
    )
    assert sinogram.geometry.bin_mm == 4.0
    assert sinogram.corrected == {"attenuation", "scatter"}
    assert "corrected before for attenuation, scatter" in sinogram.facts["warnings"][0]
    assert "polishing" in warnings_of(tmp_path, ("{arc correction}", "{polishing}"))


NAMED = ("originating system := unheard of", "originating system := RATPET")


def test_what_the_header_leaves_out_is_the_named_scanners(tmp_path: Path) -> None:
    """RATPET of STIR's table: radius 57.5 + 7 mm, rings every 6.25 mm, bins of 1.65 mm, 112 crystals."""
    lengths = TEXT[TEXT.index("Number of rings") : TEXT.index("View offset")]
    described = "Number of rings := 3\nNumber of detectors per ring := 48\n"
    sinogram = read_interfile(written(tmp_path, NAMED, (lengths, described)))
    assert (sinogram.geometry.radius_mm, sinogram.geometry.ring_spacing_mm) == (64.5, 6.25)
    assert sinogram.geometry.bin_mm == 1.65
    said = " ".join(sinogram.facts["warnings"])
    assert "number of rings 3 and not 8" in said and "48 and not 112" in said
    said = warnings_of(tmp_path, NAMED)
    assert "distance between rings (cm) 0.5 and not 0.625" in said and "default bin size (cm) 0.4 and not 0.165" in said


@pytest.mark.parametrize(("stated", "width_ps"), [("TOF mashing factor := 13\n", 169.26), ("", 169.26)])
def test_time_of_flight_of_a_named_scanner(stated: str, width_ps: float, tmp_path: Path) -> None:
    """GE Signa: 351 bins of 13.02 ps (STIR's table), 13 of them in each of 27."""
    changes = [
        ("originating system := unheard of", "originating system := GE_signa pet/mr"),
        ("number of dimensions := 4", "number of dimensions := 5\nmatrix axis label[5] := timing_positions"),
        ("!matrix size [4] := 3", f"!matrix size [4] := 3\n!matrix size[5] := 27\n{stated}"),
    ]
    timed = np.stack([VALUES + 1000 * number for number in range(27)])
    path = written(tmp_path, *changes, values=timed)
    sinogram = read_interfile(path)
    assert sinogram.geometry.tof is not None
    assert sinogram.geometry.tof.bin_width_mm == pytest.approx(width_ps * 0.299792458 / 2)
    np.testing.assert_array_equal(sinogram.prompts.numpy(), np.moveaxis(timed[::-1], 0, -1))
    assert ("TOF mashing factor" in " ".join(sinogram.facts["warnings"])) == (not stated)
    order = [0, *(sign * number for number in range(1, 14) for sign in (1, -1))]
    by_number = timed[[13 + number for number in order]]
    listed = ("number of time frames := 1", "TOF bin order := {" + ",".join(map(str, order)) + "}")
    again = read_interfile(written(tmp_path, *changes, listed, values=by_number))
    assert torch.equal(again.prompts, sinogram.prompts)
    assert "351" in refusal(
        written(
            tmp_path,
            *changes[:2],
            (changes[2][0], "!matrix size [4] := 3\n!matrix size[5] := 27\nTOF mashing factor := 12"),
        )
    )


GEOMETRY_KEY = "Scanner geometry (BlocksOnCylindrical/Cylindrical/Generic) := "


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("PT\n", "nucmed\nSPECT STUDY (acquired data) :=\n", "SPECT"),
        ("PT\n", "NM\nextent of rotation := 360\n", "SPECT"),
        ("data := PET", "data := Static\nimaging modality := NM", "nuclear medicine .static data."),
        ("modality := PT", "modality := CT", "another modality"),
        ("type := Emission", "type := Transmission", "transmission scan"),
        ("type := Emission", "type := Blank", "blank scan"),
        ("type := Emission", "type := AttenuationCorrection", "attenuation correction factors"),
        ("type := Emission", "type := Normalisation", "normalisation factors"),
        ("type := Emission", "type := Guess", "PET data type"),
        ("data := PET", "data := Curve", "a curve"),
        ("label [4] := segment", "label [4] := y\nmatrix axis label [5] := z", "an image"),
        ("type := Emission", "type := Image", "an image"),
        ("number of time frames := 1", "%SMS-MI header name space := PETLINK bin address", "list mode"),
        ("View offset", GEOMETRY_KEY + "BlocksOnCylindrical\nView offset", "flat blocks"),
        ("View offset", GEOMETRY_KEY + "Generic\nView offset", "Generic"),
        ("unheard of", "SAFIRDualRingPrototype", "flat blocks"),
    ],
)  # fmt: skip
def test_other_data_are_refused_by_what_they_are(old: str, new: str, named: str, tmp_path: Path) -> None:
    assert re.search(named, refusal(written(tmp_path, (old, new))))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("{ -2,-1,2}", "{ -1e400,-1,2}", "minimum ring difference"),
        ("{ -2,-1,2}", "{ nan,-1,2}", "minimum ring difference"),
        ("{ -2,-1,2}", "{ -2,-1,two}", "minimum ring difference"),
        ("{ -2,-1,2}", "{ -2000000000,-1,2}", "minimum ring difference"),
        ("{ -2,-1,2}", "{ -9,-1,2}", "ring differences"),
        ("{ -2,-1,2}", "{ -2,-1,0}", "share ring differences"),
        ("{ -2,-1,2}", "{ -2,-1,2", "minimum ring difference"),
        ("[1] := 5", "[1] := 1e12", r"matrix size\[1\]"),
        ("[1] := 5", "[1] := -5", r"matrix size\[1\]"),
        ("[2] := 6", "[2] := 1_0", r"matrix size\[2\]"),
        ("ring := 48", "ring := 4e30", "number of detectors per ring"),
        ("rings (cm) := 0.5", "rings (cm) := 0,5", "distance between rings"),
        ("rings (cm) := 0.5", "rings (cm) := 0", "distance between rings"),
        ("diameter (cm) := 18.6", "diameter (cm) := inf", "inner ring diameter"),
        ("[3] := axial coordinate", "[3] := view", "both"),
        ("[3] := axial coordinate", "[3] := depth", "axial coordinate"),
        ("[1] := 5", "[1] := 60", "reach"),
        ("number of time frames := 1", "image scaling factor[1] := 2\nrescale slope := 3", "two factors"),
        ("number of time frames := 1", "image scaling factor[1] := 2\nquantification units := 3", "two factors"),
        ("number of time frames := 1", "image scaling factor[1] := {1,2,3}", "image scaling factor"),
        ("number of time frames := 1", "image scaling factor[1] := -1", "above zero"),
        ("number of time frames := 1", "data offset in bytes := 4\ndata starting block := 1", "twice"),
        ("number of time frames := 1", "image data byte order := BIGENDIAN", "byte order"),
        ("View offset", "Maximum number of non-arc-corrected bins := 4\nx", "at most 4"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(old: str, new: str, named: str, tmp_path: Path) -> None:
    changes = [(old, new), *([("{arc correction}", "{None}")] if "non-arc" in new else [])]
    assert re.search(named, refusal(written(tmp_path, *changes)))


def test_a_key_stated_twice_counts_as_it_was_stated_last(tmp_path: Path) -> None:
    assert "twice, 0.5 and 0.6" in warnings_of(
        tmp_path, ("rings (cm) := 0.5", "rings (cm) := 0.5\nDistance_between rings (cm) := 0.6")
    )
    is_the_sinogram(written(tmp_path, ("rings (cm) := 0.5", "rings (cm) := 0.5\nDistance_between rings (cm) := 0.5")))


def test_views_of_no_whole_crystals_are_warned_of(tmp_path: Path) -> None:
    assert "not what 50 crystals" in warnings_of(tmp_path, ("{arc correction}", "{none}"), ("ring := 48", "ring := 50"))
