"""The verb table: texts about motion to weights of motion attributes.

``text_banks/motion_verbs.txt`` gives for each phrase the attributes of its movement, as a camera
records it. A text is split at "and", "then", "while". In each clause the longest phrase whose words
occur in order decides (``phrase_matching`` has the rules). A text without a known phrase uses the
phrases nearest in meaning; a text far from all phrases is unknown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from vlar.errors import UsageError
from vlar.files import resources
from vlar.files.recent import Recent
from vlar.language.clean import base_forms
from vlar.language.motion import modifiers, phrase_matching
from vlar.language.motion.modifiers import drop_clauses
from vlar.language.motion.phrase_matching import (
    content_words,
    contrary_words,
    fixed_expression,
    join_compounds,
    may_replace,
    phrase_score,
    split_clauses,
    split_compound,
    split_words,
    verb_score,
    word_forms,
)
from vlar.language.motion.second_person import SOMEONE, add_second_person, drop_second_person
from vlar.pose.attributes.base import attribute_names, hand_attribute_names, weight_vector
from vlar.types import Float32, JsonDict


@dataclass(frozen=True)
class Vocabulary:
    """Attributes, and the rules that change a phrase's weights by the words around it.

    Attributes:
        table: File of the table in ``text_banks``.
        names: The A names, in the order of the weights.
        modify: Changes the weights (A,) of a phrase by its clause; gets the phrase's words too.
        complete: Changes the weights (A,) of a whole text; gets the text and its words.
        digest: Hash of these rules.
    """

    table: str
    names: tuple[str, ...]
    modify: Callable[[Float32, str, Collection[str]], Float32]
    complete: Callable[[Float32, str, Sequence[str]], Float32]
    digest: str


def bodies() -> Vocabulary:
    """Vocabulary of whole bodies (``motion_verbs``)."""
    rules = modifiers.digest()
    return Vocabulary(
        "motion_verbs", attribute_names(), modifiers.apply_modifiers, add_second_person, rules
    )


def hands() -> Vocabulary:
    """Vocabulary of hands near the camera (``hand_verbs``)."""
    return Vocabulary(
        "hand_verbs",
        hand_attribute_names(),
        modifiers.apply_hand_modifiers,
        lambda weights, text, words: weights,
        modifiers.hand_digest(),
    )


EmbedTexts = Callable[[Sequence[str]], Float32]

_SIGNED = re.compile(r"([a-z_]+)([+-])(\d*\.?\d*)")
_KEPT_MOTIONS = 1024
_NEAREST = 5  # phrases that stand in for a text without a known phrase
_SHARPNESS = 20.0  # factor on their cosines in the softmax
_MARGIN = 0.05  # cosine by which a longer phrase with the same verb must be nearer to the text
_SAME_OBJECT = 0.52  # least cosine of a phrase with another object: a pistol is like a gun
_SHORTEST_COMPOUND = 6  # letters
_RELATED = 0.5  # cosine below which a phrase is unrelated to a text


@dataclass(frozen=True)
class VerbEntry:
    """One line of the table.

    Attributes:
        phrases: Phrases with the same movement; the first one represents the entry.
        weights: (A,) float32 attribute weights, -1 to 1.
    """

    phrases: tuple[str, ...]
    weights: Float32


@dataclass(frozen=True)
class TextMotion:
    """The motion that a text describes.

    Attributes:
        text: The text.
        weights: (A,) float32 in -1 .. 1, in the order of ``names``; 0 means unknown.
        phrases: The phrases of the table that were used.
        how: ``table`` (phrases of the text), ``nearest`` (phrases of similar meaning) or
            ``unknown``.
        names: Names of the attributes; those of bodies by default.
    """

    text: str
    weights: Float32
    phrases: tuple[str, ...]
    how: str
    names: tuple[str, ...] = field(default_factory=attribute_names)

    def to_dict(self) -> JsonDict:
        """JSON object: the phrases that were used, and the attributes with their weights."""
        return {
            "text": self.text,
            "how": self.how,
            "phrases": list(self.phrases),
            "attributes": {
                self.names[i]: round(float(self.weights[i]), 3)
                for i in np.flatnonzero(self.weights)
            },
        }


class VerbTable:
    """The table and its look-up.

    Args:
        text: Lines ``phrase, phrase: attribute+ attribute-.5``; ``#`` starts a comment line.
        embed: Maps texts to unit vectors, for texts without a known phrase; None for no fallback.
        about: The attributes that it names; None for those of bodies.

    Raises:
        UsageError: a line is malformed, or a phrase occurs twice.
        UnknownNameError: an attribute does not exist.
    """

    def __init__(
        self, text: str, embed: EmbedTexts | None = None, about: Vocabulary | None = None
    ) -> None:
        self.about = about or bodies()
        rules = f"{self.about.digest}/{phrase_matching.VERSION}"
        self.digest = hashlib.sha256((text + rules).encode()).hexdigest()
        self.entries = _parse(text, self.about.names)
        self._embed = embed
        self._vectors: dict[str, Float32] = {}
        self._motions = Recent(_KEPT_MOTIONS)
        self._load: Callable[[], bytes] | None = None
        self._places = [
            (tuple(content_words(phrase)), number, phrase)
            for number, entry in enumerate(self.entries)
            for phrase in entry.phrases
        ]
        self._begin: dict[str, list[int]] = {}
        for row, (phrase, *_) in enumerate(self._places):
            self._begin.setdefault(phrase[0], []).append(row)
        self._first_words = [frozenset(content_words(name)) for name in self.first_phrases]
        self._known = frozenset(word for phrase, *_ in self._places for word in phrase)
        self._two_words = frozenset(phrase for phrase, *_ in self._places if len(phrase) == 2)
        self._compounds = frozenset(frozenset(map(_singular, words)) for words in self._two_words)
        expressions = (fixed_expression(phrase) for *_, phrase in self._places)
        self._fixed = frozenset(words for words in expressions if words)

    @classmethod
    def packaged(
        cls, embed: EmbedTexts | None = None, about: Vocabulary | None = None
    ) -> VerbTable:
        """The table in vlar's data folder."""
        about = about or bodies()
        path = resources.find("text_banks", about.table, ".txt")
        return cls(path.read_text("utf-8"), embed, about)

    def lookup(self, text: str, without: Collection[int] = ()) -> TextMotion:
        """The motion that a text describes.

        Args:
            text: A label, a phrase or a sentence.
            without: Numbers of entries to leave out, for ablations.
        """
        if without:
            return self._described(text, without)

        def motion() -> TextMotion:
            described = self._described(text, without)
            described.weights.setflags(write=False)  # several callers have them
            return described

        return self._motions.keep(text, motion)

    def _described(self, text: str, without: Collection[int]) -> TextMotion:
        total = np.zeros(len(self.about.names), np.float32)
        phrases: list[str] = []
        clauses = [(clause, self._best_phrase(clause, without)) for clause in self._clauses(text)]
        # "Walking, slowly": parts without a verb are about the second_person.
        remainder = " ".join(clause for clause, match in clauses if match is None)
        for clause, match in clauses:
            if match is not None:
                number, phrase = match
                weights = self.entries[number].weights
                total += self.about.modify(weights, f"{clause} {remainder}", content_words(phrase))
                phrases.append(phrase)
        if phrases:
            weights = self.about.complete(np.clip(total, -1, 1), text, content_words(text))
            return TextMotion(text, weights, tuple(phrases), "table", self.about.names)
        return self._nearest_phrases(text, without)

    def matches(self, text: str) -> list[int]:
        """Numbers of the entries that a text is matched to, one per clause with a known phrase."""
        phrases = [self._best_phrase(clause, ()) for clause in self._clauses(text)]
        return [pair[0] for pair in phrases if pair is not None]

    def _clauses(self, text: str) -> list[str]:
        return split_clauses(text, self._fixed)

    def _words(self, clause: str) -> list[str]:
        words: list[str] = []
        for word in content_words(clause):
            is_whole = len(word) < _SHORTEST_COMPOUND or not self._known.isdisjoint(
                base_forms(word)
            )
            words += [word] if is_whole else split_compound(word, self._compounds)
        return join_compounds(words, self._begin)

    def _best_phrase(self, clause: str, without: Collection[int]) -> tuple[int, str] | None:
        words = self._words(clause)
        forms = word_forms(words)
        best: tuple[float, int, tuple[str, ...], str] | None = None
        # A phrase needs its first word in the clause; of equal scores the first in the table wins.
        spoken = frozenset[str]().union(*forms)
        held = {row for form in spoken for row in self._begin.get(form, ())}
        for phrase, number, spelled in (self._places[row] for row in sorted(held)):
            if number in without or not spoken.issuperset(phrase):
                continue
            if len(phrase) == 1:
                score = verb_score(phrase[0], clause, words, forms)
            else:
                score = phrase_score(phrase, words, forms, self._two_words)
            if score > 0 and (best is None or score > best[0]):
                best = (score, number, phrase, spelled)
        if best is None:
            return None
        _, number, phrase, spelled = best
        if len(phrase) == 1 and len(drop_second_person(words)) > 1:
            return self._disambiguate(clause, forms, (phrase[0], number, spelled), without)
        return number, spelled

    def _disambiguate(
        self,
        clause: str,
        forms: Sequence[frozenset[str]],
        found: tuple[str, int, str],
        without: Collection[int],
    ) -> tuple[int, str]:
        """The phrase with a verb that is nearest in meaning: "shoot" an arrow, or at a hoop."""
        verb, number, spelled = found
        if self._embed is None:
            return number, spelled
        longer = [
            (row, name)
            for words, row, name in map(self._places.__getitem__, self._begin.get(verb, ()))
            if len(words) > 1 and row not in without
            if SOMEONE not in words and may_replace(words, forms)
        ]
        query = self._embed([drop_clauses(clause)])[0]
        best = (float(self._vector(spelled) @ query) + _MARGIN, number, spelled)
        for row, name in longer:
            cosine = float(self._vector(name) @ query)
            if cosine >= _SAME_OBJECT:
                best = max(best, (cosine, row, name))
        return best[1], best[2]

    def _vector(self, phrase: str) -> Float32:
        if phrase not in self._vectors and self._embed is not None:
            self._vectors[phrase] = self._embed([phrase])[0]
        return self._vectors[phrase]

    def _nearest_phrases(self, text: str, without: Collection[int]) -> TextMotion:
        names = self.about.names
        unknown = TextMotion(text, np.zeros(len(names), np.float32), (), "unknown", names)
        spaced = split_words(text)
        if self._embed is None or not spaced:
            return unknown
        cosines = self.phrase_vectors @ self._embed([spaced])[0]
        cosines[list(without)] = -1.0
        contrary = contrary_words(frozenset[str]().union(*word_forms(self._words(spaced))))
        if contrary:
            cosines[[not contrary.isdisjoint(phrase) for phrase in self._first_words]] = -1.0
        nearest = np.argsort(-cosines, kind="stable")[:_NEAREST]
        nearest = nearest[cosines[nearest] >= _RELATED]
        if not len(nearest):
            return unknown
        shares = np.exp(_SHARPNESS * (cosines[nearest] - cosines[nearest[0]]))
        shares /= shares.sum()
        weights = sum(
            share * self.entries[number].weights
            for share, number in zip(shares, nearest, strict=True)
        )
        phrases = tuple(self.entries[number].phrases[0] for number in nearest)
        weights = self.about.modify(np.asarray(weights, np.float32), spaced.lower(), ())
        weights = self.about.complete(weights, text, content_words(text))
        return TextMotion(text, weights, phrases, "nearest", names)

    @property
    def first_phrases(self) -> list[str]:
        """The E first phrases of the entries: what an unknown text is compared with."""
        return [entry.phrases[0] for entry in self.entries]

    def load_phrase_vectors(self, load: Callable[[], bytes]) -> None:
        """Set the function that returns the float32 bytes of the vectors of ``first_phrases``."""
        self._load = load

    @cached_property
    def phrase_vectors(self) -> Float32:
        """(E, D) float32 unit vectors of the first phrases."""
        if self._load is not None:
            return np.frombuffer(self._load(), np.float32).reshape(len(self.entries), -1)
        if self._embed is None:
            raise UsageError("this verb table has no text encoder; make it with embed=...")
        return self._embed(self.first_phrases)


def _parse(text: str, known: Sequence[str]) -> tuple[VerbEntry, ...]:
    entries: list[VerbEntry] = []
    lines_of: dict[str, int] = {}
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
            if phrase in lines_of:
                raise UsageError(
                    f"verb table line {number}: {phrase!r} is already in line {lines_of[phrase]}"
                )
            lines_of[phrase] = number
        entries.append(VerbEntry(phrases, weight_vector(_signs(signs, number), known)))
    if not entries:
        raise UsageError("the verb table has no entry; write a line 'phrase: attribute+'")
    return tuple(entries)


def _signs(text: str, number: int) -> dict[str, float]:
    signs: dict[str, float] = {}
    for word in text.split():
        match = _SIGNED.fullmatch(word)
        if match is None or match[1] in signs:
            raise UsageError(
                f"verb table line {number}: {word!r} is malformed or occurs twice; write "
                "'attribute+', 'attribute-' or 'attribute+.5'"
            )
        signs[match[1]] = (1.0 if match[2] == "+" else -1.0) * float(match[3] or 1)
    return signs


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
