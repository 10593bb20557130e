"""From the prompts of any scanner's sinogram to their expectation: by the count bridge, or by RED as published.

What comes out stands where the prompts stood: attenuation, normalisation, scatter and randoms stay as they are, so it
is reconstructed quantitatively by the algorithm that would have reconstructed the prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count

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
    """One sinogram on the count bridge: its posterior mean, and draws from the posterior.

    `voxel_size_mm` (x, y, z) are those of the projector's images. Every segment is a volume of its own.
    """

    def __init__(
        self, sinogram: Sinogram, projector: Projector, voxel_size_mm: Sequence[float], network: nn.Module
    ) -> None:
        self.sinogram, self.projector, self.voxel_size_mm = sinogram, projector, voxel_size_mm
        self.denoiser = CountDenoiser(network)

    def mean(self, callback: Callback | None = None) -> torch.Tensor:
        """The posterior mean of the expectation, in one step: [plane, view, tangential]."""
        return self._expectation(self.sinogram, callback)

    def draw(self, steps: int, seed: int, callback: Callback | None = None) -> torch.Tensor:
        """One draw of the expectation from its posterior; the same for the same seed.

        Every step but the last counts on until the dose is twice as high; the last says what is then expected.
        """
        rng = np.random.default_rng([seed, 9])
        scan, dose = self.sinogram, 1.0
        for step in range(steps - 1):
            expected = self._expectation(scan, _part_of(callback, step, steps))
            further = torch.from_numpy(rng.poisson(expected.cpu().numpy()).astype(np.float32)).to(expected)
            scan, dose = _with_as_much_again(scan, further), 2 * dose
        return self._expectation(scan, _part_of(callback, steps - 1, steps)) / dose

    @torch.inference_mode()
    def condition(self, scan: Sinogram) -> torch.Tensor:
        """What the denoiser knows of a scan: [5, plane, view, tangential]."""
        image = quick_image(self.projector, scan)
        twins = [self.projector.forward(blurred(image, fwhm, self.voxel_size_mm)) for fwhm in TWIN_FWHMS_MM]
        return make_condition(scan, twins)

    @torch.inference_mode()
    def _expectation(self, scan: Sinogram, callback: Callback | None) -> torch.Tensor:
        condition, restored = self.condition(scan), torch.empty_like(scan.prompts)
        segments = list(_segments(scan.geometry))
        for number, (planes, opposite) in enumerate(segments):
            prompts, known = (
                padded(data[:, planes][None], data[:, opposite][None]) for data in (scan.prompts[None], condition)
            )
            boxes = plan_windows((known[0, 3] > LEAST_SHARE).cpu().numpy(), WINDOW, OVERLAP)
            tick = _ticker(_part_of(callback, number, len(segments)), max(1, len(boxes)))
            estimate = tiled(self.denoiser, boxes, OVERLAP, _fine_twin, tick)(prompts, 1.0, known)
            restored[planes] = unpadded(estimate, restored[planes].shape)[0, 0]
        return _with_the_counts_of(scan, restored)


def _with_as_much_again(scan: Sinogram, further: torch.Tensor) -> Sinogram:
    """The scan and `further` counts of another one as long."""
    doubled = [None if term is None else 2 * term for term in (scan.multiplicative, scan.additive)]
    return replace(scan, prompts=scan.prompts + further, multiplicative=doubled[0], additive=doubled[1])


def _segments(geometry: ScannerGeometry) -> Iterator[tuple[slice, slice]]:
    """The planes of every segment, and those of the segment of opposite tilt, where half a turn leads to."""
    counts = [segment.planes(geometry.rings) for segment in geometry.segments]
    ends = np.cumsum(counts).tolist()
    slices = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    tilts = [segment.mean_difference for segment in geometry.segments]
    for planes, tilt in zip(slices, tilts, strict=True):
        yield planes, slices[tilts.index(-tilt)] if -tilt in tilts else planes


def _fine_twin(prompts: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
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


def _part_of(callback: Callback | None, part: int, parts: int) -> Callback | None:
    """Reports part `part` of `parts` of the whole."""
    return None if callback is None else lambda fraction: callback((part + fraction) / parts)


def _ticker(callback: Callback | None, total: int) -> Callable[[], None]:
    """Each call says that one more of `total` pieces of work is done."""
    done = count(1)
    return lambda: callback(next(done) / total) if callback is not None else None
