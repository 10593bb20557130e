"""The text of an Interfile header: `key := value` lines as every dialect spells them, and values asked for by name."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.interfile_keys import is_known

PRIVATE = ";PETDiffusion "  # what only this project reads: a comment to every other program
LARGEST = 10_000_000  # bytes; a header is a few kilobytes, and where data follow in the same file it ends before them
END = "end of interfile"
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
LARGEST_WHOLE = 1e9  # beyond any size, offset in planes or ring difference; offsets in bytes have their own bound
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class InterfileHeader:
    """The keys of a header, spelt plainly: "matrix size[1]" for "!Matrix_size [1]", "patient orientation" for "%...".

    Lower case, without "!", "%" and "$", any run of spaces, tabs and underscores as one space (STIR's rule,
    KeyParser.cxx), without the space before an index. Of a key stated twice the last value counts, as in STIR.
    `warnings` are sentences about what is unusual, which readers add to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._values: dict[str, str] = {}
        self._spelt: dict[str, str] = {}  # plain key -> as the header spells it
        self._twice: dict[str, str] = {}  # plain key -> what to say where it is asked for
        self._asked: set[str] = set()
        with open(path, "rb") as stream:
            raw = stream.read(LARGEST)
            whole = not stream.read(1)
        for line in _lines(_decoded(raw)):
            key, value = _assignment(line)
            if key == END:
                break
            if key:
                self._take(key, value, line)
        else:
            if not whole:
                raise self.error("it is no Interfile header: it is larger than one can be")
        if "interfile" not in self._values:
            raise self.error('it is no Interfile header: a line "!INTERFILE :=" is expected')

    def _take(self, key: str, value: str, line: str) -> None:
        before = self._values.get(key, "")
        if before and before.lower() != value.lower():
            self._twice[key] = (
                f"'{self.path.name}' states \"{key}\" twice, {before} and {value}: the last is taken, as STIR does."
            )
        self._values[key] = value
        self._spelt[key] = re.split(r":[ \t]*=", line)[0].strip(" \t;!")

    def __contains__(self, key: str) -> bool:
        self._asked.add(key)
        if key in self._twice:
            self.warnings.append(self._twice.pop(key))
        return bool(self._values.get(key))

    def has(self, key: str) -> bool:
        """Whether the key is there at all, with a value or without, as the titles of a header's parts are."""
        return key in self or key in self._values

    def error(self, what: str) -> PETDiffusionError:
        """The refusal of this header."""
        return PETDiffusionError("bad-header", f"'{self.path}' cannot be read: {what}.")

    def not_understood(self) -> list[str]:
        """The keys that were not asked for and are not known to be without effect here, as the header spells them."""
        others = [key for key in self._values if key not in self._asked and not is_known(key)]
        return list(dict.fromkeys(self._spelt[key] for key in others))

    def warn_of_unknown_keys(self) -> None:
        """Add one sentence about the keys that nothing here understands; for when all others were asked for."""
        unknown = self.not_understood()
        if unknown:
            named = ", ".join(f'"{key}"' for key in unknown[:20]) + (", ..." if len(unknown) > 20 else "")
            self.warnings.append(
                f"'{self.path.name}' has keys that are not understood here, and were ignored: {named}."
            )

    def text(self, key: str, default: str | None = None) -> str:
        """The value of `key`. Raises PETDiffusionError "bad-header", naming the key, where it is not stated."""
        if key in self:
            return self._values[key]
        if default is None:
            raise self.error(f'it does not state "{key}"')
        return default

    def word(self, key: str) -> str:
        """A value of a short list of words as these are compared: in lower case, spelt plainly; "" for none."""
        return plain(self.text(key, ""))

    def words(self, key: str) -> list[str]:
        """The words of a list in braces or of one without, spelt plainly; "none" and empty ones left out."""
        words = [plain(word) for word in self.text(key, "").strip("{} \t").split(",")]
        return [word for word in words if word not in ("", "none")]

    def indexed(self, key: str) -> str | None:
        """Which of `key[1]` and `key` without an index is stated; None for neither."""
        return next((name for name in (f"{key}[1]", key) if name in self), None)

    def numbers(self, key: str) -> list[float]:
        """The numbers of `key`, a list in braces or a single one."""
        text = self.text(key).split(";")[0].strip()
        words = [word for word in re.split(r"[,\s]+", text.strip("{} \t")) if word]
        if not words or not all(NUMBER.fullmatch(word) for word in words) or not _closed(text):
            raise self.error(f'"{key}" should be numbers, but is "{_short(text)}"')
        values = [float(word) for word in words]
        if max(map(abs, values)) > 1e30:
            raise self.error(f'"{key}" should be numbers that can be, but is "{_short(text)}"')
        return values

    def number(self, key: str, default: float | None = None) -> float:
        """The one number of `key`."""
        if default is not None and key not in self:
            return default
        values = self.numbers(key)
        if len(values) != 1:
            raise self.error(f'"{key}" should be one number, but is "{_short(self.text(key))}"')
        return values[0]

    def positive(self, key: str) -> float:
        """The one number of `key`, above zero."""
        value = self.number(key)
        if not value > 0:
            raise self.error(f'"{key}" should be above zero, but is {value:g}')
        return value

    def whole(self, key: str, lowest: int | None = None, highest: float = LARGEST_WHOLE) -> int:
        """The one whole number of `key`, from `lowest` up."""
        return self.whole_numbers(key, 1, lowest, highest)[0]

    def whole_numbers(
        self, key: str, count: int | None = None, lowest: int | None = None, highest: float = LARGEST_WHOLE
    ) -> list[int]:
        """The whole numbers of `key`, so many where `count` says."""
        values = self.numbers(key)
        if any(value != int(value) for value in values) or (count is not None and len(values) != count):
            wanted = "whole numbers" if count is None else f"{count} whole number(s)"
            raise self.error(f'"{key}" should be {wanted}, but is "{_short(self.text(key))}"')
        low = -highest if lowest is None else lowest
        for value in values:
            if not low <= value <= highest:
                raise self.error(f'"{key}" should be {low:g} to {highest:g}, but is {value:g}')
        return [int(value) for value in values]


