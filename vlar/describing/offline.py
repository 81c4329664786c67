"""Descriptions without any language model: put together from what vlar already has in words.

A label that a bank knows, by its text, an alias or another inflection of either, gets that entry's
texts. For others, the verb table says what the body does and the object notes where a named object
is seen. What none of them knows gets nothing: a filled template would only repeat the label.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TypeVar

from vlar import resources
from vlar.describing import similar_texts as nearest
from vlar.describing.base import Answer, Asked, Describer
from vlar.describing.motion_templates import body_sentence
from vlar.errors import UsageError
from vlar.motion_language.verb_table import VerbTable
from vlar.registry import register
from vlar.text.bank import Description, Entry, load_bank
from vlar.text.check import TokenLimit, same, text_fault
from vlar.text.clean import clean_label
from vlar.text.inflection import base_forms

OBJECT_BANK = "imagenet_objects"
_IGNORED_TEXT = "a an the one's someone's his her their its is are person people someone"
_IGNORED = frozenset(_IGNORED_TEXT.split())
_SAME = 0.8  # cosine from which an action with further words is still the same
_SIMILAR = 0.7  # cosine from which two actions with the same verb move alike

Key = TypeVar("Key", str, frozenset[str])
Known = tuple[str, Entry]
Part = tuple[Description, str]


@register("describer", "offline")
class OfflineDescriber(Describer):
    """Put together from vlar's banks, verb table and object notes: no model, no network.

    Args:
        limit: The encoder that will read the texts.
    """

    batch = 64

    def __init__(self, limit: TokenLimit) -> None:
        self._limit = limit

    @classmethod
    def from_spec(cls, argument: str, limit: TokenLimit) -> OfflineDescriber:
        """The offline composer; it takes no argument.

        Raises:
            UsageError: there is an argument.
        """
        if argument:
            raise UsageError(f"--llm offline takes no argument, got {argument!r}; use 'offline'")
        return cls(limit)

    def provenance(self) -> dict[str, str]:
        """The banks and tables; each entry says which of them it comes from."""
        return {
            "source": f"composed from vlar's banks ({', '.join(_banks())}), verb table and object "
            "notes",
            "made": "put together offline by 'vlar describe', without a language model: texts "
            "written for the same or another label, lists from tables; not reviewed by a person",
        }

    def licence(self) -> str:
        """That of the banks."""
        return "Apache-2.0"

    def answer(self, asked: Sequence[Asked]) -> list[Answer]:
        """Describe each label as far as something is known about it."""
        return [self._one(row) for row in asked]

    def _one(self, row: Asked) -> Answer:
        known = self._exact.get(same(row.text)) or self._inflected.get(_key(row.text))
        close: list[tuple[float, Known]] = []
        if not known:
            close = self._nearest.of(row.text)
            known = [entry for cosine, entry in close if _surely_same(row.text, cosine, entry)][:1]
        parts = list(_borrowed(known) if known else self._composed(row.text, close))
        parts = [part for part in parts if part[0].kind in row.kinds and self._fits(part[0], row)]
        parts.sort(key=lambda part: row.kinds.index(part[0].kind))
        if not parts:
            hint = ", ".join(repr(entry.text) for _, (_, entry) in close[:3])
            note = "no bank, verb or object notes say anything about it"
            note += f" (nearest labels: {hint})" if hint else ""
            return Answer(row.label, (), None, (note,))
        origin = "; ".join(dict.fromkeys(source for _, source in parts))
        missing = [k for k in row.kinds if k not in {part.kind for part, _ in parts}]
        notes = (f"nothing to say about {', '.join(missing)}",) if missing else ()
        return Answer(row.label, tuple(part for part, _ in parts), f"composed from {origin}", notes)

    def _composed(self, text: str, close: Sequence[tuple[float, Known]]) -> Iterable[Part]:
        yield from self._scene(text)
        yield from self._motion(text, close)

    def _fits(self, part: Description, row: Asked) -> bool:
        return text_fault(part.text, row.text, self._limit) is None

    @cached_property
    def _known(self) -> list[Known]:
        return [(name, entry) for name in _banks() for entry in load_bank(name).entries]

    @cached_property
    def _exact(self) -> dict[str, list[Known]]:
        return _index(self._known, same)

    @cached_property
    def _inflected(self) -> dict[frozenset[str], list[Known]]:
        index = _index(self._known, _key)
        index.pop(frozenset(), None)
        return index

    @cached_property
    def _nearest(self) -> nearest.Nearest[Known]:
        return nearest.Nearest([entry.text for _, entry in self._known], self._known)

    @cached_property
    def _verbs(self) -> VerbTable:
        return VerbTable.packaged()

    @cached_property
    def _objects(self) -> dict[tuple[str, ...], Entry]:
        found: dict[tuple[str, ...], Entry] = {}
        for entry in load_bank(OBJECT_BANK).entries:
            name = re.sub(r"\(.*?\)", "", entry.label)
            for part in re.split(r"[/,]| or ", name):
                if words := tuple(map(_base, _words(part))):
                    found.setdefault(words, entry)
        return found

    def _motion(self, text: str, close: Sequence[tuple[float, Known]]) -> Iterable[Part]:
        for cosine, (bank, entry) in close:
            rows = entry.describe("motion")
            if rows and cosine >= _SIMILAR and _verb(entry.text) == _verb(text):
                origin = f"the movement of bank {bank}, label {entry.label!r}"
                yield Description("motion", rows[0]), origin
                return
        meaning = self._verbs.meaning(text)
        if sentence := body_sentence(meaning):
            phrases = ", ".join(repr(phrase) for phrase in meaning.phrases)
            yield Description("motion", sentence), f"the verb table ({phrases})"

    def _scene(self, text: str) -> Iterable[Part]:
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


def _borrowed(known: Sequence[Known]) -> Iterable[Part]:
    """The texts of the fullest entry; kinds it lacks from the next."""
    seen: set[str] = set()
    for bank, entry in sorted(known, key=lambda pair: -len(pair[1].descriptions)):
        for row in entry.descriptions:
            if row.kind not in seen:
                yield row, f"bank {bank}, label {entry.label!r}"
        seen |= {row.kind for row in entry.descriptions}


def _index(known: Iterable[Known], key: Callable[[str], Key]) -> dict[Key, list[Known]]:
    """Entries by their text, label and aliases; what an entry is called outweighs its aliases."""
    found: dict[Key, list[Known]] = {}
    aliased: dict[Key, list[Known]] = {}
    for bank, entry in known:
        for name in dict.fromkeys((key(entry.text), key(clean_label(entry.label)))):
            found.setdefault(name, []).append((bank, entry))
        for name in dict.fromkeys(map(key, entry.aliases)):
            aliased.setdefault(name, []).append((bank, entry))
    return aliased | found


def _words(text: str) -> list[str]:
    return [w for w in re.findall(r"[^\W\d_]+(?:'s)?", text.casefold()) if w not in _IGNORED]


def _base(word: str) -> str:
    return min((form.rstrip("e") or form for form in base_forms(word)), key=lambda w: (len(w), w))


def _surely_same(text: str, cosine: float, known: Known) -> bool:
    """Near in meaning is not enough ("open" is near to "close"): the words must be there too."""
    theirs = _key(known[1].text)
    return cosine >= _SAME and len(theirs) > 1 and theirs <= _key(text)


def _verb(text: str) -> str | None:
    words = _words(text)
    return _base(words[0]) if len(words) > 1 else None


def _key(text: str) -> frozenset[str]:
    return frozenset(map(_base, _words(text)))
