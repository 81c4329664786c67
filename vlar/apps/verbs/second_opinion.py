"""The second opinion of ``vlar classify`` and ``vlar query`` (``--rerank``), and notes on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from vlar.apps.cli import output
from vlar.errors import UsageError

if TYPE_CHECKING:
    from vlar.generators.opinions.mixing import OpinionWeights
    from vlar.generators.opinions.rerank import SecondOpinion
    from vlar.library.query.rerankers import Reranker
    from vlar.model.model import Model
    from vlar.model.requests import ClassifyRequest
    from vlar.types import Classification, Failure


def weights_of(
    text: str | None, margin: float | None, kept: OpinionWeights | None = None
) -> OpinionWeights:
    """The weights of the options; without any, those kept with the model.

    Raises:
        UsageError: they are neither two numbers nor the file of a run.
    """
    from vlar.generators.opinions.mixing import OpinionWeights

    weights = kept or OpinionWeights() if text is None else OpinionWeights.read(text)
    return weights if margin is None else replace(weights, margin=margin)


class Review:
    """The second opinion of a run of ``vlar classify``.

    Raises:
        UsageError: the answerer or the weights cannot be used.
    """

    def __init__(
        self, spec: str, k: int, weights: str | None, margin: float | None, none: bool, model: str
    ) -> None:
        self.failed = 0
        self._spec, self._problem = spec, ""
        self._second: SecondOpinion | None = None
        from vlar.generators.opinions.base import load_answerer
        from vlar.generators.opinions.mixing import OpinionWeights
        from vlar.generators.opinions.rerank import SecondOpinion

        opinion_weights = None if weights is None else weights_of(weights, margin)
        self._problem = _wrong_count(k + none)
        if self._problem:
            return
        answerer = load_answerer(spec)
        counts = opinion_weights or weights_of(
            None, margin, OpinionWeights.beside(model, answerer.identity)
        )
        self._second = SecondOpinion(answerer, spec, k=k, weights=counts, none=none)

    def top(self, top: int, n_labels: int) -> int:
        """Number of labels that an answer must list before it is reviewed."""
        return top if self._second is None else self._second.top(n_labels, top)

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
        second = self._second
        if second is not None:
            from vlar.model.label_heads import label_tree

            label_set, tree = request.label_set, model.head.tree if model.head else None
            if label_set.tree is not None:
                names = label_set.listed.labels if label_set.listed else model.default_labels
                tree = label_tree(model.words, label_set.tree, names)
            rows = second.reviewed(rows, model, top=request.top, tree=tree)
        for row in rows:
            if self._problem and hasattr(row, "predictions"):
                facts = {"answerer": self._spec, "error": self._problem}
                row = replace(row, second_opinion=facts)
            opinion = getattr(row, "second_opinion", None)
            self.failed += bool(opinion and opinion.get("error"))
            yield row
        if second is None:
            return
        second.close()
        output.note(f"vlar: {self._spec}: {second.tally.sentence()}")
        if self.failed:
            output.error(f"{self._spec}: {self.failed} answers stand without a second opinion")
        if not second.weights.fitted and second.tally.opinions:
            output.note(
                "vlar: the second opinion counts little, as its quality is unknown; fit that "
                f"on labelled clips: vlar eval mcq --data DIR --set answerer={self._spec} --out "
                "run.json, then --rerank-weights run.json"
            )


def _wrong_count(count: int) -> str:
    """Print and return what is wrong with a number of options; nothing where it is right."""
    from vlar.generators.opinions.question import check_count

    try:
        check_count(count)
    except UsageError as error:
        problem = f"{error.message}; the answers stand without a second opinion"
        output.error(problem)
        return problem
    return ""


def reranker(spec: str, k: int, weights: str | None) -> Reranker | None:
    """The re-ranker of ``vlar query --rerank`` by an answerer; None where it cannot be.

    Raises:
        UsageError: the answerer or the weights cannot be used.
    """
    from vlar.generators.opinions.base import load_answerer
    from vlar.plugins.second_opinion.reranker import AnswererReranker

    counts = weights_of(weights, None)
    if _wrong_count(k):
        return None
    return AnswererReranker(load_answerer(spec), spec, k=k, weights=counts)
