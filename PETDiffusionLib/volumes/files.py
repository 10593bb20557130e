"""A volume file as frames: header, values and the JSON beside it brought together, one frame in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.affines import EXACT, place
from PETDiffusionLib.volumes.bids import Sidecar, read_sidecar
from PETDiffusionLib.volumes.ecat import is_ecat, read_ecat_header
from PETDiffusionLib.volumes.frames import FrameKind, FrameSeries
from PETDiffusionLib.volumes.metaimage import read_metaimage_header
from PETDiffusionLib.volumes.nifti import read_nifti_header
from PETDiffusionLib.volumes.nrrd import read_nrrd_header
from PETDiffusionLib.volumes.stored import StoredVolume
from PETDiffusionLib.volumes.units import parse_unit, recorded_unit
from PETDiffusionLib.volumes.volume import UNIT_NAMES, Unit, Volume, check_finite, check_geometry, check_values

FORMATS = (".nii.gz", ".nii", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd")
ECAT = (".v", ".img", ".ecat")
INTERFILE = (".hv", ".h33", ".hdr", ".hs", ".v", ".i", ".img", ".i33")  # headers, and data that have one beside them
_READERS: dict[str, Callable[[Path], StoredVolume]] = {
    **dict.fromkeys((".nii.gz", ".nii", ".hdr", ".img"), read_nifti_header),
    **dict.fromkeys((".nrrd", ".nhdr"), read_nrrd_header),
    **dict.fromkeys((".mha", ".mhd"), read_metaimage_header),
    "ecat": read_ecat_header,
}


def format_of(path: Path) -> str | None:
    """The extension of `path` that names a known volume format, None when it names none."""
    return next((extension for extension in FORMATS if path.name.lower().endswith(extension)), None)


def open_file(path: Path) -> FrameSeries:
    """The frames of a volume file, each read from the disk when it is asked for; a static file has one.

    Raises PETDiffusionError ("bad-format", "bad-file", "bad-geometry", "not-3d", "not-scalar", "unit-conflict" ...).
    """
    ecat = path.name.lower().endswith(ECAT) and is_ecat(path)
    if path.name.lower().endswith(INTERFILE) and not ecat:
        from PETDiffusionLib.sinograms.interfile_image import interfile_header_of, read_interfile_volume

        if header := interfile_header_of(path):
            return FrameSeries(str(path), "static", (None,), lambda _: read_interfile_volume(header))
    extension = "ecat" if ecat else format_of(path)
    if extension is None:
        raise PETDiffusionError(
            "bad-format",
            f"'{path}' is neither DICOM nor Interfile nor ECAT7 nor one of {', '.join(FORMATS)}. "
            "Convert it to one of these.",
        )
    if path.stat().st_size == 0:
        raise PETDiffusionError("bad-file", f"'{path}' is empty (0 bytes). Copy or export it again.")
    stored = _READERS[extension](path)
    frames = stored.voxels.frames
    sidecar = read_sidecar(path, frames, stored.document)
    unit, factor = _unit(stored, sidecar, path)
    placement, said = place(stored.affine, stored.voxels.size, f"'{path}'", stored.spacing)
    sentences = [*stored.sentences, *said, *sidecar.sentences]
    if stored.direction is not None and not said and np.allclose(stored.direction, placement.direction, atol=EXACT):
        placement = replace(placement, direction=stored.direction, origin=tuple(stored.affine[:3, 3].tolist()))
    facts: dict[str, object] = {"source": str(path), "format": extension, "warnings": sentences}
    facts |= stored.facts | sidecar.facts

    def read(index: int) -> Volume:
        array = stored.voxels.frame(index)
        scale = factor * (sidecar.decay[index] if sidecar.decay else 1.0)
        if scale != 1:
            array *= np.float32(scale)
        name = f"'{path}'" if frames == 1 else f"frame {index + 1} of '{path}'"
        image = placement.image(array)
        check_geometry(image, name)
        if frames == 1:
            found = check_values(array, name)
        else:
            check_finite(array, name)  # a frame before the injection may be empty
            found = check_values(array, name) if array.any() else []
        of = {} if frames == 1 else {"frame": {"number": index + 1, "of": frames}}
        return Volume(image, unit, {**facts, **of, "warnings": [*found, *sentences]})

    several: FrameKind = "gated" if facts.get("gates") else "dynamic" if sidecar.times else "unknown"
    kind: FrameKind = "static" if frames == 1 else several
    return FrameSeries(str(path), kind, sidecar.times or (None,) * frames, read, facts)


def _unit(stored: StoredVolume, sidecar: Sidecar, path: Path) -> tuple[Unit, float]:
    """The unit that header or JSON say, and the factor to it. Raises "unit-conflict" where they contradict."""
    unit, factor = recorded_unit(stored.record), 1.0
    if unit == "unknown" and stored.unit:
        unit, factor = parse_unit(stored.unit)
    if sidecar.unit in (None, "unknown"):
        return unit, factor
    assert sidecar.unit is not None
    if unit != "unknown" and (unit, factor) != (sidecar.unit, sidecar.factor):
        raise PETDiffusionError(
            "unit-conflict",
            f"The header of '{path}' says that its values are in {UNIT_NAMES[unit]}, and '{sidecar.files[0].name}' "
            f"says {UNIT_NAMES[sidecar.unit]}. Correct or remove that JSON file.",
        )
    return sidecar.unit, sidecar.factor
