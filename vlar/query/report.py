"""How a query was answered, for ``--explain``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from vlar.query.grammar import Node, Phrase, show
from vlar.query.grammar.tree import Like, Product, Then, Weighted, parts_of

BEST_SHOWN = 3  # windows of a phrase
_NAMES = {"And": "AND", "Or": "OR", "Not": "NOT", "Then": "THEN", "In": "IN"}


@dataclass(frozen=True)
class BestWindow:
    """A window that answers one phrase best."""

    path: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True)
class PhraseReport:
    """One phrase or clip of a query: its best windows, and how many are at least half sure."""

    text: str
    best: tuple[BestWindow, ...]
    above_half: int


@dataclass(frozen=True)
class QueryReport:
    """The plan of a query and what it cost.

    Attributes:
        tree: The query.
        searched: ``index`` (a plain phrase) or ``windows`` (every one).
        where: The filter.
        min_probability: Spans below it are no answers.
        videos: Number of videos searched.
        windows: Number of windows looked at.
        phrases: One for each phrase or clip.
        looked_again: Windows compared with text as they see it (``vlar.query.rerank``).
        best_probability: Of the best span, answer or not; None where there is no span.
        cpu_s: Seconds of processor time by step.
    """

    tree: Node
    searched: str
    where: Mapping[str, str]
    min_probability: float
    videos: int
    windows: int
    phrases: tuple[PhraseReport, ...]
    looked_again: int
    best_probability: float | None
    cpu_s: Mapping[str, float]

    def lines(self) -> Iterator[str]:
        """For a person."""
        yield f"query    {show(self.tree)}"
        yield from (f"         {line}" for line in tree_lines(self.tree))
        how = "by the index" if self.searched == "index" else "every window compared"
        yield f"search   {self.windows} windows of {self.videos} videos, {how}"
        for key, value in self.where.items():
            yield f"where    {key}={value}"
        yield f"answers  from {self.min_probability:.1%} on"
        if self.looked_again:
            yield f"again    {self.looked_again} windows by the text as they see it"
        for phrase in self.phrases:
            yield f"phrase   {phrase.text}: {phrase.above_half} windows at 50% or more"
            for row in phrase.best:
                span = f"{row.start_s:g}-{row.end_s:g} s"
                yield f"         {row.probability:6.1%}  {row.path}  {span}"
        cost = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.cpu_s.items())
        yield f"cost     {cost} (processor time)"


Tell = Callable[[QueryReport], None]


def tree_lines(node: Node, depth: int = 0) -> Iterator[str]:
    """The tree, a part a line, indented by depth."""
    indent, tail = "  " * depth, ""
    if isinstance(node, Weighted):
        tail = f"  counts {node.weight:g} times"
        node = node.part
    if isinstance(node, Phrase | Like):
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
