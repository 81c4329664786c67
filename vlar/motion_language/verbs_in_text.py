"""The verbs of a sentence, in their base form and as gerunds."""

from __future__ import annotations

import re
from functools import lru_cache

from vlar.motion_language.verb_table import VerbTable
from vlar.text.inflection import base_forms, gerund

# Words of the table's phrases that are nouns, or say nothing, in most sentences.
_EMPTY = frozenset({"be", "do", "get", "have"})
_NOUNS = frozenset({"ball", "bike", "box", "face", "hand", "head", "people", "person", "water"})


def verbs_in_text(text: str) -> tuple[str, ...]:
    """The verbs of movement in a text, each in its base form and as a gerund, in order.

    >>> verbs_in_text("Two men are clapping and a child runs.")
    ('clap', 'clapping', 'run', 'running')
    """
    found: dict[str, None] = {}
    for word in re.findall(r"[^\W\d_]+", text.casefold()):
        verb = verb_of(word)
        if verb is not None:
            found |= dict.fromkeys((verb, gerund(verb)))
    return tuple(found)


def verb_of(word: str) -> str | None:
    """The base form of the verb of movement that a word may be; None for other words.

    >>> verb_of("throws"), verb_of("ball")
    ('throw', None)
    """
    forms = sorted(base_forms(word) & _known(), key=len)
    return forms[0] if forms and word not in _NOUNS and forms[0] not in _EMPTY else None


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    phrases = (phrase for entry in VerbTable.packaged().entries for phrase in entry.phrases)
    return frozenset(phrase.split()[0] for phrase in phrases)
