"""Recordings of an event camera go through every verb."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests import event_files
from tests.command_line import invoke
from vlar.methods.events.representations import EVENT


def bar(way: int, seed: int) -> np.ndarray:
    """A bar that crosses a DVS128 to the right, or to the left, in 1.5 s."""
    random = np.random.default_rng(seed)
    events = np.zeros(4000, EVENT)
    events["t"] = np.sort(random.integers(0, 1_500_000, len(events)))
    at = 10 + events["t"] / 1_500_000 * 100 + random.normal(0, 2, len(events))
    events["x"] = np.clip(at if way > 0 else 127 - at, 0, 127)
    events["y"] = random.integers(20, 100, len(events))
    events["p"] = random.integers(0, 2, len(events))
    return events


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of several formats, and the table of some of them."""
    folder = tmp_path_factory.mktemp("events")
    writers = (event_files.aedat3, event_files.aedat2, event_files.table, event_files.dat)
    endings = (".aedat", ".aedat", ".csv", ".dat")
    rows = ["path,label,light"]
    for number in range(8):
        label, way = (("right", 1), ("left", -1))[number % 2]
        name = f"r{number}{endings[number // 2]}"
        (folder / name).write_bytes(writers[number // 2](bar(way, number)))
        if number < 6:
            rows.append(f"{name},{label},{('day', 'night')[number // 3]}")
    (folder / "rows.csv").write_text("\n".join(rows) + "\n")
    (folder / "learn.csv").write_text("\n".join(row.rsplit(",", 1)[0] for row in rows) + "\n")
    return folder


def answers(*arguments: object) -> list[dict]:
    done = invoke([*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_words_examples_and_slices(place: Path, tmp_path: Path):
    labels = "moving to the right, moving to the left, cooking"
    (found,) = answers("classify", place / "r6.dat", "--labels", labels, "--model", "events")
    assert found["predictions"][0]["label"] == "moving to the right"
    (none,) = answers("classify", place / "r6.dat", "--labels", "cooking, reading", "--model",
                      "events")  # fmt: skip
    assert none["unknown"] is True
    mine = tmp_path / "mine"
    answers("adapt", place / "learn.csv", "--model", "events", "--out", mine)
    told = answers("classify", place / "r6.dat", place / "r7.dat", "--model", mine)
    assert [row["predictions"][0]["label"] for row in told] == ["right", "left"]
    (figures,) = answers("evaluate", mine, place / "rows.csv", "--by", "light")
    sliced = {row["where"]["value"]: row["n"] for row in figures["slices"]}
    assert sliced == {"day": 3, "night": 3}
    done = invoke(["evaluate", str(mine), str(place / "rows.csv"), "--by", "shade"])
    assert done.exit_code == 2
    assert "no column 'shade' to slice by; there are label, group, light" in done.stderr


def test_a_library_and_a_check(place: Path, tmp_path: Path):
    library = tmp_path / "x.vlar"
    done = invoke(["index", "add", str(library), str(place), "--model", "events"])
    assert done.exit_code == 0, done.output
    hits = answers("query", library, "moving to the left", "-k", "3")
    assert {int(Path(hit["path"]).stem[1:]) % 2 for hit in hits} == {1}
    cut = tmp_path / "cut.dat"
    cut.write_bytes((place / "r6.dat").read_bytes()[:-805])
    done = invoke(["check", str(place / "r6.dat"), str(cut), "--json"])
    assert done.exit_code == 1
    good, bad = (json.loads(line) for line in done.stdout.splitlines())
    assert (good["ok"], bad["ok"], bad["kind"]) == (True, False, "damaged")
    assert "its end is cut off; how much is missing is not stored" in bad["message"]


def test_a_model_of_another_sensor_names_the_file(place: Path):
    done = invoke(["classify", str(place / "r6.dat"), "--labels", "a, b", "--model", "skeleton"])
    assert done.exit_code == 2
    assert "not a readable skeleton file" in done.stderr
    assert "Traceback" not in done.stderr
