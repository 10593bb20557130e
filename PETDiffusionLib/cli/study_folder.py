"""A folder of simulated files: all of them or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.jobs.runner import refuse_overwriting, written_files
from PETDiffusionLib.jobs.staging import Staging


@contextlib.contextmanager
def study_folder(
    folder: Path, names: Mapping[str, str], overwrite: bool, inputs: Sequence[Path] = ()
) -> Iterator[dict[str, Path]]:
    """Where to write the files of `names` (role -> name); they appear in `folder`, and are printed, after the context.

    Raises PETDiffusionError "exists" for a file that is there already, unless `overwrite`, and "overwrites-input" for
    one of `inputs`.
    """
    files = {role: folder / name for role, name in names.items()}
    existing = [file for path in files.values() for file in written_files(path) if file.exists()]
    for file in existing:
        refuse_overwriting(file, inputs, overwrite=True)
    if existing and not overwrite:
        raise PETDiffusionError("exists", f"'{existing[0]}' exists already. Choose another folder or give --overwrite.")
    with _made(folder), Staging(files) as staging:
        yield staging.paths
        staging.publish()
    for path in files.values():
        print(path)


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder exists inside the context; folders that were made for it go again if the work fails."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
