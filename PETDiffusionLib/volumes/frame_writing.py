"""Several frames written as one result, one frame in memory: 4D NIfTI, or a file a frame where a format holds no 4D."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.frames import FrameTime
from PETDiffusionLib.volumes.nifti_writing import NiftiStream
from PETDiffusionLib.volumes.sidecar import check_sidecar, sidecar_path, write_sidecar
from PETDiffusionLib.volumes.volume import Volume, check_finite
from PETDiffusionLib.volumes.writing import cannot_write, check_writable_name, is_nifti, publish, write_completely


def frame_files(path: str | os.PathLike[str], frames: int) -> list[Path]:
    """The files that `FrameWriter` makes of a number of frames: volumes first, the JSON file beside them last.

    NIfTI holds all frames (`scan.nii.gz`); readers do not agree on the fourth dimension of other formats, which get
    a volume a frame: `scan.nrrd` becomes `scan_frame001.nrrd` and so on, numbered from 1.
    """
    path = Path(path)
    if is_nifti(path) or frames == 1:
        return [path, sidecar_path(path)]
    ending = path.suffix
    volumes = [path.with_name(f"{path.name[: -len(ending)]}_frame{number:03}{ending}") for number in _numbers(frames)]
    data = [volume.with_suffix(".raw") for volume in volumes if ending.lower() == ".mhd"]
    return [*volumes, *data, sidecar_path(path)]


def check_frame_files(path: str | os.PathLike[str], frames: int) -> None:
    """Refuse a name under which a file of one of the frames stands already. Raises PETDiffusionError "exists"."""
    there = next((file for file in frame_files(path, frames)[:-1] if file.exists()), None)
    if there is not None:
        raise PETDiffusionError("exists", f"'{there}' exists already. Choose another name or allow overwriting.")


class FrameWriter:
    """A context that writes frames one by one, and puts the result in its place when all of them were written.

        with FrameWriter("scan.nii.gz", like=first, times=series.times, facts=series.facts) as writer:
            for volume in volumes:
                writer.write(volume)

    like:      a volume on the grid and in the unit of all frames; its facts go into the JSON file.
    times:     one entry a frame; how many frames there will be.
    facts:     what is known of the series (`FrameSeries.facts`), for the JSON file beside.
    overwrite: whether a JSON file of another program that stands there may be replaced.
    Everything is written into a hidden folder beside its place and renamed at the end; where an error (or a wish to
    stop) leaves the context early, nothing appears. Raises PETDiffusionError as `write_volume` does.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        like: Volume,
        times: Sequence[FrameTime | None],
        facts: Mapping[str, object] | None = None,
        overwrite: bool = False,
    ) -> None:
        self._path, self._times = Path(path), tuple(times)
        self._like: Volume | None = like  # until its grid is written: a frame is large
        self._unit, self._size = like.unit, like.image.GetSize()
        self._facts = {**like.facts, **(facts or {})}
        check_writable_name(self._path)
        check_sidecar(self._path, overwrite)
        self._files = frame_files(self._path, len(self._times))
        self._written = 0
        self._stream: NiftiStream | None = None

    def __enter__(self) -> FrameWriter:
        assert self._like is not None, "a writer is entered once"
        try:
            self._scratch = tempfile.TemporaryDirectory(prefix=f".{self._path.name}.", dir=self._path.parent)
            if is_nifti(self._path):
                self._stream = NiftiStream(Path(self._scratch.name) / self._path.name, self._like, self._times)
        except OSError as error:
            raise self._cannot_write(error) from error
        self._like = None
        return self

    def write(self, volume: Volume) -> None:
        """The next frame, on the grid of `like` and in its unit."""
        assert self._written < len(self._times), "more frames than times"
        if volume.unit != self._unit or volume.image.GetSize() != self._size:
            raise ValueError("all frames are in one unit and on one grid")
        check_finite(sitk.GetArrayViewFromImage(volume.image), f"Frame {self._written + 1} for '{self._path}'")
        try:
            if self._stream is not None:
                self._stream.append(volume)
            else:
                write_completely(volume, Path(self._scratch.name) / self._files[self._written].name)
        except (OSError, RuntimeError) as error:
            raise self._cannot_write(error) from error
        self._written += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._scratch:
            try:
                if self._stream is not None:
                    self._stream.__exit__(kind, error, trace)
                if kind is not None:
                    return
                assert self._written == len(self._times), "fewer frames than times"
                folder = Path(self._scratch.name)
                write_sidecar(folder / self._files[-1].name, self._unit, self._facts, self._times)
                publish(folder, self._path)
            except OSError as failure:
                if kind is None:
                    raise self._cannot_write(failure) from failure

    def _cannot_write(self, error: Exception) -> PETDiffusionError:
        return cannot_write(self._path, math.prod(self._size) * len(self._times), error)


def _numbers(frames: int) -> range:
    return range(1, frames + 1)
