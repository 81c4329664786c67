"""Words that modify a verb: with both hands, in place, backwards, slowly.

Many phrases of the verb table hold such words themselves. The rules here apply to a verb only if
its phrase does not hold the word.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

from vlar.pose.attributes.base import attribute_names, hand_attribute_names
from vlar.types import Float32

# Postures during the action: they are not a second verb, so one token replaces them.
_SEAT = r"(?: (?:down|still|(?:on|in|at) (?:an? |the )?\w+))?"
_NOT_OF_KNEES = "".join(
    f"(?<!{verb})" for verb in ("standing", "walking", "crawling", "sitting", "kneeling", "falling")
)
_ARMS = r"\bwith (?:both |the |his |her |their )*(?:arms|hands) "
_MEANWHILE = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"(?<=\w )(?:while )?(?:being )?seated" + _SEAT, "meanwhileseated"),
        (r"\bwhile sitting" + _SEAT, "meanwhileseated"),
        (r"\bwhile standing(?: (?:up|still))?", "meanwhilestanding"),
        (r"\bwhile lying(?: down)?(?: (?:on|in) (?:an? |the )?\w+)?", "meanwhilelying"),
        (r"\bwhile kneeling(?: down)?", "meanwhilekneeling"),
        (
            rf"(?<=ing){_NOT_OF_KNEES} on (?:(?:the|his|her|both) )?knees\b",
            " meanwhilekneeling",
        ),
        (_ARMS + r"(?:raised|up\b|overhead|in the air)", "meanwhilearmsup"),
    )
)
_ONE = ("one", "single", "right", "left")
_HANDS, _FEET = ("hand", "hands", "arm", "arms"), ("leg", "legs", "foot", "feet")
# Alternatives that a text may hold, and the weights that they set.
_SETS: tuple[tuple[tuple[str, ...], dict[str, float]], ...] = (
    (tuple(f"{two} {part}" for two in ("both", "two") for part in _HANDS), {"both_arms": 1.0}),
    (
        tuple(f"{one} {part}" for one in _ONE for part in ("hand", "arm")),
        {"both_arms": -1.0, "both_arms_up": -1.0, "hands_joined": -0.5},
    ),
    (
        tuple(f"{two} {part}" for two in ("both", "two") for part in _FEET),
        {"leg_alt": -1.0, "hop": 0.8, "kick": -0.5},
    ),
    (
        tuple(f"{one} {part}" for one in _ONE for part in ("leg", "foot")),
        {"kick": 0.6, "one_leg_stand": 0.4},
    ),
    (("in place", "on the spot"), {"travel": -1.0, "fast": -0.5}),
    (("forward", "forwards", "ahead", "across"), {"travel": 1.0, "forward": 0.8}),
    (("backward", "backwards"), {"travel": 0.8, "forward": -1.0}),
    (("sideways", "sidewards"), {"travel": 0.8, "forward": -0.5, "leg_open": 0.8, "leg_alt": -0.4}),
    (("toward the camera", "towards the camera", "closer"), {"approach": 1.0}),
    (("away", "away from the camera"), {"approach": -0.6}),
    (("quickly", "fast", "rapidly", "hard"), {"energy": 0.6, "wrist_peak": 0.4}),
    (("slowly", "gently", "slow"), {"energy": -0.6, "wrist_peak": -0.6, "fast": -0.6}),
    (("repeatedly", "again again", "over over"), {"periodic": 1.0, "wrist_rep": 0.8}),
    (("once",), {"periodic": -0.8, "wrist_rep": -0.6}),
    (("overhead", "above the head", "over the head"), {"hands_mid": -0.6, "hands_front": -0.3}),
    (("upside down",), {"upside": 1.0}),
    (("twice", "two times"), {"periodic": 0.4, "wrist_rep": 0.2}),
    (("three times", "several times", "many times"), {"periodic": 0.8, "wrist_rep": 0.6}),
    (("meanwhileseated",), {"knee_bent": 1.0, "lying": -1.0, "leg_energy": -0.8, "airborne": -1.0}),
    (("meanwhilestanding",), {"knee_bent": -1.0, "lying": -1.0, "low_body": -0.8}),
    (("meanwhilelying",), {"lying": 1.0, "low_body": 1.0, "airborne": -1.0}),
    (("meanwhilekneeling",), {"kneeling": 1.0, "knee_bent": 0.7, "airborne": -1.0}),
    (("meanwhilearmsup",), {"both_arms_up": 1.0, "hands_mid": -0.6}),
)

# The same for hands near the camera.
_HAND_SETS: tuple[tuple[tuple[str, ...], dict[str, float]], ...] = (
    (tuple(f"{two} hands" for two in ("both", "two", "with")), {"both_hands": 1.0}),
    (tuple(f"{one} hand" for one in _ONE), {"both_hands": -1.0}),
    (("left to right", "to right", "to the right", "rightwards"), {"hand_right": 1.0}),
    (("right to left", "to left", "to the left", "leftwards"), {"hand_right": -1.0}),
    (("up", "upward", "upwards"), {"hand_up": 0.8}),
    (("down", "downward", "downwards"), {"hand_up": -0.8}),
    (
        ("in circle", "in a circle", "in circles", "clockwise", "round and round"),
        {"hand_turns": 1.0},
    ),
    (("closer to camera", "closer to the camera", "toward the camera"), {"hand_nears": 1.0}),
    (("away from camera", "away from the camera"), {"hand_nears": -1.0}),
    (("repeatedly", "again again", "over over"), {"hand_returns": 0.8}),
)


def digest() -> str:
    """Hash of the rules of bodies in this module."""
    return _hash(_SETS)


def hand_digest() -> str:
    """Hash of the rules of hands."""
    return _hash(_HAND_SETS)


def _hash(sets: object) -> str:
    clauses = [(pattern.pattern, word) for pattern, word in _MEANWHILE]
    return hashlib.sha256(repr((sets, clauses)).encode()).hexdigest()


def mark_clauses(text: str) -> str:
    """Replace clauses such as "while seated" of a lower-case text by one token without a verb."""
    for pattern, word in _MEANWHILE:
        text = pattern.sub(word, text)
    return text


def drop_clauses(text: str) -> str:
    """Remove the tokens of ``mark_clauses``."""
    return " ".join(word for word in text.split() if not word.startswith("meanwhile"))


def apply_modifiers(weights: Float32, text: str, phrase_words: Collection[str]) -> Float32:
    """Change the weights of a verb by the words around it.

    A direction ("forward") changes only verbs that travel or leap: "punch forward" stays in place.

    Args:
        weights: (A,) float32 weights of the phrase that was found.
        text: The clause that holds the phrase, in lower case.
        phrase_words: The words of the phrase; rules for these words do not apply.

    Returns:
        (A,) float32 in -1 .. 1.
    """
    names = attribute_names()
    changed = weights.copy()
    travels = max(weights[names.index("travel")], weights[names.index("airborne")]) > 0
    for sets in _applying(_SETS, text, phrase_words):
        if sets.get("travel", 0.0) > 0 and not travels:
            continue
        _set(changed, sets, names)
        if sets.get("both_arms") == 1.0:
            _to_both_arms(changed, names)
    return np.clip(changed, -1, 1)


def apply_hand_modifiers(weights: Float32, text: str, phrase_words: Collection[str]) -> Float32:
    """Apply the modifiers to the weights of hand attributes; the counterpart of
    ``apply_modifiers``.
    """
    changed = weights.copy()
    for sets in _applying(_HAND_SETS, text, phrase_words):
        _set(changed, sets, hand_attribute_names())
    return np.clip(changed, -1, 1)


def _applying(
    rules: Iterable[tuple[tuple[str, ...], dict[str, float]]],
    text: str,
    phrase_words: Collection[str],
) -> Iterator[dict[str, float]]:
    """Settings of the rules whose words are in the text and not in the phrase."""
    padded = f" {' '.join(''.join(c if c.isalnum() else ' ' for c in text).split())} "
    for alternatives, sets in rules:
        phrases = [words for words in alternatives if f" {words} " in padded]
        if phrases and not set(phrases[0].split()) & set(phrase_words):
            yield sets


def _set(weights: Float32, sets: dict[str, float], names: tuple[str, ...]) -> None:
    for name, weight in sets.items():
        column = names.index(name)
        if weights[column] * weight < weight * weight:  # a stronger weight of the same sign stays
            weights[column] = weight


def _to_both_arms(weights: Float32, names: tuple[str, ...]) -> None:
    one, both = names.index("one_arm_up"), names.index("both_arms_up")
    if weights[one] > 0:
        weights[both], weights[one] = weights[one], -0.5
        weights[names.index("arms_sym")] = 0.5


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


def _is_person(words: Sequence[str], at: int) -> bool:
    """Return whether "other" is a person: it precedes a word for one, or ends a text with one."""
    if at == len(words) - 1:
        return any(word in _PEOPLE for word in words)
    return words[at + 1] in _PEOPLE


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
