"""The job document: which method, on which files, with which options; checked before anything heavy is imported."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PETDiffusionLib.errors import PETDiffusionError

SCHEMA = 1


@dataclass(frozen=True)
class Rule:
    """What a field of the job may hold, its default, and how to say so."""

    default: Any
    accepts: Callable[[Any], bool]
    expected: str

    def check(self, name: str, value: Any) -> Any:
        if not self.accepts(value):
            raise _bad_job(f'"{name}" should be {self.expected}, but is {json.dumps(value, default=str)}')
        return value


def _bad_job(what: str) -> PETDiffusionError:
    return PETDiffusionError("bad-job", f"The job cannot be run: {what}.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _choice(default: str | None, *choices: str | None) -> Rule:
    return Rule(default, lambda v: v in choices, "one of " + ", ".join(json.dumps(c) for c in choices))


def _text_or_null(expected: str) -> Rule:
    return Rule(None, lambda v: v is None or (isinstance(v, str) and bool(v)), expected)


def _amount_or_null(expected: str, zero_allowed: bool = False) -> Rule:
    def accepts(value: Any) -> bool:
        return value is None or (_is_number(value) and (value > 0 or (zero_allowed and value == 0)))

    return Rule(None, accepts, expected)


OPTIONS: dict[str, Rule] = {
    "preset": _text_or_null("the name of a preset or null"),
    "samples": Rule(
        None,
        lambda v: v is None or (_is_whole(v) and 1 <= v <= 1000),
        "a whole number from 1 to 1000, or null for the preset's own",
    ),
    "unit": _choice(None, None, "suvbw", "bqml"),
    "weight_kg": _amount_or_null("a weight in kilograms above 0 or null"),
    "dose_mbq": _amount_or_null("an injected dose in MBq above 0 or null"),
    "minutes": _amount_or_null("the minutes from injection to scan, 0 or more, or null", zero_allowed=True),
    "grid": _choice("input", "input", "model"),
    "model": _text_or_null("the id of a model, the path of a model card, or null for the bundled one"),
    "overwrite": Rule(False, lambda v: isinstance(v, bool), "true or false"),
}

FIELDS: dict[str, Rule] = {
    "device": _choice("auto", "auto", "cpu", "cuda", "mps"),
    "threads": Rule(None, lambda v: v is None or (_is_whole(v) and v >= 1), "a whole number from 1 up or null"),
    "seed": Rule(0, lambda v: _is_whole(v) and 0 <= v < 2**63, "a whole number from 0 up"),
}

_KNOWN = {"schema", "method", "inputs", "outputs", "options", *FIELDS}


@dataclass(frozen=True)
class Job:
    """One piece of work. `options` always holds every option, with defaults filled in.

    Relative paths are relative to the folder that the program runs in.
    """

    method: str
    inputs: dict[str, Path]
    outputs: dict[str, Path]
    options: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    threads: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.options) - set(OPTIONS))
        if unknown:
            raise _bad_job(f'the option "{unknown[0]}" is not known; the options are {", ".join(OPTIONS)}')
        complete = {name: rule.check(name, self.options.get(name, rule.default)) for name, rule in OPTIONS.items()}
        object.__setattr__(self, "options", complete)
        for name, rule in FIELDS.items():
            rule.check(name, getattr(self, name))

    @classmethod
    def from_json(cls, document: Any) -> Job:
        """The job that a parsed JSON document describes. Raises PETDiffusionError "bad-job" with what is wrong."""
        if not isinstance(document, dict):
            raise _bad_job("a JSON object was expected")
        if document.get("schema") != SCHEMA:
            raise _bad_job(f'"schema" should be {SCHEMA}, but is {json.dumps(document.get("schema"))}')
        unknown = sorted(set(document) - _KNOWN)
        if unknown:
            raise _bad_job(f'the field "{unknown[0]}" is not known; the fields are {", ".join(sorted(_KNOWN))}')
        if not isinstance(document.get("method"), str):
            raise _bad_job('"method" should be the name of a method')
        options = document.get("options", {})
        if not isinstance(options, dict):
            raise _bad_job('"options" should be an object')
        return cls(
            method=document["method"],
            inputs=_paths("inputs", document),
            outputs=_paths("outputs", document),
            options=options,
            **{name: document.get(name, rule.default) for name, rule in FIELDS.items()},
        )

    @classmethod
    def load(cls, path: Path) -> Job:
        """The job in a JSON file. Raises PETDiffusionError "bad-job"."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise _bad_job(f"{path} cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise _bad_job(f"{path} is not JSON ({error})") from error
        return cls.from_json(document)

    def to_json(self) -> dict[str, Any]:
        """The document that `from_json` reads."""
        return {
            "schema": SCHEMA,
            "method": self.method,
            "inputs": {role: str(path) for role, path in self.inputs.items()},
            "outputs": {role: str(path) for role, path in self.outputs.items()},
            "options": dict(self.options),
            **{name: getattr(self, name) for name in FIELDS},
        }


def _paths(name: str, document: Mapping[str, Any]) -> dict[str, Path]:
    """Roles and paths of the job's inputs or outputs; a role whose path is null is absent."""
    value = document.get(name)
    if not isinstance(value, dict) or not all(isinstance(p, str) and p for p in value.values() if p is not None):
        raise _bad_job(f'"{name}" should be an object of paths, but is {json.dumps(value)}')
    return {role: Path(path) for role, path in value.items() if path is not None}
