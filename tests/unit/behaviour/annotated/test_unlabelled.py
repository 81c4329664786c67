"""Accuracy of a model of behaviour at a place, estimated without annotations."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import invoke
from vlar.behaviour import learn
from vlar.evaluation.unlabelled import estimate
from vlar.model.model import Model
from vlar.segments import Segment

SECONDS, RATE_HZ = 40, 20


def write(file: Path, seed: int, points: tuple[str, ...] = ("nose", "tail", "ear")) -> None:
    """Tracks of an animal that runs in every second spell of five seconds."""
    random = np.random.default_rng(seed)
    time_s = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    speed = np.where(time_s // 5 % 2 == 0, 4.0, 0.0)
    x = 100 + np.cumsum(speed) % 300
    columns = [time_s]
    for number in range(len(points)):
        columns += [x + 10 * number + random.normal(size=len(x)), 50 + random.normal(size=len(x))]
    head = ",".join(["time_s", *(f"{point}_{axis}" for point in points for axis in "xy")])
    np.savetxt(file, np.stack(columns, axis=1), "%.4f", ",", header=head, comments="")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings that teach ``mine``, and two of a place; one of them lacks a point."""
    folder = tmp_path_factory.mktemp("rigs")
    (folder / "new").mkdir()
    for number in range(3):
        write(folder / f"day{number}.csv", number)
    write(folder / "new" / "a.csv", 5)
    write(folder / "new" / "b.csv", 6, ("nose", "tail"))
    return folder


@pytest.fixture(scope="module")
def mine(folder: Path) -> Model:
    names = ("run", "rest")
    paths = sorted(folder.glob("day*.csv"))
    rows = [
        Segment(path.name, 5.0 * spell, 5.0 * spell + 5, names[spell % 2])
        for path in paths
        for spell in range(SECONDS // 5)
    ]
    model = learn(paths, rows)
    model.save(folder / "mine")
    return model


def test_the_estimate_names_what_is_missing_and_is_equal_the_second_time(folder: Path, mine: Model):
    found = estimate(mine, folder / "new")
    assert found == estimate(mine, folder / "new")
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert found.estimate > 0.7
    assert {"run", "rest"} <= set(found.labels)
    assert found.differs == ["points that are missing: ear"]
    assert {Path(path).name for path in found.label_next} == {"a.csv", "b.csv"}
    assert Path(found.label_next[0]).name == "b.csv"


def test_annotations_next_to_the_recordings_change_nothing(
    folder: Path, mine: Model, tmp_path: Path
):
    shutil.copytree(folder / "new", tmp_path / "new")
    (tmp_path / "new" / "labels.csv").write_text("recording,start_s,end_s,label\na.csv,0,9,rest\n")
    found, wrong = estimate(mine, folder / "new"), estimate(mine, tmp_path / "new")
    assert (wrong.estimate, wrong.labels, wrong.n) == (found.estimate, found.labels, 2)


def test_the_command_answers_a_saved_model(folder: Path, mine: Model):
    place = ["evaluate", str(folder / "mine"), str(folder / "new"), "--unlabelled"]
    done = invoke([*place, "--json"])
    assert done.exit_code == 0, done.output
    assert '"estimate": ' in done.stdout
    assert invoke([*place, "--labels", "run, rest"]).exit_code == 2
