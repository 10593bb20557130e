"""The text of an Interfile header: `key := value` lines, and values asked for by name."""

from __future__ import annotations

import re
from pathlib import Path

from PETDiffusionLib.errors import PETDiffusionError

PRIVATE = ";PETDiffusion "  # what only this project reads: a comment to every other program
LARGEST = 10_000_000  # bytes; a header is a few kilobytes


class InterfileHeader:
    """The keys of a header in lower case, without "!", "%" and the space before an index: "matrix size[1]"."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values: dict[str, str] = {}
        if path.stat().st_size > LARGEST:
            raise self.error("it is no Interfile header: it is larger than one can be")
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(PRIVATE):
                line = line.removeprefix(";")
            key, assigned, value = line.split(";")[0].partition(":=")
            if assigned:
                self._values[_plain(key)] = value.strip()
        if "interfile" not in self._values:
            raise self.error('it is no Interfile header: a line "!INTERFILE :=" is expected')

    def __contains__(self, key: str) -> bool:
        return bool(self._values.get(key))

    def error(self, what: str) -> PETDiffusionError:
        """The refusal of this header."""
        return PETDiffusionError("bad-header", f"'{self.path}' cannot be read: {what}.")

    def text(self, key: str, default: str | None = None) -> str:
        """The value of `key`. Raises PETDiffusionError "bad-header", naming the key, where it is not stated."""
        if key in self:
            return self._values[key]
        if default is None:
            raise self.error(f'it does not state "{key}"')
        return default

    def numbers(self, key: str) -> list[float]:
        """The numbers of `key`, a list in braces or a single one."""
        text = self.text(key)
        words = [word for word in re.split(r"[,\s]+", text.strip("{} \t")) if word]
        try:
            return [float(word) for word in words]
        except ValueError:
            raise self.error(f'"{key}" should be numbers, but is "{text}"') from None

    def number(self, key: str, default: float | None = None) -> float:
        """The one number of `key`."""
        if default is not None and key not in self:
            return default
        values = self.numbers(key)
        if len(values) != 1:
            raise self.error(f'"{key}" should be one number, but is "{self.text(key)}"')
        return values[0]

    def whole(self, key: str) -> int:
        """The one whole number of `key`."""
        return self.whole_numbers(key, 1)[0]

    def whole_numbers(self, key: str, count: int | None = None) -> list[int]:
        """The whole numbers of `key`, so many where `count` says."""
        values = self.numbers(key)
        if any(value != int(value) for value in values) or (count is not None and len(values) != count):
            wanted = "whole numbers" if count is None else f"{count} whole number(s)"
            raise self.error(f'"{key}" should be {wanted}, but is "{self.text(key)}"')
        return [int(value) for value in values]


def _plain(key: str) -> str:
    key = re.sub(r"\s+", " ", key.strip().lstrip("!%").strip().lower())
    return key.replace(" [", "[")
