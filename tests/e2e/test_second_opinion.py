"""A second opinion through the real command, against a server on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.generators.descriptions.chat_server import Reply, chat_server, message

LABELS = "street traffic, a man talking, a cartoon rabbit"


def talking(_: int, body: dict[str, Any]) -> Reply:
    """Sees a man who talks in every clip."""
    text = body["messages"][0]["content"][-1]["text"]
    line = next(line for line in text.splitlines() if line.startswith("A. "))
    letter = next(part[0] for part in line.split(", ") if part[3:] == "a man talking")
    given = message(f"{letter}. a man talking")
    given.body["usage"] = {"prompt_tokens": 100, "completion_tokens": 6}
    return given


def test_a_server_is_asked_with_pictures_and_answers_are_kept(
    vlar_command, sparse_clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    clip = sparse_clips["bikes"]
    arguments = ("classify", clip, "-l", LABELS, "--rerank", "openai:m", "--rerank-k", 3)
    with chat_server(talking) as stub:
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
        done = vlar_command(*arguments, "--rerank-weights", "0,1", "--json")
        assert len(stub.questions) == 3
        again = vlar_command(*arguments, "--rerank-weights", "1,0")
        assert len(stub.questions) == 3
    assert done.code == 0
    (row,) = done.rows
    assert row["predictions"][0]["label"] == "a man talking"
    assert row["second_opinion"]["probability"]["a man talking"] == 1.0
    assert row["second_opinion"]["tokens"] == 318
    assert "300 tokens in, 18 out" in done.err
    assert "openai:m prefers a man talking, 100 % of its options" in again.out
    assert "0 questions" in again.err
    assert "3 reused" in again.err
    assert "street traffic" in again.out.splitlines()[1]  # the weights leave the first answer


@pytest.mark.slow
def test_a_silent_server_leaves_answers_and_hits_as_they_are(
    vlar_command,
    sparse_clips: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    library, clip = tmp_path / "l.vlar", sparse_clips["bikes"]
    assert vlar_command("index", "add", library, clip).code == 0
    plain = vlar_command("query", library, "street traffic", "--json", "--min-probability", 0)
    monkeypatch.setenv("VLAR_LLM_TIMEOUT_S", "0.1")
    with chat_server(lambda *_: Reply(hang=True)) as stub:
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
        query = ("query", library, "street traffic", "--json", "--min-probability", 0)
        done = vlar_command(*query, "--rerank", "openai:m")
    assert done.code == 1
    assert done.rows == plain.rows
    assert "without opinion: timeout" in done.err
    assert "not asked any more" in done.err
    assert json.loads(done.out.splitlines()[0])["rank"] == 1
