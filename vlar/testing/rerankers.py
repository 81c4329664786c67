"""The contract of a re-ranker, as a check, on a library of six generated videos."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlar import registry
from vlar.errors import VlarError
from vlar.library.library import Library
from vlar.library.query.candidates import Snapshot
from vlar.library.query.rerankers import Reranker
from vlar.model.library_model import LibraryModel
from vlar.testing.contract import name_of, registered, run, skip
from vlar.testing.material import ConditionedModel, NumberCaptioner, connection_of, tiny_video


@dataclass
class RerankerMaterial:
    """A re-ranker, and a snapshot of a library with contexts and captions.

    Attributes:
        reranker: The re-ranker.
        rows: Reads the rows.
        ids: Ids of all rows.
        model: Model of the library.
    """

    reranker: Reranker
    rows: Snapshot
    ids: list[int]
    model: LibraryModel


def check_reranker(part: Any, *, argument: str | None = None) -> None:
    """Try a re-ranker on the rows of a small library with contexts and captions.

    Args:
        part: The re-ranker: a class, or a registered name.
        argument: What ``Reranker.of`` takes; default none.

    Raises:
        AssertionError: it breaks the contract of ``vlar.library.query.rerankers.Reranker``.
        unittest.SkipTest: it needs an argument.
    """
    part = registry.get("reranker", part) if isinstance(part, str) else part
    cls: type[Reranker] = part if isinstance(part, type) else type(part)
    name = name_of("reranker", cls)
    model = ConditionedModel()
    try:
        reranker = cls.of(argument or "")
    except VlarError as error:
        if argument is None:
            raise skip(f"{error} (give the check an argument)") from error
        raise
    with tempfile.TemporaryDirectory() as folder, registered("reranker", name, cls):
        root = Path(folder)
        videos = [tiny_video(root / "videos" / f"{i}.mp4", i, seconds=4) for i in range(6)]
        with Library(root / "l.vlar", model) as library:
            library.add(videos, captions=NumberCaptioner())
            store, manifest = connection_of(library).nonempty()
            with store.snapshot():
                ids = store.row_ids(store.paths()).tolist()
                rows = Snapshot(store, manifest, model)
                run("reranker", name, STEPS, RerankerMaterial(reranker, rows, ids, model))


def _name(m: RerankerMaterial) -> None:
    """A re-ranker is asked for by its registered name (--rerank)."""
    assert registry.get("reranker", m.reranker.name) is type(m.reranker)
    assert isinstance(type(m.reranker).applies(m.model), bool)


def _scores(m: RerankerMaterial) -> None:
    """New scores are of the rows that were asked about, finite, with probabilities from 0 to 1."""
    scores = m.reranker.rescore("a cat", m.ids[::-1], m.rows, m.model)
    assert set(scores) <= set(m.ids), "rows that nobody asked about"
    assert scores, "no row is scored"
    assert all(0 <= new.probability <= 1 for new in scores.values())
    assert all(np.isfinite(new.similarity) for new in scores.values())


def _alone(m: RerankerMaterial) -> None:
    """A row scores the same alone and among others, unless by_row is False (feedback)."""
    if not m.reranker.by_row:
        return
    best = m.reranker.rescore("a cat", m.ids[:1], m.rows, m.model)
    rows = m.reranker.rescore("a cat", m.ids[::-1], m.rows, m.model)
    alone, together = best[m.ids[0]].probability, rows[m.ids[0]].probability
    assert abs(alone - together) <= 1e-6, f"{alone:.4f} alone and {together:.4f} among others"


def _repeat(m: RerankerMaterial) -> None:
    """The same question gets the same scores, since pages of answers must fit together."""
    first, second = (m.reranker.rescore("a cat", m.ids, m.rows, m.model) for _ in range(2))
    assert first == second


def _nothing(m: RerankerMaterial) -> None:
    """No row gives no score, since a query may have no candidate."""
    assert m.reranker.rescore("a cat", [], m.rows, m.model) == {}


def _head(m: RerankerMaterial) -> None:
    """The head of the candidates covers the answers that are wanted."""
    assert all(m.reranker.head(k) >= k for k in (1, 10, 1000))


STEPS = (_name, _scores, _alone, _repeat, _nothing, _head)
