"""How fast list mode is binned and in how much memory, against numpy's bincount of the same bins.

    python -m Testing.benchmarks.list_mode [--events 100000000] [--folder FOLDER]

Makes 32-bit words of the mMR (a time tag a millisecond, one event in five delayed; addresses of span 1, half of them
spread evenly and half about the middle as a patient's are) and bins them to span 11. numpy has the events' bins ready
in memory, prompts and delayed coincidences apart, and counts them at once (bincount), or in pieces of four million
(add.at). Each runs in a process of its own on one thread; memory is the process's largest, less what it is after its
imports.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PLANES, PER_PLANE = 4084, 252 * 344
PIECE = 1 << 22
HEADER = """!INTERFILE:=
!originating system:=2008
%SMS-MI header name space:=PETLINK bin address
name of data file:=words.l
%patient orientation:=HFS
%axial compression:=1
%maximum ring difference:=60
number of rings:=64
number of projections:=344
number of views:=252
"""
WAYS = {
    "petdiffusion": "the file to prompts and delayeds of span 11",
    "petdiffusion, 10 frames": "the same, in ten frames",
    "bincount": "numpy.bincount, bins in memory",
    "add.at": "numpy.add.at, bins in memory, in pieces",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--way", choices=tuple(WAYS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measured(arguments.way, arguments.folder)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(f"{'':58}     s  10^6/s  MB   prompts")
        for events in (arguments.events // 10, arguments.events):
            write_words(Path(folder), events)
            for way, words in WAYS.items():
                row = in_process(way, Path(folder))
                rate, size = events / row["seconds"] / 1e6, row["mb"]
                print(
                    f"{events:>10} {words:47} {row['seconds']:6.1f} {rate:6.1f} {size:6.0f} {row['prompts']}",
                    flush=True,
                )


def write_words(folder: Path, events: int, seconds: int = 600) -> None:
    """Words in a file, written in pieces."""
    rng = np.random.default_rng(0)
    (folder / "words.l.hdr").write_text(HEADER)
    with open(folder / "words.l", "wb") as stream:
        for piece in range(0, events, PIECE):
            count = min(PIECE, events - piece)
            spread = rng.integers(0, PLANES * PER_PLANE, count, np.uint32)
            middle = (np.abs(rng.normal(0, PLANES / 5, count)).astype(np.uint32) % PLANES) * np.uint32(PER_PLANE)
            middle += rng.integers(0, 252, count, np.uint32) * np.uint32(344)
            middle += np.clip(rng.normal(172, 40, count), 0, 343).astype(np.uint32)
            words = (
                np.where(rng.random(count) < 0.5, spread, middle) | (rng.random(count) < 0.8).astype(np.uint32) << 30
            )
            first, last = (round(1000 * seconds * at / events) for at in (piece, piece + count))
            ticks = np.arange(first, last, dtype=np.uint32) | np.uint32(1 << 31)
            stream.write(
                np.insert(words, np.linspace(0, count, len(ticks), endpoint=False, dtype=int), ticks).tobytes()
            )


def in_process(way: str, folder: Path) -> dict[str, float]:
    """What a process of its own measures."""
    command = [sys.executable, "-m", "Testing.benchmarks.list_mode", "--way", way, "--folder", str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def measured(way: str, folder: Path) -> dict[str, float]:
    """Seconds, memory and the prompts of one way."""
    import torch

    from PETDiffusionLib.sinograms.list_mode import binned_geometry, open_list_mode
    from PETDiffusionLib.sinograms.list_mode_frames import binned_frames, frame_times

    torch.set_num_threads(1)
    opened = open_list_mode(folder / "words.l.hdr")
    geometry = binned_geometry(opened.geometry, 11)
    size = int(np.prod(geometry.data_shape))
    frames = frame_times("10x60") if way.endswith("frames") else ()
    ready = [] if way.startswith("petdiffusion") else [batch.bins for batch in opened.batches(geometry)]
    bins = np.concatenate(ready) if way == "bincount" else None
    ready = ready if way == "add.at" else []
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 if way.startswith("petdiffusion") else 0
    started = time.perf_counter()
    if way.startswith("petdiffusion"):
        prompts = sum(
            int(frame.prompts.numpy().sum(dtype=np.float64)) for frame in binned_frames(opened, geometry, frames)
        )
    elif bins is not None:
        prompts = int(np.bincount(bins, minlength=2 * size + 1)[:size].sum())
    else:
        counts = np.zeros(2 * size + 1, np.float32)
        for piece in ready:
            np.add.at(counts, piece, 1)
        prompts = int(counts[:size].sum(dtype=np.float64))
    seconds = time.perf_counter() - started
    largest_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "mb": largest_mb - before_mb, "prompts": prompts}


if __name__ == "__main__":
    main()
