"""The three uses on recordings of other sensors, through the real command."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from tests import skeletons
from tests.e2e.conftest import run_vlar
from vlar.media.lookup import reader

LABELS = "wave one hand, squat down, walk"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labels, three files each, of subjects that the names tell."""
    folder = tmp_path_factory.mktemp("skeletons")
    for label, wave in (("wave one hand", True), ("squat down", False)):
        place = folder / label
        place.mkdir()
        for subject in range(3):
            file = place / f"a01_s{subject + 1:02}_e01.json"
            skeletons.write_ucla(file, wave, frames=60 + 8 * subject)
    return folder


def test_a_skeleton_file_answers_words_at_once(recordings: Path, tmp_path: Path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"skeletons": [[[1, 2]]]}')
    other = reader("imu").example(tmp_path)
    wave = recordings / "wave one hand" / "a01_s01_e01.json"
    done = run_vlar(
        "classify", wave, broken, other, "--labels", LABELS, "--model", "skeleton", "--json"
    )
    assert done.code == 1
    answer, bad, wrong = done.rows
    assert answer["predictions"][0]["label"] == "wave one hand"
    keys = "path start_s end_s model predictions unknown unknown_probability lost"
    assert list(answer) == keys.split()
    assert "not (T, 20, 3)" in bad["error"]["message"]
    assert "not a readable skeleton file" in wrong["error"]["message"]


def test_examples_and_a_library_of_skeletons(recordings: Path, tmp_path: Path):
    table = tmp_path / "rows.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label"))
        for path in sorted(recordings.rglob("*.json")):
            writer.writerow((path, path.parent.name))
    mine, library = tmp_path / "mine", tmp_path / "l.vlar"
    made = run_vlar("adapt", table, "--model", "skeleton", "--out", mine)
    assert made.code == 0, made.err
    squat = recordings / "squat down" / "a01_s02_e01.json"
    (row,) = run_vlar("classify", squat, "--model", mine, "--json").rows
    assert (row["predictions"][0]["label"], row["unknown"]) == ("squat down", False)

    added = run_vlar("index", "add", library, recordings, "--model", "skeleton")
    assert added.code == 0, added.err
    hits = run_vlar("query", library, "someone waves a hand", "-k", 3, "--json").rows
    assert {Path(hit["path"]).parent.name for hit in hits} == {"wave one hand"}
    again = shutil.copy(squat, tmp_path / "again.json")
    hits = run_vlar("query", library, f'LIKE "{again}"', "-k", 1, "--json").rows
    assert {Path(hit["path"]).parent.name for hit in hits} == {"squat down"}


def test_all_sensors_are_checked_and_many_recordings_split(tmp_path: Path):
    for name in ("imu", "audio", "depth"):
        reader(name).example(tmp_path)
    (tmp_path / "cut.skeleton").write_text("5\n1\n")
    done = run_vlar("check", tmp_path)
    assert done.code == 1
    assert "3 of 4 recordings are fine" in done.out
    assert "cut off" in done.out
    skeletons.write_pyskl(tmp_path / "many.pkl", count=3)
    split = run_vlar("pose", tmp_path / "many.pkl", "--skeletons", tmp_path / "split")
    assert split.code == 0, split.err
    assert len(list((tmp_path / "split").glob("*.npz"))) == 3
