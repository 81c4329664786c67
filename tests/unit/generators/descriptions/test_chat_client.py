from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from tests.refusals import refused
from vlar.errors import UsageError
from vlar.generators.chat import (
    AnswerTimeoutError,
    BadRequestError,
    ChatClient,
    NoAnswerError,
    RefusedError,
)

from .chat_server import Reply, chat_server, message

FINE = message("fine")


def client_for(stub, key: str | None = None, timeout_s: float = 5.0) -> ChatClient:
    return ChatClient(stub.url, key, timeout_s=timeout_s, pause_s=0.001)


def failing(times: int, reply: Reply):
    return lambda number, body: reply if number < times else FINE


def test_a_question_carries_the_key_and_the_body():
    with chat_server(failing(0, FINE)) as stub:
        answer = client_for(stub, "sk-secret").post({"model": "m", "messages": []})
    assert answer["choices"][0]["message"]["content"] == "fine"
    assert stub.questions == [{"model": "m", "messages": []}]
    assert stub.keys == ["Bearer sk-secret"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=500),
        Reply(status=503, body=b"<html>busy</html>"),
        Reply(status=429, headers={"Retry-After": "0"}),
        Reply(body=b"no json"),
        Reply(body=[1]),
    ],
)
def test_what_may_pass_is_asked_again(reply: Reply):
    with chat_server(failing(2, reply)) as stub:
        assert client_for(stub).post({}) == FINE.body
        assert len(stub.questions) == 3


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_waited_for(as_date: bool):
    # A date has whole seconds, so two seconds ahead are at least one.
    moment = datetime.now(timezone.utc) + timedelta(seconds=2)
    value = format_datetime(moment, usegmt=True) if as_date else "0.4"
    with chat_server(failing(1, Reply(status=429, headers={"Retry-After": value}))) as stub:
        start_s = time.monotonic()
        client_for(stub).post({})
    assert time.monotonic() - start_s >= 0.35


def test_a_wait_that_is_too_long_is_told_and_not_waited():
    reply = Reply(status=429, headers={"Retry-After": "3600"})
    with chat_server(failing(9, reply)) as stub:
        refused(NoAnswerError, "asks to wait 3600 s", client_for(stub).post, {})
        assert len(stub.questions) == 1


def test_endless_failure_ends():
    with chat_server(failing(99, Reply(status=500, body={"error": {"message": "oh no"}}))) as stub:
        refused(NoAnswerError, r"HTTP 500 \(oh no\), 5 times", client_for(stub).post, {})
        assert len(stub.questions) == 5


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "set OPENAI_API_KEY"),
        (403, "may not use this model"),
        (404, "check the model's name"),
        (405, "OPENAI_BASE_URL"),
    ],
)
def test_what_never_passes_is_told_at_once_and_without_the_key(status: int, said: str):
    body = {"error": {"message": "Incorrect key sk-secret"}}
    with chat_server(failing(9, Reply(body, status))) as stub:
        error = refused(RefusedError, said, client_for(stub, "sk-secret").post, {})
        assert len(stub.questions) == 1
    assert "sk-secret" not in str(error.value)


def test_a_bad_request_is_told_in_the_servers_words():
    body = {"error": {"message": "maximum context length is 512 tokens"}}
    said = r"context length.*smaller --batch"
    reply = Reply(body, 400)
    with chat_server(failing(9, reply)) as stub, pytest.raises(NoAnswerError, match=said):
        client_for(stub).post({})


def test_the_key_follows_no_redirect():
    with chat_server(failing(9, FINE)) as other:
        reply = Reply(status=307, headers={"Location": other.url + "/chat/completions"})
        with chat_server(failing(9, reply)) as stub, pytest.raises(RefusedError, match="redirects"):
            client_for(stub, "sk-secret").post({})
        assert other.questions == []


def test_silence_is_a_timeout():
    with chat_server(failing(99, Reply(hang=True))) as stub:
        with pytest.raises(NoAnswerError, match=r"did not answer within 0.1 s, 5 times"):
            client_for(stub, timeout_s=0.1).post({})
        assert len(stub.questions) == 5


def test_an_answer_byte_by_byte_is_a_timeout():
    with chat_server(failing(99, Reply(b" " * 400, slow_s=0.01))) as stub:
        client = ChatClient(stub.url, None, timeout_s=0.2, attempts=1)
        refused(AnswerTimeoutError, "within 0.2 s, once", client.post, {})


def test_an_endless_answer_is_not_read_whole(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vlar.generators.chat._LARGEST_ANSWER", 1000)
    with chat_server(failing(99, Reply({"x": "a" * 300_000}))) as stub:
        refused(NoAnswerError, "not JSON", client_for(stub).post, {})


def test_the_token_of_the_hub_goes_nowhere_and_its_offline_mode_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with chat_server(failing(0, FINE)) as stub:
        assert client_for(stub).ask({}) == FINE.body
    assert stub.keys == [None]


def test_nobody_there():
    with chat_server() as stub:
        pass
    refused(RefusedError, r"cannot be reached.*is the server running", client_for(stub).post, {})


def test_what_is_no_address():
    for url in ["", "localhost:8000", "ftp://x/v1", "http://", "/v1"]:
        refused(UsageError, "OPENAI_BASE_URL", ChatClient, url, None)


def test_secrets_in_an_address_are_not_shown():
    assert ChatClient("https://host:8000/v1/", "key").address == "https://host:8000/v1"
    for url, key in [
        ("https://me:hidden@host:8000/v1", None),
        ("https://host/v1?token=hidden", None),
        ("https://host/v1", "hidden\nkey"),
    ]:
        error = refused(UsageError, "", ChatClient, url, key)
        assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"error": {"message": "Unsupported parameter: 'max_tokens'"}}, True),
        ({"detail": [{"loc": ["body", "response_format"], "msg": "extra fields"}]}, True),
        ("", True),
        (b"[" * 20_000, True),
        ({"error": {"message": "the context is full"}}, False),
    ],
)
def test_a_refused_field_is_another_error_than_a_refused_question(body: object, field: bool):
    with chat_server(failing(9, Reply(body, 400))) as stub, pytest.raises(NoAnswerError) as error:
        client_for(stub).post({})
    assert isinstance(error.value, BadRequestError) is field
