"""The device that work runs on."""

from __future__ import annotations

import torch

from PETDiffusionLib.errors import PETDiffusionError


def choose_device(name: str, double: bool = False) -> torch.device:
    """ "auto" is CUDA, then the CPU; a device that is not there is refused, and one without the `double` precision."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(name, False):
        usable = ", ".join(device for device, found in there.items() if found)
        raise PETDiffusionError("no-device", f'There is no device "{name}" here; usable: {usable}, or auto.')
    if double and name == "mps":
        raise PETDiffusionError(
            "no-device", "Reconstruction sums in double precision, which Apple's GPUs lack. Choose the device cpu."
        )
    return torch.device(name)
