"""The verbs of a sentence, in their base form and as gerunds."""

from __future__ import annotations

import re
from functools import lru_cache

from vlar.motion_language.verb_table import VerbTable
from vlar.text.inflection import base_forms

_VOWELS = "aeiou"
# Words of the table's phrases that are nouns in most sentences.
_NOUNS = frozenset({"ball", "bike", "box", "face", "hand", "head", "people", "person", "water"})


def verbs_in_text(text: str) -> tuple[str, ...]:
    """The verbs of movement in a text, each in its base form and as a gerund, in order.

    >>> verbs_in_text("Two men are clapping and a child runs.")
    ('clap', 'clapping', 'run', 'running')
    """
    known = _known()
    found: dict[str, None] = {}
    for word in re.findall(r"[^\W\d_]+", text.casefold()):
        forms = sorted(base_forms(word) & known, key=len)
        if forms and word not in _NOUNS:
            found |= dict.fromkeys((forms[0], gerund(forms[0])))
    return tuple(found)


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


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    phrases = (phrase for entry in VerbTable.packaged().entries for phrase in entry.phrases)
    return frozenset(phrase.split()[0] for phrase in phrases)
