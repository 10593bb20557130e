"""Rows of benchmarks are kept; those that other weights made are not taken for those of the weights asked about."""

from __future__ import annotations

import json
from pathlib import Path

from Testing.benchmarks.rows import read_rows


def test_rows_of_other_weights_are_left_out(tmp_path: Path) -> None:
    rows = [
        {"method": "bm4d", "psnr": 1},
        {"method": "fast", "psnr": 2},  # from before rows said their weights
        {"method": "fast", "psnr": 3, "weights": "old"},
        {"method": "fast", "psnr": 4, "weights": "new"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row["psnr"] for row in read_rows(path, {"fast": "new"})] == [1, 4]
    assert read_rows(path) == rows
    assert read_rows(tmp_path / "none.jsonl", {"fast": "new"}) == []
