"""Protocol of a search: clips for each label as a query, and labels for each clip."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vlar.evaluation.protocols.base import Protocol, Run, RunSplit
from vlar.heads.base import Scores
from vlar.metrics.classification import retrieval_both_ways
from vlar.metrics.figures import Figure
from vlar.registry import register
from vlar.types import JsonDict

_SEED = 0


@register("protocol", "retrieval")
class Retrieval(Protocol):
    """R@k, mAP and median rank both ways, by similarity.

    Only labels that a clip shows are queries. The control gives the clips each other's labels at
    random. Settings: ``ks``.
    """

    name = "retrieval"
    defaults: ClassVar[JsonDict] = {"ks": [1, 5, 10]}

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        test_labels = part.test.labels
        labels = [label for label in part.labels if label in test_labels]
        run.tables["labels without a clip"] = [x for x in part.labels if x not in test_labels]
        scored = run.scores({0: run.classifier(labels)}, part.test.items, run.changes)
        shown = [[label in item.labels for item in scored.items] for label in labels]
        relevant = np.array(shown, np.bool_)
        answerable = relevant.any(axis=1)
        relevant, ks = relevant[answerable], run.settings["ks"]

        def measure(scores: Scores, truth: np.ndarray = relevant) -> list[Figure]:
            return self._rows(scores.similarity.T[answerable], truth, ks)

        order = np.random.default_rng(_SEED).permutation(len(scored.items))
        blind = measure(scored.by[0, None], relevant[:, order])
        # One float32 vector a clip: what a flat index of this collection takes.
        run.tables["index_bytes"] = len(scored.items) * run.core.dim * 4
        return scored.figures(measure) + [row.of(under="labels permuted") for row in blind]

    def _rows(self, scores: np.ndarray, relevant: np.ndarray, ks: list[int]) -> list[Figure]:
        both = retrieval_both_ways(scores, relevant, ks=ks)
        n = {"text_to_video": scores.shape[0], "video_to_text": scores.shape[1]}
        return [
            Figure(name, value, n=n[way]).of(way=way.replace("_", " "))
            for way, values in both.items()
            for name, value in values.items()
        ]
