"""Reasons why words about a clip say little, which are then the answer instead of a figure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from vlar.language.negation import affirmed

#: Answer of a sensor of which words were measured to rank near chance.
FEW_WORDS = "unsure: words say little about this sensor; give examples (vlar adapt)"
# Little words of German, French, Spanish, Italian, Portuguese, Dutch, Polish, not of English.
_FOREIGN = frozenset(
    """
    ein eine einen einem einer und der das dem mit auf ist nicht sich niemand une du les des dans
    avec sur est et un el los las una con su se del il gli della uno um uma na het een met op jest
    """.split()  # noqa: SIM905
)
_WORD = re.compile(r"[^\W\d_]+")


@lru_cache(maxsize=1 << 12)
def foreign(text: str) -> bool:
    """Return whether a text is in another language than English, as far as its letters and little
    words show it.

    >>> [foreign(t) for t in ("riding a bike", "ein Mann fällt", "骑自行车", "tai chi")]
    [False, True, True, False]
    """
    words = _WORD.findall(text.casefold())
    letters = "".join(words)
    latin = sum("LATIN" in unicodedata.name(letter, "") for letter in letters)
    return bool(letters) and (latin < len(letters) / 2 or not _FOREIGN.isdisjoint(words))


def unsure_of_all(texts: Sequence[str], *, english: bool, few_words: bool) -> str:
    """The reason why words say little about every answer; empty for none.

    Args:
        texts: Labels or phrases.
        english: As for ``unsure``.
        few_words: As for ``unsure``.
    """
    if few_words and texts:
        return FEW_WORDS
    if english and (unread := next(filter(foreign, texts), "")):
        return (
            f"unsure: the text encoder reads English, and {unread!r} is not; write it in English, "
            "or give examples (vlar adapt)"
        )
    return ""


def unsure(labels: Sequence[str], *, english: bool, few_words: bool) -> dict[str, str]:
    """The answer in place of a figure, by label; the empty label stands for every answer.

    Args:
        labels: C labels.
        english: Whether the text encoder reads English only.
        few_words: Whether words say little about the sensor.
    """
    if reason := unsure_of_all(labels, english=english, few_words=few_words):
        return {"": reason}
    return {
        label: f"unsure: {label!r} is a negation, which text encoders do not read; ask for "
        f"{positive!r} and take 'no' for your answer"
        for label in labels
        if (positive := affirmed(label))
    }
