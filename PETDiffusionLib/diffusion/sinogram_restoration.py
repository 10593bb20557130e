"""From the prompts of any scanner's sinogram to their expectation: by the count bridge, or by RED as published.

What comes out stands where the prompts stood: attenuation, normalisation, scatter and randoms stay as they are, so it
is reconstructed quantitatively by the algorithm that would have reconstructed the prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from PETDiffusionLib.diffusion.count_bridge import (
    TWIN_FWHMS_MM,
    CountDenoiser,
    blurred,
    make_condition,
    padded,
    quick_image,
    unpadded,
)
from PETDiffusionLib.diffusion.red import Network, Normalisation, reverse
from PETDiffusionLib.diffusion.residual import sample, uniform_times
from PETDiffusionLib.diffusion.tiling import plan_windows, tiled
from PETDiffusionLib.projection.projector import Projector
from PETDiffusionLib.sinograms.geometry import ScannerGeometry
from PETDiffusionLib.sinograms.sinogram import Sinogram

PLANES_AT_ONCE = 8
WINDOW, OVERLAP = (48, 512, 512), 16  # plane, view, tangential
LEAST_SHARE = 0.01  # of trues in what is expected: below it there is only background, and that is known

Callback = Callable[[float], None]


@torch.inference_mode()
def restored_by_red(
    sinogram: Sinogram, ren: Network, dcn: Network | None, steps: int = 50, callback: Callback | None = None
) -> torch.Tensor:
    """The expectation of the prompts [plane, view, tangential] by RED's walk, plane by plane as published."""
    batches = sinogram.prompts[:, None].split(PLANES_AT_ONCE)
    tick = _ticker(callback, len(batches) * steps)
    planes = []
    for prompts in batches:
        scale = Normalisation.of(prompts)
        planes.append(scale.undo(reverse(scale.apply(prompts), ren, dcn, steps, callback=tick)))
    return _with_the_counts_of(sinogram, torch.cat(planes)[:, 0])


class CountRestoration:
    """One sinogram on the count bridge: what is shared by its posterior mean and its draws.

    `voxel_size_mm` (x, y, z) are those of the projector's images. Every segment is a volume of its own.
    """

    @torch.inference_mode()
    def __init__(
        self, sinogram: Sinogram, projector: Projector, voxel_size_mm: Sequence[float], network: nn.Module
    ) -> None:
        self.sinogram, self.network = sinogram, network
        image = quick_image(projector, sinogram)
        twins = [projector.forward(blurred(image, fwhm, voxel_size_mm)) for fwhm in TWIN_FWHMS_MM]
        self.condition = make_condition(sinogram, twins)

    def mean(self, callback: Callback | None = None) -> torch.Tensor:
        """The posterior mean of the expectation, in one step: [plane, view, tangential]."""
        return self._restored(1, _no_noise, callback)

    def draw(self, steps: int, seed: int, callback: Callback | None = None) -> torch.Tensor:
        """One draw of the expectation from its posterior, in `steps` steps; the same for the same seed."""
        return self._restored(steps, partial(_noise, seed), callback)

    @torch.inference_mode()
    def _restored(
        self, steps: int, noise: Callable[[torch.Size, int], torch.Tensor], callback: Callback | None
    ) -> torch.Tensor:
        prompts, geometry = self.sinogram.prompts, self.sinogram.geometry
        restored = torch.empty_like(prompts)
        segments = list(_segments(geometry))
        for number, (planes, opposite) in enumerate(segments):
            y, condition = (
                padded(data[:, planes][None], data[:, opposite][None]) for data in (prompts[None], self.condition)
            )
            occupied = (condition[0, 3] > LEAST_SHARE).cpu().numpy()
            boxes = plan_windows(occupied, WINDOW, OVERLAP)
            tick = _ticker(callback, max(1, len(boxes)) * steps, number, len(segments))
            denoiser = tiled(CountDenoiser(self.network), boxes, OVERLAP, _fine_twin, tick)
            eps = lambda step, shape=y.shape, number=number: noise(shape, 1000 * number + step).to(prompts)  # noqa: E731
            estimate = sample(denoiser, y, condition, uniform_times(steps), condition[:, 1:2].sqrt(), eps)
            restored[planes] = unpadded(estimate, prompts[planes].shape)[0, 0]
        return _with_the_counts_of(self.sinogram, restored)


def _segments(geometry: ScannerGeometry) -> Iterator[tuple[slice, slice]]:
    """The planes of every segment, and those of the segment of opposite tilt, where half a turn leads to."""
    counts = [segment.planes(geometry.rings) for segment in geometry.segments]
    ends = np.cumsum(counts).tolist()
    slices = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    tilts = [segment.mean_difference for segment in geometry.segments]
    for planes, tilt in zip(slices, tilts, strict=True):
        yield planes, slices[tilts.index(-tilt)] if -tilt in tilts else planes


def _fine_twin(x_t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """Where there is hardly any activity the filtered reconstruction is good enough."""
    return condition[:, :1]


def _with_the_counts_of(sinogram: Sinogram, restored: torch.Tensor) -> torch.Tensor:
    """No negative counts; and the trues' total, which all the prompts tell far better than any bin, is theirs."""
    background = torch.zeros_like(restored) if sinogram.additive is None else sinogram.additive
    trues = restored.clamp_min(0) - background
    wanted = float((sinogram.prompts - background).sum(dtype=torch.float64))
    found = float(trues.sum(dtype=torch.float64))
    factor = wanted / found if wanted > 0 and found > 0 else 1.0
    return (background + factor * trues).clamp_min(0)


def _noise(seed: int, shape: torch.Size, step: int) -> torch.Tensor:
    """Standard normal noise of one step: the same on any device and for any windows."""
    state = np.random.SeedSequence([seed, step]).generate_state(2, np.uint32)
    return torch.randn(shape, generator=torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1])))


def _no_noise(shape: torch.Size, step: int) -> torch.Tensor:
    return torch.zeros(shape)


def _ticker(callback: Callback | None, total: int, part: int = 0, parts: int = 1) -> Callable[[], None]:
    """Each call says that one more of `total` pieces of work is done, in part `part` of `parts` of the whole."""
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if callback is not None:
            callback((part + done / total) / parts)

    return tick
