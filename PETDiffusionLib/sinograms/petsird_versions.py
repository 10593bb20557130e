"""Which version of PETSIRD a file is of: the schema that it carries says it by the names of its fields."""

from __future__ import annotations

import json
from pathlib import Path

MAGIC, JSON_START = b"yardl", b'{"yardl":'
# A name in the schema, and the first version of the package that has it; the newest first.
FIRST_WITH = (
    ("moduleSinglesUnitIdxLUTs", "0.12"),
    ("collimatorType", "0.11"),
    ("modulePairAliveTimeFractions", "0.10"),
    ("quadrupleEvents", "0.8 or 0.9"),
    ("detectionBinEfficiencies", "0.4 to 0.7"),
    ("CoincidenceEvent", "0.3 or before"),
)
LARGEST_SCHEMA = 1 << 20


def is_petsird(path: Path) -> bool:
    """Whether the file begins as PETSIRD does, in binary or as lines of JSON."""
    with open(path, "rb") as stream:
        start = stream.read(64).replace(b" ", b"")
    return start.startswith((MAGIC, JSON_START))


def is_json(path: Path) -> bool:
    """Whether a PETSIRD file is of lines of JSON."""
    with open(path, "rb") as stream:
        return not stream.read(len(MAGIC)).startswith(MAGIC)


def schema_of(path: Path) -> str:
    """The schema that a file carries, "" where the file is cut before its end."""
    with open(path, "rb") as stream:
        if is_json(path):
            line = stream.readline(LARGEST_SCHEMA)
            try:
                return json.dumps(json.loads(line)["yardl"]["schema"], separators=(",", ":"))
            except (ValueError, KeyError, TypeError):
                return ""
        stream.seek(len(MAGIC) + 4)  # a version of the binary format, always 1
        length = shift = 0
        while byte := stream.read(1):
            length |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80 or shift > 28:
                break
        schema = stream.read(min(length, LARGEST_SCHEMA))
        return schema.decode("utf-8", "replace") if len(schema) == length else ""


def version_of(schema: str, read_schema: str, read_version: str) -> str:
    """The version that a schema is of, in words, where it is not the one that is read."""
    for name, version in FIRST_WITH:
        if f'"{name}"' in schema:
            known = "".join(read_version.split(".")[:2]) == "".join(version.split(".")[:2])
            return f"a version after {read_version}" if known and len(schema) > len(read_schema) else version
    return "no known version"
