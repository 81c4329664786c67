"""Text to a tree, by a LALR grammar (lark). The language is described in docs/query.md."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlar.errors import QueryError
from vlar.language.clean import UNITS, read_seconds
from vlar.types import Window

if TYPE_CHECKING:
    from lark import Lark, Token

OPERATORS = ("AND", "OR", "NOT", "THEN", "DURING", "WITHIN", "IN", "LIKE")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[()\[\]^|=]|[^\s()\[\]"^|=]+')
_NEEDS = {
    "WITHIN": "a span of time: WITHIN 10s",
    "IN": 'a pattern of paths: IN "cooking/*"',
    "LIKE": "a video file or a picture: LIKE clip.mp4, LIKE clip.mp4@3s-7s, LIKE picture.jpg",
    "^": 'a number: "a cup"^2',
    "NOT": 'a phrase: NOT "outdoors"',
}


class QuerySyntaxError(QueryError):
    """A query that cannot be parsed.

    Attributes:
        query: The query on one line.
        position: Position of the wrong character, from 0; the length of the query for its end.
    """

    def __init__(self, query: str, position: int, reason: str) -> None:
        super().__init__(f"query, character {position + 1}: {reason}")
        self.query = query
        self.position = position

    @property
    def picture(self) -> str:
        """Two lines: the query, and a caret below the wrong character."""
        before = self.query[: self.position]
        columns = sum(_columns(letter) for letter in before)
        return f"  {self.query}\n  {' ' * columns}^"


def syntax_error(query: str, position: int) -> QuerySyntaxError:
    """The error for a query that cannot be parsed from a character on.

    Args:
        query: The query on one line.
        position: Where the parser stopped; the length of the query if it is incomplete.
    """
    unclosed = _unclosed_quote(query)
    if unclosed is not None:
        reason = 'the quote that opens here is not closed; end the phrase with "'
        return QuerySyntaxError(query, unclosed, reason)
    bracket = _unbalanced(query)
    if bracket is not None:
        opening, reason = bracket
        return QuerySyntaxError(query, opening, reason)
    tokens = [(match.start(), match.group()) for match in _TOKEN.finditer(query)]
    before = next((text for position_of, text in reversed(tokens) if position_of < position), None)
    text_after = next((text for position_of, text in tokens if position_of >= position), None)
    return QuerySyntaxError(query, position, _reason(before, text_after))


def blanked(query: str) -> str:
    """The query with everything in quotes replaced by spaces."""
    return _QUOTED.sub(lambda match: " " * len(match.group()), query)


def _reason(before: str | None, here: str | None) -> str:
    if before in _NEEDS:
        return f"{before} needs {_NEEDS[before]}"
    if here is None or here in (")", "]"):
        what = "a phrase is missing" if before is None else f"{before!r} needs a phrase after it"
        return f'{what}; write for example "a cup" AND "a hand"'
    if here == "WITHIN":
        return 'WITHIN limits a THEN; write "sit down" THEN "stand up" WITHIN 10s'
    if here in ("NOT", "LIKE") and before not in (None, "(", *OPERATORS):
        return f"an operator is missing before {here}; write AND {here}"
    if here == "IN":
        return 'IN follows what it limits; write "a cup" IN "cooking/*"'
    if here in OPERATORS:
        return (
            f"{here} needs a phrase before it; if it is a word of a phrase, put the phrase in "
            'quotes: "..."'
        )
    if here.upper() in OPERATORS:
        return f"{here!r} is read as a word here; operators are written in capitals: {here.upper()}"
    if here in ("|", "[", "="):
        return "choices stand in brackets: [verb=cut|peel object=apple|orange]"
    if here == "^":
        return 'a weight follows a phrase; write "a cup"^2'
    return (
        f"{here} does not follow from what stands before it; join phrases with AND, OR or THEN, or "
        "put all of one phrase in one pair of quotes"
    )


def _unclosed_quote(query: str) -> int | None:
    position = blanked(query).find('"')
    return None if position < 0 else position


def _unbalanced(query: str) -> tuple[int, str] | None:
    plain = blanked(query)
    waiting: list[tuple[int, str]] = []
    for opening, letter in enumerate(plain):
        if letter in "([":
            waiting.append((opening, letter))
        elif letter in ")]":
            if not waiting or "([".index(waiting[-1][1]) != ")]".index(letter):
                return opening, f"{letter!r} closes no bracket; remove it"
            waiting.pop()
    if not waiting:
        return None
    opening, letter = waiting[-1]
    return (
        opening,
        f"the bracket that opens here is not closed; add {')' if letter == '(' else ']'!r}",
    )


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Phrase:
    """Content of a window, in plain words."""

    text: str


@dataclass(frozen=True)
class Pair(Phrase):
    """A phrase of a verb and an object; a model that learned both apart scores it by both."""

    verb: str
    object: str


@dataclass(frozen=True)
class Like:
    """Content of a clip: a video file, a span of one, or a picture."""

    path: str
    window: Window | None = None

    @property
    def is_picture(self) -> bool:
        """Return whether the path has the ending of a picture, which has no spans."""
        return self.path.lower().endswith(PICTURE_ENDINGS)


@dataclass(frozen=True)
class Says:
    """Words that the caption of a window has."""

    text: str


@dataclass(frozen=True)
class Quote(Says):
    """Words in order, in the sound (``says``) or on the screen (``shows``) of a window."""

    kind: str


@dataclass(frozen=True)
class Product:
    """Every combination of one value a slot: ``[verb=cut|peel object=apple]``."""

    slots: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """The combinations, values in the order of the slots."""
        names = [name.lower() for name, _ in self.slots]
        combined = itertools.product(*(choices for _, choices in self.slots))
        return tuple(_phrase(names, values) for values in combined)


def _phrase(names: Sequence[str], values: Sequence[str]) -> Phrase:
    text = " ".join(values)
    if sorted(names) != ["object", "verb"]:
        return Phrase(text)
    of_slot = dict(zip(names, values, strict=True))
    return Pair(text, of_slot["verb"], of_slot["object"])


@dataclass(frozen=True)
class Weighted:
    """A part of an AND, an OR or a THEN that counts ``weight`` times."""

    part: Node
    weight: float


@dataclass(frozen=True)
class Not:
    """Windows that do not show a part."""

    part: Node


@dataclass(frozen=True)
class And:
    """Windows that show every part."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    """Windows that show any part."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Then:
    """First one part, then another one of the same video, at most ``within_s`` later.

    ``within_s`` is None without WITHIN.
    """

    first: Node
    second: Node
    within_s: float | None = None


