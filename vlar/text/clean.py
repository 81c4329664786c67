"""Class names as data sets spell them, turned into what a person would type."""

from __future__ import annotations

import re
import unicodedata

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
    text = "".join(" " if unicodedata.category(c) in _UNREADABLE or c == _BOM else c for c in label)
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
    """What two spellings of one label have in common.

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
    rest = first[1:]
    # "T-shirt", "TV" and "McDonald" do not start a sentence; "Bending" does.
    if first[:1].isupper() and rest[:1].isalpha() and rest.islower():
        return text[0].lower() + text[1:]
    return text