def plain(key: str) -> str:
    """A key or a word as it is compared: see InterfileHeader."""
    return re.sub(r"[\s_!]+", " ", key.lower()).strip().lstrip("%$ ")


def _decoded(raw: bytes) -> str:
    encoding = next((name for mark, name in BOMS if raw.startswith(mark)), "utf-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # older Windows programs, and data behind the header


def _lines(text: str) -> list[str]:
    """Its lines, those joined that a backslash at the end or an open brace continues."""
    lines: list[str] = []
    continued = False
    for line in re.split(r"\r*\n|\r", text):
        if continued:
            lines[-1] = lines[-1].removesuffix("\\") + line
        elif lines and _open(lines[-1]) and not re.search(r":[ \t]*=", line):
            lines[-1] += " " + _without_comment(line)
            continue
        else:
            lines.append(line)
        continued = line.endswith("\\")
    return lines


def _assignment(line: str) -> tuple[str, str]:
    """The plain key and the value of a line; an empty key for a comment."""
    if line.startswith(PRIVATE):
        line = line.removeprefix(";")
    line = _without_comment(line)
    key, *value = re.split(r":[ \t]*=", line, maxsplit=1)
    name, bracket, index = key.partition("[")
    return plain(name) + bracket + re.sub(r"\s+", "", index), value[0].strip().strip('"').strip() if value else ""


def _without_comment(line: str) -> str:
    """What stands before ";", where that begins the line or follows a space: a file's name may hold one."""
    return re.sub(r"(^|\s);.*", "", line)


def _closed(text: str) -> bool:
    return text.startswith("{") == text.endswith("}")


def _open(line: str) -> bool:
    value = re.split(r":[ \t]*=", line, maxsplit=1)[-1].strip()
    return value.startswith("{") and "}" not in value and not line.lstrip().startswith(";")


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
