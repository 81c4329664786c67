"""Matching a text to the phrases of the verb table: clauses, words, and which word is the verb.

All rules are about English as people write labels: "BoxJump", "hand waving", "clean and jerk",
"drop kicking", "raising the left arm". No rule is about a particular data set.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Sequence
from functools import lru_cache

from vlar.language.clean import base_forms
from vlar.language.motion.modifiers import mark_clauses
from vlar.language.motion.second_person import SOMEONE, mark_second_person

# Version of the rules in this file, ``second_person`` and ``verb_table``. Increase it with every
# change of results: cached vectors of texts would otherwise stay as they were.
VERSION = 1


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BREAKS = re.compile(r"\b(?:and then|and|or|then|while|before|after|followed by)\b|[,;.&/]")
_BREAK_WORDS = frozenset(("and", "or", "then", "while", "before", "after"))
# "Up and down" is one movement, not two clauses.
_PAIRS = re.compile(
    r"\b(up|back|to|in|on|again|over|round|left|forth|forward|forwards) and "
    r"(down|forth|fro|out|off|again|over|round|right|back|backward|backwards)\b"
)
_EXAMPLES = re.compile(r"\((?:e\.? ?g\.?|such as|for example)([^)]*)\)")
_LEFT = re.compile(r"\b(he|she|they|man|woman|person|people|someone|somebody|boy|girl|who) left\b")
# What follows these words is a consequence of the movement, or its negation.
_CONSEQUENCE = re.compile(r"(?<=\w) (?:until|without|so (?:that|it|the)|because)\b.*")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_IGNORED = _set(
    """a an the his her its their my your our some someone somebody person man woman people is
    are be being been does do doing perform performs performing he she they it"""
)
_LIMBS = _set(
    """arm arms hand hands leg legs foot feet knee knees elbow elbows handed legged armed"""
)
_AS_ONE, _AS_BOTH = frozenset(("left", "right", "single")), frozenset(("two",))
_OPPOSITES = (
    (frozenset(("both", "two")), frozenset(("one", "single"))),
    (frozenset(("left",)), frozenset(("right",))),
)
# Words that a phrase must not add to a text: counts, directions, manners and body parts. "With the
# right arm" is near "with both hands" in meaning and not the same; so are "walk slowly" and "walk
# fast". A phrase may add an object: shooting a bow is shooting an arrow.
_NOT_ADDED = _set(
    """both two one single up down upstairs downstairs over under off out away around across past
    behind back backward backwards forward forwards sideways side overhead above through
    toward together fast briskly high low far heavy slow place spot circle circles hand hands
    fist fingers foot feet forehand backhand underhand overhand arm arms leg legs head chest
    knee knees elbow straight height quickly slowly volleyball golf soccer softball tennis
    dance"""
)
_PARTICLES = _set(
    """up down on off over under out in into onto to at from with by away back after behind
    through across like around without"""
)
# Verbs of the table that are also the name of a thing, an animal or a place.
_THINGS = _set(
    """bat bike bowl box button clip comb crank dress drill drum duck dust elbow fan fence field
    file fish garden hammer iron knee lock milk mop paddle phone pitch plane plant plaster
    pump racket rake ring rock salt saw scoop screw scythe shovel shower sign slide smoke
    spray stamp text tie train tramp vault vacuum volley watch water weed whip wind work yarn
    play point board press"""
)
# Games with an entry of their own; a verb next to one is more specific: "volleyball spike".
_GAMES = _set(
    """badminton billiards cricket croquet curling hockey polo soccer tennis volleyball"""
)
# Nouns of one movement, which the word before them only describes: "box jump", "karate kick".
_ACTS = _set(
    """crawl crunch dance dive flip hop jump kick leap lunge punch roll run skip spin squat throw
    walk jab somersault uppercut"""
)
# Light verbs: the noun after them holds the movement ("doing a box jump", "using a saw").
_LIGHT = _set(
    """do have get give make perform practise practice take use try play go start pretend let
    fail"""
)
_NOT_VERBS = _set("""something anything nothing everything king evening morning ceiling""")

_WIDEST_GAP = 3  # words between two words of a phrase
_OUT_OF_ORDER = 0.6  # score, in words, that a phrase loses if its words are in another order
_SPELLED = 0.001  # score, in words, that a phrase gains for each word in the same inflection


def split_words(text: str) -> str:
    """Put spaces between the words of a label: "BoxJump" and "box_jump" become "Box Jump"."""
    return _CAMEL.sub(" ", text).replace("_", " ").strip()


def split_clauses(text: str, fixed: Collection[tuple[str, ...]] = ()) -> list[str]:
    """The clauses of a text in lower case: it is split at "and", "then", "while".

    Args:
        text: A label or a sentence.
        fixed: Expressions with such a word that are one movement: ("clean", "and", "jerk").
    """
    text = mark_clauses(split_words(text).lower())
    text = _LEFT.sub(r"\1 leaves", text)  # elsewhere "left" is a side
    text = _EXAMPLES.sub(lambda found: found[1].replace(",", " "), text)
    text = _PAIRS.sub(r"\1 _ \2", _CONSEQUENCE.sub("", text))
    if fixed and _BREAKS.search(text):
        text = _keep(text, fixed)
    return _BREAKS.split(text)


def _keep(text: str, fixed: Iterable[tuple[str, ...]]) -> str:
    words = list(re.finditer(r"[^\W\d_]+", text))
    forms = [base_forms(match[0]) for match in words]
    spans: list[tuple[int, int]] = []
    for phrase in fixed:
        for begin in range(len(words) - len(phrase) + 1):
            if all(word in forms[begin + k] for k, word in enumerate(phrase)):
                broken = (words[begin + k] for k, word in enumerate(phrase) if word in _BREAK_WORDS)
                spans += [match.span() for match in broken]
    for _, end in sorted(set(spans), reverse=True):
        text = f"{text[:end]}_{text[end:]}"  # no longer a word of its own to _BREAKS
    return text


def fixed_expression(phrase: str) -> tuple[str, ...] | None:
    """The words of a phrase that holds a break word such as "and"; None if it holds none."""
    words = tuple(re.findall(r"[^\W\d_]+", _PAIRS.sub(r"\1 _ \2", phrase)))
    return words if _BREAK_WORDS.intersection(words) else None


def content_words(text: str) -> list[str]:
    """The words of a clause or a phrase, without articles, pronouns and auxiliaries."""
    joined = _PAIRS.sub(r"\1 _ \2", text.lower().replace("'s", ""))
    words = mark_second_person(re.findall(r"[^\W\d_]+", joined))
    content = [word for word in words if word == SOMEONE or word not in _IGNORED]
    return content or words


def split_compound(word: str, pairs: Collection[frozenset[str]]) -> list[str]:
    """Split a closed compound if the table has its two words: haircut, handwaving."""
    for cut in range(3, len(word) - 2):
        first, second = word[:cut], word[cut:]
        for one in base_forms(first):
            if any(frozenset((one, two)) in pairs for two in base_forms(second)):
                return [first, second]
    return [word]


def join_compounds(words: Sequence[str], known: Container[str]) -> list[str]:
    """Join two words if the table has only the compound: "sky diving", "back flip"."""
    joined = list(words[:1])
    for word in words[1:]:
        one = joined[-1] + word
        if len(word) > 2 and any(base in known for base in base_forms(one)):
            joined[-1] = one
        else:
            joined.append(word)
    return joined


def word_forms(words: Sequence[str]) -> list[frozenset[str]]:
    """The base forms that each word may have; "left leg" is one leg, "two hands" are both."""
    all_forms: list[frozenset[str]] = []
    for index, word in enumerate(words):
        forms = base_forms(word)
        before_limb = index + 1 < len(words) and words[index + 1] in _LIMBS
        if before_limb and word in _AS_ONE:
            forms = frozenset((word, "one"))
        elif before_limb and word in _AS_BOTH:
            forms = frozenset((word, "both"))
        elif index and word in _LIMBS and words[index - 1] in _AS_BOTH:
            forms = forms | {word + "s"}
        all_forms.append(forms)
    return all_forms


def may_replace(phrase: Iterable[str], forms: Sequence[frozenset[str]]) -> bool:
    """Return whether a phrase adds only an object or a preposition to a text: "cliff diving"."""
    held = frozenset[str]().union(*forms)
    if not held.issuperset(_NOT_ADDED.intersection(phrase)):
        return False
    added = frozenset(phrase) - held - _PARTICLES
    return not added or _PARTICLES.isdisjoint(phrase)


def contrary_words(words: Collection[str]) -> frozenset[str]:
    """The words of another count or side than a text with these words has.

    >>> sorted(contrary_words({"raise", "left", "arm"}))
    ['right']
    """
    pairs = [pair for one, other in _OPPOSITES for pair in ((one, other), (other, one))]
    contrary = (
        word
        for word, contrary in pairs
        if word.isdisjoint(words) and not contrary.isdisjoint(words)
    )
    return frozenset[str]().union(*contrary)


def _in_any_order(phrase: Sequence[str]) -> bool:
    """Return whether the order of a phrase's words is free: "guitar playing"."""
    fixed = not _PARTICLES.isdisjoint(phrase) or SOMEONE in phrase
    return not fixed and len(set(phrase)) == len(phrase)


