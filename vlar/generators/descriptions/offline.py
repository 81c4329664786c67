"""Descriptions without a language model, composed from the packaged banks and tables.

A label that a bank has, by its text, an alias or another inflection of either, gets the texts of
that entry. For other labels the verb table describes the body and the object notes describe where
a named object is found. A label that none of them covers gets nothing: a filled template would
only repeat the label.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np

from vlar.encoders.sentence_tower import cached_sentence_vectors, sentence_vectors
from vlar.errors import UsageError
from vlar.files import resources
from vlar.generators.descriptions.bank_validation import TokenLimit, same, text_fault
from vlar.generators.descriptions.base import Describer, LabelDescriptions, LabelRequest
from vlar.language.bank import PART_KINDS, Description, Entry, load_bank
from vlar.language.clean import base_forms, clean_label
from vlar.language.motion.verb_table import TextMotion, VerbTable
from vlar.methods.clauses import CLAUSES, part_clauses
from vlar.pose.attributes.base import attribute_names
from vlar.registry import register
from vlar.types import Float32

_CLEAR = 0.5  # weight from which an attribute gets a clause
_MOST = 5  # clauses in a sentence
_FEWEST = 2


def motion_sentence(motion: TextMotion) -> str | None:
    """Movement of the body in one sentence; None if too few attributes are clear."""
    names = attribute_names()
    weights = {name: float(w) for name, w in zip(names, motion.weights, strict=True)}
    clear = {
        name: poles[0] if weights[name] > 0 else poles[1]
        for name, poles in CLAUSES.items()
        if abs(weights[name]) >= _CLEAR
    }
    told = [name for name, clause in clear.items() if clause]
    told = sorted(told, key=lambda name: -abs(weights[name]))[:_MOST]
    clauses = [clause for name, clause in clear.items() if name in told]
    if len(clauses) < _FEWEST:
        return None
    text = f"{', '.join(clauses[:-1])} and {clauses[-1]}."
    return text[0].upper() + text[1:]


T = TypeVar("T")
_RELATED = 0.6  # cosine below which two labels have little in common


class SimilarTexts(Generic[T]):
    """Finds the texts nearest in meaning."""

    def __init__(self, texts: Sequence[str], values: Sequence[T]) -> None:
        self._texts = tuple(texts)
        self._values = tuple(values)

    def search(self, text: str, k: int = 5) -> list[tuple[float, T]]:
        """Find up to ``k`` related texts: cosine and value, nearest first."""
        cosines = self._vectors @ sentence_vectors([text])[0]
        order = [i for i in np.argsort(-cosines, kind="stable")[:k] if cosines[i] >= _RELATED]
        return [(float(cosines[i]), self._values[i]) for i in order]

    @cached_property
    def _vectors(self) -> Float32:
        distinct = list(dict.fromkeys(self._texts))
        vectors = cached_sentence_vectors(distinct, "the labels of the banks")
        rows = {text: row for row, text in enumerate(distinct)}
        return vectors[[rows[text] for text in self._texts]]


OBJECT_BANK = "imagenet_objects"
_STOP_WORDS_TEXT = "a an the one's someone's his her their its is are person people someone"
_STOP_WORDS = frozenset(_STOP_WORDS_TEXT.split())
_SAME = 0.8  # cosine from which an action with further words is still the same
_SIMILAR = 0.7  # cosine from which two actions with the same verb move alike

Key = TypeVar("Key", str, frozenset[str])
BankEntry = tuple[str, Entry]  # name of the bank, entry
SourcedText = tuple[Description, str]  # description, where it comes from


@register("describer", "offline")
class OfflineDescriber(Describer):
    """Composes texts from vlar's banks, verb table and object notes, without a model or network."""

    batch_size = 64

    def __init__(self, limit: TokenLimit) -> None:
        self._limit = limit

    @classmethod
    def from_spec(cls, argument: str, limit: TokenLimit) -> OfflineDescriber:
        if argument:
            raise UsageError(f"--llm offline takes no argument, got {argument!r}; use 'offline'")
        return cls(limit)

    def provenance(self) -> dict[str, str]:
        return {
            "source": f"composed from vlar's banks ({', '.join(_banks())}), verb table and object "
            "notes",
            "made": "put together offline by 'vlar describe', without a language model: texts "
            "written for the same or another label, lists from tables; not reviewed by a person",
        }

    def licence(self) -> str:
        return "Apache-2.0"

    def describe(self, requests: Sequence[LabelRequest]) -> list[LabelDescriptions]:
        return [self._one(row) for row in requests]

    def _one(self, row: LabelRequest) -> LabelDescriptions:
        entries = self._exact.get(same(row.text)) or self._inflected.get(_key(row.text))
        close: list[tuple[float, BankEntry]] = []
        if not entries:
            close = self._similar.search(row.text)
            entries = [entry for cosine, entry in close if _surely_same(row.text, cosine, entry)][
                :1
            ]
        descriptions = list(
            _borrowed(entries)
            if entries
            else [*self._scene(row.text), *self._motion(row.text, close)]
        )
        if not any(part[0].kind in PART_KINDS for part in descriptions):
            descriptions += self._parts(row.text)
        descriptions = [
            part
            for part in descriptions
            if part[0].kind in row.kinds and text_fault(part[0].text, row.text, self._limit) is None
        ]
        descriptions.sort(key=lambda part: row.kinds.index(part[0].kind))
        if not descriptions:
            hint = ", ".join(repr(entry.text) for _, (_, entry) in close[:3])
            note = "no bank, verb or object notes cover it"
            note += f" (nearest labels: {hint})" if hint else ""
            return LabelDescriptions(row.label, (), None, (note,))
        origin = "; ".join(dict.fromkeys(source for _, source in descriptions))
        missing = [k for k in row.kinds if k not in {part.kind for part, _ in descriptions}]
        notes = (f"nothing is known about {', '.join(missing)}",) if missing else ()
        texts = tuple(text for text, _ in descriptions)
        return LabelDescriptions(row.label, texts, f"composed from {origin}", notes)

    def _parts(self, text: str) -> Iterable[SourcedText]:
        """A clause for each part of the body, also for labels whose other texts are borrowed."""
        motion = self._verbs.lookup(text)
        phrases = ", ".join(repr(phrase) for phrase in motion.phrases)
        for part, clause in part_clauses(motion).items():
            yield Description(f"part:{part}", clause), f"the verb table ({phrases})"

    @cached_property
    def _known(self) -> list[BankEntry]:
        return [(name, entry) for name in _banks() for entry in load_bank(name).entries]

    @cached_property
    def _exact(self) -> dict[str, list[BankEntry]]:
        return _index(self._known, same)

    @cached_property
    def _inflected(self) -> dict[frozenset[str], list[BankEntry]]:
        index = _index(self._known, _key)
        index.pop(frozenset(), None)
        return index

    @cached_property
    def _similar(self) -> SimilarTexts[BankEntry]:
        return SimilarTexts([entry.text for _, entry in self._known], self._known)

    @cached_property
    def _verbs(self) -> VerbTable:
        return VerbTable.packaged()

    @cached_property
    def _objects(self) -> dict[tuple[str, ...], Entry]:
        entries: dict[tuple[str, ...], Entry] = {}
        for entry in load_bank(OBJECT_BANK).entries:
            name = re.sub(r"\(.*?\)", "", entry.label)
            for part in re.split(r"[/,]| or ", name):
                if words := tuple(map(_base, _words(part))):
                    entries.setdefault(words, entry)
        return entries

    def _motion(self, text: str, close: Sequence[tuple[float, BankEntry]]) -> Iterable[SourcedText]:
        for cosine, (bank, entry) in close:
            rows = entry.describe("motion")
            if rows and cosine >= _SIMILAR and _verb(entry.text) == _verb(text):
                origin = f"the movement of bank {bank}, label {entry.label!r}"
                yield Description("motion", rows[0]), origin
                return
        motion = self._verbs.lookup(text)
        if sentence := motion_sentence(motion):
            phrases = ", ".join(repr(phrase) for phrase in motion.phrases)
            yield Description("motion", sentence), f"the verb table ({phrases})"

    def _scene(self, text: str) -> Iterable[SourcedText]:
        words = list(map(_base, _words(text)))
        spans = sorted(
            {tuple(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)},
            key=len,
            reverse=True,
        )
        for span in spans:
            entry = self._objects.get(span)
            if entry is not None and (places := entry.describe("scene")):
                name = re.sub(r"\s*\(.*?\)", "", entry.label)
                sentence = f"To be seen: {name}, {places[0]}."
                yield Description("scene", sentence), f"the object notes ({entry.label!r})"
                return