@dataclass(frozen=True)
class During:
    """One part while another one goes on in the same video."""

    part: Node
    other: Node


@dataclass(frozen=True)
class In:
    """A part, in the videos whose path matches a pattern (``vlar.library.query.filters``)."""

    part: Node
    pattern: str


Node = Phrase | Like | Says | Product | Weighted | Not | And | Or | Then | During | In
Leaf = Phrase | Like | Says
_LOOSENESS: dict[type, int] = {In: 6, Then: 5, During: 5, Or: 4, And: 3, Not: 2, Weighted: 1}


def leaves(node: Node) -> tuple[Leaf, ...]:
    """Leaves of a tree: phrases, clips, captions, each once, as first written."""
    return tuple(dict.fromkeys(_leaves(node)))


def _leaves(node: Node) -> Iterator[Leaf]:
    if isinstance(node, Phrase | Like | Says):
        yield node
    elif isinstance(node, Product):
        yield from node.phrases
    else:
        for part in parts_of(node):
            yield from _leaves(part)


def parts_of(node: Node) -> tuple[Node, ...]:
    """The parts an operator joins."""
    if isinstance(node, And | Or):
        return node.parts
    if isinstance(node, Then):
        return (node.first, node.second)
    if isinstance(node, During):
        return (node.part, node.other)
    if isinstance(node, Not | Weighted | In):
        return (node.part,)
    return ()


def has_sequence(node: Node) -> bool:
    """Return whether a THEN or a DURING stands in a tree: its answers are spans, not windows."""
    return isinstance(node, Then | During) or any(has_sequence(part) for part in parts_of(node))


def has_order(node: Node) -> bool:
    """Return whether a THEN stands in a tree."""
    return isinstance(node, Then) or any(has_order(part) for part in parts_of(node))


