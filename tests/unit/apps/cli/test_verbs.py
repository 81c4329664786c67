"""Verbs in this process: their options, inputs and explanations."""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import videos
from tests.command_line import invoke
from tests.docs import pages, verbs
from tests.refusals import refused
from tests.unit.evaluation import colours
from vlar.apps.cli import classify, inputs, output
from vlar.apps.cli.exits import exit_code
from vlar.encoders.base import Block
from vlar.errors import UsageError, VlarError
from vlar.files import resources
from vlar.language.motion.verb_table import TextMotion, VerbTable
from vlar.library.ingest.runners.processes import ProcessRunner, devices_of
from vlar.model import folder as model_folder
from vlar.plugins.verbs import integrity
from vlar.pose.attributes.base import attribute_names
from vlar.types import Classification, Prediction


@pytest.fixture(autouse=True)
def notes_are_shown():
    """A command with --quiet, in any test before, leaves them hidden."""
    for name in ("vlar", "vlar.apps.cli"):
        logging.getLogger(name).setLevel(logging.INFO)


@pytest.mark.parametrize("option", ["", "--unlabelled", "--tree", "--out"])
def test_a_name_no_file_can_have_is_refused_before_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
):
    monkeypatch.setattr(inputs, "load_model", lambda *_: pytest.fail("the model is loaded"))
    given = [option, "a" * 300] if option else ["a" * 300]
    out = [] if option == "--out" else ["--out", str(tmp_path / "made")]
    done = invoke(["adapt", *given, *out])
    assert done.exit_code == 2
    assert "is longer than the name of a file can be" in done.stderr


def test_what_was_learned_outlasts_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = tmp_path / "cache"
    monkeypatch.setattr(resources, "cache_dir", lambda: cache)
    monkeypatch.setattr(inputs, "load_model", lambda *_: colours.model())
    write = model_folder._write_files

    def written(model: object, folder: Path, name: str) -> None:
        if cache not in folder.parents:
            raise OSError(28, "No space left on device")
        write(model, folder, name)

    monkeypatch.setattr(model_folder, "_write_files", written)
    colours.folder(tmp_path / "clips", ("red left", "blue left"), 2)
    clips, out = str(tmp_path / "clips" / "train"), str(tmp_path / "mine")
    done = invoke(["adapt", clips, "--out", out, "--method", "ridge"])
    assert done.exit_code == 2
    assert not (tmp_path / "mine").exists()
    assert f"the model is kept in {cache / 'unsaved' / 'mine'}" in done.stderr
    manifest = json.loads((cache / "unsaved" / "mine" / "vlar.json").read_text())
    assert manifest["labels"] == ["blue left", "red left"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    videos.make_video(tmp_path / "good.mp4", 30)
    videos.corrupt(videos.make_video(tmp_path / "bad.ts", 120, picture=videos.noise), every=300)
    (tmp_path / "text.mp4").write_text("no video")
    return tmp_path


def test_json_lines(folder: Path):
    done = invoke(["check", str(folder), "--json"])
    assert done.exit_code == 1
    rows = {Path(row["path"]).name: row for row in map(json.loads, done.stdout.split("\n")[:-1])}
    assert rows["good.mp4"]["ok"]
    assert rows["good.mp4"]["readable"] == 1
    assert rows["bad.ts"]["kind"] == "damaged"
    assert rows["bad.ts"]["reencode_loses_s"] > 0
    assert rows["bad.ts"]["first_bad_s"] > 0
    assert rows["text.mp4"]["reason"].startswith("not a readable video")
    assert rows["text.mp4"]["readable"] == 0


def test_table(folder: Path, capsys: pytest.CaptureFixture[str]):
    table = folder / "bad.csv"
    (folder / "empty").mkdir()
    paths = [str(folder), str(folder / "missing"), str(folder / "empty")]
    assert integrity.check(paths, csv=table) == 1
    with table.open(encoding="utf-8", newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert set(rows) == {"bad.ts", "text.mp4", "missing", "empty"}
    assert rows["empty"]["kind"]
    assert rows["empty"]["message"]
    assert 0 < float(rows["bad.ts"]["readable"]) < 1
    assert float(rows["bad.ts"]["first_bad_s"]) > 0
    assert rows["bad.ts"]["reason"]
    assert rows["missing"]["kind"] == "decode"
    out = capsys.readouterr().out
    assert "can be read, first at" in out
    assert "1 of 5 recordings are fine" in out


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4), ("4s", 4), ("0.5 s", 0.5), ("500ms", 0.5), ("2m", 120), (" 1h ", 3600),
        (".25", 0.25),
    ],
)  # fmt: skip
def test_seconds(text: str, value: float):
    assert inputs.seconds(text, "--every") == pytest.approx(value)


