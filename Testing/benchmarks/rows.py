"""The rows of a benchmark: one JSON object a line, kept in a file, so that none is made twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_rows(path: Path, weights: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The rows of a file, none where there is no file.

    `weights` names for methods of ours the sha256 of the weights that are asked about: rows that others made are left
    out. A row of such a method holds it as "weights".
    """
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    asked = weights or {}
    return [row for row in rows if row["method"] not in asked or row.get("weights") == asked[row["method"]]]