@lru_cache(maxsize=4096)
def _gerund(word: str) -> bool:
    return word.endswith("ing") and word not in _NOT_VERBS and len(base_forms(word)) > 1


def verb_score(
    verb: str, clause: str, words: Sequence[str], forms: Sequence[frozenset[str]]
) -> float:
    """Score of a one-word phrase as the verb of a clause: 0 if it does not match."""
    opener = next((index for index, word in enumerate(words) if _gerund(word)), None)
    light = bool(_LIGHT & forms[0 if opener is None else opener])
    best = 0.0
    for index, word in enumerate(words):
        if verb in forms[index]:
            best = max(best, _score_at(verb, word, index, clause, words, opener, light))
    return best


def _score_at(
    verb: str,
    word: str,
    at: int,
    clause: str,
    words: Sequence[str],
    opener: int | None,
    light: bool,
) -> float:
    early = 1 - 0.01 * at
    if verb in _GAMES:
        return early - 0.6
    if _is_act(verb, word, at, clause, words):
        return early + (0.4 if opener is not None else 0.1)
    if _gerund(word) and word != verb:
        return early + 0.3
    if opener == 0 and not light and at > 0:
        return 0.0  # "ploughing a field": "field" is not the verb
    if verb in _THINGS and len(words) > 1 and not light and word in (verb, verb + "s", verb + "es"):
        named = re.search(rf"\b(?:an?|the) {word}\b", clause) is not None
        return 0.0 if at > 0 or named else early - 0.4
    if word.endswith("er") and word != verb:
        return early - 0.5  # "boxer": the person, not the action
    return early


