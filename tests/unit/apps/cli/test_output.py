"""Lines of a terminal: escaped, quiet, coloured and printed at one place."""

from __future__ import annotations

import ast
import json
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import Result

import vlar
import vlar.apps.cli
from tests.command_line import invoke
from tests.unit.library import hostile as h
from tests.unit.library.fakes import FakeModel
from vlar.apps.cli import inputs, output, progress
from vlar.apps.cli.progress import Progress
from vlar.heads.base import verdict
from vlar.types import Classification, Failure, Person, Prediction


def answer(unknown: float, *probabilities: float) -> Classification:
    labels = ("riding a bike", "cooking", "talking")
    found = tuple(Prediction(n, p, 0.1) for n, p in zip(labels, probabilities, strict=False))
    alone = verdict(found[0].probability) if len(found) == 1 else None
    row = Classification(Path("a.mp4"), 0.0, 4.0, "lite", found, unknown > 0.5, unknown)
    return replace(row, verdict=alone)


def test_an_unsure_answer_tells_what_helps(capsys: pytest.CaptureFixture):
    row = replace(answer(0.4, 0.3, 0.25), body=0.0)
    output.classification(row)
    first, advice, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("unsure: riding a bike 30 %, unknown 40 %  a.mp4  ")
    assert advice == (
        "  riding a bike and cooking compete; no whole body is seen; give fewer labels, or three "
        "examples of each: vlar adapt; or a larger model: vlar models"
    )
    output.classification(replace(answer(0.1, 0.8, 0.1), body=0.9))
    assert "vlar adapt" not in capsys.readouterr().out
    output.classification(replace(answer(0.9, 0.05, 0.05), body=0.9))
    short = capsys.readouterr().out
    assert "body is seen" not in short  # under a cartoon or a face it reads as a joke
    assert "--every" not in short
    output.classification(replace(answer(0.9, 0.05, 0.05), end_s=10.0))
    assert "vlar adapt; ask for its parts: --every 2s; or a larger" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "options", "text"),
    [
        (answer(0.1, 0.634, 0.2), {}, "riding a bike, 63 %"),
        (
            answer(0.8, 0.12, 0.05),
            {},
            "unknown: nothing in the list fits (best: riding a bike, 12 %)",
        ),
        (answer(0.4, 0.3, 0.25), {}, "unsure: riding a bike 30 %, unknown 40 %"),
        (answer(0.2, 0.8), {}, "yes: riding a bike (80 %)"),
        (answer(0.5, 0.5), {}, 'unsure (50 % for "riding a bike")'),
        (answer(0.9, 0.1), {}, 'no (10 % for "riding a bike")'),
        (answer(0.1, 0.9, 0.6, 0.2), {"several": True}, "riding a bike 90 %, cooking 60 %"),
        (
            answer(0.7, 0.3, 0.2),
            {"several": True},
            "unsure: perhaps riding a bike 30 %, cooking 20 %",
        ),
        (
            answer(0.9, 0.1, 0.05),
            {"several": True},
            "unknown: nothing in the list fits (best: riding a bike, 10 %)",
        ),
    ],
)
def test_verdict(row: Classification, options: dict[str, bool], text: str):
    assert row.sentence(**options) == text


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
        ("query", "L", "a cat", "--where", f"{EVIL}=1"), ("query", "L", f'"a cat" AND {EVIL}'),
        ("index", "list", "L"), ("index", "info", "L"), ("index", "verify", "L"),
        ("index", "verify", "L", "--repair"), ("index", "remove", "L", EVIL + "x"),
        ("index", "remove", "L", EVIL), ("index", "compact", "L"), ("index", "upgrade", "L"),
        ("index", "add", "L", EVIL), ("classify", EVIL, "--labels", "a, b"), ("check", EVIL),
    ],
    ids=lambda value: " ".join(value[:2]) + str(len(value)) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_every_verb(library: Path, arguments: tuple[str, ...], as_json: bool):
    given = [library if each == "L" else each for each in arguments]
    done = run(*given, *(["--json"] if as_json else []))
    assert OBEYED.search(done.stdout) is None, done.stdout
    assert OBEYED.search(done.stderr) is None, done.stderr
    assert "Traceback" not in done.output
    if as_json:
        for line in done.stdout.splitlines():
            json.loads(line)


def test_every_fact_of_a_library_is_in_words(library: Path):
    done = run("index", "info", library, "-v")
    assert "stored for re-ranking" in done.stdout
    for word in ("context", "None", "{}", "[]", "n frames"):
        assert word not in done.stdout


def test_a_number_is_printed_with_the_digits_that_count(capsys: pytest.CaptureFixture[str]):
    output.facts({"window_s": 0.03998344845281405, "recall": {"near": 0.98765432}, "rows": 12345})
    words = "window s  0.03998\nrecall    near 0.9877\nrows      12345\n"
    assert capsys.readouterr().out == words


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
    output.set_json(True)
    output.failure(Failure(Path(EVIL), "decode", f"{EVIL}: unreadable"))
    output.set_json(False)
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


