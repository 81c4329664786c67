"""Subsets of sensors, clips that lose parts, and the matrix of the protocol ``subsets``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests import skeletons
from tests.refusals import refused
from vlar.errors import ProtocolError
from vlar.evaluation.cards import LoadedCard, make_card
from vlar.evaluation.protocols.subsets import Subsets, recorded_by, subsets
from vlar.evaluation.runner import make_plan, run_card
from vlar.heads.support import SupportItem
from vlar.media.bundle import bundle_parts
from vlar.media.lookup import reader, sensors_of
from vlar.metrics.figures import Figure
from vlar.types import Window


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_there_are_all_but_the_empty_one(count: int):
    names = [f"s{n}" for n in range(count)]
    found = subsets(names)
    assert len(set(found)) == len(found) == 2**count - 1
    assert found[0] == ("s0",)
    assert found[-1] == tuple(names)
    assert all(each for each in found)


@pytest.mark.parametrize(
    ("names", "says"),
    [([], "at least one"), (["a", "a"], "each once"), (list("abcdefghi"), "9 sensors have 511")],
)
def test_no_or_too_many_sensors_are_refused(names: list[str], says: str):
    refused(ProtocolError, says, subsets, names)


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four takes of two labels; the joints tell them apart, and the IMU does in the second half."""
    folder = tmp_path_factory.mktemp("takes")
    rows = ["path,label,split"]
    for number in range(8):
        wave, split = number % 2 == 0, "train" if number < 4 else "test"
        joints = folder / f"{number}.json"
        skeletons.write_ucla(joints, wave, frames=40 + number)
        strength = 0.3 if wave else 0.0
        head = "time_s,acc_x_g,acc_y_g,acc_z_g,gyro_x_dps,gyro_y_dps,gyro_z_dps"
        lines = [
            f"{i / 50},0,{strength * np.sin(i + number)},1,0,{200 * strength * np.sin(i)},0"
            for i in range(90)
        ]
        (folder / f"{number}.csv").write_text("\n".join([head, *lines]) + "\n")
        parts = {"skeleton": f"{number}.json", "imu": f"{number}.csv"}
        if number == 7:
            del parts["imu"]
        (folder / f"{number}.bundle.json").write_text(json.dumps(parts))
        rows.append(f"{number}.bundle.json,{'wave' if wave else 'stand'},{split}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    tested = [row.rpartition(",")[0] for row in (rows[0], *rows[5:])]
    (folder / "test.csv").write_text("\n".join(tested) + "\n")
    return folder


def test_a_clip_without_a_part_lists_the_rest(takes: Path, tmp_path: Path):
    items = [SupportItem(takes / f"{n}.bundle.json", None, ("x",), "g") for n in (0, 7)]
    assert [sensors_of(item.path) for item in items] == [["skeleton", "imu"], ["skeleton"]]
    assert recorded_by(items, ["skeleton", "imu"], tmp_path) == items
    (one,) = recorded_by(items, ["imu"], tmp_path)
    assert list(bundle_parts(one.path)) == ["imu"]
    assert bundle_parts(one.path)["imu"].path == takes / "0.csv"
    first, second = recorded_by(items, ["skeleton"], tmp_path)
    assert (first.path.parent, second) == (tmp_path, items[1])
    plain = SupportItem(takes / "0.csv", None, ("x",), "g")
    assert recorded_by([plain], ["imu"], tmp_path) == [plain]
    assert recorded_by([plain], ["skeleton"], tmp_path) == []
    bad = tmp_path / "bad.bundle.json"
    bad.write_text("no")
    broken = SupportItem(bad, None, ("x",), "g")
    assert recorded_by([broken], ["imu"], tmp_path) == [broken]  # its failure is reported
    span = SupportItem(takes / "0.bundle.json", Window(0, 1), ("x",), "g")
    refused(ProtocolError, "a span of a bundle", recorded_by, [span], ["imu"], tmp_path)


def card(**settings: object) -> LoadedCard:
    given = {"method": "prototype", **settings}
    content = {"name": "subsets", "protocol": "subsets", "settings": given}
    return LoadedCard(make_card(content, "subsets"))


@pytest.mark.slow
def test_every_subset_is_a_row_and_a_column(takes: Path):
    model = vlar.load("bundle:skeleton+imu")
    (run,) = run_card(card(), takes, model, controls=False)
    figures = [Figure.restore(row) for row in run["figures"]]
    cells = {(f.where["train"], f.where["test"]): f for f in figures if f.name == "top1"}
    names = ["skeleton", "imu", "skeleton+imu"]
    words = {column: cells.pop(("words", column)).value for column in names}
    alone = model.evaluate(takes / "test.csv", labels=["stand", "wave"]).top1
    assert words["skeleton+imu"] == alone
    assert list(cells) == [(row, column) for row in names for column in names]
    assert {column: cells["imu", column].n for column in names} == {
        "skeleton": 4, "imu": 3, "skeleton+imu": 4,
    }  # fmt: skip
    for name in names:
        assert cells[name, name].value == 1
    by = {f.name: f.value for f in figures if f.name != "top1"}
    values = [f.value for f in cells.values()]
    assert by["chance"] == 0.5
    assert by["worst"] == pytest.approx(min(values))
    assert by["mean"] == pytest.approx(np.mean(values))
    apart = [cells["skeleton", "imu"].value, cells["imu", "skeleton"].value]
    assert by["apart"] == pytest.approx(np.mean(apart))
    lines = Subsets().lines(figures, {})
    assert lines[0].split() == ["learned", "from", *names]
    assert [line.split()[0] for line in lines[1:5]] == ["words", *names]


def test_a_cell_is_what_the_files_alone_give(takes: Path, tmp_path: Path):
    model = vlar.load("bundle:skeleton+imu")
    chosen = card(rows=[["skeleton", "imu"]], sensors=["skeleton", "imu"], shots=[0, 1])
    (run,) = run_card(chosen, takes, model, controls=False)
    cells = [f for f in map(Figure.restore, run["figures"]) if f.name == "top1"]
    cells = [f for f in cells if f.where["train"] != "words"]
    assert {f.where["train"] for f in cells} == {"skeleton+imu"}
    assert {f.where.get("shots") for f in cells} == {None, "1"}
    table = tmp_path / "rows.csv"
    train = [f"{takes / f'{n}.bundle.json'},{('wave', 'stand')[n % 2]}" for n in range(4)]
    table.write_text("\n".join(["path,label", *train]) + "\n")
    mine = model.adapt(table, method="prototype")
    right = []
    for number in (4, 5, 6):
        clip = reader("bundle").read_clip(takes / f"{number}.csv", None, mine.encoder.sampling)
        answer = mine.classify(clip)
        right.append(answer.predictions[0].label == ("wave", "stand")[number % 2])
    whole = next(f for f in cells if f.where["test"] == "imu" and "shots" not in f.where)
    assert whole.value == pytest.approx(np.mean(right))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sensors": ["audio"]}, "no test clip has 'audio'"),
        ({"rows": [["audio"]]}, "no test clip has the sensor 'audio'"),
        ({"sensors": []}, "at least one"),
        ({"shots": ["null"]}, "give whole numbers, 0 for all"),
        ({"shots": [-1]}, "give whole numbers, 0 for all"),
    ],
)
def test_sensors_that_no_clip_has_are_refused(takes: Path, settings: dict[str, object], says: str):
    refused(ProtocolError, says, make_plan, card(**settings), "subsets", takes)


def test_a_model_of_other_sensors_is_refused(takes: Path):
    runs = run_card(card(), takes, vlar.load("skeleton"), controls=False)
    says = "the clips have the sensor 'imu', and model 'skeleton' reads skeleton"
    refused(ProtocolError, says, next, runs)
