"""The library: a folder of indexed videos that can be changed and searched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vlar.errors import LibraryError, UsageError
from vlar.index import ann, schema
from vlar.index.describe import describe
from vlar.index.folder import check_place, make_folder
from vlar.index.ingest import Ingest, Progress
from vlar.index.lock import writer_lock
from vlar.index.manifest import DEFAULT_STRIDE_S, DEFAULT_WINDOW_S, Manifest
from vlar.index.paths import meant, place
from vlar.index.protocol import LibraryModel
from vlar.index.report import AddReport, LibraryInfo, VideoRow
from vlar.index.store import Store
from vlar.index.writer import Writer
from vlar.types import Hit

if TYPE_CHECKING:
    from vlar.query.report import QueryReport

DEFAULT_MODEL = "lite"


class Library:
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

    Raises:
        LibraryError: it does not exist (``create=False``), is not a library, is damaged or was
            made by a newer vlar.
    """

    def __init__(
        self,
        path: str | Path,
        model: LibraryModel | str | Path | None = None,
        create: bool = True,
    ) -> None:
        self.path = Path(path)
        self._spec = model if isinstance(model, str | Path) else None
        self._model = None if isinstance(model, str | Path) else model
        self._mutex = threading.RLock()
        self._store: Store | None = None
        self._cached: ann.Cached | None = None
        check_place(self.path, create)
        self._reader()

    def __enter__(self) -> Library:
        """The library itself; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the files. A later call opens them again."""
        with self._mutex:
            if self._store is not None:
                self._store.close()
            self._store = self._cached = None

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
        labels = _checked_tags(tags or {})
        _check_span(window_s, stride_s)
        if long_times is not None and not 1.0 <= long_times <= 100.0:
            raise UsageError(f"long_times is {long_times}; give a number from 1 to 100")
        with self._mutex, self._writing() as writer:
            manifest = Manifest.read(writer.meta(), self.path)
            if manifest is None:
                model = self._loaded(None)
                manifest = Manifest.new(model, self._name(model), window_s, stride_s, long_times)
            else:
                manifest.require_windows(window_s, stride_s, self.path, long_times)
            model_at_clip = partial(self._model_for, writer, manifest)
            ingest = Ingest(writer, model_at_clip, manifest.cut, labels, keep_context, progress)
            return ingest.run(files)

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
            chosen = [
                video_id
                for video_id, path in writer.paths().items()
                if any(meant(path, pattern) for pattern in patterns)
            ]
            if chosen:
                with writer.transaction():
                    writer.delete(chosen)
            return len(chosen)

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
            if store is None:
                return describe(self.path, None)
            with store.snapshot():
                return describe(self.path, store)

    def query(
        self,
        text: str,
        k: int = 10,
        *,
        where: Mapping[str, str] | None = None,
        min_probability: float = 0.0,
        report: Callable[[QueryReport], None] | None = None,
    ) -> list[Hit]:
        """The spans of the library that answer a query best, best first.

        A query is a plain phrase, or an expression (docs/query.md): of it every window is compared
        (the rule: ``vlar.query.evaluate``), and ``score`` is its probability.

        Windows of one video that answer together are one span (the rule: ``vlar.query.merge``).
        ``score``, which ranks, is the similarity of its best window; ``probability`` is calibrated.
        Where the model's text depends on the video, the best rows are put in order by the text as
        each of them sees it (the rule: ``vlar.query.rerank``).

        Args:
            text: What to look for, in plain words or as an expression.
            k: Number of spans; so many are given whenever so many exist.
            where: Conditions that all hold: a tag's value, or ``path`` with a glob.
            min_probability: Spans below it are left out.
            report: Told how the query was answered.

        Raises:
            QueryError: no word in the text, an expression that cannot be read
                (``vlar.query.grammar.QuerySyntaxError``), ``k`` below 1, or a key that no video
                has.
            LibraryError: the library is empty or damaged.
            EncoderMismatchError: the model at hand is not the library's.
        """
        from vlar.query.compose import compose
        from vlar.query.plan import make_plan
        from vlar.query.run import Search, answer
        from vlar.query.where import check_keys

        plan = make_plan(text, k, where, min_probability)
        with self._mutex:
            store = self._reader()
            manifest = None if store is None else Manifest.read(store.meta(), self.path)
            if store is None or manifest is None or not store.row_count():
                raise LibraryError(
                    f"library {self.path} is empty; add videos: vlar index add {self.path} VIDEOS"
                )
            check_keys(plan.where, store.tag_keys())
            model = self._loaded(manifest)
            if not plan.plain:
                with store.snapshot():
                    return compose(plan, store, manifest, model, report)
            vector = model.encode_queries([plan.phrase])[0]
            with store.snapshot():
                self._cached = ann.refresh(store, self._cached)
                return answer(plan, Search(store, self._cached, model, vector), report)

    # Inside ------------------------------------------------------------------------------------

    def _reader(self) -> Store | None:
        if self._store is None and (self.path / schema.FILE_NAME).exists():
            self._store = Store.open_to_read(self.path)
        return self._store

    @contextmanager
    def _writing(self) -> Generator[Writer, None, None]:
        make_folder(self.path)
        with writer_lock(self.path):
            writer = Writer.open_to_write(self.path)
            try:
                yield writer
            finally:
                writer.close()

    def _loaded(self, manifest: Manifest | None) -> LibraryModel:
        if self._model is None:
            from vlar.model import load

            own = DEFAULT_MODEL if manifest is None else manifest.model
            self._model = cast("LibraryModel", load(self._spec or own))
        if manifest is not None:
            manifest.require_model(self._model, self.path)
        return self._model

    def _model_for(self, writer: Writer, manifest: Manifest) -> LibraryModel:
        # Inside the transaction of a video: the manifest comes with the first one.
        model = self._loaded(manifest)
        if "fingerprint" not in writer.meta():
            writer.set_meta(manifest.to_meta())
        return model

    def _name(self, model: LibraryModel) -> str:
        # A model folder is found again from wherever the library is opened.
        spec = model.name if self._spec is None else str(self._spec)
        return place(spec) if Path(spec).is_dir() else spec


def _check_span(window_s: float | None, stride_s: float | None) -> None:
    from vlar.video import windows

    # The rule of what is a usable span is the sampler's; it raises UsageError.
    windows(
        1.0,
        DEFAULT_WINDOW_S if window_s is None else window_s,
        DEFAULT_STRIDE_S if stride_s is None else stride_s,
    )


def _checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    for key in tags:
        if not key.strip():
            raise UsageError("a tag has an empty key; write for example place=gym")
        if key == "path":
            raise UsageError("the tag key 'path' is taken by the path of a video; choose another")
    return {key: str(value) for key, value in tags.items()}
