"""The library: a folder of indexed recordings that can be changed and searched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from vlar.library import discovery, tables
from vlar.library.address import LibraryPlace
from vlar.library.connection import LibraryConnection
from vlar.library.ingest.request import AddRequest
from vlar.library.maintain.compact import CompactReport
from vlar.library.maintain.upgrade import UpgradeRequest
from vlar.library.maintain.verify import LibraryFault, emptied
from vlar.library.manifest import LibraryManifest
from vlar.library.query.filters import Where, recordings
from vlar.library.query.request import QueryRequest
from vlar.library.recording import change_tags
from vlar.library.rows import AddReport, LibraryInfo, RowHit, UpgradeReport, VideoRow
from vlar.library.tables import LibraryDataset
from vlar.options import takes
from vlar.results import Hits
from vlar.types import Float32, Hit

if TYPE_CHECKING:
    import pandas as pd

    from vlar.library.ingest import shard_reading
    from vlar.library.ingest.runners.base import Runner
    from vlar.library.ingest.writer import IngestProgress
    from vlar.library.maintain.library_copy import CopyReport
    from vlar.library.query.concepts import Concepts
    from vlar.library.query.links import LinkReport, Pairs
    from vlar.media.dataset_rows import DataSet
    from vlar.model.library_model import LibraryModel
    from vlar.model.model import Model


class Library:
    """Indexed recordings in a folder ``NAME.vlar``, or in a database of a plugin.

    In a folder, ``library.sqlite`` is the source of truth; elsewhere the database is
    (docs/library.md). Every method answers alike in both, but ``upgrade``, which takes a folder.
    A recording is there with all its rows or not at all; the next ``add`` resumes one that ended.
    One process writes at a time; any number reads, each query from one consistent state.

        >>> with Library("gym.vlar") as library:             # doctest: +SKIP
        ...     library.add("videos/", tags={"place": "gym"})
        ...     library.query("lifting a weight", k=3)

    Args:
        path: The folder, or an address (``vlar.library.address``). The first ``add`` creates it.
        model: A model, or a name, loaded when first needed; None: its own, ``lite`` in a new one.
        create: Whether the library may be a new one.
        device: Where to search: ``cpu``, or ``cuda`` where the installed FAISS is built for it.

    Raises:
        LibraryError: it does not exist (``create=False``), is damaged or not one of this vlar.
    """

    def __init__(
        self,
        path: str | LibraryPlace,
        model: Model | LibraryModel | str | Path | None = None,
        create: bool = True,
        device: str = "cpu",
    ) -> None:
        self._connection = LibraryConnection(path, model, create, device)

    @property
    def path(self) -> LibraryPlace:
        """The folder, or the address."""
        return self._connection.path

    def __enter__(self) -> Self:
        """The library itself; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connections; a later call is refused."""
        self._connection.close()

    def __len__(self) -> int:
        """Number of recordings."""
        with self._connection.mutex:
            return 0 if (store := self._connection.reader()) is None else store.counts()[0]

    def __repr__(self) -> str:
        """Path, number of recordings and model."""
        return self._connection.described()

    def __bool__(self) -> bool:
        """Return True, also of an empty library."""
        return True

    @takes(AddRequest, leave_out=("served",))
    def add(self, paths: str | Path | Sequence[str | Path] | DataSet, **options: Any) -> AddReport:
        """Index recordings, or bring them up to date.

        A file is recognised by its content: unchanged ones are skipped, changed ones indexed again
        in place, renamed ones keep rows and tags, copies get those rows. Links are not followed.

        Args:
            paths: Files, folders to search, addresses, lists (docs/scale.md), or a data set.
            tags: Set on every recording of this call, also on unchanged ones; other tags stay.
            window_s: Seconds a window lasts; None is the library's own, 4 for a new one.
            stride_s: Seconds between starts; None is the library's own, 2 for a new one.
            long_times: Also windows this many times as long and far apart; 1: none. None as before.
            shots: Let no window cross a cut. None is the library's own, False for a new one.
            keep_context: Keep the tokens that re-ranking needs where text depends on the video.
            keep: ``frames`` or ``records`` keep of each window what other models need; ``none``.
            retry: Read files again that failed before; otherwise they are skipped and named.
            skip_still: Leave windows of video out in which nothing moves (docs/library.md).
            captions: A captioner or its name: keep captions of each window.
            persons: Also a row for each person of a window (docs/who.md). None as for shots.
            detector: Detector of people; None is the library's own, for a new one as for ``who``.
            runner: Runner that reads and encodes, besides this process (docs/scale.md).
            shards: A folder: write there instead, as Parquet files (``import_shards``).
            remote: Fetch the addresses too that lists name, besides those of ``paths``.
            progress: Called after the commit of each recording.
            options: The fields of ``vlar.library.ingest.request.AddRequest`` by name, as above.

        Returns:
            What was done, with the recordings that cannot be read; they never end the call.

        Raises:
            UsageError: an unusable argument. LibraryLockedError: another one writes.
            LibraryError: not writable, or other windows or people. EncoderMismatchError: its model.
        """
        return self.ingest(AddRequest(paths, **options))

    def ingest(self, request: AddRequest) -> AddReport:
        """Index the recordings of a request, as ``add`` does with the same fields."""
        from vlar.library.ingest.ingest import add_paths

        with self._connection.writing() as writer:
            model = self._connection.models.of(LibraryManifest.of(writer))
            report = add_paths(writer, model, request)
            self._connection.settle()
        return report

    def add_vectors(self, videos: Iterable[shard_reading.VectorVideo]) -> AddReport:
        """Index recordings by their vectors; earlier rows of the same paths are replaced.

        Each is there whole or not at all. The vectors must be those of the library's model: a new
        library takes its name, fingerprint and width from the model it was opened with.

        Raises:
            UsageError: vectors that cannot be rows; the recordings before them are kept.
            LibraryLockedError: another one writes. LibraryError: it cannot be written to.
            EncoderMismatchError: another model made it.
        """
        from vlar.library.ingest import shard_reading

        with self._connection.writing() as writer:
            manifest = self._connection.models.of(LibraryManifest.of(writer)).manifest
            with writer.transaction():
                if "fingerprint" not in writer.meta():
                    writer.set_meta(manifest.to_meta())
            report = shard_reading.add_vectors(writer, videos, manifest.dim)
            self._connection.settle()
            return report

    def import_shards(
        self, paths: str | Path | Sequence[str | Path], *, progress: IngestProgress | None = None
    ) -> AddReport:
        """Add the rows of Parquet files, such as ``add(shards=FOLDER)`` and ``export`` write them.

        Args:
            paths: Files, and folders of them; docs/scale.md has the columns. The rows of a
                recording that is in several are those of the last one.
            progress: Called after the commit of each recording.

        Returns:
            What was done; ``failed`` also names files and recordings that cannot be rows.

        Raises:
            UsageError: no file can be used, or pyarrow is not installed.
            LibraryLockedError: another one writes. LibraryError: it cannot be written to.
        """
        from vlar.library.ingest.shard_reading import import_shards

        files = [paths] if isinstance(paths, str | Path) else list(paths)
        with self._connection.writing() as writer:
            report = import_shards(writer, files, self._connection.models, progress)
            self._connection.settle()
            return report

    def remove(self, paths: str | Path | Sequence[str | Path]) -> int:
        """Remove recordings from the library; the files themselves are not touched.

        Args:
            paths: Files (also ones that are gone), folders, or globs (``*`` crosses folders).

        Returns:
            The number of recordings that were removed.

        Raises:
            LibraryLockedError: another one writes. LibraryError: it cannot be written to.
        """
        patterns = [paths] if isinstance(paths, str | Path) else list(paths)
        with self._connection.writing() as writer:
            chosen = sorted({i for pattern in patterns for i in writer.matching(pattern)})
            if chosen:
                with writer.transaction():
                    writer.delete(chosen)
                self._connection.settle()
            return len(chosen)

    def tag(
        self,
        tags: Mapping[str, Mapping[str, str | None]],
        *,
        before: Mapping[str, Mapping[str, str | None]] | None = None,
    ) -> int:
        """Change tags of recordings, all of them or none, and return their number.

        Args:
            tags: New values by key, by the path of the recording as the library has it; None
                removes a tag.
            before: Values by key that the caller last read, by path; None for a tag that was not
                there. Where one of them is another by now, nothing is changed.

        Raises:
            UsageError: a tag cannot be used.
            TagConflictError: a tag has another value than ``before``.
            LibraryError: no recording has a path, or the library cannot be written to.
        """
        with self._connection.writing() as writer, writer.transaction():
            change_tags(writer, tags, before or {})
        return len(tags)

    # Facts and answers --------------------------------------------------------------------------

    def videos(self, where: Where | None = None) -> list[VideoRow]:
        """The recordings, by path: all, or those that meet filters as ``query`` has them.

        Raises:
            QueryError: a filter cannot be used, or chooses among spans or people.
        """
        with self._connection.mutex:
            if (store := self._connection.reader()) is None:
                return []
            with store.snapshot():
                return recordings(store, where)

    def info(self) -> LibraryInfo:
        """Facts of the library: contents, model, search engine, and the reason for the engine."""
        with self._connection.mutex:
            store = self._connection.reader()
            with nullcontext() if store is None else store.snapshot():
                return self._connection.backend.info(store)

    @takes(QueryRequest)
    def query(self, text: str, k: int = 10, **options: Any) -> Hits:
        """The spans of the library that answer a query best, best first.

        A query is a plain phrase, or an expression (docs/query.md). ``score`` ranks: the calibrated
        probability of a plain phrase, the value of an expression. Windows of one recording that
        answer together are one span. Damaged rows are not used: a warning names them.

        Args:
            text: What to look for, in plain words or as an expression.
            k: Greatest number of spans to return.
            where: Filters that all hold, such as ``["place=gym", "start_s>=10"]``, or a mapping
                (``vlar.library.query.filters``).
            min_probability: Spans below it are left out; 0 keeps all. The default, 0.05, is the
                prior: less fits worse than everyday actions at large.
            rerank: Name of a re-ranker for the best candidates (``vlar.parts("reranker")``),
                ``auto`` for the one that suits the model, None for none; an answerer such as
                ``self:motion`` (docs/second_opinion.md); or a re-ranker.
            report: Called with how the query was answered.
            miss: Chance, above 0 and below 1: all spans that are needed for the moment to be among
                them with ``1 - miss``, or none; ``k`` and ``min_probability`` do not count.
            only: ``seen`` searches pictures, ``written`` names, tags, captions; ``both``.
            one_per_recording: At most one span of each recording, its best.
            yes, no: Hits, or ids of rows, that show what was meant, or do not; see ``refine``.
            options: The fields of ``vlar.library.query.request.QueryRequest`` by name, as above.

        Raises:
            UsageError: ``miss``, and the library has no calibration for its model.
            QueryError: no word in the text, an expression that cannot be parsed
                (``vlar.library.query.grammar.QuerySyntaxError``), ``k`` below 1, or an invalid
                filter.
            UnknownNameError: no re-ranker has this name.
            DecodeError: the clip of a LIKE cannot be read. LibraryError: it is empty or damaged.
            EncoderMismatchError: another model made it.
        """
        return self.search(QueryRequest(text, k, **options))

    def refine(
        self,
        text: str,
        *,
        yes: Sequence[Hit | int] = (),
        no: Sequence[Hit | int] = (),
        k: int = 10,
        where: Where | None = None,
    ) -> Hits:
        """The answers to a phrase after judgements of some of its hits.

        A small head a block of the vectors (objects, motion, ...) learns from them; its prior are
        the words, so one judgement moves little and ten move much. Judged moments are left out.

        Args:
            text: A plain phrase.
            yes: Hits, or ids of rows (``Hit.row``), that show what was meant.
            no: Those that do not.
            k: Greatest number of spans to return.
            where: As in ``query``.

        Returns:
            The spans, best first; ``decides`` has the share of each block. Without judgements the
            answer of ``query``.

        Raises:
            QueryError: an expression, an unknown row, or a row that is judged both ways.
            LibraryError: it is empty or damaged.
        """
        return self.search(QueryRequest(text, k, where=where, yes=tuple(yes), no=tuple(no)))

    def search(self, request: QueryRequest) -> Hits:
        """The spans that answer a request best, as ``query`` with the same fields."""
        from vlar.library.query.answer import answer

        return answer(self._connection, request)

    @property
    def concepts(self) -> Concepts:
        """Names for what judgements taught: a mapping with ``save`` and ``remove``."""
        from vlar.library.query.concepts import Concepts

        return Concepts(self._connection)

    def link(self, pairs: Pairs | None = None) -> LinkReport:
        """Learn to answer ``LIKE`` with files of other sensors, from moments that both recorded.

        Args:
            pairs: A CSV with columns ``path.SENSOR``, or paths by sensor; None: its own bundles.

        Raises:
            UsageError: fewer than 8 pairs can be used. LibraryLockedError: another one writes.
        """
        from vlar.library.query.links import learn

        return learn(self._connection, pairs)

    def nearest(self, vector: Float32, k: int = 10, *, where: Where | None = None) -> list[RowHit]:
        """The rows most similar to a vector (D,) of unit length, best first; no model is loaded.

        Args:
            vector: A vector of the library's model.
            k: Greatest number of rows to return.
            where: As in ``query``.

        Raises:
            QueryError: wrong width, a value that is not finite, ``k`` below 1, an invalid filter.
            LibraryError: it is empty or damaged.
        """
        from vlar.library.query.similarity import nearest, nearest_held

        connection = self._connection
        with connection.mutex:
            store, _ = connection.nonempty()
            if where and (current := connection.current_cache()):
                held = nearest_held(*current, vector, k, where)
                if held is not None:
                    return held
            return connection.searched(store, lambda cache: nearest(store, cache, vector, k, where))

    def unusual(self, k: int = 10, *, against: Library | None = None) -> list[discovery.Standout]:
        """The windows that resemble nothing else: far from all windows of other recordings.

        Args:
            k: Greatest number of windows; those that share half of their time count as one.
            against: Another library of the same model; windows are compared with its rows instead,
                so that what is new in this library comes first.

        Raises:
            QueryError: ``k`` below 1. LibraryError: one is empty or damaged.
            EncoderMismatchError: two models made them.
        """
        other = None if against is None else against.all_rows()
        return discovery.unusual(self.all_rows(), k, other)

    def highlights(self, k: int = 10, *, per_recording: int = 1) -> list[discovery.Standout]:
        """The windows that stand out most in their own recording, over all recordings.

        Args:
            k: Greatest number of windows.
            per_recording: Greatest number of windows of one recording.

        Raises:
            QueryError: ``k`` or ``per_recording`` below 1. LibraryError: it is empty or damaged.
        """
        return discovery.highlights(self.all_rows(), k, per_recording)

    def diverse(self, k: int = 10, *, whole: bool = False) -> list[discovery.Standout]:
        """The windows that cover all others best, to label next (``discovery.farthest_first``).

        The first ones of a longer list are the same. 200,000 windows are considered at most.

        Args:
            k: Greatest number of windows; fewer where the others repeat these.
            whole: Keep sequences whole: choose recordings, each with all of its windows.
        """
        rows = discovery.all_rows(self._connection, discovery.MOST_CANDIDATES)
        return discovery.diverse(rows, k, whole=whole)

    def duplicates(self) -> list[discovery.DuplicateGroup]:
        """Groups of recordings that show the same (``vlar.library.copies``), largest first.

        Raises:
            LibraryError: it is empty or damaged.
        """
        return discovery.duplicates(self.all_rows())

    def all_rows(self) -> discovery.LibraryRows:
        """Every row of a whole frame that is sound and shows something; damaged ones are named."""
        return discovery.all_rows(self._connection)

    def export(self, path: str | Path, *, progress: tables.Counted | None = None) -> int:
        """Write all rows, with vectors and tags, as a Parquet file.

        Rows are read and written in batches of 8192, all of one state of the library.

        Args:
            path: The file, which ends in ``.parquet``; an older one is replaced.
            progress: Called after each batch.

        Returns:
            The number of rows written; damaged rows are left out, and a warning names them.

        Raises:
            UsageError: an unusable file, no pyarrow, or mapped rows. LibraryError: it is empty.
        """
        return tables.write_parquet(self._connection, path, progress)

    def to_arrow(self) -> Any:
        """All rows as a ``pyarrow.Table``, as ``export`` writes them.

        Raises:
            UsageError: pyarrow is not installed. LibraryError: it is empty or damaged.
        """
        return tables.arrow_table(self._connection)

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a data frame of pandas; vectors are arrays (D,), tags are dicts."""
        return self.to_arrow().to_pandas(maps_as_pydicts="strict")

    def dataset(
        self,
        *,
        tags: Sequence[str] = (),
        clips: bool = False,
        n_frames: int = 8,
        size: tuple[int, int] = (224, 224),
        channels_first: bool = False,
    ) -> LibraryDataset:
        """The rows as a map-style data set for ``torch.utils.data.DataLoader``.

        Args:
            tags: Keys of tags that items carry; a missing tag is an empty text.
            clips: Whether items carry frames, which are decoded when they are asked for.
            n_frames: T.
            size: (H, W) in pixels.
            channels_first: Whether frames are (T, 3, H, W), as networks of PyTorch take them.
        """
        with self._connection.mutex:
            self._connection.nonempty()
        return LibraryDataset(str(self.path), tuple(tags), clips, n_frames, size, channels_first)

    def compact(self, *, retrain: bool = False, kind: str | None = None) -> CompactReport:
        """Merge all changes into the search cache, and shrink the files by a second copy of them.

        Args:
            retrain: Build the search engine again even where it has not drifted.
            kind: Name of the search engine from now on (``flat``, ``ivf``, ``ivf-sq8``); ``auto``
                chooses by the number of rows.

        Raises:
            UnknownNameError: no engine has this name. LibraryLockedError: another one writes.
            LibraryError: it cannot be written to.
        """
        with self._connection.alone(), self._connection.writing() as writer:
            self._connection.forget_cache()
            probes = self._connection.models.probes()
            return self._connection.backend.compact(writer, probes, retrain, kind)

    def upgrade(
        self, *, lazy: bool = False, minutes: float | None = None, rows: Sequence[int] = (),
        progress: tables.Counted | None = None, runner: Runner | None = None,
    ) -> UpgradeReport:  # fmt: skip
        """Bring the library up to date with its model: an interrupted run resumes (docs).

        Args:
            lazy: Change to any model at once: rows are mapped, and encoded later.
            minutes: Time to encode mapped rows in; None: none with ``lazy``, else all of them.
            rows: Ids of rows (``Hit.row``) to encode, instead of any.
            progress: Called with the number of recordings done and their total.
            runner: Encodes mapped rows, as for ``add``.

        Raises:
            LibraryError: it is empty or cannot be read. LibraryLockedError: another one writes.
            UsageError: it shares no part with its model (without ``lazy``), or is mapped from one.
        """
        models = self._connection.models
        request = UpgradeRequest(lazy, minutes, rows, progress, runner, models.loader)
        with self._connection.alone():
            self._connection.forget_cache()
            return self._connection.backend.upgrade(models.given(), request)

    def copy_to(
        self, other: Library, *, progress: Callable[[int, int], None] | None = None
    ) -> CopyReport:
        """Copy all recordings, rows, contexts, captions and tags into another library.

        Either may be a folder or a database. An interrupted copy resumes. At the end both libraries
        are read, and their digests must be equal (``vlar.library.maintain.library_copy``).

        Args:
            other: A new library, or a part of this one.
            progress: Called with rows done and rows in all, after each commit.

        Raises:
            UsageError: it is the same library.
            LibraryError: this one is empty or damaged, or the other one holds something else.
            LibraryLockedError: another process is writing to the other one.
        """
        return self._connection.copy_to(other._connection, progress)

    def verify(self, *, repair: bool = False, files: bool = True) -> list[LibraryFault]:
        """All faults of the library, its search cache and its recordings' files.

        Args:
            repair: Repair what can be repaired (the rule: ``vlar.library.backends``).
            files: Whether to check the recordings' files too.

        Raises:
            LibraryError: it is so damaged that it cannot be read.
            LibraryLockedError: another process is writing (only with ``repair``).
        """
        connection = self._connection
        with connection.alone() if repair else connection.mutex:
            if (store := connection.reader()) is None:
                return emptied(connection.path)
            with store.snapshot():
                faults = list(connection.backend.verify(store, files))
            return connection.repair(faults) if repair and faults else faults
