"""The command line with a small method in place of the real ones: what it does is chosen by the job's preset.

Run as a program, it is the engine's process in tests of jobs: fast, and able to fail in every way on request.
"""

from __future__ import annotations

import errno
import sys
import time
from dataclasses import replace
from pathlib import Path

from PETDiffusionLib.cli import main
from PETDiffusionLib.jobs import Job
from PETDiffusionLib.methods.catalogue import METHODS, Method, Preset
from PETDiffusionLib.methods.catalogue.denoise import DENOISE

BEHAVIOURS = ("copy", "slow", "warn", "bug", "disk-full", "out-of-memory", "second-output-fails", "no-torch", "huge")
FAKE = Method(
    id="fake",
    title="Copies its input",
    kind="denoise",
    module=Path(__file__).stem,
    inputs=DENOISE.inputs,
    outputs=DENOISE.outputs,
    presets={name: Preset(name, name) for name in BEHAVIOURS},
    default_preset="copy",
    task="denoise",
)


def run(job: Job, progress, warn) -> dict[str, object]:
    """Copy the input to every output, after what the preset asks for."""
    behaviour = job.options["preset"]
    content = job.inputs["image"].read_bytes()
    progress("Copying", 0.0)
    if behaviour == "slow":
        job.outputs["image"].write_bytes(content[: len(content) // 2])  # half of it is there when the test stops it
        for step in range(600):
            time.sleep(0.05)
            progress("Copying", step / 600)
    if behaviour == "warn":
        warn("voxel-size", "The voxels are larger than those of the training data (ä).")
    if behaviour == "bug":
        job.outputs["image"].write_bytes(content[:10])
        raise KeyError("a fault of this program")
    if behaviour == "out-of-memory":
        raise RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1e12 bytes"
        )
    if behaviour == "no-torch":
        import surely_not_installed_package  # noqa: F401
    if behaviour == "huge":
        content = bytes(1 << 24)
    for role, path in job.outputs.items():
        path.write_bytes(content)
        if behaviour == "disk-full":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        if behaviour == "second-output-fails" and role == "uncertainty":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
    progress("Copying", 1.0)
    return {"model": None, "seconds": 0.1}


def use_fake_method(default_preset: str = "copy") -> None:
    """Let "denoise" name this file's method, and "fake" too."""
    METHODS["denoise"] = METHODS["fake"] = replace(FAKE, default_preset=default_preset)
    sys.path.insert(0, str(Path(__file__).parent))


if __name__ == "__main__":
    use_fake_method()
    sys.exit(main())
