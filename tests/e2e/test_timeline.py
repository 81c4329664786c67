"""``vlar timeline`` as a user types it, on a recording of which every second is known."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.contract.test_second_sensor import CHECKOUT, RATE, package  # noqa: F401 - a fixture
from tests.e2e.conftest import run_vlar

STAYS = [(2.0, 4), (9.0, 3), (2.0, 3), (9.0, 4), (9.0, 0), (2.0, 3)]
NAMES = {2.0: "slow beat", 9.0: "fast beat"}


@pytest.fixture
def work(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """Slow and fast beats, one after the other, and the package that reads them."""
    places = [str(package), str(CHECKOUT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
    waves = [np.sin(2 * np.pi * hertz * np.arange(s * RATE) / RATE) for hertz, s in STAYS]
    path = tmp_path / "work.npy"
    np.save(path, np.concatenate(waves).astype(np.float32))
    return path


def test_segments_and_figures(work: Path, tmp_path: Path):
    broken = work.with_name("broken.npy")
    broken.write_bytes(b"nothing")
    found = run_vlar(
        "timeline", work, broken, "-m", "sine", "-l", "slow beat, fast beat", "--every", "125ms",
        "--window", "1s", "--order", "slow beat, fast beat", "--kpi", "--json",
        "--out", tmp_path / "t.csv", "--kpi-out", tmp_path / "k.json",
    )  # fmt: skip
    assert found.code == 1
    assert "broken.npy: not a signal" in found.err
    segments = [row for row in found.rows if "label" in row]
    expected = [(NAMES[hertz], s) for hertz, s in STAYS if s]
    assert [row["label"] for row in segments] == [name for name, _ in expected]
    ends = np.cumsum([seconds for _, seconds in expected])
    assert np.abs(np.array([row["end_s"] for row in segments]) - ends).max() <= 0.25
    (kpi,) = (row["kpi"] for row in found.rows if "kpi" in row)
    assert (kpi["cycles"], kpi["complete_cycles"], kpi["order_violations"]) == (3, 2, 0)
    assert kpi == json.loads((tmp_path / "k.json").read_text())
    with (tmp_path / "t.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == [name for name, _ in expected]


def test_plain_lines_as_they_come(work: Path):
    found = run_vlar(
        "timeline", work, "-m", "sine", "-l", "slow beat, fast beat", "--every", "250ms",
        "--window", "1s", "--online", "--delay", "2s", "--kpi", "--order", "fast beat, slow beat",
    )  # fmt: skip
    assert found.code == 0
    lines = found.out.splitlines()
    assert lines[0].startswith(f"{work}  0:00.0 to 0:0")
    assert sum("slow beat, " in line for line in lines) == 3
    assert "cycles: 2 complete of 3" in found.out
    assert "slow beat where fast beat was due (skipped)" in found.out


def test_what_cannot_be_used_costs_one_line(work: Path):
    common = ("timeline", work, "-m", "sine", "-l", "slow beat, fast beat")
    for arguments, advice in (
        (("--kpi", "--order", "slow beat, fist beat"), "fast beat"),
        (("--delay", "1s"), "--online"),
        (("--order", "slow beat"), "--kpi"),
    ):
        found = run_vlar(*common, *arguments)
        assert found.code == 2
        assert advice in found.err
        assert "Traceback" not in found.err
