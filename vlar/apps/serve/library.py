"""A library that is served: what a page asks for besides answers to queries."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vlar.apps.cli.inputs import load_model
from vlar.apps.serve.errors import ServeError
from vlar.apps.serve.files import AllowedFolders
from vlar.apps.serve.uploads import Uploads
from vlar.cancellation import cancellable
from vlar.encoders.captions import CaptionQuote, quotes
from vlar.errors import one_line
from vlar.files.reading import MB, parse_json, read_file
from vlar.files.recent import Recent
from vlar.files.resources import work_folder
from vlar.library import labels
from vlar.library.connection import LibraryConnection
from vlar.library.library import Library
from vlar.library.maintain.library_copy import copy_recordings
from vlar.library.query.concepts import Concept, concepts, remove, save
from vlar.library.query.filters import conditions
from vlar.library.query.grammar import Like, leaves, parse, show
from vlar.library.query.similarity import compare, encode_leaves
from vlar.library.roots import roots_of
from vlar.library.rows import RowFilter, VideoRow
from vlar.library.store.base import LibraryStore
from vlar.library.store.paths import place
from vlar.model.model import Model
from vlar.segments.segment import Segment
from vlar.types import JsonDict, Window

T = TypeVar("T")


@dataclass(frozen=True)
class Curve:
    """One phrase of a query over the windows of one recording.

    Attributes:
        phrase: The phrase, or the clip of a LIKE as it is written.
        windows: N windows, by time.
        similarity: N cosines.
        probability: N probabilities against everyday actions; None for a clip, which has no
            such background.
    """

    phrase: str
    windows: tuple[Window, ...]
    similarity: tuple[float, ...]
    probability: tuple[float, ...] | None

    def to_dict(self) -> JsonDict:
        """The JSON object of the server."""
        values = None if self.probability is None else [round(p, 6) for p in self.probability]
        return {
            "phrase": self.phrase,
            "windows": [[round(w.start_s, 3), round(w.end_s, 3)] for w in self.windows],
            "similarity": [round(s, 6) for s in self.similarity],
            "probability": values,
        }


class ServedLibrary(Library):
    """A library with reads of one recording; any thread may call it."""

    def _read(self, ask: Callable[[LibraryStore], T], default: T) -> T:
        """Result of a read; the default before the first write."""
        with self._connection.mutex:
            store = self._connection.reader()
            return default if store is None else ask(store)

    def named_concepts(self) -> list[Concept]:
        """Names for what judgements taught."""
        return self._read(lambda store: list(concepts(store).values()), [])

    def teach(self, name: str, text: str, yes: Sequence[int], no: Sequence[int]) -> Concept:
        """Keep a concept (``vlar.library.query.concepts.save``)."""
        self.require_writable()
        return save(self._connection, name, text, yes, no)

    def forget_concept(self, name: str) -> None:
        """Forget a concept."""
        self.require_writable()
        remove(self._connection, name)

    def paths(self) -> list[str]:
        """Path of every recording."""
        return self._read(lambda store: sorted(store.paths().values()), [])

    def root_paths(self) -> list[str]:
        """A path in each folder that may be read where no root is given."""
        return self._read(roots_of, [])

    def matching(self, where: Sequence[str] = ()) -> list[VideoRow]:
        """Recordings that pass all filters on recordings, by path; those on rows do not count.

        Raises:
            QueryError: a filter cannot be used.
        """
        return self.videos([str(row) for row in conditions(where) if not row.is_of_row])

    def version(self) -> int:
        """A number that changes with every change of the library."""
        return self._read(lambda store: store.data_version(), -1)

    @property
    def is_writable(self) -> bool:
        """Whether this process may write to the folder; Milvus refuses a change itself."""
        return not isinstance(self.path, Path) or os.access(self.path, os.W_OK)

    def require_writable(self) -> None:
        """Refuse changes where this server cannot write.

        Raises:
            ServeError: 403.
        """
        if not self.is_writable:
            fix = "start the server where it may write to the folder of the library"
            raise ServeError(403, "the library is read-only", fix, "read_only")

    def make(self) -> None:
        """Make the library where it is absent, without a recording.

        Raises:
            LibraryError: it cannot be made there.
        """
        with self._connection.writing():
            return

    def forget(self, paths: Sequence[str], kept: Path | None = None) -> int:
        """Remove the recordings of exactly these paths, which are never read as globs.

        Args:
            paths: As the library has them.
            kept: Folder of a new library that takes them.

        Raises:
            LibraryLockedError: another process is writing.
            LibraryError: the library cannot be written to.
        """
        with self._connection.writing() as writer:
            chosen = [facts for path in paths if (facts := writer.at_path(path)) is not None]
            if kept is not None and chosen:
                with work_folder(kept.parent) as work:
                    copy = LibraryConnection(work / kept.name, None, True, "cpu")
                    with closing(copy), copy.writing() as target:
                        copy_recordings(writer, target, chosen)
                    (work / kept.name).replace(kept)
            with writer.transaction():
                writer.delete([facts.id for facts in chosen])
            self._connection.settle()
        return len(chosen)

    def take_back(self, kept: Path) -> int:
        """Add the recordings that ``forget`` kept; a path that is there again is left out.

        Raises:
            LibraryError: the library has another model or other windows by now.
            LibraryLockedError: another process is writing.
        """
        copy = LibraryConnection(kept, None, False, "cpu")
        with closing(copy), self._connection.writing() as writer, copy.mutex:
            source, _ = copy.nonempty()
            chosen = [row for row in source.recordings() if writer.at_path(row.path) is None]
            copy_recordings(source, writer, chosen)
            self._connection.settle()
        return len(chosen)

    def added_s(self, paths: Sequence[str]) -> dict[str, float]:
        """The time at which recordings were indexed, in seconds since 1970, by path."""
        with self._connection.mutex:
            store = self._connection.reader()
            rows = [] if store is None else [store.at_path(path) for path in paths]
        return {row.path: row.added_at_s for row in rows if row is not None}

    def people(self, path: str) -> list[JsonDict]:
        """Each person of each window of a recording: its times, number and box."""
        with self._connection.mutex:
            store, manifest = self._connection.nonempty()
            recording = store.at_path(path)
            if recording is None or not manifest.persons:
                return []
            with store.snapshot():
                some = frozenset(store.ids_of(people=True).tolist())
                row_filter = RowFilter(frozenset([recording.id]), rows=some)
                batches = list(store.scan(manifest.dim, row_filter))
        return [
            {"start_s": start_s, "end_s": end_s, "track": who.track, "box": list(who.box)}
            for rows in batches
            for row_id, (start_s, end_s) in zip(rows.ids, rows.times_s.tolist(), strict=True)
            if (who := rows.people.get(int(row_id))) is not None
        ]

    def written(self, path: str) -> list[CaptionQuote]:
        """Words that captions of a recording quote: said, and on screen; by time."""
        with self._connection.mutex:
            store, manifest = self._connection.nonempty()
            recording = store.at_path(path)
            if recording is None:
                return []
            with store.snapshot():
                rows = store.scan(manifest.dim, RowFilter(frozenset([recording.id])))
                ids = [row_id for batch in rows for row_id in batch.ids.tolist()]
                return quotes(store.captions(ids).values())

    def labels(self, path: str) -> labels.Labels:
        """Labels of a recording (``vlar.library.labels``)."""
        return labels.read(self._connection, path)

    def all_labels(self) -> list[labels.Labels]:
        """Labels of all recordings that have some, by path."""
        return labels.every(self._connection)

    def set_labels(self, path: str, segments: Sequence[Segment], version: int) -> labels.Labels:
        """Replace the labels of a recording whose version is still the one that was read."""
        return labels.write(self._connection, path, segments, version)

    def duration_s(self, path: str) -> float:
        """Length of a recording in seconds; 0 where there is none of this path."""
        facts = self._read(lambda store: store.at_path(path), None)
        return 0.0 if facts is None else facts.duration_s

    def has_rows(self) -> bool:
        """Return whether there is anything to search."""
        return self._read(lambda store: store.has_rows(), False)

    def has(self, path: str) -> bool:
        """Return whether there is a recording of this path."""
        return self._read(lambda store: store.at_path(path) is not None, False)

    def windows(self, path: str) -> list[Window]:
        """The windows of one recording, by time; empty where it is not in the library."""
        with self._connection.mutex:
            store = self._connection.reader()
            recording = None if store is None else store.at_path(place(path))
            if store is None or recording is None:
                return []
            return [Window(*times) for times in store.spans(recording.id)]

    def curves(self, text: str, path: str) -> list[Curve]:
        """Fit of each phrase of a query to each window of one recording.

        Raises:
            QueryError: the text cannot be parsed.
            LibraryError: the library is empty or damaged.
        """
        leaves_asked = leaves(parse(text))
        with self._connection.mutex:
            store, manifest = self._connection.nonempty()
            model = self._connection.models.loaded(manifest)
            queries = encode_leaves(leaves_asked, model)
            with store.snapshot():
                recording = store.at_path(path)
                if recording is None:
                    return []
                whole = frozenset(store.ids_of(people=False).tolist()) if manifest.persons else None
                rows = RowFilter(frozenset([recording.id]), rows=whole)
                scores = compare(store, manifest, model, queries, rows)
        times = zip(scores.windows.start_s.tolist(), scores.windows.end_s.tolist(), strict=True)
        windows = tuple(Window(*time) for time in times)
        return [
            Curve(
                show(leaf) if isinstance(leaf, Like) else leaf.text,
                windows,
                tuple(scores.similarity[leaf].tolist()),
                None if isinstance(leaf, Like) else tuple(scores.probability[leaf].tolist()),
            )
            for leaf in leaves_asked
        ]


OWN = "library"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,63}")
_MOST_LOADED = 4


class Models:
    """Loads each model when it is first needed; the adapted ones are folders."""

    def __init__(
        self, spec: str, folder: Path, device: str | None, dtype: str | None, library: str
    ) -> None:
        self.spec, self._folder, self._library = spec, folder, library
        self.placement = {"device": device, "dtype": dtype}
        self._own: Model | None = None
        self._adapted = Recent(_MOST_LOADED)
        self._lock = threading.RLock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def is_ready(self) -> bool:
        """Whether the library's model is loaded."""
        return self._own is not None

    def own(self) -> Model:
        """The library's model.

        Raises:
            ModelError: it cannot be loaded.
        """
        with self._lock:
            if self._own is None:
                self._own = self._loaded(self.spec, self._library)
            return self._own

    def get(self, name: str) -> Model:
        """A model by the name that ``names`` gives.

        Raises:
            ServeError: 404 where there is none of this name.
        """
        if name == OWN:
            return self.own()
        folder = Path(self.spec_of(name))
        stamp = folder.stat().st_mtime_ns
        with self._lock:
            return self._adapted.keep((name, stamp), lambda: self._loaded(folder))

    def _loaded(self, spec: str | Path, library: str | None = None) -> Model:
        with cancellable(None):  # others wait for it too
            return load_model(str(spec), **self.placement, library=library)

    def spec_of(self, name: str) -> str:
        """A model as ``vlar.load`` takes it.

        Raises:
            ServeError: 404 where there is none of this name.
        """
        if name == OWN:
            return self.spec
        folder = self.place(name)
        if not _is_model(folder):
            error = f"no model {one_line(name)!r}"
            names = ", ".join(entry["name"] for entry in self.listing())
            raise ServeError(404, error, f"there are: {names}", "not_found")
        return str(folder)

    def labels_of(self, name: str) -> tuple[str, ...] | None:
        """Labels of an adapted model, read without loading it; None for the library's own.

        Raises:
            ServeError: 404 where there is none of this name.
        """
        if name == OWN:
            return None
        try:
            text = read_file(Path(self.spec_of(name)) / "vlar.json", MB, links=False)
            return tuple(map(str, parse_json(text)["labels"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None  # loading it names the fault

    def place(self, name: str) -> Path:
        """The folder of an adapted model, which need not exist.

        Raises:
            ServeError: 400 where it cannot be a name.
        """
        if not _NAME.fullmatch(name) or name == OWN:
            error = f"{one_line(name)[:80]!r} cannot be the name of a model"
            fix = "write up to 64 letters, digits, blanks, - or _, but not 'library'"
            raise ServeError(400, error, fix, "name")
        return self._folder / name

    def listing(self) -> list[JsonDict]:
        """Names of the models, the library's own first."""
        entry: JsonDict = {"name": OWN, "model": self.spec, "adapted": False}
        folders = sorted(folder for folder in self._folder.iterdir() if _is_model(folder))
        adapted = ({"name": f.name, "model": str(f), "adapted": True} for f in folders)
        return [entry, *adapted]


def _is_model(folder: Path) -> bool:
    return (folder / "vlar.json").is_file()


_KEPT_IDS = 100_000


@dataclass(frozen=True)
class RequestedRecording:
    """A recording, or a span of one; exactly one of the first three is given.

    Attributes:
        video: Id of a recording of the library (``video_id``).
        upload: Id of an upload.
        path: Path on the server.
        start_s: Seconds; None for the whole recording.
        end_s: Seconds.
    """

    video: str | None = None
    upload: str | None = None
    path: str | None = None
    start_s: float | None = None
    end_s: float | None = None

    @property
    def window(self) -> Window | None:
        """The span.

        Raises:
            ServeError: 400 where one end is missing, or it ends before it starts.
        """
        if self.start_s is None and self.end_s is None:
            return None
        if self.start_s is None or self.end_s is None or not 0 <= self.start_s < self.end_s:
            error = f"the span {self.start_s} to {self.end_s} s is not one"
            raise ServeError(400, error, "give start_s and a later end_s, or neither", "span")
        return Window(self.start_s, self.end_s)


def video_id(path: str) -> str:
    """The id of a recording: 20 hexadecimal digits of the hash of its path."""
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:20]


class Sources:
    """Finds the file that a request means, and refuses what lies outside the roots."""

    def __init__(self, library: ServedLibrary, roots: AllowedFolders, uploads: Uploads) -> None:
        self._library, self.roots, self._uploads = library, roots, uploads
        self._paths = Recent(_KEPT_IDS)
        self._lock = threading.Lock()

    def id_of(self, path: str) -> str:
        """The id of a recording of the library; it is found again at once."""
        name = video_id(path)
        with self._lock:
            self._paths.keep(name, lambda: path)
        return name

    def stored_path(self, name: str) -> str:
        """The path that the library has for an id, or for the file name of one recording.

        Raises:
            ServeError: 404 where no recording has it, 400 where several have the file name.
        """
        path = self._paths.get(name)
        if path is None:
            path = next((path for path in self._library.paths() if video_id(path) == name), None)
            path = path or self._called(name)
        if path is None or not self._library.has(path):
            error = f"no recording {one_line(name)[:40]!r} in the library"
            raise ServeError(404, error, "list them: GET /api/videos", "not_found")
        self.id_of(path)
        return path

    def _called(self, name: str) -> str | None:
        """The path of the one recording whose file has a name; None where no file has it."""
        known = () if "/" in name else self._library.paths()
        paths = [path for path in known if Path(path).name == name]
        if len(paths) > 1:
            error = f"{len(paths)} recordings are called {one_line(name)[:80]}"
            raise ServeError(400, error, "list them: GET /api/videos", "source")
        return paths[0] if paths else None

    def file(self, name: str) -> Path:
        """The real path of a recording of the library.

        Raises:
            ServeError: 404 not in the library, 403 outside the roots, 410 moved.
        """
        return self.roots.recording(self.stored_path(name))

    def require_writable(self) -> None:
        """Refuse changes of a library that cannot be written to, as ``ServedLibrary`` does."""
        self._library.require_writable()

    def tagged(self, key: str) -> list[tuple[str, str]]:
        """Id and value of each recording that has a tag."""
        rows = self._library.matching()
        return [(self.id_of(row.path), row.tags[key]) for row in rows if key in row.tags]

    def labelled(self) -> list[tuple[str, Segment]]:
        """Id of the recording and span of each label that people set, without points."""
        return [
            (self.id_of(row.path), span)
            for row in self._library.all_labels()
            for span in row.segments
            if not span.is_point
        ]

    def find(self, source: RequestedRecording) -> tuple[Path, str]:
        """The file of a source, and what answers call it.

        Raises:
            ServeError: it is none, not there, or outside the roots.
        """
        names_given = [
            name for name in (source.video, source.upload, source.path) if name is not None
        ]
        if len(names_given) != 1:
            fix = "give exactly one of video, upload and path"
            raise ServeError(400, f"{len(names_given)} recordings are given", fix, "source")
        if source.video is not None:
            return self.file(source.video), self.stored_path(source.video)
        if source.upload is not None:
            upload = self._uploads.get(source.upload)
            return upload.path, upload.name
        path = source.path or ""
        real = self.roots.real(self._called(path) or path)
        return real, str(real)
