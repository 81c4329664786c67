"""What every registered describer must keep to.

Each describer needs a stand-in for what it asks: a chat server, a language model with random
weights, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.refusals import refused
from tests.unit.generators.descriptions.chat_server import chat_server
from tests.unit.generators.descriptions.conftest import WordLimit
from tests.unit.generators.descriptions.tiny_model import save_tiny_model
from vlar import registry
from vlar.errors import UsageError
from vlar.files import resources
from vlar.generators.chat import NoAnswerError
from vlar.generators.descriptions.base import (
    Describer,
    LabelDescriptions,
    LabelRequest,
    load_describer,
)
from vlar.generators.descriptions.run import describe
from vlar.language.bank import KINDS, load_bank
from vlar.language.bank_validation import text_fault

LIMIT = WordLimit()
REQUESTS = [
    LabelRequest("ApplyEyeMakeup", "apply eye makeup", ("scene", "motion")),
    LabelRequest("wave_hand", "wave hand", ("scene", "motion")),
]


@pytest.fixture(params=registry.names("describer"))
def spec(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A usable spec of the describer."""
    monkeypatch.setattr(resources, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr("vlar.generators.descriptions.chat_describer._ANSWER_TOKENS", 2)
    monkeypatch.setattr("vlar.generators.descriptions.offline.SimilarTexts", _NothingSimilar)
    with chat_server() as stub:
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
        arguments: dict[str, Callable[[], object]] = {
            "offline": lambda: "",
            "openai": lambda: "m",
            "local": lambda: save_tiny_model(tmp_path / "tiny"),
        }
        yield f"{request.param}:{arguments[request.param]()}".rstrip(":")


class _NothingSimilar:
    """A search that needs no weights and finds nothing."""

    def __init__(self, texts: object, values: object) -> None:
        del texts, values

    def search(self, text: str, k: int = 5) -> list[tuple[float, object]]:
        del text, k
        return []


@pytest.fixture
def describer(spec: str) -> Iterator[Describer]:
    found = load_describer(spec, LIMIT)
    yield found
    found.close()


def answers(describer: Describer) -> list[LabelDescriptions]:
    try:
        return describer.describe(REQUESTS)
    except NoAnswerError:  # a model with random weights may write nothing usable
        return [LabelDescriptions(row.label, ()) for row in REQUESTS]


def test_it_is_a_describer_that_names_its_origin(describer: Describer):
    assert describer.batch_size >= 1
    provenance = describer.provenance()
    assert provenance["source"]
    assert provenance["made"]
    assert "date" not in provenance  # a bank is continued on another day
    assert describer.licence()


def test_one_row_per_request_with_usable_texts_of_the_asked_kinds(describer: Describer):
    rows = answers(describer)
    assert [row.label for row in rows] == [row.label for row in REQUESTS]
    for request, row in zip(REQUESTS, rows, strict=True):
        kinds = [text.kind for text in row.descriptions]
        assert kinds == [kind for kind in request.kinds if kind in kinds]
        assert row.descriptions or row.notes or isinstance(describer, registry.get(*_LOCAL))
        for text in row.descriptions:
            assert text_fault(text.text, request.text, LIMIT) is None


_LOCAL = ("describer", "local")


def test_equal_requests_get_equal_answers(describer: Describer):
    assert answers(describer) == answers(describer)


def test_two_makes_of_one_spec_continue_each_others_bank(spec: str):
    one, other = load_describer(spec, LIMIT), load_describer(spec, LIMIT)
    assert one.provenance() == other.provenance()
    one.close()
    other.close()


def test_closing_twice_is_fine(describer: Describer):
    describer.close()
    describer.close()


def test_a_run_writes_a_bank_with_every_label(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from types import SimpleNamespace

    monkeypatch.setattr("vlar.model.model.load", lambda spec: SimpleNamespace(encoder=LIMIT))
    out = tmp_path / "bank.json"
    report = describe([row.label for row in REQUESTS], out, llm=spec)
    bank = load_bank(out)
    assert bank == report.bank
    assert [entry.label for entry in bank.entries] == [row.label for row in REQUESTS]
    assert {text.kind for entry in bank.entries for text in entry.descriptions} <= set(KINDS)


@pytest.mark.parametrize("name", registry.names("describer"))
def test_a_useless_argument_is_named(name: str):
    argument = "surplus" if name == "offline" else ""
    refused(UsageError, name, load_describer, f"{name}:{argument}", LIMIT)
