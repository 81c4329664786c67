"""What a terminal obeys is never printed as it is stored: paths, labels, tags, names of models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import Result

import vlar.apps.cli
from tests.command_line import invoke
from tests.unit.library import hostile as h
from tests.unit.library.fakes import FakeModel
from vlar.apps.cli import inputs, output, progress
from vlar.types import Classification, Failure, Prediction

EVIL = "/v/\x1b[2J\x9b31m\r\n\u202efdp\u2066\u2028\x07.mp4"
OBEYED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069]"
)
SOURCES = sorted(Path(vlar.apps.cli.__file__).parent.glob("*.py"))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library whose path of a recording, tag and model's name are hostile."""
    monkeypatch.setattr(inputs, "load_model", lambda *_: FakeModel())
    folder = h.made(tmp_path / "l.vlar")
    h.sql(
        ("UPDATE videos SET path = ? WHERE id = 2", (EVIL,)),
        ("UPDATE tags SET value = ? WHERE video_id = 2", (EVIL,)),
        ("UPDATE tags SET key = ? WHERE video_id = 1", (EVIL,)),
        ("UPDATE meta SET value = ? WHERE key = 'model'", (EVIL,)),
        "UPDATE rows SET vector = x'00' WHERE id = 5",
    )(folder)
    return folder


def run(*arguments: object) -> Result:
    return invoke([str(each) for each in arguments])


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        ("query", "L", "a cat", "--min-probability", "0", "-k", "50", "--explain"),
        ("query", "L", '"a cat" OR "a dog"', "--min-probability", "0", "--explain"),
        ("query", "L", "a cat", "--where", "nothing=1"),
        ("query", "L", "a cat", "--where", f"{EVIL}=1"),
        ("query", "L", f'"a cat" AND {EVIL}'),
        ("index", "list", "L"),
        ("index", "info", "L"),
        ("index", "verify", "L"),
        ("index", "verify", "L", "--repair"),
        ("index", "remove", "L", EVIL + "x"),
        ("index", "remove", "L", EVIL),
        ("index", "compact", "L"),
        ("index", "upgrade", "L"),
        ("index", "add", "L", EVIL),
        ("classify", EVIL, "--labels", "a, b"),
        ("check", EVIL),
    ],
    ids=lambda value: " ".join(value[:2]) + str(len(value)) if isinstance(value, tuple) else None,
)
def test_every_verb(library: Path, arguments: tuple[str, ...], as_json: bool):
    given = [library if each == "L" else each for each in arguments]
    done = run(*given, *(["--json"] if as_json else []))
    assert OBEYED.search(done.stdout) is None, done.stdout
    assert OBEYED.search(done.stderr) is None, done.stderr
    assert "Traceback" not in done.output
    if as_json:
        for line in done.stdout.splitlines():
            json.loads(line)


def test_the_list_shows_the_path_and_json_keeps_it(library: Path):
    assert r"/v/\x1b[2J\x9b31m\r\n\u202efdp" in run("index", "list", library).stdout
    rows = [
        json.loads(line)
        for line in run("index", "list", library, "--json").stdout.split("\n")
        if line
    ]
    assert EVIL in {row["path"] for row in rows}


def test_a_damaged_row_ends_with_exit_code_1(library: Path):
    h.sql("UPDATE meta SET value = 'lite' WHERE key = 'model'")(library)
    done = run("query", library, "a cat", "--min-probability", "0", "--json")
    assert done.exit_code == 1
    assert "row 5" in done.stderr or "row 5" in done.output
    h.sql("DELETE FROM rows WHERE id = 5")(library)
    assert run("query", library, "a cat", "--min-probability", "0", "--json").exit_code == 0


def test_results_and_failures(capsys: pytest.CaptureFixture[str]):
    output.classification(
        Classification(Path(EVIL), 0, 1, EVIL, (Prediction(EVIL, 0.9, 0.1),), False, 0.1)
    )
    output.failure(Failure(Path(EVIL), "decode", f"{EVIL}: unreadable"), as_json=True)
    output.facts({"name": EVIL})
    output.block(f"one\ntwo {EVIL[:10]}")
    shown = capsys.readouterr()
    assert OBEYED.search(shown.out + shown.err) is None
    assert "one\ntwo /v/" in shown.out


def test_a_lone_surrogate_is_printed_and_read_back(capsys: pytest.CaptureFixture[str]):
    output.json_line({"path": "/v/\udcff é 猫.mp4"})
    output.line("/v/\udcff é 猫 👩\u200d🔬.mp4")
    json_text, text = capsys.readouterr().out.splitlines()
    assert json.loads(json_text)["path"] == "/v/\udcff é 猫.mp4"
    assert "é 猫" in json_text
    assert text == "/v/\\udcff é 猫 👩\u200d🔬.mp4"


def test_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "EVERY_S", 0.01)
    with progress.progress(f"loading {EVIL}") as shown:
        assert OBEYED.search(shown.text()) is None


def prints(path: Path) -> Iterator[str]:
    for line in path.read_text("utf-8").splitlines():
        if re.search(r"(?<![\w.])print\(|sys\.std(out|err)\.write|echo\(", line):
            yield line.strip()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_only_one_place_prints(path: Path):
    """A verb that prints by itself would print what is stored as it is."""
    if path.name not in ("output.py", "progress.py"):
        assert list(prints(path)) == []
