"""Text to a tree, by a LALR grammar (lark). The language is described in docs/query.md."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from vlar.query.grammar.syntax_errors import QuerySyntaxError, blanked, syntax_error
from vlar.query.grammar.tree import (
    And,
    In,
    Like,
    Node,
    Not,
    Or,
    Phrase,
    Product,
    Says,
    Then,
    Weighted,
    leaves,
)
from vlar.text.duration import UNITS, read_seconds
from vlar.types import Window

if TYPE_CHECKING:
    from lark import Lark, Token

GRAMMAR = r"""
start: scoped
?scoped: sequence | scoped _IN (QUOTED | WORD) -> limited
?sequence: either | sequence _THEN either [_WITHIN SPAN] -> then
?either: both (_OR both)*
?both: negated (_AND negated)*
?negated: weighted | _NOT negated -> inverted
?weighted: atom | atom "^" NUMBER -> counted
?atom: QUOTED -> quoted | WORD+ -> words | like | says | product | "(" scoped ")"
like: _LIKE (WORD | QUOTED [AT])
says: _SAYS (QUOTED | WORD+)
product: "[" slot+ "]"
slot: SLOT value ("|" value)*
value: QUOTED | WORD+

_AND.2: /AND(?![^\s()\[\]"^])/
_OR.2: /OR(?![^\s()\[\]"^])/
_NOT.2: /NOT(?![^\s()\[\]"^])/
_THEN.2: /THEN(?![^\s()\[\]"^])/
_WITHIN.2: /WITHIN(?![^\s()\[\]"^])/
_LIKE.2: /LIKE(?![^\s()\[\]"^])/
_SAYS.3: /says:/i
_IN.2: /IN(?![^\s()\[\]"^])/
SLOT.2: /[A-Za-z_][A-Za-z_0-9-]*\s*=/
SPAN.2: /(\d+(\.\d+)?|\.\d+)(\s?[a-z]+|[A-Z]+)?/
NUMBER.2: /\d+(\.\d+)?|\.\d+/
AT.2: /@[^\s()\[\]"^]+/
QUOTED: /"([^"\\]|\\.)*"/
WORD: /(?!(AND|OR|NOT|THEN|WITHIN|LIKE|IN)(?![^\s()\[\]"^]))[^\s()\[\]"^|=]+/
%ignore /\s+/
"""
_OPERATOR = re.compile(
    r'"|(?<![^\s()\[\]"^])[Ss][Aa][Yy][Ss]:|\[\s*[A-Za-z_][\w-]*\s*=|\^\s*[\d.]|(?<![^\s()\[\]"^])(AND|OR|NOT|THEN|WITHIN|LIKE|IN)'
    r'(?![^\s()\[\]"^])'
)
_QUOTES = str.maketrans(dict.fromkeys("“”„«»", '"'))
_AT = re.compile(r"(?P<path>.*)@(?P<start>[^@-]+)-(?P<end>[^@-]+)")
_MOST_LETTERS = 10_000
_MOST_OPERATORS = 64
MOST_COMBINATIONS = 256
MOST_PHRASES = 512  # of a whole query: each is encoded, and compared with every window


def is_expression(text: str) -> bool:
    """Return whether a text uses the language; all others are one plain phrase, brackets and all.

    >>> is_expression("cut and peel an apple"), is_expression("cut AND peel")
    (False, True)
    """
    return bool(_OPERATOR.search(text.translate(_QUOTES)))


def parse(text: str) -> Node:
    """The tree of a query.

    >>> parse("a cup AND NOT outdoors")
    And(parts=(Phrase(text='a cup'), Not(part=Phrase(text='outdoors'))))
    >>> parse("cut and peel an apple")
    Phrase(text='cut and peel an apple')

    Raises:
        QuerySyntaxError: the message has the place and what to write instead.
    """
    query = "".join(
        " " if letter.isspace() or not letter.isprintable() else letter for letter in text
    )
    if len(query) > _MOST_LETTERS:
        reason = f"the query has {len(query)} characters; at most {_MOST_LETTERS} are read"
        raise QuerySyntaxError(query[:80], 80, reason)
    if not is_expression(query):
        return _Maker(query).phrase(query, 0)
    if '"' not in query:
        query = query.translate(_QUOTES)
    _require_few_operators(query)
    tree = _tree(query)
    if len(leaves(tree)) > MOST_PHRASES:
        reason = f"{len(leaves(tree))} phrases, at most {MOST_PHRASES} are looked for"
        raise QuerySyntaxError(query[:80], 0, f"{reason}; ask in several queries")
    return tree


def _tree(query: str) -> Node:
    from lark import UnexpectedCharacters, UnexpectedInput, UnexpectedToken
    from lark.exceptions import VisitError

    try:
        tree = _lark().parse(query)
        return _Maker(query).make(tree)
    except UnexpectedToken as error:
        at_end = error.token.type == "$END"
        raise syntax_error(query, len(query) if at_end else _place(error.token)) from None
    except UnexpectedCharacters as error:
        raise syntax_error(query, error.pos_in_stream) from None
    except (UnexpectedInput, VisitError):
        raise syntax_error(query, len(query)) from None


@cache
def _lark() -> Lark:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=True)


def _require_few_operators(query: str) -> None:
    # Trees are walked by recursion; nobody writes as many by hand.
    plain = blanked(query)
    found = [m.start() for m in re.finditer(r"\(|\b(AND|OR|NOT|THEN|IN)\b", plain)]
    if len(found) > _MOST_OPERATORS:
        reason = f"over {_MOST_OPERATORS} operators and brackets; ask in several queries"
        raise QuerySyntaxError(query, found[_MOST_OPERATORS], reason)


class _Maker:
    """lark's tree to ours, with the errors that only values can have."""

    def __init__(self, query: str) -> None:
        self._query = query

    def make(self, tree: Any) -> Node:
        parts: list[Any] = tree.children
        match tree.data:
            case "start":
                return self.make(parts[0])
            case "quoted" | "words":
                return self._words(parts)
            case "like":
                return self._like(parts)
            case "says":
                return Says(self._words(parts).text)
            case "product":
                return self._product(parts)
            case "counted":
                return Weighted(self.make(parts[0]), self._weight(parts[1]))
            case "inverted":
                return Not(self.make(parts[0]))
            case "both":
                return And(tuple(self.make(part) for part in parts))
            case "either":
                return Or(tuple(self.make(part) for part in parts))
            case "then":
                within_s = None if parts[2] is None else self._seconds(parts[2], _place(parts[2]))
                return Then(self.make(parts[0]), self.make(parts[1]), within_s)
            case _:
                return In(self.make(parts[0]), self._pattern(parts[1]))

    def phrase(self, text: str, at: int) -> Phrase:
        words = " ".join(text.split())
        if not any(letter.isalnum() for letter in words):
            raise self._error(at, f"the phrase {words!r:.80} has no word; write what to look for")
        return Phrase(words)

    def _words(self, tokens: list[Token]) -> Phrase:
        return self.phrase(" ".join(map(_unquoted, tokens)), _place(tokens[0]))

    def _product(self, slots: list[Any]) -> Product:
        found: list[tuple[str, tuple[str, ...]]] = []
        for slot in slots:
            name, *values = slot.children
            texts = tuple(self._words(value.children).text for value in values)
            found.append((str(name)[:-1].strip(), texts))
        product = Product(tuple(found))
        size = math.prod(len(values) for _, values in found)
        if size > MOST_COMBINATIONS:
            reason = f"{size} combinations, at most {MOST_COMBINATIONS} are looked for"
            raise self._error(_place(slots[0].children[0]), f"{reason}; ask in several queries")
        return product

    def _like(self, parts: list[Any]) -> Like:
        path, span = _unquoted(parts[0]), parts[1] if len(parts) > 1 else None
        at = _place(parts[0])
        if span is None and parts[0].type == "WORD" and _AT.fullmatch(path):
            path, span = path[: path.rindex("@")], path[path.rindex("@") :]
        if not path.strip():
            raise self._error(at, "LIKE needs a video file or a picture: LIKE clip.mp4")
        if span is None:
            return Like(path)
        if Like(path).is_picture:
            reason = f"a picture has no span; leave {span!r:.80} out, or give a video file"
            raise self._error(at, reason)
        match = _AT.fullmatch(span)
        if match is None:
            raise self._error(at, f"{span!r:.80} is not a span of a clip; write @3s-7s")
        start_s, end_s = (self._seconds(match[name], at) for name in ("start", "end"))
        if end_s <= start_s:
            raise self._error(at, f"{span!r:.80} ends before it starts; write @3s-7s")
        return Like(path, Window(start_s, end_s))

    def _pattern(self, token: Token) -> str:
        pattern = _unquoted(token)
        if not pattern.strip():
            raise self._error(_place(token), 'IN needs a pattern of paths: IN "cooking/*"')
        if token.type == "WORD" and not set(pattern) & set("/*?.\\"):
            reason = (
                f'IN limits to videos; write IN "{pattern}" for a folder, or put a phrase that '
            )
            raise self._error(_place(token), f"{reason}holds the word IN in quotes")
        return pattern

    def _weight(self, token: Token) -> float:
        weight = float(token)
        if not 0.01 <= weight <= 100:
            raise self._error(_place(token), f"the weight {token:.40} is not from 0.01 to 100")
        return weight

    def _seconds(self, text: str, at: int) -> float:
        text = str(text)
        seconds = read_seconds(text)
        if seconds is None:
            raise self._error(at, f"{text!r:.80} is not a span of time; units are {UNITS}: 10s")
        return seconds

    def _error(self, at: int, reason: str) -> QuerySyntaxError:
        return QuerySyntaxError(self._query, at, reason)


def _place(token: Token) -> int:
    return token.start_pos or 0


def _unquoted(token: str) -> str:
    text = str(token)
    if len(text) < 2 or text[0] != '"':
        return text
    return re.sub(r"\\(.)", r"\1", text[1:-1])
