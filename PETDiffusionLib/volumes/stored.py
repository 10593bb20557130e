"""The values of a volume file on disk, read one frame at a time: plain or compressed, in one file or in several."""

from __future__ import annotations

import bz2
import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from PETDiffusionLib.errors import PETDiffusionError

CHUNK_BYTES = 1 << 22


class Frames(Protocol):
    """Frames of `size` voxels along x, y and z, each read from the disk when it is asked for."""

    @property
    def frames(self) -> int: ...

    @property
    def size(self) -> tuple[int, ...]: ...

    def frame(self, index: int) -> np.ndarray:
        """The values of a frame, float32 [z, y, x]. Raises PETDiffusionError "bad-file"."""


@dataclass(frozen=True)
class StoredVoxels:
    """Where values lie and what they are.

    name:  the file, for sentences;
    parts: files and the byte at which the values (or their compressed stream) begin; their bytes follow each other;
    codec: "raw", "gzip", "zlib" or "bzip2";
    dtype: of the stored numbers, with their byte order;
    sizes: lengths of the axes, the fastest first; frame_axis: which of them counts frames, None of a static volume;
    slope, intercept: value = slope * stored + intercept;
    skip:  bytes of the decoded stream before the first value (a header that is compressed along).
    """

    name: str
    parts: tuple[tuple[Path, int], ...]
    codec: str
    dtype: np.dtype
    sizes: tuple[int, ...]
    frame_axis: int | None = None
    slope: float = 1.0
    intercept: float = 0.0
    skip: int = 0

    @property
    def frames(self) -> int:
        return 1 if self.frame_axis is None else self.sizes[self.frame_axis]

    @property
    def size(self) -> tuple[int, ...]:
        """Voxels along x, y and z."""
        return tuple(length for axis, length in enumerate(self.sizes) if axis != self.frame_axis)

    @property
    def byte_count(self) -> int:
        return int(np.prod([float(length) for length in self.sizes])) * self.dtype.itemsize

    def frame(self, index: int) -> np.ndarray:
        """The values of a frame, float32 [z, y, x]. Raises PETDiffusionError "bad-file"."""
        axis = None if self.frame_axis is None else len(self.sizes) - 1 - self.frame_axis
        if self._is_plain and axis in (None, 0):
            stored = self._plain_block(index)
        else:
            whole = np.memmap(self._unpacked, self.dtype, "r", self._start, self.sizes[::-1])
            stored = whole if axis is None else whole.take(index, axis)
        if self.slope == 1 and self.intercept == 0:
            return np.array(stored, np.float32)  # a copy of its own in native byte order
        return (stored.astype(np.float64) * self.slope + self.intercept).astype(np.float32)

    @property
    def _is_plain(self) -> bool:
        return self.codec == "raw" and len(self.parts) == 1 and not self.skip

    @property
    def _start(self) -> int:
        return self.parts[0][1] if self._is_plain else 0

    def _plain_block(self, index: int) -> np.ndarray:
        path, start = self.parts[0]
        self._require(path.stat().st_size - start)
        count = int(np.prod(self.size))
        offset = start + index * count * self.dtype.itemsize
        return np.fromfile(path, self.dtype, count, offset=offset).reshape(self.size[::-1])

    @cached_property
    def _unpacked(self) -> BinaryIO:
        """A file that holds all values as they are: the only plain part, or a temporary one, gone with this object."""
        if self._is_plain:
            path, start = self.parts[0]
            self._require(path.stat().st_size - start)
            return open(path, "rb")
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if free < self.byte_count:
            raise PETDiffusionError(
                "disk-full",
                f"To read {self.name}, {self.byte_count / 1e6:.0f} MB are unpacked into the folder for temporary "
                f"files, where {free / 1e6:.0f} MB are free. Make room there.",
            )
        unpacked = tempfile.TemporaryFile()  # noqa: SIM115 (kept open)
        found, skip = 0, self.skip
        try:
            for chunk in self._chunks():
                piece, skip = chunk[skip : skip + self.byte_count - found], max(0, skip - len(chunk))
                unpacked.write(piece)
                found += len(piece)
                if found == self.byte_count:
                    break
        except (EOFError, OSError, zlib.error) as error:
            raise _truncated(self.name, "its compressed data stop early or are damaged") from error
        self._require(found)
        unpacked.flush()
        return unpacked

    def _chunks(self) -> Iterator[bytes]:
        for path, start in self.parts:
            with open(path, "rb") as file:
                file.seek(start)
                yield from _decoded(file, self.codec)

    def _require(self, found: int) -> None:
        if found < self.byte_count:
            raise _truncated(self.name, f"{self.byte_count} bytes of voxels are expected and {max(found, 0)} are there")


@dataclass(frozen=True)
class StoredVolume:
    """What the header of a volume file says.

    affine:    voxel indices (x, y, z, 1) to millimetres of LPS, 4 x 4;
    record:    the text in which this program's unit may stand, and `unit` another program's name of a unit;
    sentences: what is unusual in the header, for the reader;
    facts:     JSON-able facts that travel with the volume;
    document:  what the header says in the keys of BIDS PET, where it holds facts of that kind;
    spacing, direction: where the file states them apart, as it states them.
    """

    voxels: Frames
    affine: np.ndarray
    record: str = ""
    unit: str | None = None
    sentences: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    spacing: tuple[float, ...] | None = None
    direction: tuple[float, ...] | None = None
    document: dict[str, object] = field(default_factory=dict)


def _decoded(file: BinaryIO, codec: str) -> Iterator[bytes]:
    if codec == "zlib":
        decoder = zlib.decompressobj(wbits=47)  # zlib's or gzip's header
        while chunk := file.read(CHUNK_BYTES):
            yield decoder.decompress(chunk)
        if not decoder.eof:
            raise EOFError
        return
    stream: Any = file
    if codec != "raw":
        stream = gzip.GzipFile(fileobj=file) if codec == "gzip" else bz2.BZ2File(file)
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _truncated(name: str, reason: str) -> PETDiffusionError:
    return PETDiffusionError("bad-file", f"{name} is truncated: {reason}. Copy or export it again.")
