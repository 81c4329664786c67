from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.refusals import refused
from vlar.errors import LabelError, UnknownNameError, UsageError
from vlar.generators.descriptions.run import describe
from vlar.language.bank import KINDS, load_bank
from vlar.language.labels import parse_labels

from .chat_server import Reply, asked_labels, chat_server, message, obedient, rows_for, text_for

LABELS = ["ride a bike", "WaveHand", "jump_rope", "eat", "sleep"]
KICKED_OUT = Reply({"error": "no"}, 401)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setattr("vlar.generators.chat._FIRST_PAUSE_S", 0.001)


def run(stub, out: Path | None, labels=LABELS, **more: Any):
    os.environ["OPENAI_BASE_URL"] = stub.url
    try:
        return describe(labels, out, llm=more.pop("llm", "openai:m"), **more)
    finally:
        del os.environ["OPENAI_BASE_URL"]


def test_every_label_gets_every_kind_and_the_bank_is_a_label_list(tmp_path: Path):
    out = tmp_path / "bank.json"
    with chat_server() as stub:
        report = run(stub, out, batch=2)
    assert len(stub.questions) == 3
    assert not report.failed
    bank = load_bank(out)
    assert bank == report.bank
    assert [e.label for e in bank.entries] == LABELS
    assert bank.entries[1].text == "wave hand"
    assert [d.kind for d in bank.entries[1].descriptions] == list(KINDS)
    assert bank.entries[1].describe("motion") == (text_for("wave hand", "motion"),)
    assert set(bank.provenance) == {"source", "made", "date", "instructions"}
    assert bank.provenance["source"] == f"language model m at {stub.url}"
    assert "sk-secret" not in out.read_text()
    assert parse_labels(out).keys == tuple(LABELS)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["bank.json"]


def test_a_server_is_asked_for_a_form_and_a_limit():
    with chat_server() as stub:
        run(stub, None, ["ride a bike", "eat"], kinds=["scene", "motion"])
    body = stub.questions[0]
    assert body["max_tokens"] == 100 + 80 * 2 * 2
    schema = body["response_format"]["json_schema"]["schema"]
    rows = schema["properties"]
    assert [row["properties"]["label"]["enum"] for row in rows.values()] == [
        ["ride a bike"],
        ["eat"],
    ]
    kinds = rows["row1"]["properties"]["descriptions"]
    assert list(kinds["properties"]) == kinds["required"] == ["scene", "motion"]


@pytest.mark.parametrize(
    ("refused", "taken"),
    [
        ("max_tokens", {"max_completion_tokens", "response_format"}),
        ("response_format", {"max_tokens"}),
        ("m", set()),  # this server takes no field at all
    ],
)
def test_a_server_that_refuses_a_field_is_asked_without_it(refused: str, taken: set[str]):
    def plan(number: int, body: dict[str, Any]) -> Reply:
        others = set(body) - {"model", "messages"}
        if any(name.startswith(refused) or (refused == "m" and name) for name in others):
            return Reply({"error": {"message": f"unknown field: {refused}, max_tokens"}}, 400)
        return obedient(number, body)

    with chat_server(plan) as stub:
        report = run(stub, None, batch=1, concurrency=1)
    assert not report.failed
    assert set(stub.questions[-1]) - {"model", "messages"} == taken
    assert len(stub.questions) <= len(LABELS) + 3  # what a server takes is remembered


def test_what_is_asked_names_kinds_length_and_form():
    with chat_server() as stub:
        run(stub, None, ["eat"], kinds=("motion", "phases"))
    system = stub.questions[0]["messages"][0]["content"]
    assert "- motion: " in system
    assert "- scene: " not in system
    assert "at most 23 words" in system
    assert '{"label": "watering plants", "descriptions": {"motion": "One arm' in system
    assert '"scene"' not in system
    assert "$" not in system


def test_questions_run_at_once_but_no_more_than_allowed():
    import threading

    meeting = threading.Barrier(3, timeout=10)

    def plan(number: int, body: dict[str, Any]) -> Reply:
        meeting.wait()
        return obedient(number, body)

    with chat_server(plan) as stub:
        report = run(stub, None, [f"label {c}" for c in "abcdef"], batch=1, concurrency=3)
    assert stub.most_at_once == 3
    assert not report.failed


