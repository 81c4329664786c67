"""The contract of a re-ranker: it scores the best candidates of a query again.

The search proposes candidates by one vector a text, which is fast and works on every row. A
re-ranker looks at the best of them with more effort: text conditioned on the video, a language
model that judges frames, another encoder. One file in this folder adds one.

The rule of the search. The *head* is the best ``head(k)`` candidates. Rows of the head that a
re-ranker scores are put in order by their new probability among themselves, in the places that they
held. Rows that it leaves out keep their places, and so does everything behind the head: new and old
scores are never compared. How far a span reaches is decided by the old scores, which all rows have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from vlar import registry
from vlar.cancellation import check
from vlar.errors import QueryError
from vlar.library.query.caption_search import reciprocal_rank_fusion, said
from vlar.library.rows import Float16, Int64, RowPerson
from vlar.model.library_model import LibraryModel
from vlar.registry import register
from vlar.types import Float32, Window

_FEWEST_ROWS = 50
_ROWS_PER_ANSWER = 5
AUTO = "auto"
#: The re-ranker that asks an answerer, whose spec (``self:motion``) is a name of it.
OPINION = "opinion"


@dataclass(frozen=True)
class Rescored:
    """Score of a row for a phrase by a re-ranker.

    Attributes:
        similarity: Cosine, or another score that rises with the fit.
        probability: Calibrated, 0 to 1. It ranks; equal ones rank by similarity.
        score: 0 to 1, ranks in place of the probability; None for none. Only a plain phrase uses
            it.
    """

    similarity: float
    probability: float
    score: float | None = None


class RowReader(Protocol):
    """Reads what a library stores of rows."""

    def vectors(self, row_ids: Sequence[int]) -> Float32:
        """Vectors (N, D) of rows, in the order given."""
        ...

    def contexts(self, row_ids: Sequence[int]) -> tuple[Int64, Float16]:
        """Ids (N,) of the rows that have context tokens, rising, and the tokens (N, k, E)."""
        ...

    def captions(self, row_ids: Sequence[int]) -> Mapping[int, str]:
        """Captions by row id, of the rows that have one."""
        ...

    def windows(self, row_ids: Sequence[int]) -> Mapping[int, tuple[str, Window]]:
        """Path of the recording and time span of each row, by row id."""
        ...

    def people(self, row_ids: Sequence[int]) -> Mapping[int, RowPerson]:
        """People that rows show, by row id; whole frames are left out."""
        ...


class Reranker(ABC):
    """Scores candidates again. Registered as ``@register("reranker", NAME)``.

    Attributes:
        name: The registered name, for ``Library.query(rerank=NAME)``.
        by_row: Whether a row scores the same alone and among others; False for a re-ranker that
            learns from the candidates, such as relevance feedback.
    """

    name: str
    by_row: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def applies(cls, model: LibraryModel) -> bool:
        """Return whether it is the automatic choice for a model (``rerank="auto"``)."""

    @classmethod
    def of(cls, spec: str = "") -> Reranker:
        """The re-ranker of a spec; most have no settings.

        Args:
            spec: What it is made of, for one that needs something.
        """
        return cls()

    def head(self, k: int) -> int:
        """Number of candidates to score again for ``k`` answers."""
        return max(_FEWEST_ROWS, _ROWS_PER_ANSWER * k)

    @abstractmethod
    def rescore(
        self, phrase: str, row_ids: Sequence[int], rows: RowReader, model: LibraryModel
    ) -> Mapping[int, Rescored]:
        """New scores of candidates for a phrase, by row id; a row may be left out.

        Args:
            phrase: What a row should show, in plain words.
            row_ids: The candidates, best first.
            rows: Reads their vectors, context tokens and places.
            model: The library's model.
        """

    @property
    def notes(self) -> Sequence[str]:
        """Remarks for the user after a query, one sentence each."""
        return ()

    @property
    def failed(self) -> int:
        """Rows that it was to score and could not, for a reason outside of vlar."""
        return 0

    def close(self) -> None:
        """Release resources at the end of a query."""
        return


def choose_reranker(name: str | None, model: LibraryModel) -> Reranker | None:
    """The re-ranker of a query.

    Args:
        name: ``auto`` for the first one that applies to the model, None for none, or a name.
        model: The library's model.

    Raises:
        UnknownNameError: no re-ranker has this name.
    """
    if name is None:
        return None
    if name.partition(":")[0] in registry.names("answerer"):
        return registry.get("reranker", OPINION).of(name)
    if name != AUTO:
        return registry.get("reranker", name).of()
    for other in registry.names("reranker"):
        if other != OPINION and registry.get("reranker", other).applies(model):
            return registry.get("reranker", other).of()
    return None


_CAPTIONS_FEWEST_ROWS = 1000
_CAPTIONS_ROWS_PER_ANSWER = 20
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
        return max(_CAPTIONS_FEWEST_ROWS, _CAPTIONS_ROWS_PER_ANSWER * k)

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


_BATCH_ROWS = 32  # contexts in memory at once: about 0.1 MB each


@register("reranker", "conditioned-text")
class ConditionedTextReranker(Reranker):
    """Scores rows that have context tokens by the text conditioned on them."""

    name = "conditioned-text"

    @classmethod
    def applies(cls, model: LibraryModel) -> bool:
        """Return whether the model's text depends on the video."""
        return model.conditions_text

    def rescore(
        self, phrase: str, row_ids: Sequence[int], rows: RowReader, model: LibraryModel
    ) -> Mapping[int, Rescored]:
        """New scores of the rows that have context tokens, by row id.

        Raises:
            QueryError: the model's text does not depend on the video.
        """
        if not model.conditions_text:
            raise QueryError(
                f"re-ranker {self.name!r} needs a model whose text depends on the video; "
                f"{model.name!r} is not one: leave rerank out"
            )
        rescored: dict[int, Rescored] = {}
        for start in range(0, len(row_ids), _BATCH_ROWS):
            check()
            ids, contexts = rows.contexts(row_ids[start : start + _BATCH_ROWS])
            if not len(ids):
                continue
            queries = model.conditioned_queries([phrase], contexts)[:, 0]
            vectors = rows.vectors(ids.tolist())
            similarity = (vectors.astype(np.float64) * queries.astype(np.float64)).sum(axis=1)
            for index, row_id in enumerate(ids.tolist()):
                probability = model.match_probability(vectors[index : index + 1], queries[index])
                rescored[row_id] = Rescored(float(similarity[index]), float(probability[0]))
        return rescored
