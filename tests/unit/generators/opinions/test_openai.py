"""``openai:MODEL`` against a server on this machine that answers as a test says."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.refusals import refused
from tests.unit.generators.descriptions.chat_server import ChatStub, Reply, chat_server, message
from tests.unit.generators.opinions.test_asking import QUESTION, clip
from vlar.errors import UsageError
from vlar.generators.opinions.asking import ask
from vlar.generators.opinions.base import MediaItem, load_answerer

Serve = Callable[[Callable[[int, dict[str, Any]], Reply]], ChatStub]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    import contextlib

    monkeypatch.setattr("vlar.generators.chat._FIRST_PAUSE_S", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with contextlib.ExitStack() as stack:

        def start(plan: Callable[[int, dict[str, Any]], Reply]) -> ChatStub:
            stub = stack.enter_context(chat_server(plan))
            monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
            return stub

        yield start


def options_in(body: dict[str, Any]) -> list[str]:
    text = body["messages"][0]["content"][-1]["text"]
    line = next(line for line in text.splitlines() if line.startswith("A. "))
    return [part[3:] for part in line.split(", ")]


def knowing(_: int, body: dict[str, Any]) -> Reply:
    place = options_in(body).index("jump")
    given = message(f"{'ABCD'[place]}. jump")
    given.body["usage"] = {"prompt_tokens": 70, "completion_tokens": 4}
    return given


def test_it_sends_pictures_and_reads_what_is_written(serve: Serve, monkeypatch):
    stub = serve(knowing)
    monkeypatch.setenv("OPENAI_API_KEY", "k-secret")
    found = ask(load_answerer("openai:some-model?frames=3"), clip(), QUESTION)
    assert found.probability is not None
    np.testing.assert_array_equal(found.probability, [0, 0, 1, 0])
    assert (found.tokens_in, found.tokens_out) == (280, 16)
    assert set(stub.keys) == {"Bearer k-secret"}
    body = stub.questions[0]
    assert body["model"] == "some-model"
    content = body["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url"] * 3 + ["text"]
    head, _, data = content[0]["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert picture.shape == clip().data.shape[1:]


def test_probabilities_of_the_first_letter_are_used_where_they_are_given(serve: Serve):
    def scored(_: int, body: dict[str, Any]) -> Reply:
        assert body["logprobs"] is True
        place = options_in(body).index("jump")
        first, second = "ABCD"[place], "ABCD"[place - 1]
        top = [
            {"token": first, "logprob": np.log(0.6)},
            {"token": f" {first}", "logprob": np.log(0.1)},
            {"token": second, "logprob": np.log(0.2)},
            {"token": "The", "logprob": np.log(0.1)},
        ]
        given = message(f"{first}. jump")
        given.body["choices"][0]["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        return given

    serve(scored)
    found = ask(load_answerer("openai:m"), clip(), QUESTION)
    assert found.probability is not None
    assert found.probability[2] == pytest.approx(0.7 / 0.9, abs=1e-3)
    assert found.probability.min() > 0


def test_a_server_that_refuses_to_score_is_asked_without(serve: Serve):
    def plain(number: int, body: dict[str, Any]) -> Reply:
        if "logprobs" in body:
            return Reply({"error": {"message": "logprobs are not supported"}}, 400)
        return knowing(number, body)

    stub = serve(plain)
    judge = load_answerer("openai:m")
    answer = judge.answer(MediaItem.of(clip()), QUESTION)
    assert answer.text == "C. jump"
    judge.answer(MediaItem.of(clip()), QUESTION)
    assert len(stub.questions) == 3  # and from then on


def test_two_refusals_at_once_cost_no_opinion(serve: Serve):
    both = threading.Barrier(4)

    def plain(number: int, body: dict[str, Any]) -> Reply:
        if "logprobs" in body:
            both.wait(20)
            return Reply({"error": {"message": "logprobs are not supported"}}, 400)
        return knowing(number, body)

    serve(plain)
    assert ask(load_answerer("openai:m"), clip(), QUESTION).error is None


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Reply(b"<html><h1>It works</h1></html>"), "no_answer", "not JSON"),
        (Reply({"error": "overloaded"}, 500), "no_answer", "HTTP 500"),
        (Reply({"choices": []}), "no_answer", "without a message"),
        (Reply([1]), "no_answer", "not an object"),
        (Reply({"error": "no"}, 401), "refused", "OPENAI_API_KEY"),
        (Reply({"error": "no such model"}, 404), "refused", "model"),
        (message("lorem ipsum"), "unread", "lorem ipsum"),
        (message(None), "unread", "names an option"),
        (
            Reply({"choices": [{"message": {"content": None, "refusal": "I must not"}}]}),
            "refusal",
            "refused",
        ),
        (
            Reply({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}),
            "refusal",
            "refused",
        ),
        (
            Reply({"choices": [{"message": {"content": "Q."}, "logprobs": {"content": "x"}}]}),
            "unread",
            "Q.",
        ),
    ],
)
def test_what_goes_wrong_is_named_and_leaves_no_opinion(
    serve: Serve, reply: Reply, kind: str, words: str
):
    serve(lambda *_: reply)
    found = ask(load_answerer("openai:m"), clip(), QUESTION)
    assert found.probability is None
    assert found.error is not None
    assert found.error[0] == kind
    assert words in found.error[1]
    assert found.final == (kind == "refused")


def test_an_answer_that_does_not_come_is_a_timeout(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLAR_LLM_TIMEOUT_S", "0.2")
    serve(lambda *_: Reply(hang=True))
    found = ask(load_answerer("openai:m"), clip(), QUESTION, rotations=1)
    assert found.error is not None
    assert found.error[0] == "timeout"
    assert "within 0.2 s, 2 times" in found.error[1]


def test_a_missing_key_or_server_is_named_when_it_is_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    found = ask(load_answerer("openai:m"), clip(), QUESTION)
    assert found.final
    assert found.error is not None
    assert "OPENAI_API_KEY is not set" in found.error[1]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr("vlar.generators.chat._FIRST_PAUSE_S", 0.01)
    found = ask(load_answerer("openai:m"), clip(), QUESTION)
    assert found.final
    refused(UsageError, "names no model", load_answerer, "openai:")


def test_kept_answers_cost_nothing(serve: Serve):
    stub = serve(knowing)
    first = ask(load_answerer("openai:m"), clip(), QUESTION)
    again = ask(load_answerer("openai:m"), clip(), QUESTION)
    assert len(stub.questions) == 4
    assert again.reused == 4
    assert again.tokens_in == 0
    np.testing.assert_array_equal(first.probability, again.probability)
    ask(load_answerer("openai:another"), clip(), QUESTION)
    assert len(stub.questions) == 8
