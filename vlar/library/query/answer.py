"""The answer to one request: its texts encoded, its judgements learned, its rows searched."""

from __future__ import annotations

from contextlib import closing, nullcontext

from vlar.library.cache import SearchCache
from vlar.library.connection import LibraryConnection
from vlar.library.query.candidates import Snapshot
from vlar.library.query.concepts import concepts, with_concepts
from vlar.library.query.filters import check_keys
from vlar.library.query.grammar import leaves
from vlar.library.query.guarantee import guaranteed
from vlar.library.query.plan import QueryRequest, make_plan
from vlar.library.query.rerankers import Reranker, choose_reranker
from vlar.library.query.search import search
from vlar.library.query.similarity import encode_leaves
from vlar.model.library_model import LibraryModel
from vlar.results import Hits


def answer(connection: LibraryConnection, request: QueryRequest) -> Hits:
    """The spans that answer a request best (``vlar.library.library.Library.query``)."""
    plan = make_plan(request)
    with connection.mutex:
        store, manifest = connection.nonempty()
        check_keys(plan.where, store.tag_keys())
        model = connection.models.loaded(manifest)
        concepts_kept = concepts(store)
    # Without the mutex: another thread may search meanwhile.
    leaves_asked = leaves(plan.tree)
    named, rated = with_concepts(leaves_asked, concepts_kept, model)
    queries = named | encode_leaves(
        [leaf for leaf in leaves_asked if leaf not in named], model, connection.words
    )
    with connection.mutex:
        store, manifest = connection.nonempty()
        rerank = None if plan.judged or plan.miss or named else request.rerank
        reranker = _reranker(rerank, connection.models.loaded(manifest))

        def ask(cache: SearchCache | None) -> Hits:
            snapshot = Snapshot(store, manifest, rated, cache)
            if plan.miss is not None:
                return guaranteed(plan, plan.miss, snapshot, queries, request.report)
            return search(plan, snapshot, queries, reranker, request.report)

        opened = None if reranker is rerank else reranker
        with nullcontext() if opened is None else closing(opened):
            source = connection.searched if plan.plain else connection.scanned
            return source(store, ask)


def _reranker(rerank: str | Reranker | None, model: LibraryModel) -> Reranker | None:
    if not isinstance(rerank, str | None):
        return rerank
    return choose_reranker(rerank, model)
