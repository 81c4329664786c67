"""The second opinion of ``vlar classify`` and ``vlar query`` (``--rerank``), and notes on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from vlar.apps.cli import output

if TYPE_CHECKING:
    from vlar.library.query.rerankers import Reranker
    from vlar.model.model import Model
    from vlar.model.requests import ClassifyRequest
    from vlar.types import Classification, Failure


class Review:
    """The second opinion of a run of ``vlar classify``.

    Raises:
        UsageError: the answerer cannot be used.
    """

    def __init__(self, spec: str, weight: float | None) -> None:
        from vlar.generators.opinions.base import load_answerer
        from vlar.generators.opinions.rerank import SecondOpinion

        self.failed = 0
        self._second = SecondOpinion(load_answerer(spec), spec, weight=weight)

    def top(self, top: int, n_labels: int) -> int:
        """Number of labels that an answer must list before it is reviewed."""
        return self._second.top(n_labels, top)

    def reviewed(
        self, rows: Iterable[Classification | Failure], model: Model, request: ClassifyRequest
    ) -> Iterator[Classification | Failure]:
        """Yield answers with the second opinion, and print its cost at the end.

        Args:
            rows: Answers that list ``top`` labels.
            model: The model that gave them.
            request: Its ``top`` are the labels that an answer keeps; without a tree of its own,
                that of an adapted model counts.
        """
        from vlar.model.label_heads import label_tree

        second, label_set = self._second, request.label_set
        tree = model.head.tree if model.head else None
        if label_set.tree is not None:
            names = label_set.listed.labels if label_set.listed else model.default_labels
            tree = label_tree(model.words, label_set.tree, names)
        for row in second.reviewed(rows, model, top=request.top, tree=tree):
            opinion = getattr(row, "second_opinion", None)
            self.failed += bool(opinion and opinion.get("error"))
            yield row
        second.close()
        output.note(f"vlar: {second.name}: {second.tally.sentence()}")
        if self.failed:
            output.error(f"{second.name}: {self.failed} answers stand without a second opinion")
        if second.weight is None and second.tally.opinions:
            output.note(
                "vlar: the second opinion counts little, as its quality is unknown; fit that "
                f"on labelled clips: vlar eval mcq --data DIR --set answerer={second.name}, then "
                "--rerank-weight W"
            )


def reranker(spec: str, weight: float | None) -> Reranker:
    """The re-ranker of ``vlar query --rerank`` by an answerer.

    Raises:
        UsageError: the answerer cannot be used.
    """
    from vlar.generators.opinions.base import load_answerer
    from vlar.plugins.second_opinion.reranker import AnswererReranker

    return AnswererReranker(load_answerer(spec), spec, weight=weight)
