"""Hybrid search: the order by vectors and the order by captions, fused by their ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vlar.errors import QueryError
from vlar.index.protocol import LibraryModel
from vlar.query.rerankers.base import Reranker, Rescored, RowReader
from vlar.query.says import reciprocal_rank_fusion, said
from vlar.registry import register

_FEWEST_ROWS = 1000
_ROWS_PER_ANSWER = 20
_CONSTANT = 60.0


@register("reranker", "captions")
class CaptionReranker(Reranker):
    """Reciprocal rank fusion (Cormack et al. 2009) of vectors and of words in captions.

    The score is the fused one, scaled so that the first of both orders has 1. Similarity and
    probability stay those of the vector: captions have no calibrated probability.
    """

    name = "captions"

    @classmethod
    def applies(cls, model: LibraryModel) -> bool:
        """Only on request: ``--rerank captions``."""
        return False

    def head(self, k: int) -> int:
        """More than others: what captions find may be far down by vectors."""
        return max(_FEWEST_ROWS, _ROWS_PER_ANSWER * k)

    def rescore(
        self, phrase: str, row_ids: Sequence[int], rows: RowReader, model: LibraryModel
    ) -> Mapping[int, Rescored]:
        """Fused scores of candidates.

        Raises:
            QueryError: none of them has a caption.
        """
        if not row_ids:
            return {}
        captions = rows.captions(row_ids)
        if not captions:
            raise QueryError(
                "the library keeps no captions to fuse with; make some: vlar index add LIBRARY "
                "PATHS --captions concepts"
            )
        vectors, query = rows.vectors(row_ids), model.encode_queries([phrase])[0]
        similarity = vectors.astype(np.float64) @ query.astype(np.float64)
        probability = model.match_probability(vectors, query)
        shares = said(phrase, captions)
        by_caption = sorted(shares, key=lambda row_id: -shares[row_id])
        fused = reciprocal_rank_fusion([list(row_ids), by_caption], _CONSTANT)
        most = 2 / (_CONSTANT + 1)
        return {
            row_id: Rescored(float(s), float(p), fused[row_id] / most)
            for row_id, s, p in zip(row_ids, similarity, probability, strict=True)
        }
