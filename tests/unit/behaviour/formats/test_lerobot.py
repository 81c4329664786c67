"""Language columns of lerobot 3.1, written by pyarrow as the format states them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.refusals import refused
from vlar.errors import UsageError
from vlar.segments import Segment, load, write

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402


def said(text: str, style: str, time_s: float | None = None) -> dict[str, Any]:
    row = {"role": "assistant", "content": text, "style": style, "camera": None}
    return row if time_s is None else {**row, "timestamp": time_s}


def data_file(path: Path, **changes: Any) -> Path:
    """Two episodes of ten frames, 10 a second; the states of an episode stand in each frame."""
    states = [
        said("reach", "subtask", 0.0),
        said("grasp", "subtask", 0.4),
        said("tidy", "plan", 0.0),
    ]
    columns: dict[str, Any] = {
        "episode_index": [0] * 10 + [1] * 10,
        "timestamp": [n / 10 for n in range(10)] * 2,
        "language_persistent": [states] * 10 + [[said("wait", "subtask", 0.2)]] * 10,
        "language_events": [[said("stop", "interjection")] if n == 5 else [] for n in range(20)],
    } | changes
    parquet.write_table(pyarrow.table({k: v for k, v in columns.items() if v}), path)
    return path


def test_states_last_and_events_are_points(tmp_path: Path):
    table = load(data_file(tmp_path / "file-000.parquet"))
    zero, one = "episode_000000", "episode_000001"
    assert [replace(row, end_s=round(row.end_s, 6)) for row in table.segments] == [
        Segment(zero, 0.0, 0.4, "reach", tier="subtask", rater="assistant"),
        Segment(zero, 0.0, 1.0, "tidy", tier="plan", rater="assistant"),
        Segment(one, 0.2, 1.0, "wait", tier="subtask", rater="assistant"),
        Segment(zero, 0.4, 1.0, "grasp", tier="subtask", rater="assistant"),
        Segment(zero, 0.5, 0.5, "stop", tier="interjection", rater="assistant"),
    ]


def test_what_cannot_be_read_is_one_line(tmp_path: Path):
    file = data_file(tmp_path / "a.parquet", timestamp=None)
    refused(UsageError, "no columns episode_index and timestamp", load, file)
    file.write_bytes(b"PAR1" + b"language_events" * 9 + b"PAR1")
    refused(UsageError, "lerobot", load, file)
    write(tmp_path / "out.csv", load(data_file(file)).segments)
