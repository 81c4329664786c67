"""The library: a folder of indexed videos that can be changed and searched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.index.connection import OpenedFolder
from vlar.index.ingest import vector_import as bulk
from vlar.index.ingest.ingest import Ingest, Progress
from vlar.index.maintenance import compact as upkeep
from vlar.index.maintenance.info import describe
from vlar.index.maintenance.verify import Problem, verify
from vlar.index.maintenance.verify import repair as mended
from vlar.index.manifest import Manifest
from vlar.index.paths import place
from vlar.index.report import AddReport, LibraryInfo, RowHit, VideoRow
from vlar.index.validation import check_span, checked_tags
from vlar.types import Float32, Hit

if TYPE_CHECKING:
    from vlar.query.report import QueryReport
    from vlar.query.where import Where


class Library(OpenedFolder):
    """A folder ``NAME.vlar``: ``library.sqlite`` is the truth, ``ann.faiss`` a cache of it.

    A video is there with all its rows or not at all: an interrupted ``add`` keeps every finished
    video and goes on with the others when it is called again. One process writes at a time; any
    number reads, each query from one consistent state.

        >>> with Library("gym.vlar") as library:             # doctest: +SKIP
        ...     library.add("videos/", tags={"place": "gym"})
        ...     library.query("lifting a weight", k=3)

    Args:
        path: The folder. It is made by the first ``add``.
        model: A model, or the name of one (``vlar.load``). None is the library's own; ``lite`` for
            a new library. It is loaded when something must be encoded, not before.
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
        keep_context: bool = True,
        progress: Progress | None = None,
    ) -> AddReport:
        """Index videos, or bring them up to date.

        Files are told apart by content: an unchanged one is skipped, a changed one is indexed
        again in place, a renamed one keeps its rows and tags under the new path, and a copy gets
        the rows of the original (with the tags of this call only). None of these but the changed
        one is decoded. Paths are kept absolute, with ``/`` between folders, links not followed.

        Args:
            paths: Files, or folders that are searched for videos.
            tags: Set on every video of this call, also on unchanged ones; other tags stay.
            window_s: Length of a window in seconds; None is the library's own, 4 for a new one.
            stride_s: From one window to the next; None is the library's own, 2 for a new one.
            long_times: Also windows so many times as long and as far apart, so that what takes
                long has a window of its own; 1 for none. None is the library's own, 1 for a new
                one.
            keep_context: Keep what re-ranking needs (``query``) of the videos that are read in this
                call; without effect where the text of the model does not depend on the video.
            progress: Told of each video after its commit.

        Returns:
            What was done. Videos that cannot be read are named in it and never end the call.

        Raises:
            LibraryLockedError: another process is writing.
            LibraryError: the library cannot be written to (what was kept is said), or it was made
                with other windows.
            EncoderMismatchError: it was made by another model.
            UsageError: a tag or a span of time has no usable value.
        """
        from vlar.video import find_videos

        found = find_videos([paths] if isinstance(paths, str | Path) else list(paths))
        files = list({place(file): file for file in found}.values())
        labels = checked_tags(tags or {})
        check_span(window_s, stride_s, long_times)
        with self._mutex, self._writing() as writer:
            manifest = Manifest.read(writer.meta(), self.path)
            if manifest is None:
                manifest = self._models.new_manifest(window_s, stride_s, long_times)
            else:
                manifest.require_windows(window_s, stride_s, self.path, long_times)
            model_at_clip = partial(self._models.model_for, writer, manifest)
            ingest = Ingest(writer, model_at_clip, manifest.cut, labels, keep_context, progress)
            report = ingest.run(files)
            self._settle()
            return report

    def add_vectors(self, videos: Iterable[bulk.VectorVideo]) -> AddReport:
        """Index videos whose vectors are there already; what was at their paths is replaced.

        Each is there whole or not at all. The vectors must be those of the library's model: a new
        library takes its name, fingerprint and width from the model it was opened with.

        Raises:
            UsageError: vectors that cannot be rows; the videos before them are kept.
            LibraryLockedError: another process is writing.
            LibraryError: the library cannot be written to.
            EncoderMismatchError: the library was made by another model.
        """
        with self._mutex, self._writing() as writer:
            manifest = Manifest.read(writer.meta(), self.path)
            manifest = manifest or self._models.new_manifest()
            with writer.transaction():
                self._models.begin(writer, manifest)
            report = bulk.add_vectors(writer, videos, manifest.dim)
            self._settle()
            return report

    def remove(self, paths: str | Path | Sequence[str | Path]) -> int:
        """Take videos out; the files themselves are not touched.

        Args:
            paths: Files (also ones that are gone), folders, or globs (``*`` crosses folders).

        Returns:
            How many videos were taken out.

        Raises:
            LibraryLockedError: another process is writing.
            LibraryError: the library cannot be written to.
        """
        patterns = [paths] if isinstance(paths, str | Path) else list(paths)
        with self._mutex, self._writing() as writer:
            chosen = sorted({i for pattern in patterns for i in writer.meant_by(pattern)})
            if chosen:
                with writer.transaction():
                    writer.delete(chosen)
                self._settle()
            return len(chosen)

    def compact(self, *, retrain: bool = False, kind: str | None = None) -> upkeep.CompactReport:
        """Fold all changes into the search cache, forget deleted rows, shrink the files.

        The truth is written anew beside itself: as much free space as it takes is needed.

        Args:
            retrain: Make the search index anew even where it has not drifted.
            kind: The type of index from now on (``flat``, ``ivf``, ``ivf-sq8``); ``auto`` is by
                size again.

        Raises:
            UnknownNameError: no such type.
            LibraryLockedError: another process is writing.
            LibraryError: the library cannot be written to.
        """
        with self._mutex, self._writing() as writer:
            self._cached = None
            return upkeep.compact(writer, self._models.probes(), retrain, kind)

    def verify(self, *, repair: bool = False, files: bool = True) -> list[Problem]:
        """Everything that is wrong with the library, its cache and its videos' files.

        Args:
            repair: Mend what can be (the rule: ``vlar.index.maintenance.verify.repair``).
            files: Whether to look at the videos too.

        Raises:
            LibraryError: it is so damaged that it cannot be read.
            LibraryLockedError: another process is writing (only with ``repair``).
        """
        with self._mutex:
            store = self._reader()
            if store is None:
                return []
            with store.snapshot():
                found = list(verify(store, files))
            if not repair or not found:
                return found
            with self._writing() as writer:
                return [replace(each, repaired=mended(writer, each)) for each in found]

    def videos(self) -> list[VideoRow]:
        """Every video, by path."""
        with self._mutex:
            store = self._reader()
            if store is None:
                return []
            with store.snapshot():
                return store.videos()

    def info(self) -> LibraryInfo:
        """What the library holds, which model made it, and how it is searched and why."""
        with self._mutex:
            store = self._reader()
            with store.snapshot() if store is not None else nullcontext():
                return describe(self.path, store)

    def query(
        self,
        text: str,
        k: int = 10,
        *,
        where: Where | None = None,
        min_probability: float = 0.0,
        report: Callable[[QueryReport], None] | None = None,
    ) -> list[Hit]:
        """The spans of the library that answer a query best, best first.

        A query is a plain phrase, or an expression (docs/query.md): of it every window is compared
        (the rule: ``vlar.query.evaluate``), and ``score`` is its probability.

        Windows of one video that answer together are one span (the rule:
        ``vlar.query.temporal_merge``).
        ``score``, which ranks, is the similarity of its best window; ``probability`` is calibrated.
        Where the model's text depends on the video, the best rows are put in order by the text as
        each of them sees it (the rule: ``vlar.query.rerank``).

        Args:
            text: What to look for, in plain words or as an expression.
            k: Number of spans; so many are given whenever so many exist.
            where: Filters that all hold, as ``["place=gym", "start_s>=10"]`` or as a mapping
                (``vlar.query.where``).
            min_probability: Spans below it are left out.
            report: Told how the query was answered.

        Raises:
            QueryError: no word in the text, an expression that cannot be read
                (``vlar.query.grammar.QuerySyntaxError``), ``k`` below 1, or a filter that cannot
                be.
            LibraryError: the library is empty or damaged.
            EncoderMismatchError: the model at hand is not the library's.
        """
        from vlar.query.expression_search import compose
        from vlar.query.phrase_search import Search, answer
        from vlar.query.plan import make_plan
        from vlar.query.where import check_keys, pairs

        plan = make_plan(text, k, pairs(where), min_probability)
        with self._mutex:
            store, manifest = self._filled()
            check_keys(plan.where, store.tag_keys())
            model = self._models.loaded(manifest)
            if not plan.plain:
                with store.snapshot():
                    return compose(plan, store, manifest, model, report)
            vector = model.encode_queries([plan.phrase])[0]
            with store.snapshot():
                return answer(plan, Search(store, self._searched(store), model, vector), report)

    def nearest(self, vector: Float32, k: int = 10, *, where: Where | None = None) -> list[RowHit]:
        """The rows most similar to a vector (D,) of unit length, best first; no model is loaded.

        Args:
            vector: As the library's model makes them.
            k: Number of rows; so many are given whenever so many exist.
            where: As in ``query``.

        Raises:
            QueryError: another width, ``k`` below 1, or a filter that cannot be.
            LibraryError: the library is empty or damaged.
        """
        from vlar.query.vector_search import nearest
        from vlar.query.where import pairs

        with self._mutex:
            store, _ = self._filled()
            with store.snapshot():
                return nearest(store, self._searched(store), vector, k, pairs(where))
