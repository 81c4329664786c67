"""Words that point at one person: "the person on the left", "the man in red", "person 2".

``parse`` reads what can be measured in a picture: the place among the people, the order, the size
and the colour of the clothes. Other words stay in ``rest``, for encoders whose texts and pictures
share a space. Referring expressions after Peng et al., "Referring Atomic Video Action Recognition"
(2024); which words are read here is our choice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeVar

from vlar.errors import UsageError
from vlar.files import resources
from vlar.toml import read_toml

COLOURS: Final = (
    *("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink"),
    "brown",
)
POSITIONS: Final = ("left", "middle", "right", "front", "back", "top", "bottom")
SIZES: Final = ("largest", "smallest")
#: Nouns of people. A body does not show which of them it is.
_PEOPLE_TEXT = (
    "person people human someone man woman boy girl guy lady gentleman child kid adult baby player "
    "dancer pedestrian actor actress worker runner walker one individual figure"
)
PEOPLE: Final = frozenset(_PEOPLE_TEXT.split())
_LAST = -1

_FILE = resources.find("text_banks", "referring_words", ".toml")
_COLOUR_WORDS, _POSITION_WORDS, _SIZE_WORDS = (
    {
        word: meant
        for meant, words in read_toml(_FILE.read_text("utf-8"))[kind].items()
        for word in words.split()
    }
    for kind in ("colours", "positions", "sizes")
)
_ORDINALS = {
    "first": 1,
    "second": 2,
    "third": 3,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "seventh": 7,
    "eighth": 8,
    "ninth": 9,
    "tenth": 10,
    "last": _LAST,
}
_SPELLED = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
# Of clothes: they place a colour, which is on the clothes anyway.
_CLOTHES_TEXT = (
    "shirt t-shirt tshirt jacket coat sweater jumper hoodie dress blouse vest suit jersey clothes "
    "clothing outfit trousers pants jeans shorts skirt"
)
_CLOTHES = frozenset(_CLOTHES_TEXT.split())
_LINKS_TEXT = (
    "the a an in on at to of from with wearing who is that which standing dressed far very most "
    "side end corner hand picture frame image video scene screen view number no by and light pale "
    "bright"
)
_LINKS = frozenset(_LINKS_TEXT.split())
_TOKEN = re.compile(r"[a-z]+(?:-[a-z]+)*|#?\d+(?:st|nd|rd|th)?")
Word = TypeVar("Word", str, int)
_MOST_LETTERS = 400
_LARGEST_NUMBER = 10_000


@dataclass(frozen=True)
class Reference:
    """Content of a phrase about one of several people or things.

    Attributes:
        position: One of ``POSITIONS``, or None.
        noun: Kind of the thing: ``person``, ``man``, ``dog``; ``person`` where the phrase has no
            noun.
        rest: Words that nothing above or below stands for, such as ``holding a bat``.
        colour: One of ``COLOURS``, of the clothes; or None.
        number: From 1, counted from the side that ``position`` names, else from the left; -1 for
            the last; None where the phrase counts nothing.
        size: ``largest``, ``smallest`` or None.
    """

    position: str | None = None
    noun: str = "person"
    rest: str = ""
    colour: str | None = None
    number: int | None = None
    size: str | None = None

    @property
    def is_person(self) -> bool:
        """Whether the noun is one of people."""
        return self.noun in PEOPLE

    @property
    def is_plain(self) -> bool:
        """Whether it has a noun alone, which distinguishes nobody."""
        return not (self.position or self.rest or self.colour or self.number or self.size)

    def __str__(self) -> str:
        """A phrase that reads as the same reference."""
        words = ["the"]
        if self.number == _LAST:
            words.append("last")
        if self.size:
            words.append(self.size)
        words.append(self.noun)
        if self.number is not None and self.number != _LAST:
            words.append(str(self.number))
        words += self.rest.split()
        if self.colour:
            words += ["in", self.colour]
        if self.position:
            words += ["from" if self.number is not None else "on", "the", self.position]
        return " ".join(words)


def parse(text: str) -> Reference:
    """Read a phrase that points at somebody or something.

    >>> parse("the person on the left").position
    'left'
    >>> parse("the man in the red jacket").colour, parse("person 2").number
    ('red', 2)
    >>> parse("the second person from the right")
    Reference(position='right', noun='person', rest='', colour=None, number=2, size=None)
    >>> parse("the woman holding a bat").rest
    'holding bat'

    Args:
        text: A phrase in English.

    Raises:
        UsageError: it names nobody, is longer than 400 letters, or it contradicts itself
            (two positions, two sizes, two numbers).
    """
    if len(text) > _MOST_LETTERS:
        raise UsageError(
            f"{text[:40]!r}... has {len(text)} letters; name one person in at most {_MOST_LETTERS}"
        )
    words = _TOKEN.findall(text.lower())
    if not any(word not in _LINKS for word in words):
        raise UsageError(
            f"{text!r} names nobody; write for example 'the person on the left', 'the man in red' "
            "or 'person 2'"
        )
    return _read(text, words)


def _read(text: str, words: list[str]) -> Reference:
    position: list[str] = []
    colour: list[str] = []
    number: list[int] = []
    size: list[str] = []
    nouns: list[str] = []
    unknown_words: list[str] = []
    for index, word in enumerate(words):
        counted = _number(word, words[index - 1] if index else "", bool(nouns))
        if counted is not None:
            number.append(counted)
        elif word in _POSITION_WORDS:
            position.append(_POSITION_WORDS[word])
        elif word in _COLOUR_WORDS and _is_of_clothes(words[index + 1 :], bool(nouns)):
            colour.append(_COLOUR_WORDS[word])
        elif word in _SIZE_WORDS:
            size.append(_SIZE_WORDS[word])
        elif word in PEOPLE and not nouns:
            nouns.append(word)
        elif word == "dark":
            colour += [] if set(words) & set(_COLOUR_WORDS) else ["black"]
        elif word not in _LINKS and not (word in _CLOTHES and colour):
            unknown_words.append(word)
    if not nouns and unknown_words:  # the first unknown word is what is meant: the dog, the drone
        nouns.append(unknown_words.pop(0))
    return Reference(
        position=_one(text, "positions", position),
        noun=nouns[0] if nouns else "person",
        rest=" ".join(unknown_words),
        colour=next(iter(colour), None),
        number=_one(text, "numbers", number),
        size=_one(text, "sizes", size),
    )


def _is_of_clothes(after: list[str], has_noun: bool) -> bool:
    """Return whether a colour is of the clothes or the person, not of a thing named next."""
    thing = next((word for word in after if word not in _LINKS), "")
    vocabularies = _CLOTHES, _POSITION_WORDS, _COLOUR_WORDS, _SIZE_WORDS, _ORDINALS
    return not has_noun or not thing or any(thing in words for words in vocabularies)


def _number(word: str, before: str, has_noun: bool) -> int | None:
    """The number that a word counts to; None where it counts nothing.

    Raises:
        UsageError: a number that nobody counts to.
    """
    if word in _ORDINALS:
        return _ORDINALS[word]
    if word in _SPELLED and has_noun and before in (*PEOPLE, "number"):
        return _SPELLED[word]
    if not word.lstrip("#")[:1].isdigit():
        return None
    value = int(re.sub(r"\D", "", word)[:9])
    if not 1 <= value <= _LARGEST_NUMBER:
        raise UsageError(f"person {value}: people are counted from 1")
    return value


def _one(text: str, what: str, found: list[Word]) -> Word | None:
    """The only value of a kind.

    Raises:
        UsageError: there are several.
    """
    kinds = list(dict.fromkeys(found))
    if len(kinds) > 1:
        named = " and ".join(str(kind) for kind in kinds)
        raise UsageError(f"{text!r} has several {what} ({named}); name one of them")
    return kinds[0] if kinds else None
