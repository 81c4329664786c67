"""``vlar describe`` as a user runs it: a server on this machine, a kill, bad input."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.generators.descriptions.chat_server import (
    ChatStub,
    Reply,
    asked_labels,
    chat_server,
    obedient,
)
from vlar.language.bank import load_bank

from .conftest import COMMAND, cache_but

LABELS = ["ride a bike", "WaveHand", "jump_rope", "eat", "sleep", "clap"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatStub]:
    with chat_server() as stub:
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        yield stub


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A label file; kept answers of other tests are out of sight, the encoder's files are not."""
    monkeypatch.setenv("VLAR_CACHE", str(cache_but(tmp_path / "cache", "descriptions")))
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(LABELS))
    return path


def test_a_label_list_becomes_a_bank_that_classify_takes(
    vlar_command, server: ChatStub, words: Path, sparse_clips
):
    out = words.with_name("bank.json")
    done = vlar_command("describe", words, "--out", out, "--llm", "openai:m", "--batch", 2)
    assert done.code == 0
    assert "6 of 6 labels described" in done.out
    assert f"language model m at {server.url}" in done.out
    assert "sk-secret" not in done.out + done.err + out.read_text()
    assert server.keys[0] == "Bearer sk-secret"
    answer = vlar_command("classify", sparse_clips["carphone_pristine"], "--labels", out, "--json")
    predictions = answer.rows[0]["predictions"]
    assert {p.get("key", p["label"]) for p in predictions} <= set(LABELS)


def test_json_names_every_label_and_its_error(vlar_command, server: ChatStub, words: Path):
    def plan(number: int, body: dict[str, Any]) -> Reply:
        return Reply(status=400) if "eat" in asked_labels(body) else obedient(number, body)

    server.plan = plan
    out = words.with_name("bank.json")
    options = ["--llm", "openai:m", "--batch", 1, "--kinds", "motion", "--json"]
    done = vlar_command("describe", words, "--out", out, *options)
    assert done.code == 1
    rows = {row["label"]: row for row in done.rows}
    assert set(rows) == set(LABELS)
    assert "HTTP 400" in rows["eat"]["error"]
    assert list(rows["sleep"]["descriptions"]) == ["motion"]
    assert "'eat'" in done.advice


def test_a_killed_run_goes_on_without_paying_twice(vlar_command, server: ChatStub, words: Path):
    out = words.with_name("bank.json")
    third = threading.Event()

    def plan(number: int, body: dict[str, Any]) -> Reply:
        if number < 2:
            return obedient(number, body)
        third.set()
        return Reply(hang=True)

    server.plan = plan
    options = ["--llm", "openai:m", "--batch", "1", "--concurrency", "1"]
    command = [str(COMMAND), "describe", str(words), "--out", str(out), *options]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert third.wait(60), "the third question was never asked"
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait(20)
    assert [e.label for e in load_bank(out).entries] == LABELS
    server.plan, before = obedient, len(server.questions)
    done = vlar_command("describe", words, "--out", out, *options)
    assert done.code == 0
    asked = [asked_labels(body)[0] for body in server.questions[before:]]
    assert asked == ["jump rope", "eat", "sleep", "clap"]
    assert all(len(e.descriptions) == 5 for e in load_bank(out).entries)
    assert {p.name for p in words.parent.iterdir()} == {"bank.json", "labels.txt", "cache"}


def test_an_interrupt_ends_at_once_and_keeps_what_is_done(
    vlar_command, server: ChatStub, words: Path
):
    out = words.with_name("bank.json")
    third = threading.Event()

    def plan(number: int, body: dict[str, Any]) -> Reply:
        if number == 0:
            return obedient(number, body)
        # Two questions are open at once: a third one is asked where the first is done.
        if number == 2:
            third.set()
        return Reply(hang=True)

    server.plan = plan
    options = ["--llm", "openai:m", "--batch", "1", "--concurrency", "2"]
    command = [str(COMMAND), "describe", str(words), "--out", str(out), *options]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert third.wait(60), "the third question was never asked"
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "finished work is saved" in err
    # Where the signal met the very moment, the bank has it not yet; the kept answers do.
    done_label = asked_labels(server.questions[0])
    server.plan, before = obedient, len(server.questions)
    done = vlar_command("describe", words, "--out", out, *options)
    assert done.code == 0
    asked = [label for body in server.questions[before:] for label in asked_labels(body)]
    assert len(asked) == len(LABELS) - 1
    assert not set(done_label) & set(asked)
    assert all(len(entry.descriptions) == 5 for entry in load_bank(out).entries)


