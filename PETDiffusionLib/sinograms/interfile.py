"""Sinograms as Interfile, STIR's dialect: a text header (.hs) beside its binary data (.s)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry
from PETDiffusionLib.sinograms.interfile_geometry import Layout, header_lines, read_geometry, read_layout
from PETDiffusionLib.sinograms.interfile_header import InterfileHeader
from PETDiffusionLib.sinograms.sinogram import Sinogram

NUMPY_TYPES = {
    "float": {4: "f4", 8: "f8"},
    "short float": {4: "f4"},
    "long float": {8: "f8"},
    "signed integer": {1: "i1", 2: "i2", 4: "i4", 8: "i8"},
    "unsigned integer": {1: "u1", 2: "u2", 4: "u4", 8: "u8"},
}


def read_interfile(path: str | os.PathLike[str]) -> Sinogram:
    """The prompts and geometry of a .hs header and the data beside it.

    Raises PETDiffusionError "bad-header", naming the key, for a header that states half a geometry or contradicts
    itself, "missing-file" and "bad-file" for the data.
    """
    header = InterfileHeader(Path(path))
    frames = header.number("number of time frames", 1)
    if frames != 1:
        raise header.error(f'"number of time frames" should be 1, but is {frames:g}: give the frames one by one')
    layout = read_layout(header)
    geometry = read_geometry(header, layout)
    data = _read_data(header, layout)
    facts = {"source": Path(path).name, "scanner": geometry.name}
    return Sinogram(geometry, torch.from_numpy(data), facts=facts)


def write_interfile(data: torch.Tensor, geometry: ScannerGeometry, path: str | os.PathLike[str]) -> None:
    """Write [plane, view, tangential(, tof)] as float32: the header to `path` (.hs), the data beside it (.s).

    Both appear whole, the data first. Raises PETDiffusionError "bad-format" for another ending.
    """
    path = Path(path)
    if path.suffix.lower() != ".hs":
        raise PETDiffusionError("bad-format", f"'{path.name}' should end in .hs, the header of an Interfile sinogram.")
    array = data.detach().cpu().numpy().astype("<f4", copy=False).reshape(geometry.data_shape)
    segments = np.split(array, np.cumsum([s.planes(geometry.rings) for s in geometry.segments])[:-1])
    tof_bins = [None] if geometry.tof is None else list(range(geometry.tof.bins))[::-1]  # STIR's order, see reading
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        staged = Path(scratch) / path.with_suffix(".s").name
        with open(staged, "wb") as stream:
            for tof_bin in tof_bins:
                for segment in segments:
                    part = segment if tof_bin is None else segment[..., tof_bin]
                    stream.write(np.ascontiguousarray(part.swapaxes(0, 1)).tobytes())  # [view, plane, tangential]
        text = "\n".join(header_lines(geometry, staged.name)) + "\n"
        (Path(scratch) / path.name).write_text(text, encoding="utf-8")
        os.replace(staged, path.with_suffix(".s"))
        os.replace(Path(scratch) / path.name, path)


def _read_data(header: InterfileHeader, layout: Layout) -> np.ndarray:
    """float32 [plane, view, tangential(, tof)], scaled."""
    stored = _stored_type(header)
    per_tof_bin = sum(layout.planes) * layout.views * layout.tangential_bins
    count = per_tof_bin * (layout.tof_bins or 1)
    offset = int(header.number("data offset in bytes[1]", 0))
    scale = header.number("image scaling factor[1]", 1)
    path = header.path.parent / header.text("name of data file")
    if not path.is_file():
        raise PETDiffusionError(
            "missing-file", f"'{header.path}' has its data in '{path.name}', which is not beside it. Copy it there."
        )
    expected, found = offset + count * stored.itemsize, path.stat().st_size
    if found != expected:
        raise PETDiffusionError(
            "bad-file",
            f"'{path}' should hold {expected} bytes as '{header.path.name}' describes it, but holds {found}. "
            "Copy or export both again.",
        )
    raw = np.fromfile(path, stored, count, offset=offset).astype(np.float32) * np.float32(scale)
    if not np.isfinite(raw).all():
        raise PETDiffusionError("not-finite", f"'{path}' holds values that are NaN or infinite. Export it again.")
    tof_bins = [_arranged(part, layout) for part in raw.reshape(-1, per_tof_bin)]
    if layout.tof_bins is None:
        return tof_bins[0]
    return np.ascontiguousarray(np.stack(tof_bins[::-1], axis=-1))  # STIR's last bin is nearest to detector 1


def _stored_type(header: InterfileHeader) -> np.dtype:
    kinds = NUMPY_TYPES.get(header.text("number format").lower())
    size = header.whole("number of bytes per pixel")
    if kinds is None or size not in kinds:
        raise header.error(f'"number format" {header.text("number format")} of {size} bytes is not one it can hold')
    order = header.text("imagedata byte order", "BIGENDIAN").upper()  # Interfile's default
    if order not in ("BIGENDIAN", "LITTLEENDIAN"):
        raise header.error(f'"imagedata byte order" should be BIGENDIAN or LITTLEENDIAN, but is {order}')
    return np.dtype((">" if order == "BIGENDIAN" else "<") + kinds[size])


def _arranged(values: np.ndarray, layout: Layout) -> np.ndarray:
    """The values of one TOF bin as [plane, view, tangential], the segments one after the other."""
    segments, first = [], 0
    for planes in layout.planes:
        size = planes * layout.views * layout.tangential_bins
        shape = (layout.views, planes) if layout.planes_inside_views else (planes, layout.views)
        segment = values[first : first + size].reshape(*shape, layout.tangential_bins)
        segments.append(segment.swapaxes(0, 1) if layout.planes_inside_views else segment)
        first += size
    return np.ascontiguousarray(np.concatenate(segments))
