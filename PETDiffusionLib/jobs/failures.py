"""What went wrong, in words for people: errors of the system and of libraries become sentences with a stable code."""

from __future__ import annotations

import errno

from PETDiffusionLib.errors import PETDiffusionError, is_out_of_memory

_DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


def explain(error: BaseException) -> PETDiffusionError | None:
    """The error as a sentence with a code, or None when it is a fault of this program."""
    if isinstance(error, PETDiffusionError):
        return error
    if isinstance(error, OSError):
        return _explain_os_error(error)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("PETDiffusionLib"):
        package = error.name.partition(".")[0]
        return PETDiffusionError(
            "missing-package",
            f"The Python package {package} is needed and not installed; install PETDiffusionLib with pip.",
        )
    if is_out_of_memory(error):
        return PETDiffusionError(
            "out-of-memory",
            "There is not enough memory for this volume; close programs, crop the volume or choose another device.",
        )
    return None


def _explain_os_error(error: OSError) -> PETDiffusionError | None:
    where = f": {error.filename}" if error.filename else "."
    if error.errno == errno.ENOMEM:
        return explain(MemoryError())
    if error.errno in _DISK_FULL:
        return PETDiffusionError("disk-full", f"Nothing was written, because the disk or your quota is full{where}")
    if error.errno in _NOT_ALLOWED:
        return PETDiffusionError(
            "not-allowed", f"The system does not allow reading or writing here{where} (choose another folder)"
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return PETDiffusionError("no-file", f"There is no such file or folder{where} (check the path)")
    if error.errno == errno.EIO:
        return PETDiffusionError("disk-error", f"Nothing was written, because the disk or drive failed{where}")
    if error.strerror:
        return PETDiffusionError("system", f"The system says: {error.strerror}{where}")
    return None
