"""Arguments that several commands share, and arguments made from the rules of options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection, Iterable, Mapping
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
    parser: argparse._ActionsContainer, name: str, rules: Mapping[str, Rule], methods: Collection[str] = ()
) -> None:
    """The argument of an option, which is None where it is not given.

    `rules` holds the rule of each method that has the option, `methods` are all of the command: the help says what is
    for some of them only, and whose default is which.
    """
    first, *_ = rules.values()
    flag = "--" + name.replace("_", "-")
    if first.kind == "flag":
        parser.add_argument(flag, action="store_true", default=None, help=_help(rules, methods))
        return

    def parse(text: str) -> Any:
        value = first.parse(text)
        if not any(rule.accepts_one(value) for rule in rules.values()):
            raise argparse.ArgumentTypeError(f"{first.expected.removesuffix(', or null')} is expected, found {text}")
        return value

    choices = _users({key: rule.choices for key, rule in rules.items()})
    metavar = "{" + ",".join(choices) + "}" if choices else {"whole": "N", "number": "X"}.get(first.kind, "TEXT")
    parser.add_argument(
        flag,
        *(["--" + first.alias] if first.alias else []),
        type=parse,
        metavar=metavar,
        nargs=first.count if first.count > 1 else None,
        help=_help(rules, methods),
    )


def _help(rules: Mapping[str, Rule], methods: Collection[str]) -> str:
    """What an option is, for which methods it or a choice of it is, and what it is where it is not given."""
    text = _told(_users({key: [rule.help] for key, rule in rules.items()}), rules, "{users}: {value}")
    notes = [_who(rules, methods)] if len(rules) < len(methods) else []
    choices = _users({key: rule.choices for key, rule in rules.items()})
    notes += [f"{choice}: {_who(users, rules)}" for choice, users in choices.items() if len(users) < len(rules)]
    told = {key: rule.default for key, rule in rules.items() if rule.kind != "flag"}
    defaults = {key: [default] for key, default in told.items() if default is not None}
    notes += [f"default: {_told(_users(defaults), rules, '{value} for {users}')}"] if defaults else []
    if notes and text.endswith(")"):
        return f"{text[:-1]}; {'; '.join(notes)})"
    return f"{text} ({'; '.join(notes)})" if notes else text


def _users(values: Mapping[str, Iterable[Any]]) -> dict[Any, list[str]]:
    """For each of the values, the methods that have it."""
    users: dict[Any, list[str]] = {}
    for method, of_method in values.items():
        for value in of_method:
            users.setdefault(value, []).append(method)
    return users


def _told(values: Mapping[Any, list[str]], methods: Collection[str], pattern: str) -> str:
    """The values in a row, each by the `pattern` if it is not that of all methods."""
    return "; ".join(
        str(value) if len(users) == len(methods) else pattern.format(value=value, users=", ".join(users))
        for value, users in values.items()
    )


def _who(users: Collection[str], methods: Collection[str]) -> str:
    """These of the methods, in the fewest words."""
    others = [method for method in methods if method not in users]
    return f"not for {', '.join(others)}" if len(others) < len(users) else f"only for {', '.join(users)}"


def add_dose_arguments(parser: argparse.ArgumentParser) -> None:
    """What turns Bq/ml into SUV where the file does not say it."""
    group = parser.add_argument_group("SUV of volumes in Bq/ml that do not carry it (NIfTI, NRRD, MHA)")
    for name, rule in STATED_SUV.items():
        if name != "unit":
            add_option(group, name, {name: rule})


def add_stated_unit(parser: argparse.ArgumentParser, option: str) -> None:
    """The unit of input values, where the file does not say it: "suv" or "bqml", by the names in UNITS."""
    parser.add_argument(option, choices=("suv", "bqml"), help=STATED_SUV["unit"].help)
