"""Arguments that several commands share, and checks on numbers."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PETDiffusionLib.volumes import Unit

UNITS: dict[str | None, Unit] = {"suv": "suvbw", "bqml": "bqml"}


def number_above(limit: float, limit_allowed: bool = False) -> Callable[[str], float]:
    """A type for argparse: a finite number above (or from) a limit."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < limit or (value == limit and not limit_allowed):
            bound = "from" if limit_allowed else "above"
            raise argparse.ArgumentTypeError(f"a number {bound} {limit:g} is expected, found {text}")
        return value

    return parse


def whole_number_from(limit: int) -> Callable[[str], int]:
    """A type for argparse: a whole number from a limit up."""

    def parse(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < limit:
            raise argparse.ArgumentTypeError(f"a whole number from {limit} up is expected, found {text}")
        return int(text)

    return parse


def add_dose_arguments(parser: argparse.ArgumentParser) -> None:
    """What turns Bq/ml into SUV where the file does not say it."""
    group = parser.add_argument_group("SUV of volumes in Bq/ml that do not carry it (NIfTI, NRRD, MHA)")
    group.add_argument("--weight-kg", type=number_above(0), metavar="KG", help="the patient's weight")
    group.add_argument("--dose-mbq", type=number_above(0), metavar="MBQ", help="the injected dose")
    group.add_argument(
        "--minutes",
        type=number_above(0, limit_allowed=True),
        metavar="MIN",
        help="minutes from injection to the start of the scan",
    )


def dose_facts(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `add_dose_arguments`, by the names that the engine has for them."""
    return {name: getattr(arguments, name) for name in ("weight_kg", "dose_mbq", "minutes")}


def add_stated_unit(parser: argparse.ArgumentParser, option: str) -> None:
    """The unit of input values, where the file does not say it; parsed to the engine's name of the unit or None."""
    parser.add_argument(
        option,
        choices=("suv", "bqml"),
        help="the unit of the input's values, where the file does not say it",
    )
