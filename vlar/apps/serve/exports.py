"""Spans as files: tables, timelines, cut clips.

A new kind of file is one function and one row of ``EXPORTS``; the page lists what stands there.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from vlar.apps.answers import file_name
from vlar.apps.otio import otio_of_hits
from vlar.apps.serve.errors import MB, ServeError
from vlar.apps.serve.library import Sources
from vlar.apps.serve.media import Media
from vlar.results import write_table
from vlar.types import Hit

_MOST_BYTES = 500 * MB  # of cut clips


class Exports:
    """Writes files of spans; recordings are read in the processes of ``media``."""

    def __init__(self, sources: Sources, media: Media) -> None:
        self._sources, self.media = sources, media

    def __call__(self, kind: str, title: str, spans: Sequence[tuple[str, float, float]]) -> bytes:
        """A file of one of ``EXPORTS``; a span is the id of its recording, start and end (s).

        Raises:
            ServeError: 404 or 410 where a recording is not there any more.
            VlarError: a span cannot be read, or the format cannot hold them.
        """
        hits = [
            Hit(rank, self._sources.stored_path(video), start_s, end_s, 0.0, 0.0, 0.0)
            for rank, (video, start_s, end_s) in enumerate(spans, 1)
        ]
        return EXPORTS[kind][1](self, title, hits)

    def file(self, hit: Hit) -> Path:
        """The real path of the recording of a hit."""
        return self._sources.roots.recording(hit.path)


def _csv(_: Exports, __: str, hits: Sequence[Hit]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="vlar-export-") as folder:
        file = Path(folder) / "spans.csv"
        write_table(file, hits, ("rank", "path", "start_s", "end_s"))
        return file.read_bytes()


def _otio(of: Exports, title: str, hits: Sequence[Hit]) -> bytes:
    fps = of.media.facts(of.file(hits[0])).fps
    return otio_of_hits(title, hits, fps).encode("utf-8", "replace")


def _clips(of: Exports, _: str, hits: Sequence[Hit]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        for hit in hits:
            file = of.media.span(of.file(hit), hit.start_s, hit.end_s)
            archive.write(file, file_name(hit))
            if data.tell() > _MOST_BYTES:
                error = f"the clips take more than {_MOST_BYTES / MB:,.0f} MB"
                raise ServeError(413, error, "choose fewer, or shorter ones", "too_large")
    return data.getvalue()


#: Ending of each kind of file, and the function that writes it.
EXPORTS: dict[str, tuple[str, Callable[[Exports, str, Sequence[Hit]], bytes]]] = {
    "csv": ("csv", _csv),
    **({"otio": ("otio", _otio)} if find_spec("opentimelineio") else {}),
    "clips": ("zip", _clips),
}
