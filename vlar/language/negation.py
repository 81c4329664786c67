"""Negation in labels and phrases, which text encoders do not read.

"Nobody is fighting" lies as near to a fight as "somebody is fighting" does. A label list answers a
negation by ``unknown``, a question by "no", and a query by ``NOT``.
"""

from __future__ import annotations

import re

_NOBODY = re.compile(r"^(?:nobody|no[ -]?one)\b", re.IGNORECASE)
_NOT = re.compile(r"^not\s+(?=\w)", re.IGNORECASE)
_NO = re.compile(r"^(?:there (?:is|are)\s+)?no\s+(?=\w)", re.IGNORECASE)
_VERB = re.compile(r"\b(is|are|was|were|has|have|can|will)(?:n['’]t|\s+not)\s+", re.IGNORECASE)
_DO = re.compile(r"\b(?:does|do|did)(?:n['’]t|\s+not)\s+", re.IGNORECASE)
_CLAUSE = re.compile(r"\b(?:because|since|although|though|until|so that|but)\b", re.IGNORECASE)


def affirmed(text: str, *, nouns: bool = True) -> str | None:
    """The statement that a text negates; None where it negates none.

    Only a negation of the whole is found: "a crowd without violence" describes a crowd, and
    "... because it does not fit" gives a reason.

    >>> affirmed("nobody is fighting"), affirmed("a man is not running"), affirmed("no fight")
    ('somebody is fighting', 'a man is running', 'fight')
    >>> affirmed("a knot") is None, affirmed("it falls because it does not fit") is None
    (True, True)

    Args:
        text: A label or a phrase.
        nouns: Whether "no" before a noun negates it, which it does not in "no entry sign".
    """
    rules = [(_NOBODY, "somebody"), (_NOT, ""), (_VERB, r"\1 "), (_DO, "")]
    clause = _CLAUSE.search(text)
    main, tail = (text, "") if clause is None else (text[: clause.start()], text[clause.start() :])
    for pattern, instead in [*rules, (_NO, "")] if nouns else rules:
        positive, count = pattern.subn(instead, main, count=1)
        if count:
            return positive + tail
    return None
