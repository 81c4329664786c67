"""The library: a folder of indexed recordings that can be changed and searched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from vlar import registry
from vlar.captioning.base import Captioner
from vlar.discovery.library import LibraryDiscovery
from vlar.index.manifest import LibraryManifest
from vlar.index.report import AddReport, LibraryInfo, RowHit, VideoRow
from vlar.index.validation import check_span, checked_tags
from vlar.query.plan import MIN_PROBABILITY
from vlar.tables import Results
from vlar.types import Float32, Hit

if TYPE_CHECKING:
    from vlar.index.ingest import vector_import
    from vlar.index.ingest.runners.base import Runner
    from vlar.index.ingest.writer import IngestProgress
    from vlar.index.protocol import LibraryModel
    from vlar.index.search_cache.cache import SearchCache
    from vlar.query.report import QueryReport
    from vlar.query.rerankers.base import Reranker
    from vlar.query.where import Where


class Library(LibraryDiscovery):
    """Indexed recordings in a folder ``NAME.vlar``, or in Milvus.

    In a folder, ``library.sqlite`` is the source of truth and ``ann.faiss`` a cache. In Milvus, its
    collections are (docs/milvus.md). Every method answers alike in both, but ``upgrade``, which
    takes a folder.

    A recording is there with all its rows or not at all. An interrupted ``add`` keeps every
    finished recording, and the next ``add`` resumes it. One process writes at a time; any number
    reads, each query from one consistent state.

        >>> with Library("gym.vlar") as library:             # doctest: +SKIP
        ...     library.add("videos/", tags={"place": "gym"})
        ...     library.query("lifting a weight", k=3)

    Args:
        path: The folder, or ``milvus://HOST:PORT/NAME``, or ``milvus:FOLDER.db/NAME``. The first
            ``add`` creates it.
        model: A model, or the name of one (``vlar.load``). None is the library's own, or ``lite``
            for a new library. It is loaded when something must first be encoded.
        create: Whether the library may be a new one.
        device: Where to search: ``cpu``, or ``cuda`` where the installed FAISS is built for it.

    Raises:
        LibraryError: it does not exist (``create=False``), is not a library, is damaged or was
            made by a newer vlar.
    """

    def add(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        tags: Mapping[str, str] | None = None,
        window_s: float | None = None,
        stride_s: float | None = None,
        long_times: float | None = None,
        shots: bool | None = None,
        keep_context: bool = True,
        retry: bool = False,
        skip_still: bool = False,
        captions: str | Captioner | None = None,
        persons: bool | None = None,
        detector: str | None = None,
        runner: Runner | None = None,
        shards: str | Path | None = None,
        progress: IngestProgress | None = None,
    ) -> AddReport:
        """Index recordings, or bring them up to date.

        A file is recognised by its content: unchanged ones are skipped, changed ones indexed again
        in place, renamed ones keep rows and tags, copies get those rows. Links are not followed.

        Args:
            paths: Files, folders to search for recordings, addresses, lists (docs/ingest.md).
            tags: Set on every recording of this call, also on unchanged ones; other tags stay.
            window_s: Seconds a window lasts; None is the library's own, 4 for a new one.
            stride_s: Seconds between starts; None is the library's own, 2 for a new one.
            long_times: Also windows this many times as long and far apart; 1: none. None as before.
            shots: Let no window cross a cut. None is the library's own, False for a new one.
            keep_context: Keep the tokens that re-ranking needs where text depends on the video.
            retry: Read files again that failed before; otherwise they are skipped and named.
            skip_still: Leave windows of video out in which nothing moves (docs/library.md).
            captions: A captioner or its name: keep what each window is said to show.
            persons: Also a row for each person of a window (docs/who.md). None as for shots.
            detector: What finds them; None is the library's own, for a new one as for ``who``.
            runner: What reads and encodes, besides this process (docs/ingest.md).
            shards: A folder: write there instead, as Parquet files (``import_shards``).
            progress: Called after the commit of each recording.

        Returns:
            What was done. It names recordings that cannot be read; they never end the call.

        Raises:
            UsageError: an unusable argument. LibraryLockedError: another process is writing.
            LibraryError: not writable (the message has what was kept), or other windows or people.
            EncoderMismatchError: another model made it.
        """
        from vlar.index.ingest.running import AddOptions, add_paths

        windows = window_s, stride_s, long_times, shots
        labels = checked_tags(tags or {})
        check_span(*windows[:3])
        with self._mutex, self._writing() as writer:
            manifest = self._manifest_for(LibraryManifest.of(writer), windows, persons, detector)
            rules = AddOptions(labels, keep_context, retry, skip_still, captions, shards)
            report = add_paths(writer, manifest, self._models, paths, runner, rules, progress)
            self._settle()
            return report

    def _manifest_for(
        self,
        own: LibraryManifest | None,
        windows: tuple[float | None, float | None, float | None, bool | None],
        persons: bool | None,
        detector: str | None,
    ) -> LibraryManifest:
        """The library's manifest, which allows what an ``add`` asks for, or that of a new one."""
        from vlar.index.ingest.people import require_people, with_people

        window_s, stride_s, long_times, shots = windows
        if own is None:
            new = self._models.new_manifest(window_s, stride_s, long_times, bool(shots))
            own = with_people(new, persons, detector)
        else:
            own.require_windows(window_s, stride_s, self.path, long_times, shots)
            require_people(own, persons, detector, self.path)
        self._models.require(own)
        return own

    def add_vectors(self, videos: Iterable[vector_import.VectorVideo]) -> AddReport:
        """Index recordings by their vectors; earlier rows of the same paths are replaced.

        Each is there whole or not at all. The vectors must be those of the library's model: a new
        library takes its name, fingerprint and width from the model it was opened with.

        Raises:
            UsageError: vectors that cannot be rows; the recordings before them are kept.
            LibraryLockedError: another process is writing.
            LibraryError: the library cannot be written to.
            EncoderMismatchError: the library was made by another model.
        """
        from vlar.index.ingest import vector_import

        with self._mutex, self._writing() as writer:
            manifest = LibraryManifest.of(writer)
            manifest = manifest or self._models.new_manifest()
            self._models.require(manifest)
            with writer.transaction():
                if "fingerprint" not in writer.meta():
                    writer.set_meta(manifest.to_meta())
            report = vector_import.add_vectors(writer, videos, manifest.dim)
            self._settle()
            return report

    def remove(self, paths: str | Path | Sequence[str | Path]) -> int:
        """Remove recordings from the library; the files themselves are not touched.

        Args:
            paths: Files (also ones that are gone), folders, or globs (``*`` crosses folders).

        Returns:
            The number of recordings that were removed.

        Raises:
            LibraryLockedError: another process is writing.
            LibraryError: the library cannot be written to.
        """
        patterns = [paths] if isinstance(paths, str | Path) else list(paths)
        with self._mutex, self._writing() as writer:
            chosen = sorted({i for pattern in patterns for i in writer.matching(pattern)})
            if chosen:
                with writer.transaction():
                    writer.delete(chosen)
                self._settle()
            return len(chosen)

    def videos(self) -> list[VideoRow]:
        """Every recording, by path."""
        with self._mutex:
            store = self._reader()
            if store is None:
                return []
            with store.snapshot():
                return store.videos()

    def info(self) -> LibraryInfo:
        """What the library holds, which model made it, how it is searched, and the reason."""
        with self._mutex:
            store = self._reader()
            if store is None:
                return self._backend.empty_info()
            with store.snapshot():
                return store.info()

    def query(
        self,
        text: str,
        k: int = 10,
        *,
        where: Where | None = None,
        min_probability: float = MIN_PROBABILITY,
        rerank: str | Reranker | None = "auto",
        report: Callable[[QueryReport], None] | None = None,
    ) -> Results[Hit]:
        """The spans of the library that answer a query best, best first.

        A query is a plain phrase, or an expression (docs/query.md). ``score`` ranks: for a plain
        phrase it is the calibrated probability, for an expression its value
        (``vlar.query.evaluate``). Windows of one recording that answer together are one span
        (``vlar.query.temporal_merge``). Damaged rows are not used: a warning on the logger
        ``vlar`` names them, and ``report`` has their number.

        Args:
            text: What to look for, in plain words or as an expression.
            k: Greatest number of spans to return.
            where: Filters that all hold, such as ``["place=gym", "start_s>=10"]``, or a mapping
                (``vlar.query.where``).
            min_probability: Spans below it are left out; 0 keeps all. The default, 0.05, is the
                prior: less fits worse than everyday actions at large.
            rerank: Name of a re-ranker for the best candidates (``vlar.parts("reranker")``),
                ``auto`` for the one that suits the model, None for none; an answerer such as
                ``self:motion`` (docs/second_opinion.md); or a re-ranker.
            report: Called with how the query was answered.

        Raises:
            QueryError: no word in the text, an expression that cannot be parsed
                (``vlar.query.grammar.QuerySyntaxError``), ``k`` below 1, or an invalid filter.
            UnknownNameError: no re-ranker has this name.
            DecodeError: the clip of a LIKE cannot be read.
            LibraryError: the library is empty or damaged.
            EncoderMismatchError: the library was made by another model.
        """
        from vlar.query.candidates import Snapshot
        from vlar.query.compare import encode_leaves
        from vlar.query.grammar import leaves
        from vlar.query.plan import make_plan
        from vlar.query.search import search
        from vlar.query.where import check_keys

        plan = make_plan(text, k, where, min_probability)
        with self._mutex:
            store, manifest = self._open_nonempty()
            check_keys(plan.where, store.tag_keys())
            model = self._models.loaded(manifest)
            reranker = _reranker(rerank, model)
            queries = encode_leaves(leaves(plan.tree), model)

            def ask(cache: SearchCache | None) -> list[Hit]:
                snapshot = Snapshot(store, manifest, model, cache)
                return search(plan, snapshot, queries, reranker, report)

            with closing(reranker) if reranker and reranker is not rerank else nullcontext():
                found = self._searched(store, ask) if plan.plain else self._scanned(store, ask)
            return Results(found)

    def nearest(self, vector: Float32, k: int = 10, *, where: Where | None = None) -> list[RowHit]:
        """The rows most similar to a vector (D,) of unit length, best first; no model is loaded.

        Args:
            vector: A vector of the library's model.
            k: Greatest number of rows to return.
            where: As in ``query``.

        Raises:
            QueryError: wrong vector width, a value that is not finite, ``k`` below 1, or an
                invalid filter.
            LibraryError: the library is empty or damaged.
        """
        from vlar.query.vector_search import nearest, nearest_held

        with self._mutex:
            store, _ = self._open_nonempty()
            if where and (current := self._current_cache()):
                held = nearest_held(*current, vector, k, where)
                if held is not None:
                    return held
            return self._searched(store, lambda cache: nearest(store, cache, vector, k, where))


def _reranker(rerank: str | Reranker | None, model: LibraryModel) -> Reranker | None:
    from vlar.query.rerankers.base import choose_reranker

    if not isinstance(rerank, str | None):
        return rerank
    if rerank is not None and rerank.partition(":")[0] in registry.names("answerer"):
        from vlar.query.second_opinion import AnswererReranker

        return AnswererReranker.of(rerank)
    return choose_reranker(rerank, model)
