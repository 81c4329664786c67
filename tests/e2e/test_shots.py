"""``vlar shots``, ``--shots`` and joined models as a user types them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.e2e.conftest import run_vlar
from tests.unit.media.shot_detection import planted


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    planted.install()
    return planted.film(tmp_path / "film.mkv", [("red", 12), ("green", 18)])


def test_shots_of_a_film(film: Path, tmp_path: Path):
    plain = run_vlar("shots", film)
    spans = [f"{film}  0.000 to 1.200 s", f"{film}  1.200 to 3.000 s"]
    assert (plain.code, plain.out.splitlines()) == (0, spans)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    both = run_vlar("shots", film, broken, "--json", "--csv", tmp_path / "shots.csv")
    assert both.code == 1
    assert [row.get("shot") for row in both.rows if "shot" in row] == [1, 2]
    assert [row for row in both.rows if "error" in row]
    with (tmp_path / "shots.csv").open(encoding="utf-8") as file:
        assert [row["start_s"] for row in csv.DictReader(file)] == ["0.0", "1.2"]


def test_bad_input_costs_one_line(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    alone = run_vlar("shots", broken)
    assert alone.code == 2
    assert "broken.mp4: not a readable video" in alone.err
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "empty"))
    absent = run_vlar("shots", film)
    assert absent.code == 2
    assert "vlar models get shots" in absent.advice
    for spec, advice in (
        ("lite+", "empty part"),
        ("lite+lite", "twice"),
        ("lite+mot", "motion"),
    ):
        found = run_vlar("classify", film, "--labels", "a,b", "--model", spec)
        assert found.code == 2
        assert advice in found.advice
