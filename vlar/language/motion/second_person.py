"""Words for a second person: "kicking another person", "each other", "two friends"."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from vlar.pose.attributes.base import attribute_names
from vlar.types import Float32

SOMEONE, MUTUAL = "someone", "eachother"  # tokens that replace such words in texts and phrases
_PEOPLE_TEXT = "someone somebody anyone person persons man woman people men women them him"
# Words that the table's phrases also use ("throw opponent"); they count as someone too.
_ROLES_TEXT = "opponent partner friend enemy victim patient player teammate child children boy girl"
# Words that may precede the actor.
_BEFORE_TEXT = """a an the his her its their my your our there this that is are be was were of with
one two three both several many some group young old elderly tall small male female other another
photo picture image video clip footage"""
_PEOPLE = frozenset(_PEOPLE_TEXT.split())
_ROLES, _BEFORE = frozenset(_ROLES_TEXT.split()), frozenset(_BEFORE_TEXT.split())
_NUMBERS = ("one", "two", "three", "both", "several", "many", "other")
_OTHER = ("other", "another")
_THINGS = frozenset(["something", "object", "thing", "things", "objects"])
_LINKS = frozenset(["at", "to", "with", "from", "of", "by", "toward", "towards", "against", "for"])
_TWO = re.compile(
    r"\b(two|both|2|three|several|many) (people|persons|men|women|children|boys|girls|players|"
    r"dancers|friends|fighters|adults|kids|individuals)\b"
    r"|\b(each other|one another|another (person|man|woman)|the other (person|man|woman)|"
    r"with a (partner|friend)|couple (is|are|of people))\b"
    r"|\b(person|man|woman|people)\b.*\bthe other\b"
    r"|\bthe other (stands|sits|walks|waits|watches|stays|runs|does)\b"
)
_BOTH = re.compile(r"^(the )?(two|both|2|three|several|many) [a-z]+|\b(each other|one another)\b")
_SECOND_PERSON_ONE = re.compile(r"\b(one|a|the) (person|man|woman)\b.*\bthe other\b")
_SHARE = 0.4  # weight of "two people" as a share of the other attributes' norm
# Weights of "two people" from which an entry is for two people: by default, and against "object".
_PERHAPS, _SURE = 0.6, 0.7
_ACT = 0.5  # weight of "both act" if a text names two actors


def mark_second_person(words: Sequence[str]) -> list[str]:
    """Words with ``SOMEONE`` in place of (roles: after) the words for a second person.

    >>> mark_second_person("a person kicking another person".split())
    ['a', 'person', 'kicking', 'someone']
    >>> mark_second_person("someone kicking a ball".split())
    ['person', 'kicking', 'a', 'ball']
    """
    marked: list[str] = []
    acted = False  # whether a word other than the actor occurred
    for index, word in enumerate(words):
        person = word in _PEOPLE or word in _ROLES
        if acted and word in _OTHER and marked[-1] in ("each", "one"):
            marked[-1:] = [MUTUAL, SOMEONE]
        elif word in _OTHER and (not acted or _is_person(words, index)):
            marked += [SOMEONE] if acted and index == len(words) - 1 else []
        elif acted and person:
            marked += [word, SOMEONE] if word in _ROLES else [SOMEONE]
        else:
            if person and marked and marked[-1] in _NUMBERS:
                marked.pop()
            marked.append("person" if word == SOMEONE else word)  # the actor
            acted = acted or not (person or word in _BEFORE)
    return marked


def _is_person(words: Sequence[str], index: int) -> bool:
    """Return whether "other" is a person: it precedes a word for one, or ends a text with one."""
    if index == len(words) - 1:
        return any(word in _PEOPLE for word in words)
    return words[index + 1] in _PEOPLE


def drop_second_person(words: Sequence[str]) -> list[str]:
    """Marked words without the tokens of a second person and their prepositions."""
    if SOMEONE not in words:
        return list(words)
    return [word for word in words if word not in {SOMEONE, MUTUAL, *_LINKS}]


def add_second_person(weights: Float32, text: str, words: Sequence[str]) -> Float32:
    """Set the weights of two people.

    All texts about two people get the same share of ``two_people``. Otherwise the text with fewer
    other attributes would be nearer to every clip of two people.

    Args:
        weights: (A,) float32 weights of the phrases of the text.
        text: The whole text.
        words: Its words, from ``mark_second_person``.

    Returns:
        (A,) float32.
    """
    names = attribute_names()
    two, act = names.index("two_people"), names.index("both_act")
    changed = weights.copy()
    named = SOMEONE in words or _TWO.search(text.lower()) is not None
    if not named and weights[two] < _SURE and set(words) & _THINGS:
        changed[two] = 0.0  # "push something" involves no second person
        return changed
    if not weights.any() or not (named or weights[two] >= _PERHAPS):
        return weights
    if changed[act] == 0 and _BOTH.search(text.lower()):
        changed[act] = _ACT
    elif changed[act] == 0 and _SECOND_PERSON_ONE.search(text.lower()):
        changed[act] = -_ACT
    changed[two] = 0.0
    length = float(np.linalg.norm(changed))
    changed *= np.float32(min(1.0, 1 / (_SHARE * length + 1e-9)))
    changed[two] = min(1.0, _SHARE * length)
    return changed
