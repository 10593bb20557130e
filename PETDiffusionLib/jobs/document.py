"""The job document: which method, on which files, with which options; checked before anything heavy is imported."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.methods.catalogue import FIELDS, METHODS, File, Method
from PETDiffusionLib.methods.catalogue.rules import bad_job

SCHEMA = 1


_KNOWN = {"schema", "method", "inputs", "outputs", "options", *FIELDS}


@dataclass(frozen=True)
class Job:
    """One piece of work. `options` always holds every option of the method, with defaults filled in.

    `places` says where the outputs will lie, while they are written elsewhere.
    Relative paths are relative to the folder that the program runs in.
    """

    method: str
    inputs: dict[str, Path]
    outputs: dict[str, Path]
    options: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    threads: int | None = None
    seed: int = 0
    places: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        method, rules = self.declared, self.declared.rules
        _check_roles("inputs", self.inputs, method.inputs, self.method)
        _check_roles("outputs", self.outputs, method.outputs, self.method)
        _check_known("option", self.options, rules, self.method)
        complete = {name: rule.check(name, self.options.get(name)) for name, rule in rules.items()}
        object.__setattr__(self, "options", complete)
        for name, rule in FIELDS.items():
            object.__setattr__(self, name, rule.check(name, getattr(self, name)))

    @property
    def declared(self) -> Method:
        """The job's method. Raises PETDiffusionError "no-method"."""
        if self.method not in METHODS:
            known = ", ".join(METHODS)
            raise PETDiffusionError("no-method", f'There is no method "{self.method}"; the methods are {known}.')
        return METHODS[self.method]

    @classmethod
    def from_json(cls, document: Any) -> Job:
        """The job that a parsed JSON document describes. Raises PETDiffusionError "bad-job" with what is wrong."""
        if not isinstance(document, dict):
            raise bad_job("a JSON object was expected")
        if document.get("schema") != SCHEMA:
            raise bad_job(f'"schema" should be {SCHEMA}, but is {json.dumps(document.get("schema"))}')
        unknown = sorted(set(document) - _KNOWN)
        if unknown:
            raise bad_job(f'the field "{unknown[0]}" is not known; the fields are {", ".join(sorted(_KNOWN))}')
        if not isinstance(document.get("method"), str):
            raise bad_job('"method" should be the name of a method')
        options = document.get("options", {})
        if not isinstance(options, dict):
            raise bad_job('"options" should be an object')
        return cls(
            method=document["method"],
            inputs=_paths("inputs", document),
            outputs=_paths("outputs", document),
            options=options,
            **{name: rule.check(name, document.get(name)) for name, rule in FIELDS.items()},
        )

    @classmethod
    def load(cls, path: Path) -> Job:
        """The job in a JSON file. Raises PETDiffusionError "bad-job"."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise bad_job(f"{path} cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise bad_job(f"{path} is not JSON ({error})") from error
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


def _check_roles(name: str, given: Mapping[str, Path], declared: Mapping[str, File], method: str) -> None:
    """Every file that the method needs is there, and none that it does not know."""
    _check_known(name[:-1], given, declared, method)
    for role, file in declared.items():
        if file.required and role not in given:
            raise bad_job(f'"{name}" should name the "{role}"')


def _check_known(what: str, given: Iterable[str], declared: Iterable[str], method: str) -> None:
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise bad_job(f'{method} has no {what} "{unknown[0]}"; it has {", ".join(declared)}')


def _paths(name: str, document: Mapping[str, Any]) -> dict[str, Path]:
    """Roles and paths of the job's inputs or outputs; a role whose path is null is absent."""
    value = document.get(name)
    if not isinstance(value, dict) or not all(isinstance(p, str) and p for p in value.values() if p is not None):
        raise bad_job(f'"{name}" should be an object of paths, but is {json.dumps(value)}')
    return {role: Path(path) for role, path in value.items() if path is not None}
