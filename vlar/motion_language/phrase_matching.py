"""A text as the verb table reads it: parts, words, and which word of several is the verb.

All rules are about English as labels are written: "BoxJump", "hand waving", "clean and jerk",
"drop kicking", "raising the left arm". None looks at a particular data set.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Sequence
from functools import lru_cache

from vlar.motion_language import second_person as others
from vlar.motion_language.modifiers import as_one_word
from vlar.text.inflection import base_forms

# Of the rules of this file, ``others`` and ``words``: whoever changes what a text is read as counts
# up, or kept vectors of texts would go on with the old reading.
VERSION = 1


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BREAKS = re.compile(r"\b(?:and then|and|or|then|while|before|after|followed by)\b|[,;.&/]")
_BREAK_WORDS = frozenset(("and", "or", "then", "while", "before", "after"))
# "Up and down" is one movement, not two parts of a sentence.
_PAIRS = re.compile(
    r"\b(up|back|to|in|on|again|over|round|left|forth|forward|forwards) and "
    r"(down|forth|fro|out|off|again|over|round|right|back|backward|backwards)\b"
)
_EXAMPLES = re.compile(r"\((?:e\.? ?g\.?|such as|for example)([^)]*)\)")
_LEFT = re.compile(r"\b(he|she|they|man|woman|person|people|someone|somebody|boy|girl|who) left\b")
# What follows says what comes of the movement, or what it is not.
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
# What a phrase may not add to a text: how many, which way, how, and with what part of the body.
# "With the right arm" is near "with both hands" in meaning and not the same; "walk slowly" is near
# "walk fast". An object may be added: who shoots a bow shoots an arrow.
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
# Verbs of the table that are as often the name of a thing, an animal or a place.
_THINGS = _set(
    """bat bike bowl box button clip comb crank dress drill drum duck dust elbow fan fence field
    file fish garden hammer iron knee lock milk mop paddle phone pitch plane plant plaster
    pump racket rake ring rock salt saw scoop screw scythe shovel shower sign slide smoke
    spray stamp text tie train tramp vault vacuum volley watch water weed whip wind work yarn
    play point board press"""
)
# Games that are entries by name; a verb beside one says more: "volleyball spike".
_GAMES = _set(
    """badminton billiards cricket croquet curling hockey polo soccer tennis volleyball"""
)
# Nouns of one movement, which a word before them only describes: "box jump", "karate kick".
_ACTS = _set(
    """crawl crunch dance dive flip hop jump kick leap lunge punch roll run skip spin squat throw
    walk jab somersault uppercut"""
)
# Verbs that say nothing of a movement; the noun after them may: "doing a box jump", "using a saw".
_LIGHT = _set(
    """do have get give make perform practise practice take use try play go start pretend let
    fail"""
)
_NOT_VERBS = _set("""something anything nothing everything king evening morning ceiling""")

_WIDEST_GAP = 3  # words between two words of a phrase
_OUT_OF_ORDER = 0.6  # words, what a phrase loses whose words stand in another order
_SPELLED = 0.001  # words, what a phrase gains for every word in the same form


def spaced(text: str) -> str:
    """A label with spaces between its words: "BoxJump" and "box_jump" are a box jump."""
    return _CAMEL.sub(" ", text).replace("_", " ").strip()


def parts(text: str, fixed: Collection[tuple[str, ...]] = ()) -> list[str]:
    """A text, lower case, cut at "and", "then", "while"; not within expressions of ``fixed``.

    Args:
        text: A label or a sentence.
        fixed: Expressions with such a word that name one movement: ("clean", "and", "jerk").
    """
    text = as_one_word(spaced(text).lower())
    text = _LEFT.sub(r"\1 leaves", text)  # elsewhere "left" is a side
    text = _EXAMPLES.sub(lambda found: found[1].replace(",", " "), text)
    text = _PAIRS.sub(r"\1 _ \2", _CONSEQUENCE.sub("", text))
    if fixed and _BREAKS.search(text):
        text = _keep(text, fixed)
    return _BREAKS.split(text)


def _keep(text: str, fixed: Iterable[tuple[str, ...]]) -> str:
    found = list(re.finditer(r"[^\W\d_]+", text))
    forms = [base_forms(match[0]) for match in found]
    spans: list[tuple[int, int]] = []
    for phrase in fixed:
        for begin in range(len(found) - len(phrase) + 1):
            if all(word in forms[begin + k] for k, word in enumerate(phrase)):
                broken = (found[begin + k] for k, word in enumerate(phrase) if word in _BREAK_WORDS)
                spans += [match.span() for match in broken]
    for _, end in sorted(set(spans), reverse=True):
        text = f"{text[:end]}_{text[end:]}"  # no longer a word of its own to _BREAKS
    return text


def fixed_expression(phrase: str) -> tuple[str, ...] | None:
    """The words of a phrase of the table that holds a break word, which is to be kept whole."""
    words = tuple(re.findall(r"[^\W\d_]+", _PAIRS.sub(r"\1 _ \2", phrase)))
    return words if _BREAK_WORDS.intersection(words) else None


def words_of(text: str) -> list[str]:
    """The words of a part of a text or of a phrase, without articles and the like."""
    joined = _PAIRS.sub(r"\1 _ \2", text.lower().replace("'s", ""))
    words = others.marked(re.findall(r"[^\W\d_]+", joined))
    kept = [word for word in words if word == others.SOMEONE or word not in _IGNORED]
    return kept or words


def split_compound(word: str, pairs: Collection[frozenset[str]]) -> list[str]:
    """A closed compound as two words where the table has them: haircut, handwaving."""
    for at in range(3, len(word) - 2):
        first, second = word[:at], word[at:]
        for one in base_forms(first):
            if any(frozenset((one, two)) in pairs for two in base_forms(second)):
                return [first, second]
    return [word]


def joined(words: Sequence[str], known: Container[str]) -> list[str]:
    """Two words as one where only that is in the table: "sky diving", "back flip"."""
    found = list(words[:1])
    for word in words[1:]:
        one = found[-1] + word
        if len(word) > 2 and any(base in known for base in base_forms(one)):
            found[-1] = one
        else:
            found.append(word)
    return found


def forms_of(words: Sequence[str]) -> list[frozenset[str]]:
    """What each word may be a form of; "left leg" is one leg, "two hands" are both."""
    found: list[frozenset[str]] = []
    for at, word in enumerate(words):
        forms = base_forms(word)
        before_limb = at + 1 < len(words) and words[at + 1] in _LIMBS
        if before_limb and word in _AS_ONE:
            forms = frozenset((word, "one"))
        elif before_limb and word in _AS_BOTH:
            forms = frozenset((word, "both"))
        elif at and word in _LIMBS and words[at - 1] in _AS_BOTH:
            forms = forms | {word + "s"}
        found.append(forms)
    return found


def may_stand_for(phrase: Iterable[str], forms: Sequence[frozenset[str]]) -> bool:
    """Whether a phrase adds nothing to a text but an object, or a preposition: "cliff diving"."""
    said = frozenset[str]().union(*forms)
    if not said.issuperset(_NOT_ADDED.intersection(phrase)):
        return False
    added = frozenset(phrase) - said - _PARTICLES
    return not added or _PARTICLES.isdisjoint(phrase)


def contradicts(phrase: Collection[str], said: Collection[str]) -> bool:
    """Whether a phrase speaks of another number or side than a text with the words ``said``."""
    return any(
        not here.isdisjoint(phrase) and here.isdisjoint(said) and not there.isdisjoint(said)
        for one, other in _OPPOSITES
        for here, there in ((one, other), (other, one))
    )


def _in_any_order(phrase: Sequence[str]) -> bool:
    """Whether a phrase means the same in another order of words: "guitar playing"."""
    fixed = not _PARTICLES.isdisjoint(phrase) or others.SOMEONE in phrase
    return not fixed and len(set(phrase)) == len(phrase)


@lru_cache(maxsize=4096)
def _gerund(word: str) -> bool:
    return word.endswith("ing") and word not in _NOT_VERBS and len(base_forms(word)) > 1


def verb_rank(verb: str, part: str, words: Sequence[str], forms: Sequence[frozenset[str]]) -> float:
    """How surely a word of the table is the verb of a part of a text: 0 not at all, 1 usual."""
    opener = next((at for at, word in enumerate(words) if _gerund(word)), None)
    light = bool(_LIGHT & forms[0 if opener is None else opener])
    best = 0.0
    for at, word in enumerate(words):
        if verb in forms[at]:
            best = max(best, _rank(verb, word, at, part, words, opener, light))
    return best


def _rank(
    verb: str,
    word: str,
    at: int,
    part: str,
    words: Sequence[str],
    opener: int | None,
    light: bool,
) -> float:
    early = 1 - 0.01 * at
    if verb in _GAMES:
        return early - 0.6
    if _act(verb, word, at, part, words):
        return early + (0.4 if opener is not None else 0.1)
    if _gerund(word) and word != verb:
        return early + 0.3
    if opener == 0 and not light and at > 0:
        return 0.0  # "ploughing a field": the field is not what is done
    if verb in _THINGS and len(words) > 1 and not light and word in (verb, verb + "s", verb + "es"):
        named = re.search(rf"\b(?:an?|the) {word}\b", part) is not None
        return 0.0 if at > 0 or named else early - 0.4
    if word.endswith("er") and word != verb:
        return early - 0.5  # the one who does it
    return early


def _act(verb: str, word: str, at: int, part: str, words: Sequence[str]) -> bool:
    if verb not in _ACTS or at == 0 or at != len(words) - 1 or word not in (verb, verb + "s"):
        return False
    return f"{words[at - 1]} {word}" in part.replace("-", " ")


def fit(
    phrase: Sequence[str],
    words: Sequence[str],
    forms: Sequence[frozenset[str]],
    pairs: Container[tuple[str, ...]],
) -> float:
    """How well a phrase fits a text: its number of words, less a little; 0 where it does not.

    Longer phrases say more; of equal ones the first in the text is the verb, and the one that is
    spelled like the text ("raise hands" is not "raise hand").

    Args:
        phrase: Two words or more.
        words: Of the text.
        forms: What each of them may be a form of.
        pairs: The phrases of two words: what a particle is most likely part of.
    """
    spelled = _SPELLED * sum(word in words for word in phrase)
    begin = _find(phrase, forms, pairs)
    if begin is not None:
        return len(phrase) - 0.01 * begin + spelled
    # "Guitar playing"; but "hands on hips" is not "on hands".
    held = all(any(word in some for some in forms) for word in phrase)
    return len(phrase) - _OUT_OF_ORDER + spelled if held and _in_any_order(phrase) else 0.0


def _find(
    phrase: Sequence[str], words: Sequence[frozenset[str]], pairs: Container[tuple[str, ...]]
) -> int | None:
    """Where the words of a phrase begin in a text: in order, with small gaps."""
    for begin in range(len(words) - len(phrase) + 1):
        if phrase[0] not in words[begin]:
            continue
        at = begin
        for word in phrase[1:]:
            at = _next(word, words, at, pairs)
            if at < 0:
                break
        else:
            return begin
    return None


def _next(
    word: str, words: Sequence[frozenset[str]], at: int, pairs: Container[tuple[str, ...]]
) -> int:
    """The place of a word soon after another; -1 where there is none.

    To sit down on something is not to sit on it, and the "up" of "hand pick up" is not the hand's.
    """
    for place in range(at + 1, min(at + 2 + _WIDEST_GAP, len(words))):
        if word in words[place]:
            return place
        if "down" in words[place] or any((form, word) in pairs for form in words[place]):
            return -1
    return -1
