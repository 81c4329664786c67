"""What a served library can do: one plain method for each thing that people and programs ask for.

The page, the HTTP interface and the agent interface call these methods and add nothing. Everything
is computed by ``Library`` and ``Model``; recordings are decoded in killable processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vlar import __version__
from vlar.index.address import place_of
from vlar.query.plan import QueryRequest, make_plan
from vlar.query.report import QueryReport
from vlar.serve.classifying import Classifying
from vlar.serve.clips_in_queries import with_files
from vlar.serve.confine import Roots
from vlar.serve.library import ServedLibrary
from vlar.serve.limits import ServeLimits
from vlar.serve.media import WIDTHS, Media
from vlar.serve.models import OWN, Models
from vlar.serve.sources import Source, Sources
from vlar.serve.tasks import Tasks
from vlar.serve.uploads import Uploads
from vlar.types import Hit, JsonDict


class Application:
    """One library, its model, and the folder where uploads, jobs and adapted models are kept.

    Args:
        library: The library's folder, or its address in Milvus.
        model: Name of its model.
        state: Folder of the server's own; it is made.
        roots: Folders that paths may lie in; empty for those that hold the library's recordings.
        limits: What one request, and all together, may take.
        device: As for ``vlar.load``.
        dtype: As for ``vlar.load``.

    Raises:
        LibraryError: it does not exist or cannot be read.
    """

    def __init__(
        self,
        library: str | Path,
        model: str,
        state: Path,
        *,
        roots: Sequence[str | Path] = (),
        limits: ServeLimits | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> None:
        self.path = place_of(library)
        self.limits = limits or ServeLimits()
        # Reads that need no model have a connection of their own: they never wait for a query.
        self._reads = ServedLibrary(self.path, create=False)
        self._searches: ServedLibrary | None = None
        chosen = Roots(roots) if roots else Roots.around(self._reads.paths())
        self.uploads = Uploads(state / "uploads", self.limits)
        self.media = Media(state / "spans", self.limits)
        self.models = Models(model, state / "models", device, dtype)
        self.sources = Sources(self._reads, chosen, self.uploads)
        self._classifying = Classifying(self.models, self.media, self.sources, self.limits)
        self.tasks = Tasks(self.path, state, self.sources, self.models, self.limits)

    def close(self) -> None:
        """End jobs (they resume with the next server) and processes, delete uploads."""
        self.tasks.close()
        self.media.close()
        self.uploads.clear()
        for library in (self._reads, self._searches):
            if library is not None:
                library.close()

    def warm_up(self) -> None:
        """Load the model, and make what the first query needs."""
        self._library().info()
        if self._reads.has_rows():
            self.search(QueryRequest("a person", 1))

    # The library

    def describe(self) -> JsonDict:
        """Facts of the library, what may be filtered, the models, the limits."""
        info = self._reads.info()
        return {
            "name": self.path.name,
            "version": __version__,
            "ready": self.models.is_ready,
            "library": info.to_dict(),
            "models": self.models.listing(),
            "roots": [str(folder) for folder in self.sources.roots.folders],
            "limits": {
                "upload_bytes": self.limits.upload_bytes,
                "video_s": self.limits.video_s,
                "span_s": self.limits.span_s,
                "labels": self.limits.labels,
            },
        }

    def videos(self, offset: int = 0, limit: int = 50, contains: str = "") -> JsonDict:
        """Recordings by path, some at a time.

        Args:
            offset: How many to leave out.
            limit: How many to give.
            contains: Only those whose path contains this text, in any case.
        """
        total, rows = self._reads.page(offset, limit, contains)
        listed = [{**row.to_dict(), **self._named(row.path)} for row in rows]
        return {"total": total, "offset": offset, "videos": listed}

    def rows(self, video: str) -> JsonDict:
        """The windows of one recording, by time.

        Raises:
            ServeError: 404 where it is not in the library.
        """
        path = self.sources.stored_path(video)
        windows = [{"start_s": w.start_s, "end_s": w.end_s} for w in self._reads.windows(path)]
        return {**self._named(path), "path": path, "rows": windows}

    # Queries

    def search(self, request: QueryRequest) -> JsonDict:
        """The spans that answer a query best (``Library.search``).

        Returns:
            ``hits``, and with them ``weak`` (even the best is likely wrong), ``best_probability``
            (also where no hit remains), ``note`` (a sentence for people, or None) and how many
            ``windows`` of how many ``videos`` were searched.

        Raises:
            QueryError, LibraryError, ServeError: it cannot be answered.
        """
        make_plan(request)  # a mistake shows before a clip is opened
        text = with_files(request.text, self.sources, self.media)
        reports: list[QueryReport] = []
        hits = self._library().search(replace(request, text=text, report=reports.append))
        report = reports[-1]
        return {
            "hits": [self._hit(hit) for hit in hits],
            "weak": bool(hits) and report.weak,
            "best_probability": report.best_probability,
            "note": _note(hits, report, request.min_probability),
            "windows": report.windows,
            "videos": report.videos,
            "searched": report.searched,
        }

    def curves(self, text: str, video: str) -> JsonDict:
        """How well each phrase of a query fits each window of one recording.

        Raises:
            QueryError, LibraryError, ServeError: it cannot be answered.
        """
        path = self.sources.stored_path(video)
        text = with_files(text, self.sources, self.media)
        curves = self._library().curves(text, path)
        end_s = max((w.end_s for curve in curves for w in curve.windows), default=0.0)
        return {
            **self._named(path),
            "path": path,
            "end_s": end_s,
            "curves": [curve.to_dict() for curve in curves],
        }

    # Classifying

    def classify(
        self,
        source: Source,
        labels: Sequence[str] | str | None = None,
        *,
        model: str = OWN,
        top: int = 5,
        every_s: float | None = None,
        mode: str = "one",
    ) -> JsonDict:
        """Which label fits a recording, or each part of it; see ``Model.classify``.

        Args:
            source: The recording.
            labels: Texts, or ``bank:NAME``; None for those of an adapted model.
            model: Name of a model of ``describe``.
            top: How many labels to give.
            every_s: Seconds of each part; None answers for the whole.
            mode: ``one`` label fits, or ``multi``: any number.

        Raises:
            VlarError: it cannot be answered.
        """
        return self._classifying(source, labels, model, top, every_s, mode)

    # Pictures and sound

    def thumbnail(self, video: str, at_s: float = 0.0, width: int = WIDTHS[1]) -> bytes:
        """The picture of one moment of a recording of the library, as JPEG.

        Raises:
            ServeError, DecodeError: it has moved, lies outside the roots or cannot be read.
        """
        return self.media.thumbnail(self.sources.file(video), at_s, width)

    def span(self, video: str, start_s: float, end_s: float) -> Path:
        """A span of a recording as a file that browsers play.

        Raises:
            ServeError, DecodeError: as for ``thumbnail``, or no span of at most a minute.
        """
        return self.media.span(self.sources.file(video), start_s, end_s)

    # Inside

    def _library(self) -> ServedLibrary:
        if self._searches is None:
            self._searches = ServedLibrary(self.path, self.models.own(), create=False)
        return self._searches

    def _hit(self, hit: Hit) -> JsonDict:
        return {**hit.to_dict(), **self._named(hit.path)}

    def _named(self, path: str) -> JsonDict:
        return {"video": self.sources.id_of(path), "name": Path(path).name}


def _note(hits: Sequence[Hit], report: QueryReport, min_probability: float) -> str | None:
    """What a list of answers does not show: that there are none, or that none is sure."""
    best = report.best_probability
    if hits and report.weak and best is not None:
        return f"The best match is weak ({_percent(best)}): the library may not show this."
    if hits:
        return None
    if best is None:
        return "No window was searched: loosen the filters, or add videos."
    return f"No match above {_percent(min_probability)}. The best has {_percent(best)}."


def _percent(probability: float) -> str:
    """A probability for a sentence.

    >>> _percent(0.634), _percent(0.004)
    ('63 %', '0.4 %')
    """
    percent = 100 * probability
    return f"{percent:.1f} %" if percent < 10 and percent % 1 else f"{percent:.0f} %"
