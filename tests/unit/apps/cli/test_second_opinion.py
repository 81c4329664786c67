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
from vlar.generators.opinions.another_model import ModelAnswerer
from vlar.generators.opinions.mixing import KEPT

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
    done = run("--rerank", "self:other", "--rerank-k", 3)
    assert done.exit_code == 0
    assert "self:other prefers red left" in done.stdout
    assert "self:other: 1 of 1 clips have an opinion; 1 question in" in done.stderr
    assert "fit that on labelled clips: vlar eval mcq" in done.stderr
    row = answer(run("--rerank", "self:other", "--rerank-weights", "1,0", "--json"))
    plain = answer(run("--json"))
    assert row["predictions"] == plain["predictions"]
    assert row["second_opinion"]["label"] == "red left"
    assert "second_opinion" not in plain


def test_coarse_labels_of_a_tree_made_from_text_follow_the_opinion(run: Callable[..., Any]):
    row = answer(
        run("--rerank", "self:other", "--tree", "text", "--rerank-weights", "0,1", "--json")
    )
    assert row["coarse"]
    best = {p["label"]: p["probability"] for p in row["predictions"]}
    for each in row["coarse"]:
        own = sum(p for label, p in best.items() if label in each["label"])
        assert each["probability"] == pytest.approx(own, abs=1e-6)


def test_none_of_these_is_offered_on_request(run: Callable[..., Any]):
    row = answer(run("--rerank", "self:other", "--rerank-none", "--json"))
    assert "none of these" in row["second_opinion"]["probability"]
    assert "none of these" not in {p["label"] for p in row["predictions"]}
    plain = answer(run("--rerank", "self:other", "--json"))
    assert "none of these" not in plain["second_opinion"]["probability"]
    done = run("--rerank", "self:other", "--rerank-none", "--rerank-k", 26)
    assert "27 options" in done.stderr
    assert done.exit_code == 1


def test_weights_in_the_folder_of_the_model_need_not_be_named(
    run: Callable[..., Any], tmp_path: Path
):
    own = ModelAnswerer(colours.model()).identity
    for answerer, used in ((own, True), ("somebody else", False)):
        tables = {"weights": {"a": 1, "b": 0, "margin": 1.01}, "answerer": answerer}
        (tmp_path / KEPT).write_text(json.dumps({"runs": [{"tables": tables}]}))
        done = run("--rerank", "self:other", "--model", tmp_path, "--json")
        assert ("fit that on labelled clips" in done.stderr) != used
        if used:
            assert answer(done)["predictions"] == answer(run("--json"))["predictions"]
    named = run("--rerank", "self:other", "--model", tmp_path, "--rerank-weights", "1,1", "--json")
    assert "fit that" not in named.stderr
    (tmp_path / KEPT).write_text("[")
    for weights, code in (((), 2), (("--rerank-weights", "1,1"), 0)):  # it is read only if needed
        done = run("--rerank", "self:other", "--model", tmp_path, "--json", *weights)
        assert done.exit_code == code


def test_only_what_is_in_doubt_is_asked_about(run: Callable[..., Any]):
    done = run("--rerank", "self:other", "--rerank-margin", 0.0001)
    assert "was not asked: the best label leads by enough" in done.stdout
    assert done.exit_code == 0


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


def test_no_key_and_too_many_options_leave_the_answer(run: Callable[..., Any]):
    plain = answer(run("--json"))
    for arguments, words in (
        (("--rerank", "openai:m"), "OPENAI_API_KEY is not set"),
        (("--rerank", "self:other", "--rerank-k", 27), "the letters A to Z name 2 to 26"),
    ):
        done = run(*arguments, "--json")
        assert done.exit_code == 1
        assert answer(done)["predictions"] == plain["predictions"]
        assert words in answer(done)["second_opinion"]["error"]
    assert "stand without a second opinion" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rerank", "slef:lite"), "did you mean 'self'"),
        (("--rerank", "openai:"), "names no model"),
        (("--rerank", "self:x", "--mode", "multi"), "--mode multi"),
        (("--rerank", "self:x", "--rerank-weights", "a"), "not two numbers"),
    ],
)
def test_a_mistake_shows_before_anything_is_read(
    run: Callable[..., Any], arguments: tuple[str, ...], words: str
):
    done = run(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stdout == ""


def test_people_answer_on_a_sheet(run: Callable[..., Any], tmp_path: Path):
    sheet = tmp_path / "people.csv"
    done = run("--rerank", f"sheet:{sheet}")
    assert done.exit_code == 1
    assert "has no opinion: nobody has answered this question yet" in done.stdout
    head, row = sheet.read_text("utf-8").splitlines()
    sheet.write_text(f"{head}\n{row}red right\n", encoding="utf-8")
    done = run("--rerank", f"sheet:{sheet}", "--rerank-weights", "0,1", "--json")
    assert done.exit_code == 0
    assert answer(done)["second_opinion"]["label"] == "red right"
    assert answer(done)["predictions"][0]["label"] == "red right"
