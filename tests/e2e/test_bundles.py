"""Several sensors of one moment, from the command line: every verb takes bundles as they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests import skeletons
from tests.command_line import invoke
from tests.refusals import refused
from vlar.errors import UsageError
from vlar.library.library import Library
from vlar.media.lookup import reader

MODEL = "bundle:skeleton+imu"
LABELS = ("--labels", "wave, stand")


def imu(path: Path, strength: float) -> Path:
    lines = [
        f"{i / 50},0,{strength * (i % 7 - 3)},1,0,{60 * strength * (i % 9 - 4)},0"
        for i in range(100)
    ]
    head = "time_s,wrist_acc_x_g,wrist_acc_y_g,wrist_acc_z_g,gyro_x_dps,gyro_y_dps,gyro_z_dps"
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three takes of two labels with two sensors, of which one lacks its IMU."""
    folder = tmp_path_factory.mktemp("takes")
    rows = ["path.skeleton,path.imu,label"]
    for number in range(3):
        for label, wave in (("wave", True), ("stand", False)):
            joints = folder / f"{label}{number}.json"
            skeletons.write_ucla(joints, wave, frames=40 + number)
            other = imu(folder / f"{label}{number}.csv", 0.1 + number / 100 if wave else 0.001)
            rows.append(f"{joints.name},{'' if number == 2 and wave else other.name},{label}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def pairs(takes: Path) -> Path:
    done = invoke(["bundle", str(takes / "table.csv"), "--out", str(takes / "pairs")])
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("6 bundles (6 with skeleton, 5 with imu); their table is")
    return takes / "pairs"


@pytest.fixture(scope="module")
def mine(pairs: Path) -> Path:
    out = pairs.parent / "mine"
    done = invoke(["adapt", str(pairs / "rows.csv"), "--model", MODEL, "--out", str(out)])
    assert done.exit_code == 0, done.stderr
    return out


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_an_adapted_model_answers_with_what_there_is(pairs: Path, mine: Path, takes: Path):
    given = [pairs / "wave1.bundle.json", takes / "wave1.json", takes / "wave1.csv"]
    done = invoke(["classify", *map(str, given), "--model", str(mine), "--json"])
    assert done.exit_code == 0, done.stderr
    answers = rows(done.stdout)
    assert all("body" not in answer for answer in answers)
    assert [answer["path"] for answer in answers] == [str(path) for path in given]
    assert [answer["predictions"][0]["label"] for answer in answers] == ["wave"] * 3  # type: ignore[index]
    beside = ["--with", f"imu={takes / 'wave1.csv'}", "--model", str(mine), "--json"]
    by_share = ["--with", f"imu={takes / 'wave1.csv'}@share", *beside[2:]]
    (share,) = rows(invoke(["classify", str(takes / "wave1.json"), *by_share]).stdout)
    moved = ["--with", f"imu={takes / 'wave1.csv'}@-1s", *beside[2:]]
    (late,) = rows(invoke(["classify", str(takes / "wave1.json"), *moved]).stdout)
    (held,) = rows(invoke(["classify", str(takes / "wave1.json"), *beside]).stdout)
    assert held["predictions"] == answers[0]["predictions"]
    assert share["predictions"] != held["predictions"] != late["predictions"]
    assert late["end_s"] == pytest.approx(1.0)
    done = invoke(["evaluate", str(mine), str(pairs / "rows.csv"), "--json"])
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(("sensor", "ending"), [("skeleton", "json"), ("imu", "csv")])
def test_without_a_sensor_a_model_is_as_sure_as_one_of_the_other(
    mine: Path, takes: Path, sensor: str, ending: str
):
    files = [takes / f"{label}{n}.{ending}" for n in range(3) for label in ("wave", "stand")]
    taught = [file for file in files if sensor == "skeleton" or file.stem != "wave2"]
    table, both = takes / f"own-{sensor}.csv", vlar.load(mine)
    lines = ["path,label,start_s,end_s"]
    for file in taught:  # a bundle holds what all its sensors cover
        whole = takes / "pairs" / f"{file.stem}.bundle.json"
        span = reader("bundle").read_clip(whole, None, both.encoder.sampling).window
        lines.append(f"{file.name},{file.stem[:-1]},{span.start_s},{span.end_s}")
    table.write_text("\n".join(lines))
    own = vlar.load(sensor).adapt(table)
    assert both.head is not None
    assert set(both.head.sensors) == {"skeleton", "imu"}
    for file in taught:
        alone, without = (model.classify(file) for model in (own, both))
        assert without.unknown_probability == pytest.approx(alone.unknown_probability, abs=1e-5)
        stated = {row.label: row.probability for row in alone.predictions}
        for row in without.predictions:
            assert row.probability == pytest.approx(stated[row.label], abs=1e-5)
    # The control: heads of sensors change such answers, and none of a whole bundle.
    plain = replace(both.head, sensors={})
    for name, path, same in (
        ("bundle", takes / "pairs" / "wave1.bundle.json", True),
        (sensor, taught[0], False),
    ):
        clip = reader(name).read_clip(path, None, both.encoder.sampling)
        row = both.words.encode([clip])[0]
        scores = [head.score_clip(row).probability for head in (both.head, plain)]
        assert np.array_equal(*scores) == same


def test_a_library_of_bundles(pairs: Path, tmp_path: Path):
    library = str(tmp_path / "lib")
    first = str(pairs / "stand0.bundle.json")
    done = invoke(["index", "add", library, first, "--model", MODEL])
    assert done.exit_code == 0, done.stderr
    again = invoke(["index", "add", library, str(pairs), "--json"])  # as the library states it
    assert sorted(str(row["status"]) for row in rows(again.stdout)) == ["added"] * 5 + ["unchanged"]
    hits = rows(invoke(["query", library, "a person waves", "--json"]).stdout)
    assert Path(str(hits[0]["path"])).name.startswith("wave")
    during = '"a person waves" DURING "a person stands"'
    both = rows(invoke(["query", library, during, "--json", "--min-probability", "0"]).stdout)
    parts = both[0]["parts"]
    assert [part["phrase"] for part in parts] == ["a person waves", "a person stands"]  # type: ignore[attr-defined]
    model = vlar.load(MODEL)
    for hit in hits:
        span = vlar.Window(float(str(hit["start_s"])), float(str(hit["end_s"])))
        clip = reader("bundle").read_clip(Path(str(hit["path"])), None, model.encoder.sampling)
        assert clip.window.end_s == pytest.approx(span.end_s, abs=1e-3)
        own = (
            model.words.encode([clip])[0].vector @ model.words.encode_queries(["a person waves"])[0]
        )
        assert hit["similarity"] == pytest.approx(float(own), abs=1e-4)


def test_an_interval_is_classified_alone(takes: Path, pairs: Path):
    wave = takes / "wave0.json"
    done = invoke(
        ["classify", str(wave), "--model", "skeleton", *LABELS, "--at", "0s-1s", "--json"]
    )
    (row,) = rows(done.stdout)
    assert (row["start_s"], row["end_s"]) == (0, 1)
    model = vlar.load("skeleton")
    alone = model.classify(reader("skeleton").read_clip(
        wave, vlar.Window(0.0, 1.0), model.encoder.sampling
    ), ["wave", "stand"])  # fmt: skip
    assert row["predictions"] == alone.to_dict()["predictions"]
    assert model.classify([wave], ["wave", "stand"], at=(0, 1))[0] == alone
    says = "is not a span"
    refused(UsageError, says, model.classify, wave, ["a", "b"], at=(2, 1))
    refused(UsageError, "one answer", model.classify, wave, ["a", "b"], at=(0, 1), every_s=1.0)
    for wrong in ("2s", "x-y", "-1s-2s"):
        done = invoke(["classify", str(wave), "--model", "skeleton", *LABELS, "--at", wrong])
        assert done.exit_code == 2
        assert "is not an interval" in done.stderr
    done = invoke(["classify", str(wave), "--model", "skeleton", *LABELS, "--at", "90s-99s"])
    assert done.exit_code == 2


def test_a_part_that_cannot_be_read_is_named_by_every_verb(takes: Path, tmp_path: Path, mine: Path):
    (tmp_path / "bad.csv").write_text("time_s,acc_x_g\n")
    (tmp_path / "a.json").write_bytes((takes / "wave0.json").read_bytes())
    path = tmp_path / "a.bundle.json"
    path.write_text('{"skeleton": "a.json", "imu": "bad.csv"}')
    done = invoke(["classify", str(path), "--model", str(mine), "--json"])
    assert done.exit_code == 1
    failure, answer = rows(done.stdout)
    assert "its part imu cannot be read" in failure["error"]["message"]  # type: ignore[index]
    assert answer["predictions"][0]["label"] == "wave"  # type: ignore[index]
    assert answer["failed"] == [failure["error"]["message"]]  # type: ignore[index]
    for verb in (
        ["check", str(path)],
        ["index", "add", str(tmp_path / "lib"), str(path), "--model", MODEL],
    ):
        done = invoke(verb)
        assert done.exit_code in (1, 2)
        assert "part imu" in done.stdout + done.stderr
    with Library(tmp_path / "lib") as library:
        assert library.info().rows > 0
    table = tmp_path / "rows.csv"
    wave, stand = (takes / "pairs" / f"{name}0.bundle.json" for name in ("wave", "stand"))
    table.write_text(f"path,label\n{path},wave\n{wave},wave\n{stand},stand\n")
    out = str(tmp_path / "made")
    done = invoke(["adapt", str(table), "--model", MODEL, "--out", out])
    assert done.exit_code == 1
    assert "its part imu cannot be read" in done.stderr


WRONG = [
    (["--with", "imu=x.csv"], "needs a model of several sensors", "skeleton"),
    (["--with", "radar=x.csv"], "no reader is called 'radar'", MODEL),
    (["--with", "skeleton=x.json"], "is of the sensor 'skeleton' too", MODEL),
    (["--with", "x.csv"], "is not key=value", MODEL),
    (["--with", "imu=a.csv", "--with", "imu=b.csv"], "twice", MODEL),
    (["other.json", "--with", "imu=x.csv"], "adds a sensor to one PATH", MODEL),
]


@pytest.mark.parametrize(("more", "says", "model"), WRONG, ids=[says for _, says, _ in WRONG])
def test_what_with_cannot_do_is_one_line(takes: Path, more: list[str], says: str, model: str):
    done = invoke(["classify", str(takes / "wave0.json"), *more, "--model", model, *LABELS])
    assert done.exit_code == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_of_other_sensors_is_named(pairs: Path):
    path = str(pairs / "wave0.bundle.json")
    for model, says in (
        ("bundle:audio+depth", "it holds skeleton and imu, and the model reads audio and depth"),
        ("skeleton", "use for example --model bundle:skeleton"),
    ):
        done = invoke(["classify", path, "--model", model, *LABELS])
        assert done.exit_code == 2
        assert "wave0.bundle.json" in done.stderr
        assert says in done.stderr
    done = invoke(["check", str(pairs), "--json"])
    assert done.exit_code == 0
    assert [row["ok"] for row in rows(done.stdout)] == [True] * 6


def test_a_sensor_that_no_example_has_is_named(takes: Path, tmp_path: Path):
    table = tmp_path / "rows.csv"
    names = [f"{label}{number}" for label in ("wave", "stand") for number in range(2)]
    rows = [f"{takes / name}.json,{name[:-1]}" for name in names]
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    done = invoke(["adapt", str(table), "--model", MODEL, "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "no example has the sensor 'imu'" in done.stderr
