"""Words about motion to motion attributes: a table of verbs, found in any inflection.

``text_banks/motion_verbs.txt`` says for each phrase which attributes its movement has, seen from
outside. A text is cut at "and", "then", "while"; the longest phrase whose words stand in each part
in order decides. Texts without a known phrase borrow from the phrases nearest in meaning, and what
is far from all of them is reported as unknown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vlar import resources
from vlar.errors import UsageError
from vlar.pose import modifiers, others
from vlar.pose.attribute import attribute_names, vector
from vlar.pose.inflect import base_forms
from vlar.types import Float32, JsonDict

EmbedTexts = Callable[[Sequence[str]], Float32]

TABLE = "motion_verbs"
_SIGNED = re.compile(r"([a-z_]+)([+-])(\d*\.?\d*)")
_BREAKS = re.compile(r"\b(?:and then|and|then|while|before|after|followed by)\b|[,;.&/]")
# "Up and down" is one movement, not two parts of a sentence.
_PAIRS = re.compile(
    r"\b(up|back|to|in|on|again|over|round|left|forth|forward|forwards) and "
    r"(down|forth|fro|out|off|again|over|round|right|back|backward|backwards)\b"
)
_IGNORED_TEXT = """a an the his her its their my your our some someone somebody person man woman
people is are be being been does do doing perform performing he she they it"""
_IGNORED = frozenset(_IGNORED_TEXT.split())
_WIDEST_GAP = 3  # words between two words of a phrase
_NEAREST = 5  # phrases that an unknown text borrows from
_SHARPNESS = 20.0  # of the softmax over their cosines
_CLEARLY = 0.05  # cosine by which a longer phrase with the same verb must be nearer to the text
_OUT_OF_ORDER = 0.6  # words, what a phrase loses whose words stand in another order
_RELATED = 0.45  # cosine below which a phrase has nothing to do with a text


@dataclass(frozen=True)
class Entry:
    """One line of the table: phrases with the same movement, and its weights (A,)."""

    phrases: tuple[str, ...]
    weights: Float32


@dataclass(frozen=True)
class Meaning:
    """What a text says about motion.

    Attributes:
        text: The text.
        weights: (A,) in -1 .. 1, in the order of ``attribute_names``; zero where unknown.
        phrases: The phrases of the table that were used.
        how: ``table`` (found in the text), ``nearest`` (borrowed by meaning) or ``unknown``.
    """

    text: str
    weights: Float32
    phrases: tuple[str, ...]
    how: str

    def to_dict(self) -> JsonDict:
        """JSON object: how the text was understood, and its attributes with their weights."""
        names = attribute_names()
        return {
            "text": self.text,
            "how": self.how,
            "phrases": list(self.phrases),
            "attributes": {
                names[i]: round(float(self.weights[i]), 3) for i in np.flatnonzero(self.weights)
            },
        }


class VerbTable:
    """The table and its look-up.

    Args:
        text: Lines ``phrase, phrase: attribute+ attribute-.5``; ``#`` starts a comment line.
        embed: Texts to unit vectors, for texts without a known phrase; None for no fallback.

    Raises:
        UsageError: a line is malformed, or a phrase comes twice.
        UnknownNameError: an attribute does not exist.
    """

    def __init__(self, text: str, embed: EmbedTexts | None = None) -> None:
        self.digest = hashlib.sha256((text + modifiers.digest()).encode()).hexdigest()
        self.entries = _parse(text)
        self._embed = embed
        self._vectors: dict[str, Float32] = {}
        self._load: Callable[[], bytes] | None = None
        self._places = [
            (tuple(_words(phrase)), number, phrase)
            for number, entry in enumerate(self.entries)
            for phrase in entry.phrases
        ]
        self._begin: dict[str, list[int]] = {}
        for place, (phrase, *_) in enumerate(self._places):
            self._begin.setdefault(phrase[0], []).append(place)

    @classmethod
    def packaged(cls, embed: EmbedTexts | None = None) -> VerbTable:
        """The table that comes with vlar."""
        path = resources.find("text_banks", TABLE, ".txt")
        return cls(path.read_text("utf-8"), embed)

    def meaning(self, text: str, without: Collection[int] = ()) -> Meaning:
        """What a text says about motion.

        Args:
            text: A label, a phrase or a sentence.
            without: Numbers of entries to leave out (to see what the table is worth).
        """
        total = np.zeros(len(attribute_names()), np.float32)
        phrases: list[str] = []
        for part in _parts(text):
            found = self._longest(part, without)
            if found is not None:
                number, phrase = found
                total += modifiers.modified(self.entries[number].weights, part, _words(phrase))
                phrases.append(phrase)
        if phrases:
            weights = others.with_two(np.clip(total, -1, 1), text, _words(text))
            return Meaning(text, weights, tuple(phrases), "table")
        return self._borrowed(text, without)

    def matches(self, text: str) -> list[int]:
        """Numbers of the entries that decide on a text."""
        found = [self._longest(part, ()) for part in _parts(text)]
        return [pair[0] for pair in found if pair is not None]

    def _longest(self, part: str, without: Collection[int]) -> tuple[int, str] | None:
        spelled_words = _words(part)
        words = [base_forms(word) for word in spelled_words]
        best: tuple[float, int, tuple[str, ...], str] | None = None
        # A phrase fits only where its first word stands; of equal ones the first in the table wins.
        held = {place for forms in words for form in forms for place in self._begin.get(form, ())}
        for phrase, number, spelled in (self._places[place] for place in sorted(held)):
            if number in without:
                continue
            score = _fit(phrase, words)
            if score > 0 and (best is None or score > best[0]):
                best = (score, number, phrase, spelled)
        if best is None:
            return None
        _, number, phrase, spelled = best
        if len(phrase) == 1 and len(others.without(spelled_words)) > 1:
            return self._told_apart(part, phrase[0], number, spelled, without)
        return number, spelled

    def _told_apart(
        self, part: str, verb: str, number: int, spelled: str, without: Collection[int]
    ) -> tuple[int, str]:
        """Of the phrases with a verb, the nearest in meaning: "shoot" at a hoop, or an arrow."""
        if self._embed is None:
            return number, spelled
        longer = [
            (row, name)
            for words, row, name in self._places
            if words[0] == verb
            and len(words) > 1
            and row not in without
            and others.SOMEONE not in words
        ]
        query = self._embed([part.strip()])[0]
        best = (float(self._vector(spelled) @ query) + _CLEARLY, number, spelled)
        for row, name in longer:
            best = max(best, (float(self._vector(name) @ query), row, name))
        return best[1], best[2]

    def _vector(self, phrase: str) -> Float32:
        if phrase not in self._vectors and self._embed is not None:
            self._vectors[phrase] = self._embed([phrase])[0]
        return self._vectors[phrase]

    def _borrowed(self, text: str, without: Collection[int]) -> Meaning:
        nothing = np.zeros(len(attribute_names()), np.float32)
        if self._embed is None or not text.strip():
            return Meaning(text, nothing, (), "unknown")
        cosines = self.phrase_vectors @ self._embed([text])[0]
        cosines[list(without)] = -1.0
        nearest = np.argsort(-cosines, kind="stable")[:_NEAREST]
        nearest = nearest[cosines[nearest] >= _RELATED]
        if not len(nearest):
            return Meaning(text, nothing, (), "unknown")
        shares = np.exp(_SHARPNESS * (cosines[nearest] - cosines[nearest[0]]))
        shares /= shares.sum()
        weights = sum(
            share * self.entries[number].weights
            for share, number in zip(shares, nearest, strict=True)
        )
        phrases = tuple(self.entries[number].phrases[0] for number in nearest)
        weights = modifiers.modified(np.asarray(weights, np.float32), text.lower(), ())
        weights = others.with_two(weights, text, _words(text))
        return Meaning(text, weights, phrases, "nearest")

    @property
    def first_phrases(self) -> list[str]:
        """The first phrase of each entry: what a text without a known verb is compared with."""
        return [entry.phrases[0] for entry in self.entries]

    def load_phrase_vectors(self, load: Callable[[], bytes]) -> None:
        """Take the float32 vectors of ``first_phrases`` from ``load`` when they are needed."""
        self._load = load

    @cached_property
    def phrase_vectors(self) -> Float32:
        """(E, D) unit vectors of each entry's first phrase."""
        if self._load is not None:
            return np.frombuffer(self._load(), np.float32).reshape(len(self.entries), -1)
        if self._embed is None:
            raise UsageError("this verb table was made without a text encoder")
        return self._embed(self.first_phrases)