def test_seconds_refuses():
    for text in ["", "0", "-4s", "4 weeks", "s", "1e3", "nan"]:
        refused(UsageError, r"--every .* is not a span of time", inputs.seconds, text, "--every")


@given(st.text())
def test_seconds_never_fails_otherwise(text: str):
    with contextlib.suppress(UsageError):
        assert inputs.seconds(text, "--every") > 0


def test_pairs():
    assert inputs.pairs(["a=1", "b==2", "c="], "--tag") == {"a": "1", "b": "=2", "c": ""}
    for bad in (["a"], ["=1"], ["a=1", "a=2"]):
        refused(UsageError, "--tag", inputs.pairs, bad, "--tag")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (59.96, "0:59.9"), (60, "1:00.0"), (3599.99, "59:59.9")]
)
def test_clock(seconds: float, text: str):
    assert output.clock(seconds) == text


@pytest.mark.parametrize(("done", "failed", "code"), [(3, 0, 0), (2, 1, 1), (0, 2, 2), (0, 0, 0)])
def test_exit_code(done: int, failed: int, code: int):
    assert exit_code(done, failed) == code


def test_a_runner_has_its_options_in_its_name():
    assert inputs.runner(None) is None
    assert isinstance(inputs.runner("processes:cpu:3"), ProcessRunner)
    assert isinstance(inputs.runner("processes", "cuda:1"), ProcessRunner)
    assert devices_of("cpu, cuda:0,cuda:1") == ("cpu", "cuda:0", "cuda:1")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("rai", "did you mean 'ray'"),
        ("processes:cpu:0", "0 encoders"),
        ("processes:gpu", "'gpu' is not a device"),
        ("ray:?gpus=-1", "is not a share of a GPU"),
        ("ray:?workers=two", "write workers=4&gpus=0.5"),
        ("ray:?worker=2", "did you mean 'workers'"),
        ("local:cpu:2", "has no options"),
    ],
)
def test_options_of_a_runner_that_do_not_fit_are_refused(spec: str, says: str):
    raised = refused(VlarError, "", inputs.runner, spec)
    assert says in raised.value.message


NAMES = attribute_names()


def embed(texts: list[str]) -> np.ndarray:
    """Texts with an s at their end are near each other; all others are near nothing."""
    vectors = np.eye(64, dtype=np.float32)[[hash_of(text) for text in texts]]
    vectors[[text.endswith("s") for text in texts]] = np.eye(64, dtype=np.float32)[0]
    return vectors


def hash_of(text: str) -> int:
    return 1 + sum(text.encode()) % 63


def model(how: str = "table") -> SimpleNamespace:
    table = VerbTable("strolls: travel+ fast-\nhop: airborne+", embed if how != "table" else None)
    return SimpleNamespace(encoder=SimpleNamespace(explain=table.lookup))


def test_a_label_in_the_table_says_which_phrase(capsys: pytest.CaptureFixture[str]):
    classify.explain_labels(model(), ["she hops"])  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "vlar: 'she hops' is 'hop'\n"


def test_the_nearest_verb_and_the_unknown_are_named(capsys: pytest.CaptureFixture[str]):
    classify.explain_labels(model("nearest"), ["ambles", "quartz"])  # type: ignore[arg-type]
    near, unknown = capsys.readouterr().err.splitlines()
    assert near == "vlar: 'ambles' is like 'strolls'"
    assert unknown == "vlar: 'quartz' says nothing of motion"


