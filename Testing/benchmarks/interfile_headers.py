"""What is made of STIR's own headers of sinograms, and of headers in the dialects of other programs: a table.

    git clone https://github.com/UCL/STIR
    python -m Testing.benchmarks.interfile_headers STIR

Every .hs and .s.hdr of the checkout gets data of the size that it describes (zeros, which take no room on the disk); of
those above half a gigabyte the geometry alone is read. Dialect cases change a small header whose values are known.
"""

from __future__ import annotations

import gzip
import math
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry
from PETDiffusionLib.sinograms.interfile import read_interfile
from Testing.sinograms.stir_header import GEOMETRY, TEXT, VALUES

BIN = "effective central bin size (cm) := 0.4\n"
BASE = TEXT.replace("end scanner", BIN + "end scanner")
WHOLE = 5e8  # bytes; larger data are not read


def main() -> None:
    checkout = Path(sys.argv[1])
    print("| STIR's header | verdict |\n|---|---|")
    for path in sorted(p for pattern in ("*.hs", "*.s.hdr") for p in checkout.rglob(pattern)):
        print(f"| {path.relative_to(checkout)} | {of_stir(path)} |")
    print("\n| dialect | verdict |\n|---|---|")
    for name, (change, right) in CASES.items():
        print(f"| {name} | {of_dialect(change, right)} |")


def of_stir(path: Path) -> str:
    """What a copy of the header is read as, with data beside it."""
    text = path.read_text(encoding="latin-1")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        itself = re.search(rf"name of data file\s*:=\s*{re.escape(path.name)}", text) is not None
        copy.write_text(re.sub(r"(name of data file\s*:=)[^\n]*", r"\1 data.s", text), encoding="latin-1")
        size = size_of(text)
        with open(Path(folder) / "data.s", "wb") as stream:
            stream.truncate(size)
        verdict = attempt(lambda: read_interfile(copy).geometry if size <= WHOLE else geometry_of(copy), described)
    return verdict + (" (names itself as its data: a template)" if itself else "")


def size_of(text: str) -> int:
    """Bytes of the data, worked out here and not by what is tried."""
    values = re.findall(r"matrix size\s*\[\d\]\s*:=(.*)", text)
    sizes = [[int(number) for number in re.findall(r"\d+", value)] for value in values]
    pixel = re.search(r"bytes per pixel\s*:=\s*(\d+)", text)
    planes = [size for size in sizes if len(size) > 1]
    others = [size[0] for size in sizes if len(size) == 1]
    if planes:
        others.remove(len(planes[0]))  # the number of segments
    return math.prod(others) * (sum(planes[0]) if planes else 1) * int(pixel[1] if pixel else 4)


def geometry_of(path: Path) -> ScannerGeometry:
    """The geometry alone, of this version or of an earlier one."""
    try:
        from PETDiffusionLib.sinograms.interfile import read_description
    except ImportError:
        from PETDiffusionLib.sinograms import interfile_geometry
        from PETDiffusionLib.sinograms.interfile_header import InterfileHeader

        header = InterfileHeader(path)
        return interfile_geometry.read_geometry(header, interfile_geometry.read_layout(header))
    return read_description(path).geometry


def described(geometry: ScannerGeometry) -> str:
    across = "as crystals lie" if geometry.bin_mm is None else f"bins of {geometry.bin_mm:g} mm"
    timing = "" if geometry.tof is None else f", {geometry.tof.bins} TOF bins of {geometry.tof.bin_width_mm:.1f} mm"
    planes, views, bins = geometry.data_shape[:3]
    return f"read: {planes} x {views} x {bins}, {len(geometry.segments)} segments, {across}{timing}"


def attempt(read: Callable[[], Any], say: Callable[[Any], str]) -> str:
    try:
        return say(read())
    except PETDiffusionError as error:
        said = re.sub(r"'[^']*/([^'/]*)'", r"'\1'", error.sentence)
        return "refused: " + re.sub(r"^'[^']*' cannot be read: ", "", said)
    except Exception as error:  # what a user would see as a traceback is a verdict
        return f"TRACEBACK: {type(error).__name__}"


