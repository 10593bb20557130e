"""parallelproj's compiled projectors where they can be imported: from conda-forge, on a CPU or with CUDA.

Version 2 (`parallelproj_core`) is preferred. Version 1 extends the image by one voxel at its faces where version 2 and
the project's own projectors end at them, and loses the tails of TOF, so a projector keeps to one version on both sides.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.lines import LineProjector


@lru_cache(maxsize=1)
def installed() -> ModuleType | None:
    """`parallelproj_core` (version 2), else `parallelproj` of version 1, else None."""
    for name, function in (("parallelproj_core", "joseph3d_fwd"), ("parallelproj", "joseph3d_fwd_tof_sino")):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if hasattr(module, function):
            return module
    return None


class ParallelprojProjector(LineProjector):
    """The operator of LineProjector, computed by parallelproj. Raises PETDiffusionError "no-backend" without it."""

    def __init__(self, *lines_and_grid: Any) -> None:
        super().__init__(*lines_and_grid)
        module = installed()
        if module is None:
            raise PETDiffusionError(
                "no-backend",
                "The projector parallelproj was asked for, and this Python cannot import it. "
                "It comes from conda-forge: mamba install -c conda-forge parallelproj.",
            )
        self._module, self._is_v2 = module, module.__name__ == "parallelproj_core"
        self.name = f"parallelproj {getattr(module, '__version__', 2 if self._is_v2 else 1)}"
        # Axes in the order of the image's, [z, y, x], so that images pass as they are.
        self._ends = [points.flip(-1).reshape(-1, 3).contiguous() for points in (self._start, self._end)]
        self._grid = [torch.tensor(v[::-1], device=self.device) for v in (self._origin, self._voxel)]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = image.contiguous()
        name = (
            "joseph3d_fwd"
            if self.tof is None
            else ("joseph3d_tof_sino_fwd" if self._is_v2 else "joseph3d_fwd_tof_sino")
        )
        project = getattr(self._module, name)
        if not self._is_v2:
            return project(*self._ends, image, *self._grid, *self._timing).reshape(self.data_shape)
        data = image.new_zeros(self._flat_shape)
        project(*self._ends, image, *self._grid, data, *self._timing)
        return data.reshape(self.data_shape)

    def adjoint(self, data: torch.Tensor) -> torch.Tensor:
        flat = data.reshape(self._flat_shape).contiguous()
        if self.tof is not None and bool((flat < 0).any()):
            # It passes over lines whose bins sum to zero, which with both signs need not be empty.
            return self.adjoint(flat.clamp(min=0)) - self.adjoint((-flat).clamp(min=0))
        name = (
            "joseph3d_back"
            if self.tof is None
            else ("joseph3d_tof_sino_back" if self._is_v2 else "joseph3d_back_tof_sino")
        )
        back_project = getattr(self._module, name)
        if not self._is_v2:
            return back_project(*self._ends, self.image_shape, *self._grid, flat, *self._timing)
        image = flat.new_zeros(self.image_shape)
        back_project(*self._ends, image, *self._grid, flat, *self._timing)
        return image

    @property
    def _timing(self) -> tuple[Any, ...]:
        if self.tof is None:
            return ()
        sigma, offset = torch.tensor([self.tof.sigma_mm], device=self.device), torch.zeros(1, device=self.device)
        if self._is_v2:
            return (self.tof.bin_width_mm, sigma, offset, self.tof.bins, self.tof.truncation_sigmas)
        return (self.tof.bin_width_mm, sigma, offset, self.tof.truncation_sigmas, self.tof.bins)