@pytest.mark.parametrize("encoder", [SimpleNamespace(), SimpleNamespace(explain=lambda text: None)])
def test_without_bodies_it_is_said_once(
    encoder: SimpleNamespace, capsys: pytest.CaptureFixture[str]
):
    classify.explain_labels(SimpleNamespace(encoder=encoder), ["hop", "sit"])  # type: ignore[arg-type]
    assert capsys.readouterr().err.count("lite-motion") == 1


def answered(motion: dict[str, float]) -> SimpleNamespace:
    """A model whose clip has these attributes, asked for a label that has all of them."""
    blocks = (Block("objects", 2, 0.7, True), Block("motion", len(NAMES), 0.7, True))
    clip = np.array([[0.5, 0.0, *(motion.get(name, 0.0) for name in NAMES)]], np.float32)
    asked: list[str] = []

    def queries(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.ones((1, clip.shape[1]), np.float32)

    return SimpleNamespace(
        encoder=SimpleNamespace(blocks=blocks),
        view_sampler=SimpleNamespace(sample=lambda path, window: [path]),
        words=SimpleNamespace(
            encode_views=lambda looks: SimpleNamespace(vector=clip[0]), encode_labels=queries
        ),
        asked=asked,
    )


def row() -> Classification:
    best = (Prediction("hop", 0.9, 0.5),)
    return Classification(Path("a.mp4"), 0.0, 1.0, "lite", best, False, 0.1)


def test_the_strongest_attributes_come_first(capsys: pytest.CaptureFixture[str]):
    many = {name: 0.01 * (i + 1) for i, name in enumerate(NAMES[:7])}
    fake = answered({**many, "airborne": 0.4, "travel": -0.3})
    classify.explain_answer(fake, row(), {"hop": "hopping about"})  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert fake.asked == ["hopping about"]
    assert "objects +0.500" in said
    assert "(airborne +0.400, travel -0.300, " in said
    assert said.count(", ") == 5  # one behind the objects, four between five attributes


def test_nobody_seen_is_said(capsys: pytest.CaptureFixture[str]):
    classify.explain_answer(answered({}), row(), {})  # type: ignore[arg-type]
    assert "motion +0.000 (no body seen)" in capsys.readouterr().err


def test_models_without_a_motion_block_say_nothing(capsys: pytest.CaptureFixture[str]):
    encoder = SimpleNamespace(blocks=(Block("joint", 4, 1.0, True),))
    classify.explain_answer(SimpleNamespace(encoder=encoder), row(), {})  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""


def test_meaning_as_json_names_its_attributes():
    weights = np.zeros(len(NAMES), np.float32)
    weights[NAMES.index("travel")] = -0.25
    found = TextMotion("stay", weights, ("stay",), "nearest").to_dict()
    assert found["attributes"] == {"travel": -0.25}
    assert (found["how"], found["phrases"]) == ("nearest", ["stay"])


def test_a_video_for_a_model_of_bodies_is_refused_before_anything_is_read(tmp_path: Path):
    video = tmp_path / "a.mp4"
    for sensor in ("skeleton", "imu", "depth"):
        found, (failure,) = inputs.recordings([str(video), str(tmp_path / "a.npz")], sensor)
        assert found == [tmp_path / "a.npz"]
        assert failure.kind == "sensor"
        assert (
            f"a video, and the model reads recordings of the sensor '{sensor}'" in failure.message
        )
    assert inputs.recordings([str(video)], "audio") == ([video], [])


def test_the_skill_names_only_verbs_and_options_that_exist():
    done = invoke("skill")
    assert done.exit_code == 0
    assert done.stdout.startswith("---\nname: vlar\ndescription: ")
    named = [
        line for text in pages.INLINE.findall(done.stdout) for line in pages.vlar_commands(text)
    ]
    assert len(named) > 12
    for line in named:
        if "VERB" in line:
            continue
        words, rest = verbs.split(shlex.split(line)[1:])
        verbs.parse(line) if rest else verbs.help_of(words)
