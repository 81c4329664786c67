"""Re-rank with text conditioned on the video.

Where a model's text depends on the video (TC-CLIP, X-CLIP), one text vector cannot be compared with
all rows. So the search uses the text without any video, and this re-ranker compares each candidate
that has context tokens with the text conditioned on its own context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vlar.errors import QueryError
from vlar.index.protocol import LibraryModel, conditioning
from vlar.query.rerankers.base import Reranker, Rescored, RowReader
from vlar.registry import register

_BATCH_ROWS = 32  # contexts in memory at once: about 0.1 MB each


@register("reranker", "conditioned-text")
class ConditionedTextReranker(Reranker):
    """Scores rows that have context tokens by the text conditioned on them."""

    name = "conditioned-text"

    @classmethod
    def applies(cls, model: LibraryModel) -> bool:
        """Return whether the model's text depends on the video."""
        return conditioning(model) is not None

    def rescore(
        self, phrase: str, row_ids: Sequence[int], rows: RowReader, model: LibraryModel
    ) -> Mapping[int, Rescored]:
        """New scores of the rows that have context tokens, by row id.

        Raises:
            QueryError: the model's text does not depend on the video.
        """
        conditioned = conditioning(model)
        if conditioned is None:
            raise QueryError(
                f"re-ranker {self.name!r} needs a model whose text depends on the video; "
                f"{model.name!r} is not one: leave rerank out"
            )
        found: dict[int, Rescored] = {}
        for start in range(0, len(row_ids), _BATCH_ROWS):
            ids, contexts = rows.contexts(row_ids[start : start + _BATCH_ROWS])
            if not len(ids):
                continue
            queries = conditioned.conditioned_queries([phrase], contexts)[:, 0]
            vectors = rows.vectors(ids.tolist())
            similarity = (vectors.astype(np.float64) * queries.astype(np.float64)).sum(axis=1)
            for place, row_id in enumerate(ids.tolist()):
                probability = model.match_probability(vectors[place : place + 1], queries[place])
                found[row_id] = Rescored(float(similarity[place]), float(probability[0]))
        return found
