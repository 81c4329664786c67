"""The answer to one request: its texts encoded, its judgements learned, its rows searched."""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

from vlar.errors import LibraryError
from vlar.library.cache import SearchCache
from vlar.library.connection import LibraryConnection
from vlar.library.manifest import require_encoded
from vlar.library.query.candidates import Snapshot
from vlar.library.query.concepts import concepts, with_concepts
from vlar.library.query.filters import check_keys
from vlar.library.query.grammar import Like, leaves
from vlar.library.query.guarantee import guaranteed
from vlar.library.query.index_candidates import is_known
from vlar.library.query.links import linked_vector, links
from vlar.library.query.plan import QueryPlan, QueryRequest, ReportCallback, make_plan
from vlar.library.query.rerankers import Reranker, choose_reranker
from vlar.library.query.search import search
from vlar.library.query.similarity import encode_leaves
from vlar.library.store.base import LibraryStore
from vlar.model.library_model import LibraryModel
from vlar.results import Hits
from vlar.types import Float32, Window


class ModelMovedError(LibraryError):
    """The library has another model than a query was encoded by."""


def answer(connection: LibraryConnection, request: QueryRequest) -> Hits:
    """The spans that answer a request best (``vlar.library.library.Library.query``)."""
    try:
        return _answer(connection, request)
    except ModelMovedError:  # another process changed it meanwhile
        return _answer(connection, request)


def _answer(connection: LibraryConnection, request: QueryRequest) -> Hits:
    plan = make_plan(request)
    with connection.mutex:
        store, manifest = connection.nonempty()
        if plan.request.miss is not None:
            require_encoded(store, manifest, "asked with --miss")
        check_keys(plan.where, store.tag_keys())
        model, asked_by = connection.models.loaded(manifest), manifest.fingerprint
        stored_concepts = concepts(store)
        linked = _Linked(store, plan, model)
    # Without the mutex: another thread may search meanwhile.
    query_leaves = leaves(plan.tree)
    named, rated = with_concepts(query_leaves, stored_concepts, model)
    queries = named | encode_leaves(
        [leaf for leaf in query_leaves if leaf not in named], model, connection.words, linked.vector
    )
    if plan.plain and not plan.judged and not plan.where:
        _prepare(connection, *queries.values())
    with connection.mutex:
        store, manifest = connection.nonempty()
        rerank = None if plan.judged or plan.request.miss or named else request.rerank
        reranker = _reranker(rerank, connection.models.loaded(manifest))

        def ask(cache: SearchCache | None) -> Hits:
            if connection.nonempty()[1].fingerprint != asked_by:
                raise ModelMovedError(f"library {connection.path} changes its model; ask again")
            figures = connection.row_figures(store)
            snapshot = Snapshot(store, manifest, rated, cache, figures=figures)
            if plan.request.miss is not None:
                return guaranteed(plan, plan.request.miss, snapshot, queries, request.report)
            hits = search(plan, snapshot, queries, reranker, linked.report(request.report))
            hits.learned_from = tuple(linked.notes)
            if manifest.mapping is not None and any(hit.origin == "mapped" for hit in hits):
                hits.learned_from = (*hits.learned_from, manifest.mapping.learned_from)
            return hits

        opened = None if reranker is rerank else reranker
        with nullcontext() if opened is None else closing(opened):
            source = connection.searched if plan.plain else connection.scanned
            return source(store, ask)


def _prepare(connection: LibraryConnection, query: Float32) -> None:
    """Compare a phrase with all rows before its turn, so that those who wait share the product."""
    current = connection.current_cache()
    if current is not None and not is_known(current[0], current[1], query):
        current[0].engine.prepare(query)


class _Linked:
    """Examples of other sensors in a query, and what their links were learned from."""

    def __init__(self, store: LibraryStore, plan: QueryPlan, model: LibraryModel) -> None:
        self.notes: list[str] = []
        self._model, is_needed = model, any(isinstance(leaf, Like) for leaf in leaves(plan.tree))
        self._links = links(store) if is_needed else {}

    def vector(self, path: Path, window: Window | None) -> Float32 | None:
        """The vector (D,) of a recording of a linked sensor; None of any other."""
        linked = linked_vector(path, window, self._links, self._model)
        if linked is None:
            return None
        self.notes.append(f"LIKE {path}: {linked[1].learned_from}")
        return linked[0]

    def report(self, report: ReportCallback | None) -> ReportCallback | None:
        """The callback, which also receives the notes."""
        if report is None or not self.notes:
            return report
        return lambda facts: report(replace(facts, notes=(*facts.notes, *self.notes)))


def _reranker(rerank: str | Reranker | None, model: LibraryModel) -> Reranker | None:
    if not isinstance(rerank, str | None):
        return rerank
    return choose_reranker(rerank, model)