def of_dialect(change: Callable[[str, Path], str], right: str) -> str:
    """Whether the values and the geometry are right, and what is said of them."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.s").write_bytes(VALUES.tobytes())
        path = Path(folder) / "a.hs"
        text = change(BASE, Path(folder))
        path.write_bytes(text.encode("utf-8") if not (Path(folder) / "latin").exists() else text.encode("latin-1"))

        def say(sinogram: Any) -> str:
            said = " ".join(sinogram.facts.get("warnings", []))
            same = lines_of(sinogram.geometry) == lines_of(GEOMETRY)
            equal = np.array_equal(sinogram.prompts.numpy(), VALUES) and same
            if right == "refused":
                return "MISREAD in silence"
            if right == "warned":
                return "read, with a warning" if said else "read, NOT A WORD"
            return ("read, right" if equal else "MISREAD") + (", with a warning" if said else "")

        return attempt(lambda: read_interfile(path), say)


def lines_of(geometry: ScannerGeometry) -> tuple[object, ...]:
    return (geometry.radius_mm, geometry.ring_spacing_mm, geometry.bin_mm, geometry.segments, geometry.crystals)


def swap(old: str, new: str) -> Callable[[str, Path], str]:
    def change(text: str, folder: Path) -> str:
        assert old in text, old
        return text.replace(old, new)

    return change


def stored(new: str, values: bytes, old: str = "number of time frames := 1") -> Callable[[str, Path], str]:
    """The header with a line exchanged, and other bytes as its data."""

    def change(text: str, folder: Path) -> str:
        (folder / "a.s").write_bytes(values)
        assert old in text, old
        return text.replace(old, new)

    return change


def packed(text: str, folder: Path) -> str:
    (folder / "a.s").unlink()
    (folder / "a.s.gz").write_bytes(gzip.compress(VALUES.tobytes()))
    return text.replace("a.s\n", "a.s.gz\n")


def planes_in_views(text: str, folder: Path) -> str:
    parts = [VALUES[:1], VALUES[1:6], VALUES[6:]]
    (folder / "a.s").write_bytes(b"".join(part.swapaxes(0, 1).tobytes() for part in parts))
    text = text.replace("[3] := axial coordinate", "[3] := view").replace("[2] := view", "[2] := axial coordinate")
    return text.replace("[3] := { 1,5,1}", "[3] := 6").replace("[2] := 6", "[2] := { 1,5,1}")


def views_slowest(text: str, folder: Path) -> str:
    (folder / "a.s").write_bytes(np.ascontiguousarray(VALUES.swapaxes(0, 1)).tobytes())
    text = text.replace("[4] := segment", "[4] := view").replace("[2] := view", "[2] := AXIAL")
    text = text.replace("[3] := axial coordinate", "[3] := segment").replace("[2] := AXIAL", "[2] := axial coordinate")
    return (
        text.replace("[4] := 3", "[4] := 6")
        .replace("[2] := 6", "[2] := {1,5,1}")
        .replace("[3] := { 1,5,1}", "[3] := 3")
    )


HALF = (2 * VALUES).tobytes()
GEO = "Scanner geometry (BlocksOnCylindrical/Cylindrical/Generic) := "
CASES: dict[str, tuple[Callable[[str, Path], str], str]] = {
    "as STIR writes it": (swap("PET", "PET"), "right"),
    "planes inside views": (planes_in_views, "right"),
    "views slowest, then segments": (views_slowest, "right"),
    "no applied corrections": (swap("applied corrections := {arc correction}\n", ""), "right"),
    "image data byte order (Siemens)": (swap("imagedata byte order", "image data byte order"), "right"),
    "image scaling factor[1]": (stored("image scaling factor[1] := 0.5", HALF), "right"),
    "image scaling factor": (stored("image scaling factor := 0.5", HALF), "right"),
    "rescale slope": (stored("rescale slope := 0.5", HALF), "right"),
    "quantification units := 0.5": (stored("quantification units := 0.5", HALF), "right"),
    "two factors that differ": (swap("number of time frames := 1", "image scaling factor[1] := 2\nrescale slope := 3"),
                                "refused"),
    "data offset in bytes[1]": (stored("data offset in bytes[1] := 8", b"8" * 8 + VALUES.tobytes()), "right"),
    "data offset in bytes": (stored("data offset in bytes := 8", b"8" * 8 + VALUES.tobytes()), "right"),
    "data starting block": (stored("data starting block := 1", b"8" * 2048 + VALUES.tobytes()), "right"),
    "data packed by gzip": (packed, "right"),
    "lines continued by a backslash": (swap("{ -2,-1,2}", "{ -2,\\\n-1,2}"), "right"),
    "a list over several lines": (swap("{ -2,-1,2}", "{ -2,\n-1,2}"), "right"),
    "underscores for spaces": (swap("minimum ring difference", "minimum_ring_difference"), "right"),
    "byte order mark": (lambda text, folder: "\ufeff" + text, "right"),
    "carriage returns alone": (lambda text, folder: text.replace("\n", "\r"), "right"),
    "path of another computer": (swap(":= a.s", ":= C:\\scans\\a.s"), "right"),
    "default bin size alone": (swap(BIN, ""), "right"),
    "key that is not understood": (swap("number of time frames := 1", "colour of gantry := red"), "warned"),
    "scanner's name against its numbers": (swap(":= unheard of", ":= Siemens mMR"), "warned"),
    "key stated twice, differing": (swap("rings (cm) := 0.5", "rings (cm) := 0.6\ndistance between rings (cm) := 0.5"),
                                    "warned"),
    "corrected for attenuation before": (swap("{arc correction}", "{arc correction, attenuation}"), "warned"),
    "crystals in flat blocks": (swap("View", GEO + "BlocksOnCylindrical\nView"), "refused"),
    "transmission scan": (swap(":= Emission", ":= Transmission"), "refused"),
    "SPECT": (swap(":= PT", ":= nucmed\nextent of rotation := 360"), "refused"),
    "attenuation correction factors": (swap(":= Emission", ":= AttenuationCorrection"), "refused"),
    "image": (swap(":= Emission", ":= Image"), "refused"),
    "segments that share ring differences": (swap("{ -2,1,2}", "{ -2,2,2}"), "refused"),
    "ring difference 1e400": (swap("{ -2,-1,2}", "{ -1e400,-1,2}"), "refused"),
    "more bins than the scanner has": (
        lambda text, folder: text.replace("{arc correction}", "{None}").replace(
            "View", "Maximum number of non-arc-corrected bins := 4\nView"
        ),
        "refused",
    ),
}  # fmt: skip

if __name__ == "__main__":
    main()