def test_offline_says_what_it_is_and_what_it_does_not_know(vlar_command, tmp_path: Path):
    out = tmp_path / "bank.json"
    done = vlar_command("describe", "archery, quantum chromodynamics", "--out", out)
    assert done.code == 1
    assert "composed from vlar's banks" in done.out
    assert "'quantum chromodynamics'" in done.err
    bank = load_bank(out)
    assert "without a language model" in bank.provenance["made"]
    assert len(bank.entries[0].descriptions) == 5


def test_check_names_the_fault(vlar_command, tmp_path: Path):
    path = tmp_path / "bad.json"
    rows = [{"label": "run", "descriptions": [{"kind": "motion", "text": "Running."}]}]
    bank = {"format": 1, "name": "b", "licence": "CC0", "provenance": {"source": "me"}}
    path.write_text(json.dumps(bank | {"entries": rows}))
    done = vlar_command("describe", "--check", path, "hmdb51")
    assert done.code == 1
    assert f"ERROR   {path}, label 'run', motion: 'Running.' only repeats the label" in done.out
    assert "hmdb51: fine" in done.err
    done = vlar_command("describe", "--check", tmp_path / "missing.json", "--json")
    assert done.code == 2
    assert done.rows[0]["severity"] == "error"


def bad_file(tmp_path: Path, name: str) -> Path:
    path = tmp_path / "labels.txt"
    content = {"empty": b"", "latin": "caf\xe9".encode("latin-1")}
    path.write_bytes(content.get(name, b"eat\n"))
    return path


@pytest.mark.parametrize(
    ("name", "out", "options", "said"),
    [
        ("empty", "b.json", (), "no label"),
        ("latin", "b.json", (), "UTF-8"),
        ("fine", "no/such/folder/b.json", (), "cannot be written"),
        ("fine", "b.txt", (), "ends in .json"),
        ("fine", "b.json", ("--llm", "gpt:4"), "Known: local, offline, openai"),
        ("fine", "b.json", ("--kinds", "moton"), "did you mean 'motion'"),
        ("fine", "b.json", ("--check",), "leave out --out"),
        ("fine", "b.json", ("--show",), "--show writes nothing"),
    ],
)
def test_bad_input_is_one_line_of_advice(vlar_command, tmp_path: Path, name, out, options, said):
    done = vlar_command("describe", bad_file(tmp_path, name), "--out", tmp_path / out, *options)
    assert done.code == 2
    assert said in done.advice
    assert not (tmp_path / "b.json").exists()


def test_labels_that_read_the_same_are_named(vlar_command, tmp_path: Path):
    done = vlar_command("describe", "archery, Archery", "--out", tmp_path / "b.json")
    assert done.code == 0
    assert "left out: 'Archery'" in done.err


def test_label_lists_are_shown_as_a_model_reads_them(vlar_command):
    done = vlar_command("describe", "--show", "bank:hmdb51")
    first, *rows = done.out.splitlines()
    assert done.code == 0
    assert first.startswith("bank:hmdb51: 51 labels, texts with SHA-256 ")
    assert rows[0] == "  brush hair  (brush_hair)"
    (found,) = vlar_command("describe", "--show", "WaveHand, eat", "--json").rows
    assert found["labels"][0] == {"label": "WaveHand", "text": "wave hand", "key": "WaveHand"}
    assert len(found["sha256"]) == 64
    assert vlar_command("describe", "--show", "bank:no_such").code == 2
