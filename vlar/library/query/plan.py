"""The plan of a query: its tree, its filter and the number of answers, checked before it runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vlar.errors import QueryError
from vlar.formatting import counted
from vlar.language.foreign import remark, understood
from vlar.language.negation import affirmed
from vlar.language.questions import caption_of
from vlar.language.unread import unsure_of_all
from vlar.library.query.filters import Condition, conditions
from vlar.library.query.grammar import (
    And,
    During,
    In,
    Like,
    Node,
    Not,
    Phrase,
    Product,
    Says,
    Then,
    Weighted,
    has_sequence,
    leaves,
    parse,
    parts_of,
    show,
)
from vlar.library.query.request import MIN_PROBABILITY as MIN_PROBABILITY
from vlar.library.query.request import QueryRequest as QueryRequest
from vlar.types import Hit

BEST_SHOWN = 3  # windows of a phrase
MOST_JUDGED = 200  # rows
_WRITTEN = re.compile(r"(says|shows)\s+(.+)", re.IGNORECASE)
_NAMES = {"And": "AND", "Or": "OR", "Not": "NOT", "Then": "THEN", "During": "DURING", "In": "IN"}


@dataclass(frozen=True)
class BestWindow:
    """One of the best windows of a phrase."""

    path: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True)
class PhraseReport:
    """One phrase or clip of a query: its best windows, and how many have 50 % or more."""

    text: str
    best: tuple[BestWindow, ...]
    above_half: int


@dataclass(frozen=True)
class QueryReport:
    """The plan of a query and what it cost.

    Attributes:
        tree: The query.
        searched: ``index`` (a plain phrase) or ``windows`` (all of them).
        where: The filter.
        min_probability: Spans below it are not answers.
        videos: Number of videos searched.
        windows: Number of windows searched.
        phrases: One for each phrase or clip.
        reranker: Name of the re-ranker; None for none.
        reranked: Windows that it scored.
        best_probability: Probability of the best span, answer or not; None without any span.
        cpu_s: Seconds of processor time by step.
        damaged: Number of damaged rows that were not used; ``vlar index verify`` names them.
        rerank_notes: Notes of the re-ranker, one sentence each.
        rerank_failed: Windows that it was to score and could not.
        notes: Further remarks on the answers, one sentence each.
        decides: How much each block of the vectors decides the order after judgements, 0 to 1.
    """

    tree: Node
    searched: str
    where: tuple[Condition, ...]
    min_probability: float
    videos: int
    windows: int
    phrases: tuple[PhraseReport, ...]
    reranker: str | None
    reranked: int
    best_probability: float | None
    cpu_s: Mapping[str, float]
    damaged: int = 0
    rerank_notes: tuple[str, ...] = ()
    rerank_failed: int = 0
    notes: tuple[str, ...] = ()
    decides: Mapping[str, float] = field(default_factory=dict[str, float])

    def lines(self) -> Iterator[str]:
        """Yield the lines of the report for a person."""
        yield f"query    {show(self.tree)}"
        yield from (f"         {line}" for line in tree_lines(self.tree))
        how = "by the search index" if self.searched == "index" else "every window compared"
        videos = counted(self.videos, "videos")
        yield f"search   {counted(self.windows, 'windows')} of {videos}, {how}"
        for condition in self.where:
            yield f"where    {condition}"
        yield f"answers  from {self.min_probability:.1%} on"
        if self.reranked:
            yield f"rerank   {counted(self.reranked, 'windows')} by {self.reranker}"
        if self.decides:
            shares = sorted(self.decides.items(), key=lambda each: -each[1])
            yield f"decides  {', '.join(f'{name} {share:.0%}' for name, share in shares)}"
        if self.damaged:
            yield f"damaged  {self.damaged} rows are not used"
        for phrase in self.phrases:
            yield f"phrase   {phrase.text}: {counted(phrase.above_half, 'windows')} at 50% or more"
            for row in phrase.best:
                span = f"{row.start_s:g}-{row.end_s:g} s"
                yield f"         {row.probability:6.1%}  {row.path}  {span}"
        cost = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.cpu_s.items())
        yield f"cost     {cost} (processor time)"


ReportCallback = Callable[[QueryReport], None]


def tree_lines(node: Node, depth: int = 0) -> Iterator[str]:
    """The tree, one part a line, indented by depth."""
    indent, tail = "  " * depth, ""
    if isinstance(node, Weighted):
        tail = f"  counts {node.weight:g} times"
        node = node.part
    if isinstance(node, Phrase | Like | Says):
        yield f"{indent}{show(node)}{tail}"
        return
    if isinstance(node, Product):
        yield f"{indent}best of {len(node.phrases)} combinations{tail}"
        yield from (f"{indent}  {show(phrase)}" for phrase in node.phrases)
        return
    limit = f" WITHIN {node.within_s:g}s" if isinstance(node, Then) and node.within_s else ""
    scope = f" {getattr(node, 'pattern', '')}".rstrip()
    yield f"{indent}{_NAMES[type(node).__name__]}{scope}{limit}{tail}"
    for part in parts_of(node):
        yield from tree_lines(part, depth + 1)


@dataclass(frozen=True)
class QueryPlan:
    """A query that is ready to run.

    Attributes:
        request: The query as it was asked; ``k`` and the others stand there.
        tree: What a window, or a span, should show.
        where: Conditions that all hold (``vlar.library.query.filters``).
        judged: Whether each judged row shows what was meant, by row id.
    """

    request: QueryRequest
    tree: Node
    where: tuple[Condition, ...] = ()
    judged: Mapping[int, bool] = field(default_factory=dict[int, bool])

    @property
    def plain(self) -> bool:
        """Return whether it is one phrase, which an engine answers without a scan."""
        return isinstance(self.tree, Phrase)

    @property
    def phrase(self) -> str:
        """The one phrase of a plain query; else the whole query."""
        return self.tree.text if isinstance(self.tree, Phrase) else show(self.tree)

    @property
    def scopes(self) -> tuple[str, ...]:
        """Patterns of ``IN`` that limit the whole query."""
        node, outer = self.tree, list[str]()
        while isinstance(node, In):
            outer.append(node.pattern)
            node = node.part
        return tuple(outer)


def make_plan(request: QueryRequest) -> QueryPlan:
    """The plan of a query.

    >>> make_plan(QueryRequest("  riding  a bike ", 3)).phrase
    'riding a bike'

    Raises:
        QueryError: no text, text that cannot be parsed (``QuerySyntaxError`` has the place), a
            phrase that is a negation, operators that cannot be combined, an invalid filter, ``k``
            below 1, or a probability outside 0 to 1.
    """
    tree, k, least = parse(request.text), request.k, request.min_probability
    _require_answerable(tree)
    for leaf in leaves(tree):
        if isinstance(leaf, Phrase) and (positive := affirmed(leaf.text, nouns=False)):
            raise QueryError(
                f"the phrase {leaf.text!r} is a negation, which text encoders do not read; write: "
                f'NOT "{positive}"'
            )
    if k < 1:
        raise QueryError(f"k is {k}; ask for at least 1 answer")
    if not 0.0 <= least <= 1.0:
        raise QueryError(f"min_probability is {least}; it lies between 0 and 1")
    judged = _judged(request.yes, request.no)
    if judged and not isinstance(tree, Phrase):
        raise QueryError(
            f"hits of an expression cannot be judged: {show(tree)}; judge hits of one phrase, save "
            "them as a concept (vlar concept save) and use its name in the expression"
        )
    _check_miss(request.miss, tree, judged)
    _check_only(request, tree)
    return QueryPlan(request, tree, conditions(request.where), judged)


def remarks(tree: Node, *, english: bool = False, few_words: bool = False) -> Iterator[str]:
    """Yield why words of a query say little, and what may have been meant, one sentence each.

    Args:
        tree: The query; what may have been meant is not asked.
        english: Whether the model reads English only.
        few_words: Whether words say little about its sensor.
    """
    phrases = [leaf for leaf in leaves(tree) if isinstance(leaf, Phrase)]
    texts = [leaf.text for leaf in phrases]
    if reason := unsure_of_all(texts, english=english, few_words=few_words):
        yield reason
    if english and (words := understood(texts)):
        yield remark(words)
    for leaf in phrases:
        if (written := _WRITTEN.match(leaf.text)) is not None:
            kind, words = written.group(1).lower(), written.group(2)
            where = "on screen" if kind == "shows" else "in sound"
            yield f'{leaf.text!r} is read as a phrase; {kind} "{words}" finds the words {where}'
        elif (caption := caption_of(leaf.text)) is not None:
            yield f"{leaf.text!r} is a question; a caption may find more: {caption!r}"


def _check_only(request: QueryRequest, tree: Node) -> None:
    if request.only not in (None, "written", "seen", "both"):
        raise QueryError(f"only is {request.only!r:.40}; it is 'written', 'seen' or 'both'")
    if request.only == "written" and not isinstance(tree, Phrase):
        raise QueryError(
            f"only what is written is searched by one phrase, not by {show(tree)}; an expression "
            'has says "..." and shows "..." for it'
        )
    if request.only == "written" and (request.yes or request.no or request.miss):
        raise QueryError("judgements and miss are about pictures; leave only 'written' out")


def _check_miss(miss: float | None, tree: Node, judged: Mapping[int, bool]) -> None:
    if miss is None:
        return
    if isinstance(miss, bool) or not 0.0 < miss < 1.0:
        raise QueryError(f"miss is {miss!r:.40}; it is a chance above 0 and below 1, such as 0.1")
    if judged or not isinstance(tree, Phrase):
        raise QueryError(
            f"miss is promised for one phrase without judgements, not for {show(tree)}; ask for "
            "its phrases one by one"
        )


def _judged(yes: Sequence[Hit | int], no: Sequence[Hit | int]) -> dict[int, bool]:
    """Judgements by row id.

    Raises:
        QueryError: a row that is judged both ways, or something else than a hit or a row id.
    """
    judged: dict[int, bool] = {}
    for hits, truth in ((yes, True), (no, False)):
        for hit in hits:
            row = hit.row if isinstance(hit, Hit) else hit
            if type(row) is not int or row < 1:
                raise QueryError(f"{row!r:.40} is not a hit or the id of a row (Hit.row)")
            if judged.setdefault(row, truth) != truth:
                raise QueryError(f"row {row} is judged both yes and no; give one judgement")
    if len(judged) > MOST_JUDGED:
        raise QueryError(f"{len(judged)} judgements; at most {MOST_JUDGED} are learned from")
    return judged


def _require_answerable(node: Node) -> None:
    sequences = [part for part in parts_of(node) if has_sequence(part)]
    if isinstance(node, Not) and sequences:
        raise QueryError(
            f"NOT of a THEN has no span to answer with: {show(node)}; name what should not be "
            'seen on the way: ("a" THEN "b") AND NOT "c"'
        )
    if isinstance(node, During) and has_sequence(node.other):
        raise QueryError(
            f"DURING asks what goes on meanwhile, and a sequence does not: {show(node)}; write "
            '"a" DURING "b", or "a" THEN "b"'
        )
    if isinstance(node, And) and len(sequences) > 1:
        raise QueryError(
            f"AND joins two sequences: {show(node)}; write one chain, "
            '"a" THEN "b" THEN "c", or ask in two queries'
        )
    for part in parts_of(node):
        _require_answerable(part)
