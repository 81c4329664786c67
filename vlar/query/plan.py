"""The plan of a query: its tree, its filter and the number of answers, checked before it runs."""

from __future__ import annotations

from dataclasses import dataclass

from vlar.errors import QueryError
from vlar.query.grammar import And, In, Node, Not, Phrase, parse, show
from vlar.query.grammar.tree import has_sequence, parts_of
from vlar.query.report import ReportCallback
from vlar.query.rerankers.base import Reranker
from vlar.query.where import Condition, Where, conditions

# The prior of a match (``vlar.scoring.MATCH_PRIOR``): a less probable row fits worse than
# everyday actions at large.
MIN_PROBABILITY = 0.05


@dataclass(frozen=True)
class QueryRequest:
    """One query and how it is answered; ``Library.query`` has every field."""

    text: str
    k: int = 10
    where: Where | None = None
    min_probability: float = MIN_PROBABILITY
    rerank: str | Reranker | None = "auto"
    report: ReportCallback | None = None


@dataclass(frozen=True)
class QueryPlan:
    """A query that is ready to run.

    Attributes:
        tree: What a window, or a span, should show.
        k: Number of spans wanted.
        where: Conditions that all hold (``vlar.query.where``).
        min_probability: Spans below it are not answers.
    """

    tree: Node
    k: int
    where: tuple[Condition, ...] = ()
    min_probability: float = MIN_PROBABILITY

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
        node, found = self.tree, list[str]()
        while isinstance(node, In):
            found.append(node.pattern)
            node = node.part
        return tuple(found)


def make_plan(request: QueryRequest) -> QueryPlan:
    """The plan of a query.

    >>> make_plan(QueryRequest("  riding  a bike ", 3)).phrase
    'riding a bike'

    Raises:
        QueryError: no text, text that cannot be parsed (``QuerySyntaxError`` has the place),
            operators that cannot be combined, an invalid filter, ``k`` below 1, or a probability
            outside 0 to 1.
    """
    tree, k, least = parse(request.text), request.k, request.min_probability
    _require_answerable(tree)
    if k < 1:
        raise QueryError(f"k is {k}; ask for at least 1 answer")
    if not 0.0 <= least <= 1.0:
        raise QueryError(f"min_probability is {least}; it lies between 0 and 1")
    return QueryPlan(tree, k, conditions(request.where), least)


def _require_answerable(node: Node) -> None:
    sequences = [part for part in parts_of(node) if has_sequence(part)]
    if isinstance(node, Not) and sequences:
        raise QueryError(
            f"NOT of a THEN has no span to answer with: {show(node)}; name what should not be "
            'seen on the way: ("a" THEN "b") AND NOT "c"'
        )
    if isinstance(node, And) and len(sequences) > 1:
        raise QueryError(
            f"AND joins two sequences: {show(node)}; write one chain, "
            '"a" THEN "b" THEN "c", or ask in two queries'
        )
    for part in parts_of(node):
        _require_answerable(part)
