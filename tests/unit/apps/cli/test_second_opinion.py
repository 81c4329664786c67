"""``--rerank`` of ``vlar classify``, in one process, with a model that needs no weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import invoke
from tests.unit.evaluation import colours
from tests.unit.generators.descriptions.chat_server import Reply, chat_server, message
from vlar.files import resources

LABELS = "red left, red right, blue left, blue right"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setattr(resources, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr("vlar.apps.cli.inputs.load_model", lambda *_: colours.model())
    monkeypatch.setattr("vlar.model.model.load", lambda _: colours.model())
    monkeypatch.setattr("vlar.generators.chat._FIRST_PAUSE_S", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    clip = colours.make_clip(tmp_path / "a.mp4", "red left")

    def start(*arguments: object) -> Any:
        words = ["classify", str(clip), "-l", LABELS, *map(str, arguments)]
        done = invoke(words, catch_exceptions=False)
        assert "Traceback" not in done.output
        return done

    return start


def answer(done: Any) -> dict[str, Any]:
    return json.loads(done.stdout.splitlines()[0])


def test_another_model_is_asked_and_its_opinion_is_shown(run: Callable[..., Any]):
    done = run("--rerank", "self:other")
    assert done.exit_code == 0
    assert "self:other prefers red left" in done.stdout
    assert "self:other: 1 of 1 clips have an opinion; 1 question in" in done.stderr
    assert "fit that on labelled clips: vlar eval mcq" in done.stderr
    row = answer(run("--rerank", "self:other", "--rerank-weight", "0", "--json"))
    plain = answer(run("--json"))
    assert row["predictions"] == plain["predictions"]
    assert row["second_opinion"]["label"] == "red left"
    assert "second_opinion" not in plain


def test_coarse_labels_of_a_tree_made_from_text_follow_the_opinion(run: Callable[..., Any]):
    row = answer(run("--rerank", "self:other", "--tree", "text", "--rerank-weight", "20", "--json"))
    assert row["coarse"]
    best = {p["label"]: p["probability"] for p in row["predictions"]}
    for each in row["coarse"]:
        own = sum(p for label, p in best.items() if label in each["label"])
        assert each["probability"] == pytest.approx(own, abs=1e-6)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(b"<html>hello</html>"), "not JSON"),
        (Reply({"error": "down"}, 503), "HTTP 503"),
        (message("as a language model"), "names an option"),
        (Reply({"error": "bad key"}, 401), "OPENAI_API_KEY"),
    ],
)
def test_where_a_server_fails_the_answer_stands_and_says_so(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, reply: Reply, words: str
):
    plain = answer(run("--json"))
    with chat_server(lambda *_: reply) as stub:
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
        done = run("--rerank", "openai:m", "--json")
    assert done.exit_code == 1
    row = answer(done)
    assert row["predictions"] == plain["predictions"]
    assert words in row["second_opinion"]["error"]
    assert "1 answers stand without a second opinion" in done.stderr


def test_no_key_leaves_the_answer(run: Callable[..., Any]):
    plain = answer(run("--json"))
    done = run("--rerank", "openai:m", "--json")
    assert done.exit_code == 1
    assert answer(done)["predictions"] == plain["predictions"]
    assert "OPENAI_API_KEY is not set" in answer(done)["second_opinion"]["error"]
    assert "stand without a second opinion" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rerank", "slef:lite"), "did you mean 'self'"),
        (("--rerank", "openai:"), "names no model"),
        (("--rerank", "self:x", "--mode", "multi"), "--mode multi"),
        (("--rerank", "self:x", "--rerank-weight", "a"), "valid number"),
        (("--rerank", "self:x", "--rerank-weight", "-1"), "greater than or equal to 0"),
    ],
)
def test_a_mistake_shows_before_anything_is_read(
    run: Callable[..., Any], arguments: tuple[str, ...], words: str
):
    done = run(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stdout == ""