def _banks() -> list[str]:
    return [name for name in resources.names("text_banks", ".json") if name != OBJECT_BANK]


def _borrowed(known: Sequence[BankEntry]) -> Iterable[SourcedText]:
    """The texts of the entry with most descriptions; missing kinds come from the next ones."""
    kinds: set[str] = set()
    for bank, entry in sorted(known, key=lambda pair: -len(pair[1].descriptions)):
        for row in entry.descriptions:
            if row.kind not in kinds:
                yield row, f"bank {bank}, label {entry.label!r}"
        kinds |= {row.kind for row in entry.descriptions}


def _index(known: Iterable[BankEntry], key: Callable[[str], Key]) -> dict[Key, list[BankEntry]]:
    """Entries by their text, label and aliases; text and label take precedence over aliases."""
    entries: dict[Key, list[BankEntry]] = {}
    aliased: dict[Key, list[BankEntry]] = {}
    for bank, entry in known:
        for name in dict.fromkeys((key(entry.text), key(clean_label(entry.label)))):
            entries.setdefault(name, []).append((bank, entry))
        for name in dict.fromkeys(map(key, entry.aliases)):
            aliased.setdefault(name, []).append((bank, entry))
    return aliased | entries


def _words(text: str) -> list[str]:
    return [w for w in re.findall(r"[^\W\d_]+(?:'s)?", text.casefold()) if w not in _STOP_WORDS]


def _base(word: str) -> str:
    return min((form.rstrip("e") or form for form in base_forms(word)), key=lambda w: (len(w), w))


def _surely_same(text: str, cosine: float, known: BankEntry) -> bool:
    """Return whether a near entry is the same action: "open" is near to "close", so words must
    match.
    """
    theirs = _key(known[1].text)
    return cosine >= _SAME and len(theirs) > 1 and theirs <= _key(text)


def _verb(text: str) -> str | None:
    words = _words(text)
    return _base(words[0]) if len(words) > 1 else None


def _key(text: str) -> frozenset[str]:
    return frozenset(map(_base, _words(text)))
