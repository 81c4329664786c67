"""``retrieval``: a label finds its clips, a clip finds its label."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vlar.evaluation.protocols.base import Protocol, Run
from vlar.evaluation.retrieval import retrieval_both_ways
from vlar.evaluation.running.figures import Figure, spread
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

    def run(self, run: Run) -> list[Figure]:
        """See ``Protocol``."""
        found: list[Figure] = []
        for part in run.plan.parts:
            there = {label for item in part.test.items for label in item.labels}
            labels = [label for label in part.labels if label in there]
            run.tables["labels without a clip"] = [x for x in part.labels if x not in there]
            scored = run.scores({0: run.classifier(labels)}, part.test.items, run.changes)
            shown = [[label in item.labels for item in scored.items] for label in labels]
            relevant = np.array(shown, np.bool_)
            kept = relevant.any(axis=1)
            for (_, change), scores in scored.by.items():
                similar = scores.similarity.T[kept]
                rows = self._rows(similar, relevant[kept], run.settings["ks"])
                under = change.key if change else None
                found += [row.of(split=part.name or None, under=under) for row in rows]
            order = np.random.default_rng(_SEED).permutation(len(scored.items))
            similar = scored.by[0, None].similarity.T[kept]
            blind = self._rows(similar, relevant[kept][:, order], run.settings["ks"])
            found += [row.of(split=part.name or None, under="labels permuted") for row in blind]
            # One float32 vector a clip: what a flat index of this collection takes.
            run.tables["index_bytes"] = len(scored.items) * run.core.dim * 4
        return found + spread(found, "split")

    def _rows(self, scores: np.ndarray, relevant: np.ndarray, ks: list[int]) -> list[Figure]:
        both = retrieval_both_ways(scores, relevant, ks=ks)
        n = {"text_to_video": scores.shape[0], "video_to_text": scores.shape[1]}
        return [
            Figure(name, value, n=n[way]).of(way=way.replace("_", " "))
            for way, values in both.items()
            for name, value in values.items()
        ]
