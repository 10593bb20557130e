"""The options that the trainings share: the simulated cases, how long and how fast, and the model's name."""

from __future__ import annotations

import argparse

from PETDiffusionLib.cli.arguments import number_above, whole_number_from
from PETDiffusionLib.models.card import is_model_id


def add_case_options(parser: argparse.ArgumentParser, cases: int) -> None:
    """The folder that is written, and the cases: `cases` unless the user says."""
    parser.add_argument("out", help="folder of the checkpoint, the curve, TensorBoard's log and the model")
    parser.add_argument("--data", help="folder of the simulated cases, made where missing (default: in OUT)")
    parser.add_argument("--cases", type=whole_number_from(1), default=cases, help="phantoms to train on")
    parser.add_argument("--workers", type=whole_number_from(1), default=1, help="processes that simulate cases")


def add_plan_options(parser: argparse.ArgumentParser, steps: int, rate: float | None, every: int = 200) -> None:
    """The fields of a `Plan`; a `rate` of None leaves it to the training."""
    parser.add_argument("--steps", type=whole_number_from(0), default=steps, help="steps of the optimiser")
    parser.add_argument("--rate", type=number_above(0), default=rate, help="the highest learning rate")
    parser.add_argument("--every", type=whole_number_from(1), default=every, help="steps from checkpoint to checkpoint")
    parser.add_argument("--seed", type=whole_number_from(0), default=0)


def add_model_options(parser: argparse.ArgumentParser, model_id: str, version: str) -> None:
    """What the card calls the model; the defaults are the bundled model's, which this training makes again."""
    parser.add_argument("--id", default=model_id, type=model_id_of, help="the model's id, and its files' name")
    parser.add_argument("--version", default=version, help="the model's version")


def model_id_of(text: str) -> str:
    """An id that a card may have. Raises argparse.ArgumentTypeError for any other."""
    if not is_model_id(text):
        raise argparse.ArgumentTypeError(f"letters, digits and . _ - are expected, found {text}")
    return text
