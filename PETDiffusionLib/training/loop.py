"""What every training shares: optimiser, learning rate, average of the weights, checkpoints, and a curve on disk.

A training is a network, a function that makes the batch of a step, and a loss. Everything random is seeded by the step,
so a training that was stopped goes on along the same curve. Started by torchrun, it runs in several processes that
average their gradients; the first one keeps the files.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.networks.precision import FastPrecision
from PETDiffusionLib.training.processes import rank, several_processes
from PETDiffusionLib.training.tensorboard import EventLog

Batch = TypeVar("Batch")
Losses = dict[str, torch.Tensor]

GRADIENT_NORM = 1.0
WARM_UP_STEPS = 100
BATCHES_AHEAD, BATCH_THREADS = 6, 3


@dataclass(frozen=True)
class Plan:
    """How long and how fast: optimiser steps, peak learning rate, steps between rows of the curve, seed, EMA decay."""

    steps: int
    rate: float
    every: int = 200
    seed: int = 0
    ema_decay: float = 0.999
    weight_decay: float = 1e-4


class TrainingLoop(Generic[Batch]):
    """One network's training in `folder`, which holds `checkpoint.pt`, `curve.jsonl` and TensorBoard's `log`.

    It resumes where one stopped (on a GPU but for rounding). `make_batch(step)` gives a step's batch and runs ahead in
    threads; `losses(network, batch, generator)` gives the terms of the loss by name, "loss" being the one that is
    minimised; `validate(average)` gives figures for the curve. `average` is the exponential moving average of the
    weights: the network to keep. The network runs in bfloat16 where the hardware has it, everything else in single
    precision.
    `meaning` names what the answer means where shapes do not say it: a checkpoint of another network, or one of
    another meaning, is refused.
    """

    def __init__(self, network: nn.Module, folder: Path, plan: Plan, device: torch.device, meaning: str = "") -> None:
        self.plan, self.folder, self.device, self.meaning = plan, folder, device, meaning
        self.network, self.average = network.to(device), copy.deepcopy(network).to(device).eval()
        self.parallel = DistributedDataParallel(self.network) if several_processes() else self.network
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay
        )
        self.step, self.seconds = 0, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        self.log = EventLog(folder / "log") if rank() == 0 else None
        if self.checkpoint.exists():
            self._load()

    @property
    def checkpoint(self) -> Path:
        """The file that a stopped training goes on from."""
        return self.folder / "checkpoint.pt"

    def run(
        self,
        make_batch: Callable[[int], Batch],
        losses: Callable[[nn.Module, Batch, torch.Generator], Losses],
        validate: Callable[[nn.Module], dict[str, float]],
    ) -> None:
        """Train to the plan's last step; a row of the curve and a checkpoint every so many steps."""
        torch.backends.cudnn.benchmark = True  # sought once for a shape, and batches have few
        sums: Losses = {}
        started, first = time.perf_counter(), self.step
        for batch in ahead(make_batch, range(self.step, self.plan.steps)):
            for name, value in self.train_step(batch, losses).items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value.detach()
            if self.step % self.plan.every == 0 or self.step == self.plan.steps:
                means = {name: float(value) / (self.step - first) for name, value in sums.items()}
                self.seconds += time.perf_counter() - started
                if self.log is not None:
                    figures = validate(FastPrecision(self.average))
                    self._note(self.log, {"seconds": round(self.seconds, 1)} | means | figures)
                    self.save()
                sums, started, first = {}, time.perf_counter(), self.step

    def train_step(self, batch: Batch, losses: Callable[[nn.Module, Batch, torch.Generator], Losses]) -> Losses:
        """One optimiser step; returns the terms of its loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.plan.steps, self.plan.rate)
        generator = torch.Generator(self.device).manual_seed(self.plan.seed * 1_000_003 + self.step + (rank() << 40))
        terms = losses(FastPrecision(self.parallel), batch, generator)
        self.optimiser.zero_grad(set_to_none=True)
        terms["loss"].backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        self.optimiser.step()
        self.step += 1
        self._follow()
        return terms

    @torch.no_grad()
    def _follow(self) -> None:
        """The average takes a small step towards the network; a larger one at the beginning."""
        decay = min(self.plan.ema_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)

    def _note(self, log: EventLog, row: dict[str, float]) -> None:
        log.scalars(row, self.step)
        line = json.dumps({"step": self.step} | row)
        with open(self.folder / "curve.jsonl", "a", encoding="ascii") as curve:
            curve.write(line + "\n")
        print(line, flush=True)

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        temporary = self.checkpoint.with_suffix(".partial")
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "meaning": self.meaning,
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        try:
            self.network.load_state_dict(state["network"])
            same = state.get("meaning", self.meaning) == self.meaning
        except RuntimeError:  # other names or shapes
            same = False
        if not same:
            raise PETDiffusionError(
                "other-network",
                f"{self.checkpoint} is the checkpoint of another network. Give the options that it was begun with, or "
                "another folder.",
            )
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]


def learning_rate(step: int, steps: int, peak: float) -> float:
    """A tenth of the steps up (at most a hundred), then a cosine down to a hundredth."""
    warm = min(1.0, (step + 1) / max(1, min(WARM_UP_STEPS, steps // 10)))
    return peak * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def ahead(make_batch: Callable[[int], Batch], steps: range) -> Iterator[Batch]:
    """The batches of `steps` in order, made by a few threads that run a little ahead."""
    with ThreadPoolExecutor(BATCH_THREADS) as pool:
        waiting: deque[Future[Batch]] = deque()
        for step in steps:
            waiting.append(pool.submit(make_batch, step))
            if len(waiting) > BATCHES_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
