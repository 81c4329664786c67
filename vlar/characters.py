"""Characters that act on a terminal, or that no text holds: control characters, lone surrogates."""

from __future__ import annotations

import unicodedata

_CATEGORIES = ("Cc", "Cs")
# They turn the order of what follows, so that "gpj.exe" reads as "exe.jpg".
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def acts(character: str) -> bool:
    """Whether a character is a control character, a lone surrogate or turns the writing order."""
    return unicodedata.category(character) in _CATEGORIES or character in _TURNING


def fault(text: str) -> str | None:
    r"""What is wrong with the first such character of a text; None for a sound text.

    >>> fault("run"), fault("\x1b[2Jrun")
    (None, "the control character '\\x1b'")
    """
    if text.isprintable():
        return None
    for character in text:
        if acts(character):
            lone = unicodedata.category(character) == "Cs"
            what = "the lone surrogate" if lone else "the control character"
            return f"{what} {character!a}"
    return None


def escaped(text: str) -> str:
    r"""The text with such characters as ``\x1b``; all others stay as they are.

    >>> escaped("a\x1b[2J b")
    'a\\x1b[2J b'
    """
    if text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if acts(c) else c for c in text)


def without(text: str) -> str:
    r"""The text with a blank in the place of each such character.

    >>> without("run\x00fast")
    'run fast'
    """
    return text if text.isprintable() else "".join(" " if acts(c) else c for c in text)