def show(node: Node) -> str:
    r"""The query of a tree.

    >>> show(And((Phrase("a cup"), Not(Or((Phrase("indoors"), Phrase('5" nail')))))))
    '"a cup" AND NOT ("indoors" OR "5\\" nail")'
    """
    match node:
        case Phrase(text):
            return quoted(text)
        case Like(path, window):
            return f"LIKE {quoted(path)}{_span(window)}"
        case Quote(text, kind):
            return f"{kind} {quoted(text)}"
        case Says(text):
            return f"says: {quoted(text)}"
        case Product(slots):
            return "[" + " ".join(_slot(name, values) for name, values in slots) + "]"
        case Weighted(part, weight):
            return f"{_inside(part, 0)}^{number(weight)}"
        case Not(part):
            return f"NOT {_inside(part, 2)}"
        case And(parts):
            return " AND ".join(_inside(part, 2) for part in parts)
        case Or(parts):
            return " OR ".join(_inside(part, 3) for part in parts)
        case Then(first, second, within_s):
            limit = "" if within_s is None else f" WITHIN {number(within_s)}s"
            return f"{_inside(first, 5)} THEN {_inside(second, 4)}{limit}"
        case During(part, other):
            return f"{_inside(part, 5)} DURING {_inside(other, 4)}"
        case In(part, pattern):
            return f"{_inside(part, 6)} IN {quoted(pattern)}"


def _inside(node: Node, loosest: int) -> str:
    text = show(node)
    return f"({text})" if _LOOSENESS.get(type(node), 0) > loosest else text


def _slot(name: str, values: tuple[str, ...]) -> str:
    return f"{name}=" + "|".join(quoted(value) for value in values)


def _span(window: Window | None) -> str:
    return "" if window is None else f"@{number(window.start_s)}s-{number(window.end_s)}s"


def quoted(text: str) -> str:
    """A text in quotes, with quotes and backslashes of its own escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def number(value: float) -> str:
    """The shortest text without an exponent that reads as the same number."""
    return f"{Decimal(repr(value)):f}".removesuffix(".0")


GRAMMAR = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
_OPERATOR = re.compile(
    r'"|(?<![^\s()\[\]"^])[Ss][Aa][Yy][Ss]:|\[\s*[A-Za-z_][\w-]*\s*=|\^\s*[\d.]|(?<![^\s()\[\]"^])(AND|OR|NOT|THEN|DURING|'
    r"WITHIN|LIKE|IN)"
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
    positions = [m.start() for m in re.finditer(r"\(|\b(AND|OR|NOT|THEN|DURING|IN)\b", plain)]
    if len(positions) > _MOST_OPERATORS:
        reason = f"over {_MOST_OPERATORS} operators and brackets; ask in several queries"
        raise QuerySyntaxError(query, positions[_MOST_OPERATORS], reason)


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
            case "quote":
                return Quote(self._words(parts[1:]).text, parts[0].lower())
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
            case "during":
                return During(self.make(parts[0]), self.make(parts[1]))
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
        terms: list[tuple[str, tuple[str, ...]]] = []
        for slot in slots:
            name, *values = slot.children
            texts = tuple(self._words(value.children).text for value in values)
            terms.append((str(name)[:-1].strip(), texts))
        product = Product(tuple(terms))
        size = math.prod(len(values) for _, values in terms)
        if size > MOST_COMBINATIONS:
            reason = f"{size} combinations, at most {MOST_COMBINATIONS} are looked for"
            raise self._error(_place(slots[0].children[0]), f"{reason}; ask in several queries")
        return product

    def _like(self, parts: list[Any]) -> Like:
        path, span = _unquoted(parts[0]), parts[1] if len(parts) > 1 else None
        location = _place(parts[0])
        if span is None and parts[0].type == "WORD" and _AT.fullmatch(path):
            path, span = path[: path.rindex("@")], path[path.rindex("@") :]
        if not path.strip():
            raise self._error(location, "LIKE needs a video file or a picture: LIKE clip.mp4")
        if span is None:
            return Like(path)
        if Like(path).is_picture:
            reason = f"a picture has no span; leave {span!r:.80} out, or give a video file"
            raise self._error(location, reason)
        match = _AT.fullmatch(span)
        if match is None:
            raise self._error(location, f"{span!r:.80} is not a span of a clip; write @3s-7s")
        start_s, end_s = (self._seconds(match[name], location) for name in ("start", "end"))
        if end_s <= start_s:
            raise self._error(location, f"{span!r:.80} ends before it starts; write @3s-7s")
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
