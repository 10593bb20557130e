"""Arguments that several commands share, and arguments made from the rules of options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PETDiffusionLib.methods.catalogue.rules import STATED_SUV, Rule

if TYPE_CHECKING:
    from PETDiffusionLib.volumes import Unit

UNITS: dict[str | None, Unit] = {"suv": "suvbw", "bqml": "bqml"}  # on the command line, and in the engine


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


def add_option(
    parser: argparse._ActionsContainer, name: str, rules: Sequence[Rule], methods: Sequence[str] = ()
) -> None:
    """The argument of an option. It is None where it is not given.

    Several `methods` may each have a rule for it; the help says whose default is which.
    """
    first = rules[0]
    flag = "--" + name.replace("_", "-")
    if first.kind == "flag":
        parser.add_argument(flag, action="store_true", default=None, help=first.help)
        return

    def parse(text: str) -> Any:
        value = first.parse(text)
        if not any(rule.accepts_one(value) for rule in rules):
            raise argparse.ArgumentTypeError(f"{first.expected.removesuffix(', or null')} is expected, found {text}")
        return value

    choices = list(dict.fromkeys(choice for rule in rules for choice in rule.choices))
    metavar = "{" + ",".join(choices) + "}" if choices else {"whole": "N", "number": "X"}.get(first.kind, "TEXT")
    parser.add_argument(
        flag,
        *(["--" + first.alias] if first.alias else []),
        type=parse,
        metavar=metavar,
        nargs=first.count if first.count > 1 else None,
        help=first.help + _default_of(rules, methods),
    )


def _default_of(rules: Sequence[Rule], methods: Sequence[str]) -> str:
    """What an option is where it is not given, for each of the methods if they differ."""
    defaults = [rule.default for rule in rules]
    if all(default == defaults[0] for default in defaults):
        return "" if defaults[0] is None else f" (default: {defaults[0]})"
    users: dict[Any, list[str]] = {}
    for default, method in zip(defaults, methods, strict=True):
        users.setdefault(default, []).append(method)
    told = "; ".join(f"{default} for {', '.join(names)}" for default, names in users.items() if default is not None)
    return f" (default: {told})"


def add_dose_arguments(parser: argparse.ArgumentParser) -> None:
    """What turns Bq/ml into SUV where the file does not say it."""
    group = parser.add_argument_group("SUV of volumes in Bq/ml that do not carry it (NIfTI, NRRD, MHA)")
    for name, rule in STATED_SUV.items():
        if name != "unit":
            add_option(group, name, [rule])


def add_stated_unit(parser: argparse.ArgumentParser, option: str) -> None:
    """The unit of input values, where the file does not say it: "suv" or "bqml", by the names in UNITS."""
    parser.add_argument(option, choices=("suv", "bqml"), help=STATED_SUV["unit"].help)
