"""What every registered describer must keep to.

Each describer needs a stand-in for what it asks: a chat server, a language model with random
weights, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.generators.descriptions.chat_server import chat_server
from tests.unit.generators.descriptions.conftest import WordLimit
from tests.unit.generators.descriptions.tiny_model import save_tiny_model
from vlar import registry
from vlar.files import resources
from vlar.generators.descriptions.run import describe
from vlar.language.bank import KINDS, load_bank
from vlar.testing import check_describer
from vlar.testing.describers import REQUESTS

LIMIT = WordLimit()


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


def test_it_keeps_the_contract(spec: str):
    name, _, argument = spec.partition(":")
    check_describer(name, argument=argument, limit=LIMIT)


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