def _parse(text: str) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        names, colon, signs = content.partition(":")
        phrases = tuple(name.strip() for name in names.split(","))
        if not colon or not all(phrases):
            raise UsageError(
                f"verb table line {number}: {content[:60]!r} is not 'phrase, phrase: attribute+'"
            )
        for phrase in phrases:
            if phrase in seen:
                raise UsageError(
                    f"verb table line {number}: {phrase!r} is already in line {seen[phrase]}"
                )
            seen[phrase] = number
        entries.append(Entry(phrases, vector(_signs(signs, number))))
    if not entries:
        raise UsageError("the verb table has no entry")
    return tuple(entries)


def _signs(text: str, number: int) -> dict[str, float]:
    signs: dict[str, float] = {}
    for word in text.split():
        match = _SIGNED.fullmatch(word)
        if match is None or match[1] in signs:
            raise UsageError(
                f"verb table line {number}: {word!r} is malformed or comes twice; write "
                "'attribute+', 'attribute-' or 'attribute+.5'"
            )
        signs[match[1]] = (1.0 if match[2] == "+" else -1.0) * float(match[3] or 1)
    return signs


def _parts(text: str) -> list[str]:
    return _BREAKS.split(_PAIRS.sub(r"\1 _ \2", text.lower()))


def _words(text: str) -> list[str]:
    joined = _PAIRS.sub(r"\1 _ \2", text.lower().replace("'s", ""))
    words = others.marked(re.findall(r"[^\W\d_]+", joined))
    kept = [word for word in words if word == others.SOMEONE or word not in _IGNORED]
    return kept or words


def _fit(phrase: Sequence[str], words: Sequence[frozenset[str]]) -> float:
    """How well a phrase fits a text: its number of words, less a little; 0 where it does not.

    Longer phrases say more; of equal ones the first in the text is the verb.
    """
    begin = _find(phrase, words)
    if begin is not None:
        return len(phrase) - 0.01 * begin
    anywhere = len(phrase) > 1 and all(any(w in forms for forms in words) for w in phrase)
    return len(phrase) - _OUT_OF_ORDER if anywhere else 0.0


def _find(phrase: Sequence[str], words: Sequence[frozenset[str]]) -> int | None:
    """Where the words of a phrase begin in a text: in order, with small gaps."""
    for begin in range(len(words) - len(phrase) + 1):
        if phrase[0] not in words[begin]:
            continue
        at = begin
        for word in phrase[1:]:
            window = range(at + 1, min(at + 2 + _WIDEST_GAP, len(words)))
            at = next((place for place in window if word in words[place]), -1)
            if at < 0:
                break
        else:
            return begin
    return None
