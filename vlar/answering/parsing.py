"""From what a language model writes to the option it means.

The rules, first that applies: the last "letter. text" whose letter and text agree; a letter that
stands alone or is named as the answer; the text of one option; the last "letter." with another
text; the one option that is mentioned; the nearest option by sentence cosine, where a function for
sentence vectors is given. An answer that fits none of them is not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.answering.question import LETTERS, normalised

Embed = Callable[[Sequence[str]], npt.NDArray[Any]]
_NEAREST = 0.7  # least cosine of an answer with its option
_AHEAD = 0.05  # by which the next option must be less near
_LONGEST = 20_000  # characters that are read; a model that rambles ends with its answer
_LETTERED = re.compile(r"(?<![\w.])\(?([A-Z])\)?\s?[.):]\s*")
_ALONE = re.compile(r"\W*([A-Za-z])\W*")
_NAMED = re.compile(
    r"\b(?i:answer|option|choice|letter)\b(?:\s+(?:is|would be))?\s*[:=]?\s*\W{0,3}([A-Z])(?![\w'])"
)


def parse_answer(text: str, options: Sequence[str], *, embed: Embed | None = None) -> int | None:
    r"""The option that an answer means.

    Args:
        text: What was written, such as ``B. open drawer``, ``(B)`` or ``it opens a drawer``.
        options: K texts in the order in which they were shown with the letters A, B, C, ...
        embed: Maps texts to (N, S) unit vectors, for answers in other words; None leaves such
            answers unread.

    Returns:
        Place of the option, 0 to K - 1; None where the answer means none of them clearly.

    >>> parse_answer("I think it is\nB. open drawer.", ["close drawer", "open drawer"])
    1
    >>> parse_answer("The drawer is closed.", ["close drawer", "open drawer"]) is None
    True
    """
    text = text.strip()[-_LONGEST:]
    if not text:
        return None
    plain = [normalised(option) for option in options]
    lettered = [
        (LETTERS.index(m[1]), normalised(text[m.end() :].partition("\n")[0]))
        for m in _LETTERED.finditer(text)
        if LETTERS.index(m[1]) < len(options)
    ]
    agreeing = [place for place, rest in lettered if _begins(rest, plain[place])]
    if agreeing:
        return agreeing[-1]
    found = _letter_alone(text, len(options))
    if found is None:
        found = _equal(text, plain)
    if found is None and lettered:
        found = lettered[-1][0]
    if found is None:
        found = _mentioned(normalised(text), plain)
    if found is None and embed is not None:
        found = _nearest(text, options, embed)
    return found


def _begins(rest: str, option: str) -> bool:
    return rest == option or rest.startswith(option + " ")


def _letter_alone(text: str, k: int) -> int | None:
    alone = _ALONE.fullmatch(text)
    letters = [alone[1].upper()] if alone else _NAMED.findall(text)
    places = [LETTERS.index(letter) for letter in letters]
    return places[-1] if places and places[-1] < k else None


def _equal(text: str, plain: Sequence[str]) -> int | None:
    whole = normalised(text)
    return plain.index(whole) if whole in plain else None


def _mentioned(text: str, plain: Sequence[str]) -> int | None:
    """The one option that the text holds; part of a longer option that it holds does not count."""
    padded = f" {text} "
    there = [place for place, option in enumerate(plain) if f" {option} " in padded]
    there = [
        place
        for place in there
        if not any(other != place and f" {plain[place]} " in f" {plain[other]} " for other in there)
    ]
    return there[0] if len(there) == 1 else None


def _nearest(text: str, options: Sequence[str], embed: Embed) -> int | None:
    vectors = np.asarray(embed([text, *options]), np.float64)
    cosines = vectors[1:] @ vectors[0]
    order = np.argsort(-cosines, kind="stable")
    best = int(order[0])
    ahead = len(order) < 2 or cosines[best] - cosines[order[1]] >= _AHEAD
    return best if cosines[best] >= _NEAREST and ahead else None
