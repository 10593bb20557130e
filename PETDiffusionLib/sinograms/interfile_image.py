"""Volumes as Interfile: STIR's .hv beside .v, Siemens' .v.hdr and .i.hdr, and the .h33 and .hdr of Interfile 3.3.

Voxels lie along the scanner's axes, whose place in the patient orientation.py knows. Their middles are STIR's
(interfile.cxx): "first pixel offset" where it is stated; across, a voxel of number size // 2 is on the axis where it is
not; along it the middle of the volume is "first pixel offset (mm)[3]", or nothing, from the scanner's middle, which is
where STIR's projectors take it to be (DataSymmetriesForBins_PET_CartesianGrid.cxx).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.interfile_data import (
    data_offset,
    data_path,
    read_scale,
    read_values,
    scaled,
    stored_type,
)
from PETDiffusionLib.sinograms.interfile_geometry import read_patient_position
from PETDiffusionLib.sinograms.interfile_header import PRIVATE, InterfileHeader, plain
from PETDiffusionLib.sinograms.interfile_kinds import IMAGE, NUCLEAR_MEDICINE, expect
from PETDiffusionLib.sinograms.interfile_layout import LARGEST_AXIS
from PETDiffusionLib.sinograms.orientation import (
    ASSUMED,
    axes_in_lps,
    in_scanner_order,
    position,
    sizes_in_scanner_order,
    volume_of,
    words_of,
)
from PETDiffusionLib.volumes.volume import UNITS, Unit, Volume, check_geometry, check_values

HEADERS = (".hv", ".h33", ".hdr", ".hs")
BQML = {"bq/ml": 1.0, "bq/cc": 1.0, "bqml": 1.0, "kbq/ml": 1e3, "kbq/cc": 1e3, "mbq/ml": 1e6, "bq/cm3": 1.0}
MU_UNITS = {"1/cm": "per-cm", "cm-1": "per-cm", "cm^-1": "per-cm", "1/mm": "per-mm", "mm-1": "per-mm", "hu": "hu"}


def interfile_header_of(path: Path) -> Path | None:
    """The Interfile header that `path` is, or that lies beside the data which it is; None for other files."""
    if path.name.lower().endswith(HEADERS):
        return path if _begins_as_interfile(path) else None
    beside = [path.with_name(path.name + ".hdr"), *(path.with_suffix(suffix) for suffix in HEADERS)]
    return next((one for one in beside if one.is_file() and _begins_as_interfile(one)), None)


def read_interfile_volume(path: Path) -> Volume:
    """The volume of a header and the data that it names, in LPS.

    Its unit is known where "quantification units" say Bq/ml, or where this project wrote it; that of a mu-map is among
    the facts, "mu_unit". Raises PETDiffusionError "bad-header", naming the key, "missing-file", "bad-file" and
    "dynamic".
    """
    header = InterfileHeader(path)
    expect(header, IMAGE)
    axes = _read_axes(header)
    _refuse_several(header)
    shape = [axes.sizes[axis] for axis in axes.order]  # of the file, the slowest axis first
    stored, scale = stored_type(header), read_scale(header)
    values = read_values(header, stored, int(np.prod(shape)), data_offset(header) or 0)
    values = values.reshape(shape).transpose([axes.order.index(axis) for axis in "zyx"]).astype(np.float32)
    slopes = np.array(scale.slopes, np.float32)
    if len(slopes) not in (1, len(values)):
        raise header.error(f'"image scaling factor" should be 1 or {len(values)} numbers, but is {len(slopes)}')
    unit, factor = _unit(header, scale.unit)
    array = scaled(values * slopes[:, None, None], factor, scale.intercept * factor, data_path(header))
    code = _position(header)
    image = volume_of(array, axes.voxel_size_mm, axes.first_voxel_mm, code)
    check_geometry(image, f"'{path}'")
    header.warn_of_unknown_keys()
    warnings = check_values(array, f"'{path}'") + header.warnings
    facts: dict[str, object] = {"source": str(path), "format": "Interfile", "warnings": warnings}
    facts["patient_position"] = code
    if plain(scale.unit) in MU_UNITS:
        facts["mu_unit"] = MU_UNITS[plain(scale.unit)]
    return Volume(image, unit, facts)


def write_interfile_volume(volume: Volume, path: Path) -> None:
    """Write a volume as float32: the data to `path` with the ending .v, then the header to `path` (.hv).

    Along the axes of the scanner that "patient_position" of its facts names, else head first and supine. Raises
    PETDiffusionError "bad-format" for a volume that does not lie along the patient's axes.
    """
    code = str(volume.facts.get("patient_position", ASSUMED))
    direction = np.abs(np.array(volume.image.GetDirection()))
    if not np.all((direction < 1e-6) | (direction > 1 - 1e-6)):
        raise PETDiffusionError(
            "bad-format", "Interfile cannot hold a tilted volume. Write it as NRRD or NIfTI (.nrrd, .nii.gz)."
        )
    image = sitk.DICOMOrient(volume.image, "LPS")
    array = np.ascontiguousarray(in_scanner_order(sitk.GetArrayFromImage(image), code), dtype="<f4")
    z_mm, y_mm, x_mm = sizes_in_scanner_order(image.GetSpacing()[::-1], code)
    corners = np.array([image.GetOrigin(), image.TransformIndexToPhysicalPoint([n - 1 for n in image.GetSize()])])
    first_mm = (corners @ axes_in_lps(code)).min(axis=0)
    middle_mm = first_mm[2] + (array.shape[0] - 1) / 2 * z_mm
    data = path.with_suffix(".v")
    data.write_bytes(array.tobytes())
    axes = zip("xyz", array.shape[::-1], (x_mm, y_mm, z_mm), (*first_mm[:2], middle_mm), strict=True)
    lines = [
        "!INTERFILE :=",
        "!imaging modality := PT",
        f"name of data file := {data.name}",
        "!GENERAL DATA :=",
        *(f"{key} := {word}" for key, word in words_of(position(code)).items()),
        "!GENERAL IMAGE DATA :=",
        "!type of data := PET",
        "imagedata byte order := LITTLEENDIAN",
        "!PET STUDY (General) :=",
        "!PET data type := Image",
        "process status := Reconstructed",
        "!number format := float",
        "!number of bytes per pixel := 4",
        "number of dimensions := 3",
        *(
            line
            for number, (label, size, voxel_mm, offset_mm) in enumerate(axes, start=1)
            for line in (
                f"matrix axis label [{number}] := {label}",
                f"!matrix size [{number}] := {size}",
                f"scaling factor (mm/pixel) [{number}] := {float(voxel_mm)!r}",
                f"first pixel offset (mm) [{number}] := {float(offset_mm)!r}",
            )
        ),
        "number of time frames := 1",
        *(["quantification units := Bq/ml"] if volume.unit == "bqml" else []),
        f"{PRIVATE}unit := {volume.unit}",
        "!END OF INTERFILE :=",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Axes:
    """`order` from the slowest axis of the file to the fastest; the rest by name, or (x, y, z) in mm."""

    order: str
    sizes: dict[str, int]
    voxel_size_mm: tuple[float, float, float]
    first_voxel_mm: tuple[float, float, float]


def _read_axes(header: InterfileHeader) -> _Axes:
    labels = _labels(header)
    sizes = {label: header.whole(f"matrix size[{n}]", 1, LARGEST_AXIS) for n, label in labels.items()}
    voxels = {label: _voxel_mm(header, n) for n, label in labels.items()}
    if "z" not in sizes:
        slices = ("total number of images", "number of slices", "number of images")
        key = next((key for name in slices if (key := header.indexed(name))), None)
        if key is None:
            raise header.error('it states neither "matrix size[3]" nor how many slices there are')
        sizes["z"], voxels["z"] = header.whole(key, 1, LARGEST_AXIS), _slice_mm(header, voxels["x"])
    numbers = {label: n for n, label in labels.items()}
    offsets = {label: header.number(key) for label in sizes if (key := _offset_key(header, numbers.get(label, 3)))}
    x_mm, y_mm = (offsets.get(label, -(sizes[label] // 2) * voxels[label]) for label in "xy")
    z_mm = offsets.get("z", 0.0) - (sizes["z"] - 1) / 2 * voxels["z"]
    order = "".join(label for _, label in sorted(labels.items(), reverse=True))
    return _Axes(
        order if "z" in order else "z" + order, sizes, (voxels["x"], voxels["y"], voxels["z"]), (x_mm, y_mm, z_mm)
    )


def _labels(header: InterfileHeader) -> dict[int, str]:
    """The axis of every number, x, y and z in any order; without labels they are in that order."""
    key = "number of dimensions"
    dimensions = header.whole(key) if key in header else 3 if "matrix size[3]" in header else 2
    if dimensions not in (2, 3):
        raise header.error(f'"{key}" should be 3, but is {dimensions}: give one volume')
    labels = {n: header.word(f"matrix axis label[{n}]") or "xyz"[n - 1] for n in range(1, dimensions + 1)}
    if sorted(labels.values()) != list("xyz"[:dimensions]):
        raise header.error(f'"matrix axis label" should be x, y and z, but is {", ".join(labels.values())}')
    return labels


def _voxel_mm(header: InterfileHeader, number: int) -> float:
    keys = [f"{name} (mm/pixel)[{number}]" for name in ("scaling factor", "scale factor")]
    key = next((key for key in keys if key in header), None)
    if key is None:
        raise header.error(f'it does not state "{keys[0]}", the size of its voxels')
    return header.positive(key)


def _slice_mm(header: InterfileHeader, pixel_mm: float) -> float:
    """The distance of slices, which Interfile 3.3 counts in pixels."""
    names = ("centre-centre slice separation (pixels)", "slice thickness (pixels)")
    key = next((name for name in names if name in header), None)
    if key is None:
        raise header.error(f'it states neither "scaling factor (mm/pixel)[3]" nor "{names[0]}"')
    return header.positive(key) * pixel_mm


def _offset_key(header: InterfileHeader, number: int) -> str | None:
    key = f"first pixel offset (mm)[{number}]"
    return key if key in header else None


def _refuse_several(header: InterfileHeader) -> None:
    for key, of in (("number of time frames", "frames"), ("number of image data types", "images")):
        if header.number(key, 1) != 1:
            raise PETDiffusionError(
                "dynamic", f"'{header.path}' holds {header.number(key):g} {of} (\"{key}\"). Give them one by one."
            )


def _position(header: InterfileHeader) -> str:
    """How the patient lies, by DICOM's name; head first and supine, with a warning, where the header says nothing."""
    stated = read_patient_position(header)
    if stated.code is None:
        header.warnings.append(
            f"'{header.path.name}' does not say how the patient lay: {stated.taken} is taken. If that is not so, "
            "its sides are exchanged: state patient orientation and rotation in the header."
        )
    for key in ("x-offset (mm)", "y-offset (mm)"):
        if key in header and header.number(key):
            header.warnings.append(
                f"'{header.path.name}' states \"%{key}\" {header.number(key):g}, which is not applied."
            )
    if "image orientation" in header and header.numbers("image orientation") != [1, 0, 0, 0, 1, 0]:
        raise header.error(f'"%image orientation" should be {{1,0,0,0,1,0}}, but is {header.text("image orientation")}')
    if header.word("imaging modality") in NUCLEAR_MEDICINE:
        header.warnings.append(f"'{header.path.name}' calls itself nuclear medicine (SPECT): it is taken as PET.")
    return stated.taken


def _unit(header: InterfileHeader, stated: str) -> tuple[Unit, float]:
    """The unit of the values, and what they are to be multiplied by for it."""
    own = header.text("petdiffusion unit", "")
    if own in UNITS:
        return next(unit for unit in UNITS if unit == own), 1.0
    if plain(stated) in BQML:
        return "bqml", BQML[plain(stated)]
    if stated and plain(stated) not in (*MU_UNITS, "counts"):
        header.warnings.append(f"'{header.path.name}' has values in \"{stated}\", a unit that is not understood here.")
    return "unknown", 1.0


def _begins_as_interfile(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        start = stream.read(400).replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n!").lower()
    return start.startswith(b"interfile") or b"!interfile" in start
