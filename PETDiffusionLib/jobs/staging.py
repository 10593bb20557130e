"""Results that appear together or not at all: written in hidden folders beside their places, then renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from PETDiffusionLib.errors import PETDiffusionError

if TYPE_CHECKING:
    from filelock import FileLock


class Staging:
    """A context in which outputs are written to `paths`, and appear under their own names by `publish()`.

    Each output has a hidden folder beside its place, on the same file system, so that publishing is a rename.
    The folder's name follows from the output's, so that what a killed program left there is cleared by the next one;
    a lock beside it, which ends with its program, tells that from another job's work. Entering raises OSError where
    nothing can be written, and PETDiffusionError where another job writes the same output.
    """

    def __init__(self, outputs: Mapping[str, Path]) -> None:
        self._outputs = dict(outputs)
        self._folders = {role: path.parent / _folder_name(path) for role, path in self._outputs.items()}
        self.paths = {role: self._folders[role] / path.name for role, path in self._outputs.items()}
        self._held: dict[Path, FileLock] = {}

    def __enter__(self) -> Staging:
        try:
            for role, folder in self._folders.items():
                self._hold(folder, self._outputs[role])
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
        except PETDiffusionError:
            self._clear()
            raise
        except OSError as error:
            self._clear()
            error.filename = str(folder.parent)  # the place that the user knows
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def files(self, role: str) -> list[Path]:
        """Where the files staged for an output will lie: its own name, or those of its parts, a frame each."""
        return [self._outputs[role].parent / staged.name for staged in sorted(self._folders[role].iterdir())]

    def publish(self) -> None:
        """Rename every staged file to its place, the first role's output last: when it is there, all is there.

        Where that fails half way, what was there before is put back.
        """
        placed: list[Path] = []
        replaced: dict[Path, Path] = {}
        try:
            for role in reversed(self._outputs):
                for staged in sorted(self._folders[role].iterdir()):
                    place = self._outputs[role].parent / staged.name
                    if place.exists():
                        before = staged.with_name(f"{staged.name}.before")
                        os.replace(place, before)
                        replaced[place] = before
                    os.replace(staged, place)
                    placed.append(place)
        except BaseException:
            for place in placed:
                place.unlink(missing_ok=True)
            for place, before in replaced.items():
                os.replace(before, place)
            raise

    def _hold(self, folder: Path, output: Path) -> None:
        """Make `folder` ours until the end, or refuse."""
        from filelock import FileLock, Timeout  # here, since questions are answered where no package is installed yet

        lock = FileLock(folder.with_suffix(".lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            if not Path(lock.lock_file).exists():
                raise PETDiffusionError(
                    "cannot-write", f"No file can be made in {output.parent}. Choose another folder."
                ) from None
            raise PETDiffusionError(
                "output-in-use",
                f"{output} is being written by another job. Wait until that one has ended, or give another output.",
            ) from None
        except NotImplementedError:
            pass  # a file system without locks: nobody can be told
        self._held[folder] = lock

    def _clear(self) -> None:
        for folder, lock in self._held.items():
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)
        self._held.clear()


def _folder_name(path: Path) -> str:
    return ".part-" + hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
