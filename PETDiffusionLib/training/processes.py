"""Training in several processes: `torchrun --nproc-per-node N -m -- PETDiffusionLib train ...`.

(Without the two dashes torchrun takes `--start` for an option of its own.)
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

WHILE_CASES_ARE_MADE = datetime.timedelta(hours=24)  # process 0 simulates them, and the others wait


@contextmanager
def training_device() -> Iterator[torch.device]:
    """The device of this process; under torchrun all are joined (NCCL on GPUs, Gloo on CPUs) until the end."""
    cuda = torch.cuda.is_available()
    if "WORLD_SIZE" not in os.environ:
        yield torch.device("cuda" if cuda else "cpu")
        return
    dist.init_process_group("nccl" if cuda else "gloo", timeout=WHILE_CASES_ARE_MADE)
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def several_processes() -> bool:
    """Whether this is one of several joined processes."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """The number of this process: 0 is the one that keeps the files."""
    return dist.get_rank() if several_processes() else 0


def process_count() -> int:
    """How many processes are joined."""
    return dist.get_world_size() if several_processes() else 1


@contextmanager
def first_process_first() -> Iterator[None]:
    """What is inside is done by process 0 alone before the others do it (and find its files there)."""
    if rank() > 0:
        dist.barrier()
    yield
    if several_processes() and rank() == 0:
        dist.barrier()
