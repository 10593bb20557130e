"""One evaluation of the 3D DDPM's network against a plain one: `python -m Testing.benchmarks.ddpm3d_speed`.

The plain one is the same network as a textbook writes it: single precision, everything out of place, time worked out
anew. Each runs in a process of its own, for its peak memory. The floor is what a lone convolution of the network's
finest level reaches. On a CPU seconds are CPU seconds, so that other work on the machine does not count. On a GPU also
the whole body, 192 x 288 x 520 voxels in 20 steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from PETDiffusionLib.diffusion.prediction import PredictionDenoiser
from PETDiffusionLib.methods.ddpm3d import ALPHAS_CUMPROD, Walk, draw
from PETDiffusionLib.networks.ddpm3d import DDPM3D, sinusoidal_embedding
from PETDiffusionLib.networks.precision import fast_precision

BODY = (520, 192, 288)
TIME = 500


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=int, default=128, help="channels; 128 is the published size")
    parser.add_argument("--window", type=int, nargs=3, default=None, help="z, y, x (96 192 288; on a CPU 16 48 64)")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    window = tuple(arguments.window or ((96, 192, 288) if device.type == "cuda" else (16, 48, 64)))
    tera = teraflop(arguments.base, window)
    print(f"base {arguments.base}, window {' x '.join(map(str, window))}: {tera:.3f} TFLOP an evaluation, on {device}")
    print("network                   s   peak GB   GFLOP/s   share of the lone convolution's")
    floor = lone_convolution(device, arguments.base, arguments.repeats)
    for name in KINDS:
        with get_context("spawn").Pool(1) as pool:  # a process of its own
            task = (name, arguments.base, window, device.type, arguments.repeats)
            seconds, gigabytes = pool.apply(measured, task)
        rate = 1000 * tera / seconds
        print(f"{name:<18} {seconds:8.2f}  {gigabytes:8.3f}  {rate:8.0f}   {rate / floor:8.2f}")
    print(f"lone convolution                        {floor:8.0f}")
    if device.type == "cuda":
        seconds, gigabytes = whole_body(arguments.base)
        print(f"{' x '.join(map(str, BODY))} in 20 steps: {seconds:.1f} s, peak {gigabytes:.1f} GB")


def plain(network: DDPM3D) -> Callable[[torch.Tensor, int, torch.Tensor], Any]:
    """The textbook's evaluation."""

    def evaluate(x_t: torch.Tensor, t: int, low_dose: torch.Tensor) -> torch.Tensor:
        embedded = network.time_embed(sinusoidal_embedding(torch.tensor([t], device=x_t.device), network.base))

        def block(layer: Any, x: torch.Tensor) -> torch.Tensor:
            h = layer._resized(layer.in_layers[1](layer.in_layers[0](x)))
            h = layer.in_layers[2](h)
            scale, shift = layer.emb_layers(embedded)[:, :, None, None, None].chunk(2, dim=1)
            h = layer.out_layers[0](h) * (1 + scale) + shift
            return layer.skip_connection(layer._resized(x)) + layer.out_layers[1:](h)

        h = network.input_blocks[0][0](torch.cat([x_t, low_dose], dim=1))
        skips = [h]
        for (layer,) in list(network.input_blocks)[1:]:
            h = block(layer, h)
            skips.append(h)
        for layer in network.middle_block:
            h = block(layer, h)
        for layers in network.output_blocks:
            h = torch.cat([h, skips.pop()], dim=1)
            for layer in layers:
                h = block(layer, h)
        return network.out(h)

    return evaluate


def ours(network: DDPM3D) -> Callable[[torch.Tensor, int, torch.Tensor], Any]:
    """The evaluation that the method makes on this device."""
    device = network.time_embed[0].weight.device
    network.convolve_in(fast_precision(device)).to(memory_format=torch.channels_last_3d)
    return PredictionDenoiser(network, ALPHAS_CUMPROD)


def ours_in_single_precision(network: DDPM3D) -> Callable[[torch.Tensor, int, torch.Tensor], Any]:
    """The same without the lower precision: what the rest of it brings."""
    return PredictionDenoiser(network.to(memory_format=torch.channels_last_3d), ALPHAS_CUMPROD)


KINDS = {"plain": plain, "ours, float32": ours_in_single_precision, "ours": ours}


@torch.inference_mode()
def measured(name: str, base: int, window: tuple[int, int, int], device: str, repeats: int) -> tuple[float, float]:
    """The shortest of a few evaluations in seconds, and the memory in GB that it takes beside the weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    evaluate = KINDS[name](DDPM3D(base).eval().to(device))
    x_t, low_dose = (torch.randn(1, 1, *window, device=device) for _ in range(2))
    evaluate(x_t[:, :, :2, :16, :16], TIME, low_dose[:, :, :2, :16, :16])
    before = memory_now(device)
    seconds = shortest(lambda: evaluate(x_t, TIME, low_dose), device, repeats)
    return seconds, (memory_peak(device) - before) / 1e9


def shortest(call: Callable[[], Any], device: str, repeats: int) -> float:
    """The shortest of a few calls: seconds on a GPU, CPU seconds elsewhere."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    times = []
    for _ in range(repeats):
        started = clock()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - started)
    return min(times)


def memory_now(device: str) -> float:
    """Bytes in use now, from which the peak is counted."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts anew from here
    return _status("VmRSS")


def memory_peak(device: str) -> float:
    """The most bytes that were in use."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else _status("VmHWM")


def _status(field: str) -> float:
    """A size of this process, in bytes, as Linux tells it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(field))) * 1024


def teraflop(base: int, window: tuple[int, int, int]) -> float:
    """The operations of one evaluation, counted on tensors without content."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        x_t = torch.zeros(1, 1, *window)
        DDPM3D(base)(x_t, torch.zeros(1), x_t)
    return counter.get_total_flops() / 1e12


@torch.inference_mode()
def lone_convolution(device: torch.device, base: int, repeats: int) -> float:
    """GFLOP/s of one convolution at full resolution, in the fast precision and the memory format that suits it."""
    shape = (96, 192, 288) if device.type == "cuda" else (8, 64, 96)
    layer = torch.nn.Conv3d(base, base, 3, padding=1, device=device, dtype=fast_precision(device))
    layer = layer.to(memory_format=torch.channels_last_3d)
    block = torch.randn(1, base, *shape, device=device, dtype=fast_precision(device))
    block = block.contiguous(memory_format=torch.channels_last_3d)
    seconds = shortest(lambda: F.conv3d(block, layer.weight, layer.bias, padding=1), device.type, repeats + 1)
    return 2 * 27 * base * base * block[0, 0].numel() / seconds / 1e9


def whole_body(base: int) -> tuple[float, float]:
    """Seconds and peak gigabytes of twenty steps on a body of the published shape."""
    torch.manual_seed(0)
    network = DDPM3D(base).eval().cuda().convolve_in(fast_precision(torch.device("cuda")))
    network = network.to(memory_format=torch.channels_last_3d)
    low_dose = torch.rand(1, 1, *BODY, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    draw(low_dose, network, 16.0, Walk("ddim", 20, "low-dose"), 1, seed=0)
    torch.cuda.synchronize()
    return time.perf_counter() - started, torch.cuda.max_memory_allocated() / 1e9


if __name__ == "__main__":
    main()