def test_a_faulty_answer_is_complained_about_once():
    def plan(number: int, body: dict[str, Any]) -> Reply:
        return message("I would rather not." if number == 0 else rows_for(asked_labels(body)))

    with chat_server(plan) as stub:
        report = run(stub, None, ["eat", "sleep"])
    assert not report.failed
    assert [m["role"] for m in stub.questions[1]["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    assert '- "eat", scene: is missing' in stub.questions[1]["messages"][3]["content"]


def test_missing_labels_fail_by_name_and_the_rest_is_kept(tmp_path: Path):
    out = tmp_path / "bank.json"
    with chat_server(lambda n, body: message(rows_for(["eat"], ("scene",)))) as stub:
        report = run(stub, out, ["eat", "sleep"])
        assert len(stub.questions) == 2
    eat, sleep = report.rows
    assert [d.kind for d in eat.found.descriptions] == ["scene"]
    assert eat.found.notes == tuple(f"{k} is missing" for k in KINDS[1:])
    assert report.failed == (sleep,)
    assert "no usable description (scene is missing" in (sleep.problem or "")
    assert [len(e.descriptions) for e in load_bank(out).entries] == [1, 0]


def test_too_long_is_asked_shorter_and_then_cut():
    long = "The arm swings a tool. " + "Then it goes on and on. " * 20

    def plan(number: int, body: dict[str, Any]) -> Reply:
        row = {"label": "eat", "descriptions": {"motion": long + str(number)}}
        return message(json.dumps(row))

    with chat_server(plan) as stub:
        report = run(stub, None, ["eat"], kinds=["motion"])
    complaint = stub.questions[1]["messages"][3]["content"]
    assert "words reads the first 40" in complaint
    (row,) = report.rows
    assert len(row.found.descriptions[0].text.split()) <= 38
    assert row.found.descriptions[0].text.endswith("on and on.")
    assert "was cut" in row.found.notes[0]


def test_one_sentence_for_two_labels_is_left_out_of_the_second():
    row = {"scene": "A table with plates."}
    plan = lambda n, body: message(  # noqa: E731
        json.dumps({"label": asked_labels(body)[0], "descriptions": row})
    )
    with chat_server(plan) as stub:
        report = run(stub, None, ["eat", "dine"], kinds=["scene"], batch=1, concurrency=1)
    assert [bool(row.problem) for row in report.rows] == [False, True]
    assert "same sentence as that of 'eat'" in (report.rows[1].problem or "")


def test_a_refusal_ends_the_run_and_keeps_what_was_done(tmp_path: Path):
    out = tmp_path / "bank.json"
    with chat_server(lambda n, body: obedient(n, body) if n < 2 else KICKED_OUT) as stub:
        report = run(stub, out, batch=1, concurrency=1)
        assert len(stub.questions) == 3
    assert len(report.failed) == 3
    assert all("OPENAI_API_KEY" in (row.problem or "") for row in report.failed)
    assert [len(e.descriptions) for e in load_bank(out).entries] == [5, 5, 0, 0, 0]


def test_a_server_that_never_answers_is_given_up_after_three_batches():
    broken = Reply({"error": {"message": "the context is full"}}, 400)
    with chat_server(lambda n, body: broken) as stub:
        report = run(stub, None, [f"label {i}" for i in range(9)], batch=1, concurrency=1)
        assert len(stub.questions) == 3
    assert len(report.failed) == 9


def test_one_bad_batch_costs_only_its_labels():
    def plan(number: int, body: dict[str, Any]) -> Reply:
        return Reply(status=400) if asked_labels(body) == ["eat"] else obedient(number, body)

    with chat_server(plan) as stub:
        report = run(stub, None, batch=1)
    assert [row.found.label for row in report.failed] == ["eat"]


def test_a_second_run_asks_only_for_what_is_missing(tmp_path: Path):
    out = tmp_path / "bank.json"
    with chat_server(lambda n, body: obedient(n, body) if n < 2 else KICKED_OUT) as stub:
        run(stub, out, batch=1, concurrency=1)
        stub.plan, before = obedient, len(stub.questions)
        report = run(stub, out, ["new one", *LABELS], batch=1)
        asked = [asked_labels(body)[0] for body in stub.questions[before:]]
    assert sorted(asked) == ["eat", "jump rope", "new one", "sleep"]
    assert report.n_before == 2
    assert [e.label for e in load_bank(out).entries] == ["new one", *LABELS]
    assert not report.failed


def test_labels_that_left_the_list_stay_in_the_file(tmp_path: Path):
    out = tmp_path / "bank.json"
    with chat_server() as stub:
        run(stub, out, ["eat", "sleep"])
        run(stub, out, ["sleep", "wake"])
    entries = load_bank(out).entries
    assert [(e.label, len(e.descriptions)) for e in entries] == [
        ("sleep", 5),
        ("wake", 5),
        ("eat", 5),
    ]


def test_an_answer_is_never_paid_for_twice(tmp_path: Path):
    with chat_server() as stub:
        one = run(stub, tmp_path / "a.json")
        asked = len(stub.questions)
        two = run(stub, tmp_path / "b.json")
        assert len(stub.questions) == asked
        run(stub, tmp_path / "c.json", llm="openai:other")
        assert len(stub.questions) > asked
    assert one.bank.entries == two.bank.entries


def test_useless_answers_are_not_kept(tmp_path: Path):
    with chat_server(lambda n, body: message("no")) as stub:
        run(stub, None, ["eat"])
        stub.plan = obedient
        assert not run(stub, None, ["eat"]).failed


def test_a_damaged_kept_answer_is_asked_again(tmp_path: Path):
    with chat_server() as stub:
        run(stub, None, ["eat"])
        for path in (tmp_path / "answers").rglob("*.json"):
            path.write_text("{")
        assert not run(stub, None, ["eat"]).failed
        assert len(stub.questions) == 2


def test_a_bank_that_was_made_otherwise_is_not_touched(tmp_path: Path):
    out = tmp_path / "bank.json"
    with chat_server() as stub:
        run(stub, out, ["eat"])
        before = out.read_bytes()
        for other in ("openai:other", "offline"):
            refused(UsageError, "made otherwise", run, stub, out, ["eat"], llm=other)
    assert out.read_bytes() == before


def test_out_that_cannot_be_written_costs_no_question(tmp_path: Path):
    with chat_server() as stub:
        for out in (tmp_path / "no" / "bank.json", tmp_path):
            refused(LabelError, "", run, stub, out)
        assert stub.questions == []


def test_arguments_that_cannot_be_used():
    for more, error in [
        ({"kinds": ["moton"]}, UnknownNameError), ({"kinds": []}, UsageError),
        ({"llm": "gpt"}, UnknownNameError), ({"llm": ""}, UsageError),
        ({"llm": "openai:"}, UsageError), ({"llm": "local:/nowhere"}, UsageError),
        ({"llm": "offline:x"}, UsageError), ({"labels": []}, LabelError),
    ]:  # fmt: skip
        refused(
            error, "", describe, more.pop("labels", ["eat"]), None, **{"llm": "openai:m"} | more
        )


def test_the_hosted_address_needs_a_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    refused(UsageError, "OPENAI_API_KEY is not set", describe, ["eat"], None, llm="openai:m")
    with chat_server() as stub:  # a server of one's own may want none
        assert not run(stub, None, ["eat"]).failed
        assert stub.keys == [None]


def test_an_answer_without_a_message(tmp_path: Path):
    with chat_server(lambda n, body: Reply({"choices": []})) as stub:
        (row,) = run(stub, None, ["eat"]).failed
    assert "without a message" in (row.problem or "")


def test_an_error_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "vlar.generators.descriptions.chat_describer.ParsedDescriptions.add", lambda *_: 1 / 0
    )
    with chat_server() as stub, pytest.raises(ZeroDivisionError):
        run(stub, None, batch=1)