SCRIPT = """
from vlar.apps.cli import output
from vlar.apps.cli.progress import progress
with progress("working", 2):
    output.line("verdict  clip.mp4" + " long" * 30, strong=7)
    output.note("a remark")
"""


def terminal(script: str, **environment: str) -> str:
    """Everything that a script writes to a terminal of 60 columns."""
    own, others = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=others,
        stdout=others,
        stderr=others,
        env={**kept, "COLUMNS": "60", "TERM": "xterm", **environment},
    )
    os.close(others)
    parts: list[bytes] = []
    try:
        while part := os.read(own, 65536):
            parts.append(part)
    except OSError:  # Linux reports the end so
        pass
    finally:
        os.close(own)
    assert process.wait(60) == 0
    return b"".join(parts).decode()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo terminals here")
def test_long_answers_stay_in_one_piece_and_verdicts_are_bold():
    shown = terminal(SCRIPT)
    assert " long" * 30 in shown  # a terminal wraps by itself; a copied path has no line end
    assert "\x1b[1mverdict\x1b[0m" in shown
    assert "working: 0 of 2 files" in shown
    assert "a remark" in shown


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo terminals here")
def test_no_color_is_obeyed():
    shown = terminal(SCRIPT, NO_COLOR="1")
    assert "verdict" in shown
    assert "\x1b[1m" not in shown
    assert "\x1b[3" not in shown  # no colours in the bar either


@pytest.fixture(autouse=True)
def volume():
    """Levels as they were."""
    loggers = [logging.getLogger(name) for name in ("vlar", "vlar.apps.cli")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def test_quiet_hides_notes_and_keeps_errors_and_answers(capsys: pytest.CaptureFixture[str]):
    output.set_volume(quiet=True, verbose=True)
    output.note("a remark")
    output.error("a fault")
    output.line("an answer")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("an answer\n", "vlar: a fault\n")
    with progress.progress("working") as quiet:
        assert type(quiet) is Progress  # it prints nothing


def test_without_an_option_nothing_changes():
    output.set_volume(quiet=True, verbose=False)
    output.set_volume(quiet=False, verbose=False)
    assert output.is_quiet()


def test_verbose_shows_what_is_being_done():
    output.set_volume(quiet=False, verbose=True)
    assert logging.getLogger("vlar.encoders").isEnabledFor(logging.DEBUG)


@pytest.mark.parametrize(
    ("terminal", "environment", "bold"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_bold_only_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    environment: dict[str, str],
    bold: bool,
):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    output.line("wave\x1b[2J  clip.mp4", strong=8)
    shown = capsys.readouterr().out
    assert shown == (
        "\x1b[1mwave\\x1b[2J\x1b[0m  clip.mp4\n" if bold else "wave\\x1b[2J  clip.mp4\n"
    )


@pytest.mark.parametrize(
    ("verdict", "colour"),
    [
        ("riding a bike, 67 %", "\x1b[32m"),
        ("yes: riding a bike (91 %)", "\x1b[32m"),
        ('no (14 % for "riding a bike")', ""),
        ("unsure: perhaps cooking 40 %", "\x1b[33m"),
        ("unknown: nothing in the list fits (best: cooking, 9 %)", "\x1b[33m"),
    ],
)
def test_a_verdict_has_its_colour(monkeypatch, capsys, verdict: str, colour: str):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    output.line(f"{verdict}  clip.mp4", strong=len(verdict))
    assert capsys.readouterr().out == f"\x1b[1m{colour}{verdict}\x1b[0m  clip.mp4\n"


PACKAGE = Path(vlar.__file__).parent


def has_print(path: Path) -> list[int]:
    """Lines of calls of ``print``, ``sys.stdout.write`` and ``sys.stderr.write``."""
    calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
    named = ("print", "sys.stdout.write", "sys.stderr.write")
    return [call.lineno for call in calls if ast.unparse(call.func) in named]


def test_nothing_else_prints():
    allowed = {PACKAGE / "apps" / "cli" / "output.py"}
    found = {path for path in PACKAGE.rglob("*.py") if path not in allowed and has_print(path)}
    assert not found
    assert has_print(PACKAGE / "apps" / "cli" / "output.py")


def test_the_person_and_the_notes_are_shown(capsys: pytest.CaptureFixture[str]):
    person = Person(2, 3, (0.4, 0.1, 0.6, 0.9), 0.98)
    best = (Prediction("running", 0.9, 0.4),)
    row = Classification(
        Path("a.mp4"),
        0.0,
        2.0,
        "lite",
        best,
        False,
        0.1,
        person=person,
        notes=("it may be another",),
    )
    output.classification(row)
    shown = capsys.readouterr().out
    assert "person 2 of 3 from the left: 40% to 60% across, 10% to 90% down" in shown
    assert "note: it may be another" in shown
    assert row.to_dict()["person"] == {
        "number": 2, "of": 3, "box": [0.4, 0.1, 0.6, 0.9], "score": 0.98
    }  # fmt: skip