def _is_act(verb: str, word: str, at: int, clause: str, words: Sequence[str]) -> bool:
    if verb not in _ACTS or at == 0 or at != len(words) - 1 or word not in (verb, verb + "s"):
        return False
    return f"{words[at - 1]} {word}" in clause.replace("-", " ")


def phrase_score(
    phrase: Sequence[str],
    words: Sequence[str],
    forms: Sequence[frozenset[str]],
    pairs: Container[tuple[str, ...]],
) -> float:
    """Score of a phrase in a text: about its number of words; 0 if it does not match.

    Longer phrases are more specific. Of equal phrases the first in the text is the verb, and the
    one in the same inflection wins ("raise hands" is not "raise hand").

    Args:
        phrase: Two words or more.
        words: The words of the text.
        forms: The base forms that each of these words may have.
        pairs: The phrases of two words; a particle belongs to one of them first.
    """
    spelled = _SPELLED * sum(word in words for word in phrase)
    begin = _find(phrase, forms, pairs)
    if begin is not None:
        return len(phrase) - 0.01 * begin + spelled
    # "Guitar playing" matches "play guitar"; "hands on hips" does not match "on hands".
    held = all(any(word in some for some in forms) for word in phrase)
    return len(phrase) - _OUT_OF_ORDER + spelled if held and _in_any_order(phrase) else 0.0


def _find(
    phrase: Sequence[str], words: Sequence[frozenset[str]], pairs: Container[tuple[str, ...]]
) -> int | None:
    """Position of a phrase whose words occur in order with small gaps; None if they do not."""
    for begin in range(len(words) - len(phrase) + 1):
        if phrase[0] not in words[begin]:
            continue
        index = begin
        for word in phrase[1:]:
            index = _next(word, words, index, pairs)
            if index < 0:
                break
        else:
            return begin
    return None


def _next(
    word: str, words: Sequence[frozenset[str]], at: int, pairs: Container[tuple[str, ...]]
) -> int:
    """Position of a word soon after position ``at``; -1 if it does not follow.

    "Sit down on" is not "sit on", and the "up" of "hand pick up" belongs to "pick", not "hand".
    """
    for index in range(at + 1, min(at + 2 + _WIDEST_GAP, len(words))):
        if word in words[index]:
            return index
        if "down" in words[index] or any((form, word) in pairs for form in words[index]):
            return -1
    return -1
