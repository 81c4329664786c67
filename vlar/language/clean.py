"""Class names as data sets spell them, turned into what a person would type."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from vlar.errors import LabelError
from vlar.files import resources

_PLACEHOLDER = re.compile(r"\[([^\W\d_][^\[\]]*)\]")
_VIDEO_PREFIX = re.compile(r"^(?:v_)+(?=[A-Z])")
_SNAKE = re.compile(r"(?<=\w)_+(?=\w)")
_CAMEL = re.compile(r"[a-z]{2,}[A-Z]|[A-Z][a-z]+[A-Z]")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_UNREADABLE = ("Cc", "Cs")  # control characters and lone surrogates: tokenizers fail on them
_BOM = "\ufeff"


def clean_label(label: str) -> str:
    """A class name as a person would type it; ordinary text stays as it is.

    Args:
        label: A class name of any spelling.

    Returns:
        The text: CamelCase and snake_case in words, ``[something]`` without brackets, the first
        letter of a sentence in lower case; acronyms, other scripts and punctuation are kept.
        Cleaning twice changes nothing.

    >>> [clean_label(t) for t in ("ApplyEyeMakeup", "brush_hair", "v_YoYo", "DJ", "iPhone")]
    ['apply eye makeup', 'brush hair', 'yo yo', 'DJ', 'iPhone']
    >>> clean_label("Pushing [something] off a table")
    'pushing something off a table'
    """
    text = label
    if not (label.isascii() and label.isprintable()):
        unreadable = (c == _BOM or unicodedata.category(c) in _UNREADABLE for c in label)
        text = "".join(" " if bad else c for c, bad in zip(label, unreadable, strict=True))
    while (inner := _PLACEHOLDER.sub(r"\1", text)) != text:  # brackets may stand in brackets
        text = inner
    text = " ".join(text.split())
    text = text.strip("_ ") or text
    if " " in text:
        return _lower_first(_SNAKE.sub(" ", text))
    words = _SNAKE.sub(" ", _VIDEO_PREFIX.sub("", text)).split(" ")
    if len(words) > 1 and all(w.isupper() or not w.isalpha() for w in words):
        return " ".join(words).lower()
    words = [part for word in words for part in _split_camel(word)]
    if len(words) > 1:
        words = [w if _is_acronym(w) else w.lower() for w in words]
    return _lower_first(" ".join(words))


def label_key(label: str) -> str:
    """Common key of all spellings of one label.

    >>> label_key("PlayingGuitar") == label_key("playing_guitar") == label_key("Playing  guitar")
    True
    """
    return " ".join(clean_label(label).casefold().split())


def _split_camel(word: str) -> list[str]:
    if word.isascii() and word.isalnum() and _CAMEL.search(word):
        return _HUMP.sub(" ", word).split(" ")
    return [word]


def _is_acronym(word: str) -> bool:
    return len(word) > 1 and word.isupper()


def _lower_first(text: str) -> str:
    first = text.split(" ", 1)[0]
    if first == "A" and len(text) > 1:
        return "a" + text[1:]
    tail = first[1:]
    # "T-shirt", "TV" and "McDonald" do not start a sentence; "Bending" does.
    if first[:1].isupper() and tail[:1].isalpha() and tail.islower():
        return text[0].lower() + text[1:]
    return text


_SPAN = re.compile(r"(?P<value>\d+(\.\d+)?|\.\d+)\s*(?P<unit>[^\W\d_]*)", re.IGNORECASE)
_IN_SECONDS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
}
UNITS = "ms, s, m or h"


def read_seconds(text: str) -> float | None:
    """Seconds; None if the text is not a number with a known unit.

    >>> read_seconds("500ms"), read_seconds("2 min"), read_seconds("4"), read_seconds("4 years")
    (0.5, 120.0, 4.0, None)
    """
    match = _SPAN.fullmatch(text.strip())
    factor = _IN_SECONDS.get(match["unit"].lower()) if match else None
    if match is None or factor is None:
        return None
    value = float(match["value"]) * factor
    return value if math.isfinite(value) else None


_VOWELS = "aeiou"
# Irregular past forms and participles of verbs of motion, and plurals.
_IRREGULAR_FILE = resources.find("text_banks", "irregular_forms", ".txt")
_IRREGULAR: dict[str, set[str]] = {}
for _row in _IRREGULAR_FILE.read_text(encoding="utf-8").splitlines():
    _base, _, _forms = _row.partition(":")
    for _form in _forms.split():
        _IRREGULAR.setdefault(_form, set()).add(_base.strip())


@lru_cache(maxsize=1 << 16)
def base_forms(word: str) -> frozenset[str]:
    """All words that ``word`` may be an inflection of, itself included.

    >>> sorted(base_forms("hopping"))
    ['hop', 'hopp', 'hoppe', 'hopping']
    """
    forms = {word} | _IRREGULAR.get(word, set())
    if word.endswith("ies") and len(word) > 4:
        forms.add(word[:-3] + "y")
    if word.endswith("es") and len(word) > 3:
        forms.add(word[:-2])
    if word.endswith("s") and not word.endswith("ss") and len(word) > 2:
        forms.add(word[:-1])
    if word.endswith("ied") and len(word) > 4:
        forms.add(word[:-3] + "y")
    for ending in ("ing", "ed", "er"):
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < 2 or not any(c in _VOWELS + "y" for c in stem):
            continue
        forms |= {stem, stem + "e"}
        if stem[-1] == stem[-2] and stem[-1] not in _VOWELS:
            forms.add(stem[:-1])
    return frozenset(forms)


def gerund(verb: str) -> str:
    """A base form with ``ing``.

    >>> [gerund(verb) for verb in ("run", "wave", "lie", "see", "open", "kick")]
    ['running', 'waving', 'lying', 'seeing', 'opening', 'kicking']
    """
    if verb.endswith("ie"):
        return f"{verb[:-2]}ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return f"{verb[:-1]}ing"
    vowels = sum(letter in _VOWELS for letter in verb)
    short = len(verb) >= 3 and vowels == 1 and verb[-2] in _VOWELS and verb[-1] not in "aeiouwxy"
    return f"{verb}{verb[-1]}ing" if short else f"{verb}ing"


#: Labels of a list, and characters of a label. Encoders read about 300 characters of a text.
MOST_LABELS, MOST_CHARACTERS = 100_000, 4_000


def check_sizes(labels: Sequence[str], source: str) -> None:
    """Refuse a list that is too long, and a label that is too long.

    Raises:
        LabelError: the message names the first.
    """
    if len(labels) > MOST_LABELS:
        raise LabelError(
            f"{source}: {len(labels):,} labels; at most {MOST_LABELS:,} are read: split the list"
        )
    for number, label in enumerate(labels, start=1):
        if len(label) > MOST_CHARACTERS:
            raise LabelError(
                f"{source}: label {number} ({label[:40]!r} ...) has {len(label):,} characters; at "
                f"most {MOST_CHARACTERS:,} are read, and encoders use the first 300: shorten it"
            )
