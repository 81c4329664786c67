"""Questions as captions: text encoders compare clips with descriptions, and a question is none."""

from __future__ import annotations

import re

_SUBJECTS = {
    "he": "a man",
    "she": "a woman",
    "they": "people",
    "we": "people",
    "i": "a person",
    "you": "a person",
    "anyone": "a person",
    "anybody": "a person",
    "someone": "a person",
    "somebody": "a person",
    "who": "a person",
}
_PLURAL = frozenset({"people", "children", "men", "women", "two", "three", "many", "some"})
_REQUEST = re.compile(
    r"^(?:please\s+)?(?:(?:can|could) (?:you|i|we) )?(?:show(?: me| us)?|find(?: me| us)?|"
    r"search for|look for|give me|see|do you see|(?:is|are) there)\s+"
    r"(?:(?:the|all|some|any)\s+)?(?:(?:clips?|videos?|moments?|scenes?|parts?)\s+"
    r"(?:of|where|when|in which|with|that show)\s+)?",
    re.IGNORECASE,
)
_ASKED = re.compile(
    r"^(?P<place>(?:where|when|at what time|in which (?:clip|video|scene))\s+)?"
    r"(?P<verb>do|does|did|is|are|was|were|can)\s+(?P<rest>\S.*)$",
    re.IGNORECASE,
)
_ADJECTIVES = frozenset(
    {"old", "young", "little", "small", "big", "tall", "red", "blue", "black", "white", "first"}
)
_WHO = re.compile(r"^who\s+(?P<rest>\S.*)$", re.IGNORECASE)
_OPEN = re.compile(r"^(?:what|how|why|which|whose)\b", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:the|that|this|an?|any|some|my|his|her|their)$", re.IGNORECASE)


def caption_of(text: str) -> str | None:
    """The caption that a question or a request asks for; None for other texts.

    >>> caption_of("where does he fall?"), caption_of("When are the children jumping")
    ('a man falls', 'children are jumping')
    >>> caption_of("show me clips of a dog"), caption_of("who is riding a bike?")
    ('a dog', 'a person is riding a bike')
    >>> caption_of("riding a bike"), caption_of("what is the man doing?")
    (None, None)
    """
    words = " ".join(text.split()).rstrip("?!. ")
    if _OPEN.match(words):
        return None
    if (match := _WHO.match(words)) is not None:
        return f"a person {match['rest']}"
    if (match := _REQUEST.match(words)) is not None and words[match.end() :]:
        words_after = words[match.end() :]
        subject, _, after = re.sub(r"^(?:where|when) ", "", words_after).partition(" ")
        named = f"{_SUBJECTS[subject]} {after}" if subject in _SUBJECTS and after else words_after
        return caption_of(words_after) or named
    match = _ASKED.match(words)
    if match is None or not (match["place"] or text.rstrip().endswith("?") or _is_subject(match)):
        return None
    return _statement(match["verb"].casefold(), match["rest"].split())


def _is_subject(match: re.Match[str]) -> bool:
    first = match["rest"].split()[0].casefold()
    return first in _SUBJECTS or bool(_ARTICLE.match(first))


def _statement(verb: str, rest: list[str]) -> str | None:
    """Subject, verb and the rest of a question in the order of a statement; None without both."""
    first = rest[0].casefold()
    if first in _SUBJECTS:
        subject, after = _SUBJECTS[first], rest[1:]
    elif _ARTICLE.match(first) and len(rest) > 1:
        end = 3 if rest[1].casefold() in _ADJECTIVES and len(rest) > 2 else 2
        plural = rest[1].casefold() in _PLURAL or verb in ("do", "are", "were")
        article = "" if plural else "an " if rest[1][0].lower() in "aeiou" else "a "
        subject, after = article + " ".join(rest[1:end]), rest[end:]
    else:
        subject, after = rest[0], rest[1:]
    if not after:
        return subject if verb in ("is", "are") and subject not in _SUBJECTS.values() else None
    plural = subject.split()[0] in _PLURAL or verb in ("do", "are", "were")
    if verb in ("is", "are", "was", "were"):
        return " ".join([subject, "are" if plural else "is", *after])
    return " ".join([subject, after[0] if plural else _third(after[0]), *after[1:]])


def _third(verb: str) -> str:
    """The form of a verb for he, she or it.

    >>> _third("fall"), _third("catch"), _third("carry"), _third("play"), _third("have")
    ('falls', 'catches', 'carries', 'plays', 'has')
    """
    if verb in ("have", "be"):
        return {"have": "has", "be": "is"}[verb]
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if re.search(r"[^aeiou]y$", verb) else f"{verb}s"
