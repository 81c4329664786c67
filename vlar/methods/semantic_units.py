"""Semantic units: body parts, objects, scenes and motions that descriptions of actions name.

An action's name is abstract; units can be pointed at. They are read from descriptions by their
form, without a language model: words behind an article are things, places have a list, body parts
have a list, and verbs are motions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vlar.errors import LabelError
from vlar.language.bank import Bank, Description, Entry
from vlar.language.clean import base_forms, gerund
from vlar.language.descriptions import Described

GROUPS = ("body", "object", "scene", "motion")
_SENTENCES = {
    "body": "a person moving their {}",
    "object": "a photo of a {}",
    "scene": "the scene is a {}",
    "motion": "someone is {}",
}
_BODY_TEXT = """
head eye mouth face hair neck shoulder arm elbow wrist hand finger chest back hip leg knee foot
ankle heel toe cheek chin lip palm fist thigh waist belly body torso trunk limb
"""
_SCENE_TEXT = """
alley bank barn bathroom beach bedroom bridge cafe church city cliff club court crossing field floor
forest garage garden gym hall highway hill house kitchen lake lane lawn market meadow mountain
office park path pitch playground pool range ring river road room school sea shop shore sidewalk
slope snow stadium stage stairs station street studio track valley wall water woods yard
"""
_NOT_UNITS_TEXT = """
person people man woman child adult someone player side end top front middle way time moment one two
bit lot part place kind row pair turn line view distance air ground edge centre camera scene frame
other first second hold point while length size foreground background above again away below left
right next forward overhead upright clear few seen sometimes half few both same own more less arc
pace picture film crown tip indoor indoors
"""
_ARTICLES_TEXT = "a an the his her their its"
_STOPS_TEXT = """
and or of in on at to with from into onto over under by for as near behind before after
between through across around against along up down off out while that which who is are was be has
have then than not no it them him until without like inside outside
"""
_COMMON_TEXT = "stand sit hold go get make do be have take come set back side hand front face"
_ENDS = ("ing", "ed", "ly")  # of words that are seldom nouns
_LONGEST = 4  # words behind an article
_MOST = 512


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


BODY_PARTS = tuple(_BODY_TEXT.split())
_SCENES, _NOT_UNITS = _set(_SCENE_TEXT), _set(_NOT_UNITS_TEXT)
_ARTICLES, _STOPS, _COMMON = _set(_ARTICLES_TEXT), _set(_STOPS_TEXT), _set(_COMMON_TEXT)
VerbOf = Callable[[str], str | None]


@dataclass(frozen=True, order=True)
class Unit:
    """One unit.

    Attributes:
        group: One of ``GROUPS``.
        word: The word or words, such as ``bow``; a motion is a gerund.
    """

    group: str
    word: str

    @property
    def texts(self) -> tuple[str, str]:
        """Texts for a text encoder: the word, and a sentence of its group."""
        return self.word, _SENTENCES[self.group].format(self.word)

    def __str__(self) -> str:
        return f"{self.group}: {self.word}"

    @staticmethod
    def parse(text: str) -> Unit:
        """Parse ``group: word``.

        Raises:
            LabelError: the group does not exist, or the word is missing.
        """
        group, _, word = (part.strip() for part in text.partition(":"))
        if group not in GROUPS or not word:
            raise LabelError(
                f"unit {text[:60]!r} is not 'GROUP: WORD' with a group of {', '.join(GROUPS)}; "
                "correct it"
            )
        return Unit(group, word)


def extract_units(described: Sequence[Described], verb_of: VerbOf) -> list[Unit]:
    """The units that the descriptions of C labels name, body parts first.

    A unit that more than half of the labels share is useless and is left out, where there are at
    least four labels; beyond 512 units, one that a single label has.

    Args:
        described: Descriptions of each label by kind; contrasts do not count.
        verb_of: A word to the base form of the verb that it may be; None for other words.
    """
    counts = Counter(unit for row in described for unit in units_named(row, verb_of))
    most = len(described) / 2 if len(described) >= 4 else len(described)
    frequent = {unit: count for unit, count in counts.items() if count <= most}
    if len(frequent) > _MOST:
        frequent = {unit: count for unit, count in frequent.items() if count > 1}
    order = sorted(
        frequent, key=lambda unit: (GROUPS.index(unit.group), -frequent[unit], unit.word)
    )
    return order[:_MOST]


def texts_of(described: Described) -> list[str]:
    """Descriptions of a label that define it."""
    return [text for kind, texts in described.items() if kind != "contrast" for text in texts]


def units_named(described: Described, verb_of: VerbOf) -> set[Unit]:
    """The units that the descriptions of one label name."""
    units: set[Unit] = set()
    for text in texts_of(described):
        for clause in re.split(r"[.,;:()]", text.casefold()):
            units |= set(_in_clause(re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", clause), verb_of))
    return units


def _in_clause(words: Sequence[str], verb_of: VerbOf) -> Iterator[Unit]:
    for index, word in enumerate(words):
        part = next((form for form in sorted(base_forms(word)) if form in BODY_PARTS), None)
        behind_article = index > 0 and words[index - 1] in _ARTICLES
        verb = verb_of(word)
        if part is not None:
            yield Unit("body", part)
        elif word in _SCENES:
            yield Unit("scene", word)
        elif verb not in (None, word) and not behind_article and verb not in _COMMON:
            yield Unit("motion", gerund(str(verb)))
        if word in _ARTICLES and (noun := _noun(words[index + 1 :], verb_of)):
            yield Unit("object", noun)


def _noun(after: Sequence[str], verb_of: VerbOf) -> str | None:
    """The noun of the words behind an article; None for body parts, places and empty words."""
    words: list[str] = []
    for word in after[:_LONGEST]:
        if word in _STOPS or word in _ARTICLES:
            break
        if words and (word.endswith(_ENDS) or verb_of(word) is not None or word in _NOT_UNITS):
            break
        words.append(word)
    if not words or words[-1].endswith(_ENDS):
        return None
    head = words[-1]
    plain = head.removesuffix("s") if not head.endswith("ss") else head
    listed = base_forms(head) & (_SCENES | _NOT_UNITS | frozenset(BODY_PARTS))
    return None if listed or len(plain) < 3 else plain


def unit_bank(units: Sequence[Unit], source: str) -> Bank:
    """A bank of units: each an entry whose ``domain`` is its group.

    Args:
        units: The units.
        source: Where the descriptions come from.
    """
    entries = tuple(
        Entry(
            str(unit), unit.word, (Description("sentence", f"{unit.texts[1]}."),), domain=unit.group
        )
        for unit in units
    )
    provenance = "units read from descriptions; not reviewed by a person"
    return Bank("units", "Apache-2.0", {"source": source, "made": provenance}, entries)


def units_of_bank(bank: Bank) -> list[Unit]:
    """The units of a bank that ``unit_bank`` made.

    Raises:
        LabelError: an entry has no group.
    """
    return [Unit.parse(f"{entry.domain or ''}: {entry.text}") for entry in bank.entries]
