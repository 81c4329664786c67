"""Words about motion to motion attributes: a table of verbs, found in any inflection.

``text_banks/motion_verbs.txt`` says for each phrase which attributes its movement has, seen from
outside. A text is cut at "and", "then", "while"; the longest phrase whose words stand in each part
in order decides (``reading`` has the rules). Texts without a known phrase borrow from the phrases
nearest in meaning, and what is far from all of them is reported as unknown.
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
from vlar.motion_language import modifiers
from vlar.motion_language import phrase_matching as reading
from vlar.motion_language import second_person as others
from vlar.pose.attributes.base import attribute_names, weight_vector
from vlar.text.inflection import base_forms
from vlar.types import Float32, JsonDict

EmbedTexts = Callable[[Sequence[str]], Float32]

TABLE = "motion_verbs"
_SIGNED = re.compile(r"([a-z_]+)([+-])(\d*\.?\d*)")
_NEAREST = 5  # phrases that an unknown text borrows from
_SHARPNESS = 20.0  # of the softmax over their cosines
_CLEARLY = 0.05  # cosine by which a longer phrase with the same verb must be nearer to the text
_SAME_OBJECT = 0.52  # cosine that a phrase with another object needs: a pistol is like a gun
_SHORTEST_COMPOUND = 6  # letters
_RELATED = 0.5  # cosine below which a phrase has nothing to do with a text


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
        rules = f"{modifiers.digest()}/{reading.VERSION}"
        self.digest = hashlib.sha256((text + rules).encode()).hexdigest()
        self.entries = _parse(text)
        self._embed = embed
        self._vectors: dict[str, Float32] = {}
        self._load: Callable[[], bytes] | None = None
        self._places = [
            (tuple(reading.words_of(phrase)), number, phrase)
            for number, entry in enumerate(self.entries)
            for phrase in entry.phrases
        ]
        self._begin: dict[str, list[int]] = {}
        for place, (phrase, *_) in enumerate(self._places):
            self._begin.setdefault(phrase[0], []).append(place)
        self._first_words = [frozenset(reading.words_of(name)) for name in self.first_phrases]
        self._known = frozenset(word for phrase, *_ in self._places for word in phrase)
        self._two_words = frozenset(phrase for phrase, *_ in self._places if len(phrase) == 2)
        self._compounds = frozenset(frozenset(map(_singular, words)) for words in self._two_words)
        expressions = (reading.fixed_expression(phrase) for *_, phrase in self._places)
        self._fixed = frozenset(words for words in expressions if words)

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
        read = [(part, self._longest(part, without)) for part in self._parts(text)]
        # "Walking, slowly": parts without a verb are about the others.
        rest = " ".join(part for part, found in read if found is None)
        for part, found in read:
            if found is not None:
                number, phrase = found
                weights = self.entries[number].weights
                total += modifiers.modified(weights, f"{part} {rest}", reading.words_of(phrase))
                phrases.append(phrase)
        if phrases:
            weights = others.with_two(np.clip(total, -1, 1), text, reading.words_of(text))
            return Meaning(text, weights, tuple(phrases), "table")
        return self._borrowed(text, without)

    def matches(self, text: str) -> list[int]:
        """Numbers of the entries that decide on a text."""
        found = [self._longest(part, ()) for part in self._parts(text)]
        return [pair[0] for pair in found if pair is not None]

    def _parts(self, text: str) -> list[str]:
        return reading.parts(text, self._fixed)

    def _words(self, part: str) -> list[str]:
        words: list[str] = []
        for word in reading.words_of(part):
            known = len(word) < _SHORTEST_COMPOUND or not self._known.isdisjoint(base_forms(word))
            words += [word] if known else reading.split_compound(word, self._compounds)
        return reading.joined(words, self._begin)

    def _longest(self, part: str, without: Collection[int]) -> tuple[int, str] | None:
        words = self._words(part)
        forms = reading.forms_of(words)
        best: tuple[float, int, tuple[str, ...], str] | None = None
        # A phrase fits only where its first word stands; of equal ones the first in the table wins.
        held = {place for some in forms for form in some for place in self._begin.get(form, ())}
        for phrase, number, spelled in (self._places[place] for place in sorted(held)):
            if number in without:
                continue
            if len(phrase) == 1:
                score = reading.verb_rank(phrase[0], part, words, forms)
            else:
                score = reading.fit(phrase, words, forms, self._two_words)
            if score > 0 and (best is None or score > best[0]):
                best = (score, number, phrase, spelled)
        if best is None:
            return None
        _, number, phrase, spelled = best
        if len(phrase) == 1 and len(others.without(words)) > 1:
            return self._told_apart(part, forms, (phrase[0], number, spelled), without)
        return number, spelled

    def _told_apart(
        self,
        part: str,
        forms: Sequence[frozenset[str]],
        found: tuple[str, int, str],
        without: Collection[int],
    ) -> tuple[int, str]:
        """Of the phrases with a verb, the nearest in meaning: "shoot" at a hoop, or an arrow."""
        verb, number, spelled = found
        if self._embed is None:
            return number, spelled
        longer = [
            (row, name)
            for words, row, name in self._places
            if words[0] == verb and len(words) > 1 and row not in without
            if others.SOMEONE not in words and reading.may_stand_for(words, forms)
        ]
        query = self._embed([modifiers.without_clauses(part)])[0]
        best = (float(self._vector(spelled) @ query) + _CLEARLY, number, spelled)
        for row, name in longer:
            cosine = float(self._vector(name) @ query)
            if cosine >= _SAME_OBJECT:
                best = max(best, (cosine, row, name))
        return best[1], best[2]

    def _vector(self, phrase: str) -> Float32:
        if phrase not in self._vectors and self._embed is not None:
            self._vectors[phrase] = self._embed([phrase])[0]
        return self._vectors[phrase]

    def _borrowed(self, text: str, without: Collection[int]) -> Meaning:
        nothing = np.zeros(len(attribute_names()), np.float32)
        spaced = reading.spaced(text)
        if self._embed is None or not spaced:
            return Meaning(text, nothing, (), "unknown")
        cosines = self.phrase_vectors @ self._embed([spaced])[0]
        cosines[list(without)] = -1.0
        said = frozenset[str]().union(*reading.forms_of(self._words(spaced)))
        contrary = [reading.contradicts(words, said) for words in self._first_words]
        cosines[contrary] = -1.0
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
        weights = modifiers.modified(np.asarray(weights, np.float32), spaced.lower(), ())
        weights = others.with_two(weights, text, reading.words_of(text))
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
        entries.append(Entry(phrases, weight_vector(_signs(signs, number))))
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


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
