"""Report of a query, for ``vlar query --explain``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from vlar.query.grammar import Node, Phrase, Says, show
from vlar.query.grammar.tree import Like, Product, Then, Weighted, parts_of
from vlar.query.where import Condition

BEST_SHOWN = 3  # windows of a phrase
# Of 131 labels asked of 393 real clips, no first answer below it was right (evals/README.md).
WEAK_MATCH = 0.3
_NAMES = {"And": "AND", "Or": "OR", "Not": "NOT", "Then": "THEN", "In": "IN"}


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
        best_probability: Of the best span, answer or not; None without any span.
        cpu_s: Seconds of processor time by step.
        damaged: Number of damaged rows that were not used; ``vlar index verify`` names them.
        rerank_notes: What the re-ranker has to say, one sentence each.
        rerank_failed: Windows that it was to score and could not.
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

    @property
    def weak(self) -> bool:
        """Return whether even the best match is so improbable that it is likely wrong."""
        return self.best_probability is not None and self.best_probability < WEAK_MATCH

    def lines(self) -> Iterator[str]:
        """For a person."""
        yield f"query    {show(self.tree)}"
        yield from (f"         {line}" for line in tree_lines(self.tree))
        how = "by the search index" if self.searched == "index" else "every window compared"
        yield f"search   {self.windows} windows of {self.videos} videos, {how}"
        for condition in self.where:
            yield f"where    {condition}"
        yield f"answers  from {self.min_probability:.1%} on"
        if self.reranked:
            yield f"rerank   {self.reranked} windows by {self.reranker}"
        if self.damaged:
            yield f"damaged  {self.damaged} rows are not used"
        for phrase in self.phrases:
            yield f"phrase   {phrase.text}: {phrase.above_half} windows at 50% or more"
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
