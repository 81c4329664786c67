"""Labels of a served library: spans that people set in the player, and files of them."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from vlar.apps.serve.errors import ServeError
from vlar.apps.serve.library import ServedLibrary, Sources
from vlar.apps.serve.media import Media
from vlar.errors import DecodeError, UsageError, VlarError
from vlar.files.reading import read_file
from vlar.library.labels import segment_of
from vlar.segments.base import MOST, AnnotationFormat
from vlar.segments.files import every_format, load, save
from vlar.segments.segment import Segment
from vlar.types import JsonDict

Keys = Mapping[str, tuple[str, bool]]
_KNOWN = 50  # labels of other recordings that are offered


def _own(segment: Segment) -> JsonDict:
    return {name: value for name, value in segment.to_dict().items() if name != "recording"}


class LabelDesk:
    """Reads, changes and exports the labels of a library.

    Args:
        library: The library.
        sources: Its recordings.
        media: Gives frame rates, and reads and writes files of labels in a process.
        folder: For files of one request.
        keys: Label, and whether it is a point event, by the key that sets it.
    """

    def __init__(
        self,
        library: ServedLibrary,
        sources: Sources,
        media: Media,
        folder: Path,
        keys: Keys | None = None,
    ) -> None:
        self._folder = folder
        self._library, self._sources, self._media = library, sources, media
        self._keys = dict(keys or {})
        self._names: tuple[int, list[str]] = (-1, [])

    @cached_property
    def forms(self) -> dict[str, tuple[AnnotationFormat, str]]:
        """Formats that are written, each with the ending of its files, by name."""
        parts = [part for part in every_format() if part.writes]
        return {part.name: (part, min(part.default_for or part.endings)) for part in parts}

    def read(self, video: str) -> JsonDict:
        """Labels of a recording with their version, its length, and labels to choose from.

        Raises:
            ServeError: 404 where it is not in the library.
        """
        path = self._sources.stored_path(video)
        forms = [[name, ending] for name, (_, ending) in self.forms.items()]
        facts = {"duration_s": self._library.duration_s(path), "forms": forms, "keys": self._keys}
        names = dict.fromkeys([*(label for label, _ in self._keys.values()), *self._known()])
        return {**self._library.labels(path).to_dict(), **facts, "known": list(names)}

    def write(self, video: str, version: int, segments: Sequence[JsonDict]) -> JsonDict:
        """Replace the labels of a recording; ``version`` is the one that the caller read.

        Raises:
            ServeError: 403 read-only, 404 not in the library.
            LabelConflictError: somebody else changed them meanwhile; nothing is changed.
        """
        self._library.require_writable()
        path = self._sources.stored_path(video)
        rows = [segment_of(row, path) for row in segments]
        kept = self._library.set_labels(path, rows, version)
        return {"version": kept.version, "changed_s": kept.changed_s}

    def every(self) -> JsonDict:
        """Labelled spans of all recordings, and how many recordings have some."""
        spans = [
            {"video": video, "name": Path(span.recording).name, **_own(span)}
            for video, span in self._sources.labelled()
        ]
        return {"recordings": len({span["video"] for span in spans}), "spans": spans}

    def read_file(self, video: str, name: str, text: str) -> JsonDict:
        """The segments of a file of annotations that are of a recording; nothing is kept.

        Raises:
            ServeError: the file names other recordings only, or this one is not there.
            UsageError: it is not a file of annotations.
        """
        recording = Path(self._sources.stored_path(video))
        ending = re.search(r"(\.\w{1,20}){0,2}$", name)
        with self._file(f"labels{ending[0] if ending else ''}", Path(name).name[:80]) as file:
            file.write_text(text, "utf-8")
            table = self._media.label_work(file, load, file, fps=self._fps(video))
        names = {segment.recording for segment in table.segments}
        same = {n for n in names if PurePath(n).stem.casefold() == recording.stem.casefold()}
        if not same and len(names) > 1:
            error = f"{Path(name).name} has labels of {len(names)} recordings, none of this name"
            fix = f"rename the recording in it to {recording.stem}"
            raise ServeError(400, error, fix, "support")
        rows = [_own(row) for row in table.segments if row.recording in (same or names)]
        return {"segments": rows, "notes": list(table.notes)}

    def _fps(self, video: str) -> float | None:
        try:
            return self._media.facts(self._sources.file(video)).fps
        except VlarError:
            return None  # formats that count frames ask for it

    def export(
        self, form: str, videos: Sequence[str] | None = None, fps: float | None = None
    ) -> tuple[bytes, str]:
        """A file of labels in a format of annotations, and its ending.

        Args:
            form: Name of a format.
            videos: Ids of recordings; None for all that have labels.
            fps: Frames a second; None asks the first recording where the format counts frames.

        Raises:
            ServeError: no format has this name, or there is nothing to write.
            UsageError: the format cannot hold these labels.
        """
        if form not in self.forms:
            error = f"no format {form[:60]!r} is written"
            raise ServeError(400, error, f"there are: {', '.join(self.forms)}", "format")
        part, ending = self.forms[form]
        chosen = None if videos is None else {self._sources.stored_path(v) for v in videos}
        every = self._library.all_labels()
        labels = [row for row in every if chosen is None or row.path in chosen]
        if not labels:
            raise ServeError(400, "no recording has labels yet", "label some first", "empty")
        if fps is None and part.needs_fps:
            file = self._sources.roots.recording(labels[0].path)
            fps = self._media.facts(file).fps
        segments = [segment for row in labels for segment in row.segments]
        with self._file(f"labels{ending}", f"labels{ending}") as file:
            self._media.label_work(file, save, file, segments, fps=fps, form=form)
            return read_file(file, MOST), ending

    @contextmanager
    def _file(self, name: str, shown: str) -> Generator[Path]:
        """A file of one request, which errors call by another name."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            file = Path(folder) / name
            try:
                yield file
            except (UsageError, DecodeError) as error:
                raise type(error)(error.message.replace(str(file), shown)) from None

    def _known(self) -> list[str]:
        """Labels in use, the most frequent first; counted again after a change."""
        version = self._library.version()
        if self._names[0] != version:
            counts: Counter[Any] = Counter(
                segment.label for row in self._library.all_labels() for segment in row.segments
            )
            self._names = version, [label for label, _ in counts.most_common(_KNOWN)]
        return self._names[1]
