from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest


@dataclass(frozen=True)
class WordLimit:
    """A text tower that counts words, two special tokens included."""

    name: str = "words"
    max_tokens: int = 40

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


@pytest.fixture
def limit() -> WordLimit:
    return WordLimit()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Kept answers of one test must not answer another."""
    from vlar.files import resources

    monkeypatch.setattr(
        "vlar.generators.descriptions.chat_describer.resources.cache_dir",
        lambda: tmp_path / "answers",
    )
    assert resources.cache_dir() == tmp_path / "answers"


@pytest.fixture(autouse=True)
def word_model(limit: WordLimit, monkeypatch: pytest.MonkeyPatch):
    """Descriptions are measured by words: no test here needs an encoder."""
    monkeypatch.setattr("vlar.model.model.load", lambda spec: SimpleNamespace(encoder=limit))
