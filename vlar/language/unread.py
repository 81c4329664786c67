"""Reasons why words about a clip say little, which are then the answer instead of a figure."""

from __future__ import annotations

from collections.abc import Sequence

from vlar.language.foreign import english_of, foreign
from vlar.language.negation import affirmed

#: Answer of a sensor of which words were measured to rank near chance.
FEW_WORDS = "unsure: words say little about this sensor; give examples (vlar adapt)"


def unsure_of_all(texts: Sequence[str], *, english: bool, few_words: bool) -> str:
    """The reason why words say little about every answer; empty for none.

    Args:
        texts: Labels or phrases.
        english: As for ``unsure``.
        few_words: As for ``unsure``.
    """
    if few_words and texts:
        return FEW_WORDS
    unread = next((text for text in texts if foreign(text) and not english_of(text)), "")
    if english and unread:
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
