"""Functions of a served library: one plain method for each request of people and programs.

The page, the HTTP interface and the agent interface call these methods and add nothing. Everything
is computed by ``Library`` and ``Model``; recordings are decoded in killable processes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from vlar import registry
from vlar.apps.answers import shown_s
from vlar.apps.serve.bin import Bin
from vlar.apps.serve.errors import ServeError, ServeLimits, split, too_slow
from vlar.apps.serve.exports import EXPORTS, Exports
from vlar.apps.serve.files import AllowedFolders
from vlar.apps.serve.labels import Keys, LabelDesk
from vlar.apps.serve.library import OWN, Models, RequestedRecording, ServedLibrary, Sources
from vlar.apps.serve.media import WIDTHS, Media
from vlar.apps.serve.tasks import Tasks
from vlar.apps.serve.uploads import Uploads
from vlar.apps.serve.workbench import Workbench
from vlar.errors import DecodeTimeout, LabelError, VlarError
from vlar.heads.calibration import BY_RULE
from vlar.language.bank import load_bank
from vlar.language.concept import Concept
from vlar.language.labels import LabelList, parse_labels
from vlar.library.address import place_of
from vlar.library.query.grammar import Like, Node, leaves, parse, show
from vlar.library.query.plan import QueryReport, QueryRequest, make_plan
from vlar.library.rows import VideoRow
from vlar.media.bundle import PART
from vlar.media.video.frames import Box
from vlar.model.requests import ClassifyRequest
from vlar.results import Hits
from vlar.types import Failure, Float32, Float64, Hit, JsonDict
from vlar.version import __version__

_SUGGESTED = 3
_STEP_S, _LONG_S = 0.5, 600.0  # of a recording in which segments are looked for
_MOST_SPANS = 2000  # of one recording that is classified piece by piece


OnPart = Callable[[JsonDict], bool]


class Classifying:
    """Answers ``Application.classify``.

    Args:
        models: Models of the server.
        media: Reads recordings in processes.
        sources: Finds recordings.
        limits: Limits of the server.
        concepts: Reads the concepts of the library.
    """

    def __init__(
        self,
        models: Models,
        media: Media,
        sources: Sources,
        limits: ServeLimits,
        concepts: Callable[[], Sequence[Concept]],
    ) -> None:
        self._models, self._media, self._sources, self._limits = models, media, sources, limits
        self._concepts = concepts

    def __call__(
        self,
        source: RequestedRecording,
        labels: Sequence[str] | str | None,
        model: str,
        options: JsonDict,
        on_part: OnPart | None = None,
    ) -> JsonDict:
        """The answer of ``Application.classify``."""
        request = ClassifyRequest(self._labels(labels), at=source.window, **options)
        path, name = self._sources.find(source)
        loaded = self._models.get(model)
        if model == OWN:
            named = {concept.name.casefold(): concept for concept in self._concepts()}
            request = replace(request, labels=request.label_set.taught_by(named))
        total = None
        if path.is_file() and loaded.modality == "video":
            total = self._parts(path, name, request)
        limit_s = self._limits.request_s if on_part is None else self._limits.stream_s
        deadline_s = time.monotonic() + limit_s
        going = on_part is None or on_part({"total": total})
        answers: list[JsonDict] = []
        request = replace(request, source=self._media.reader(loaded.modality))
        for row in loaded.recogniser.classify_each([path], request):
            if isinstance(row, Failure):
                failure = Failure(Path(name), row.kind, row.message.replace(str(path), name))
                if request.every_s is None:  # nothing else remains to answer with
                    raise _refused(failure)
                answers.append(failure.to_dict())
            else:
                shown = replace(row, path=Path(name), failed=_renamed(row.failed, path, name))
                answers.append({**shown.to_dict(), "label": row.label})
            if time.monotonic() > deadline_s:
                raise too_slow(limit_s)
            going = going and (on_part is None or on_part(answers[-1]))
            if not going:
                break
        classifier = loaded.recogniser.classifier(request.label_set)
        note = None if classifier.calibrated else f"{BY_RULE.format(model=model)}."
        return {"answers": answers, "labels": list(classifier.labels), "model": model, "note": note}

    def segments(self, video: str, labels: Sequence[str] | None, model: str) -> JsonDict:
        """The answer of ``Application.segments``."""
        path = self._sources.file(video)
        loaded = self._models.get(model)
        length_s = self._length(path, path.name)
        if length_s > self._limits.video_s:
            raise _too_long(path.name, length_s, self._limits.video_s, "use vlar timeline")
        timeline = registry.shelf("behaviour.timeline.recordings", "a timeline")
        rules = timeline.TimelineRules(every_s=_STEP_S if length_s < _LONG_S else 1.0)
        rows = list(timeline.find_segments(loaded, path, self._labels(labels), rules))
        for row in rows:
            if isinstance(row, Failure):
                raise _refused(replace(row, message=row.message.replace(str(path), path.name)))
        spans = [row.to_dict() for row in rows if not isinstance(row, Failure) and row.label]
        names = ("start_s", "end_s", "label", "probability")
        return {"model": model, "segments": [{name: row[name] for name in names} for row in spans]}

    def _labels(self, labels: Sequence[str] | str | None) -> LabelList | None:
        """Labels, but never the name of a file: it would be read from the server's disk."""
        if labels is None:
            return None
        if isinstance(labels, str):
            if not labels.startswith("bank:") or set(labels) & set("/\\.~"):
                error = f"{labels[:80]!r} is not a list of labels"
                raise ServeError(400, error, "send a list of texts, or bank:NAME", "labels")
        elif len(labels) > self._limits.labels:
            error = f"{len(labels)} labels; at most {self._limits.labels} are read"
            raise ServeError(400, error, "send fewer", "labels")
        elif not labels:
            raise LabelError("the list of labels is empty; send at least one")
        return parse_labels(labels)

    def _parts(self, path: Path, name: str, request: ClassifyRequest) -> int:
        """The number of answers, refused where the recording is too long."""
        every_s, most_s = request.every_s, self._limits.video_s
        duration_s = self._length(path, name)
        if request.window is not None:
            duration_s = request.window.duration_s
        if duration_s > most_s:
            raise _too_long(name, duration_s, most_s, "classify a span of it: start_s, end_s")
        if every_s is not None and duration_s / every_s > _MOST_SPANS:
            error = f"{duration_s / every_s:.0f} parts of {every_s:g} s"
            raise ServeError(422, error, f"at most {_MOST_SPANS}: raise every_s", "too_long")
        return 1 if every_s is None else math.ceil(duration_s / every_s)

    def _length(self, path: Path, name: str) -> float:
        try:
            return self._media.facts(path).duration_s
        except VlarError as error:
            raise type(error)(error.message.replace(str(path), name)) from error


def _too_long(name: str, duration_s: float, most_s: float, fix: str) -> ServeError:
    error = f"{name} lasts {duration_s:.0f} s; at most {most_s:.0f} s are read"
    return ServeError(422, error, fix, "too_long")


def _renamed(failed: Sequence[Failure], path: Path, name: str) -> tuple[Failure, ...]:
    """Failures of parts of a recording, without the folders of the server."""
    texts = (failure.message.replace(str(path), name) for failure in failed)
    return tuple(Failure(Path(name), PART, text.replace(f"{path.parent}/", "")) for text in texts)


def _refused(failure: Failure) -> ServeError:
    """The error of a recording that cannot be read."""
    status = 504 if failure.kind == DecodeTimeout.kind else 422
    return ServeError(status, *split(failure.message), failure.kind)


#: Orders of recordings.
SORTS: Mapping[str, Callable[[VideoRow], Any]] = {
    "path": lambda row: row.path,
    "name": lambda row: (Path(row.path).name.casefold(), row.path),
    "longest": lambda row: (-row.duration_s, row.path),
    "shortest": lambda row: (row.duration_s, row.path),
    "newest": lambda row: (-row.added_at_s, row.path),
}

_UPLOAD, _VIDEO = "upload:", "video:"


def with_files(text: str, sources: Sources, media: Media) -> tuple[str, dict[str, str]]:
    """A query whose clips are files that may be read, and each of them as the caller wrote it.

    ``LIKE upload:ID`` and ``LIKE video:ID`` name an upload and a recording of the library.

    Raises:
        ServeError, DecodeError: a clip lies outside the roots or cannot be read.
    """
    tree = parse(text)
    likes = [leaf for leaf in leaves(tree) if isinstance(leaf, Like)]
    if not likes:
        return text, {}
    copies: dict[Like, Like] = {}
    for like in likes:
        path, _ = sources.find(_source(like.path))
        if replace(like, path=str(path)).is_picture:
            media.require_picture(path)
        else:
            media.facts(path)
        copies[like] = replace(like, path=str(path))
    names = {show(real): show(like) for like, real in copies.items()}
    return show(_replaced(tree, copies)), names


def _as_asked(rows: Sequence[JsonDict], names: Mapping[str, str]) -> None:
    """Call clips in answers as the caller does: paths of the server are not shown."""
    for row in rows:
        row["phrase"] = names.get(row["phrase"], row["phrase"])


def _source(path: str) -> RequestedRecording:
    if path.startswith(_UPLOAD):
        return RequestedRecording(upload=path.removeprefix(_UPLOAD))
    if path.startswith(_VIDEO):
        return RequestedRecording(video=path.removeprefix(_VIDEO))
    return RequestedRecording(path=path)


def _replaced(node: Node, found: dict[Like, Like]) -> Any:
    """A tree with other clips; whatever the kind of node, its parts are nodes or tuples of them."""
    if isinstance(node, Like):
        return found[node]
    changed: dict[str, Any] = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Node):
            changed[field.name] = _replaced(value, found)
        elif isinstance(value, tuple) and value and isinstance(value[0], Node):
            changed[field.name] = tuple(_replaced(part, found) for part in value)
    return replace(node, **changed) if changed else node


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

    Attributes:
        readable: Folders whose files are read: the roots and those of its own.
        sent: Folder for the files of one request.

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
        keys: Keys | None = None,
    ) -> None:
        self.path = place_of(library)
        self.limits = limits or ServeLimits()
        # Reads that need no model have a connection of their own: they never wait for a query.
        self._reads = ServedLibrary(self.path, create=False)
        self._searches: ServedLibrary | None = None
        chosen = AllowedFolders(roots) if roots else AllowedFolders.around(self._reads.root_paths())
        received = state / "recordings"  # uploads that joined the library
        received.mkdir(parents=True, exist_ok=True, mode=0o700)
        chosen = AllowedFolders([*chosen.folders, received])
        self.uploads = Uploads(state / "uploads", self.limits)
        self.sent = state / "sent"  # files of one request, while it is answered
        self.sent.mkdir(exist_ok=True, mode=0o700)
        self.readable = [*chosen.folders, state / "uploads", state / "examples", self.sent]
        self.media = Media(state / "spans", self.limits, self.readable)
        self.models = Models(model, state / "models", device, dtype, str(library))
        self.sources = Sources(self._reads, chosen, self.uploads)
        self._classifying = Classifying(
            self.models, self.media, self.sources, self.limits, self._reads.named_concepts
        )
        self.tasks = Tasks(self.path, state, self.sources, self.models, self.limits)
        removed = Bin(self._reads, state / "bin")
        self.labels = LabelDesk(self._reads, self.sources, self.media, self.sent, keys)
        self.bench = Workbench(self._reads, self.sources, self._phrases, self._everyday, removed)
        self.export = Exports(self.sources, self.media)

    def close(self) -> None:
        """End jobs (they resume with the next server) and processes, delete uploads."""
        self.tasks.close()
        self.bench.close()
        self.media.close()
        self.uploads.clear()
        for library in (self._reads, self._searches):
            if library is not None:
                library.close()

    def warm_up(self) -> None:
        """Load the model, and make what the first query needs."""
        self.media.warm_up()
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
            "writable": self._reads.is_writable,
            "exports": [{"name": name, "ending": row[0]} for name, row in EXPORTS.items()],
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

    def videos(
        self,
        offset: int = 0,
        limit: int = 50,
        contains: str = "",
        where: Sequence[str] = (),
        sort: str = "path",
    ) -> JsonDict:
        """Recordings in order, some at a time.

        Args:
            offset: How many to leave out.
            limit: How many to give.
            contains: Only those whose path contains this text, in any case.
            where: Filters that all hold.
            sort: ``path``, ``name``, ``longest``, ``shortest`` or ``newest``.
        """
        needle = contains.casefold()
        matching = [row for row in self._reads.matching(where) if needle in row.path.casefold()]
        rows = sorted(matching, key=SORTS[sort])[offset : offset + limit]
        listed = [{**row.to_dict(), **self._named(row.path)} for row in rows]
        return {"total": len(matching), "offset": offset, "videos": listed}

    def rows(self, video: str) -> JsonDict:
        """The windows of one recording, by time.

        Raises:
            ServeError: 404 where it is not in the library.
        """
        path = self.sources.stored_path(video)
        windows = [{"start_s": w.start_s, "end_s": w.end_s} for w in self._reads.windows(path)]
        people = self._reads.people(path)
        written = [asdict(quote) for quote in self._reads.written(path)]
        facts = {"path": path, "rows": windows, "people": people, "written": written}
        return {**self._named(path), **facts}

    # Queries

    def search(self, request: QueryRequest) -> JsonDict:
        """The spans that answer a query best (``Library.search``).

        Returns:
            ``hits``, and with them ``decides`` (blocks, after judgements), ``guarantee`` (of a
            list that was asked for with ``miss``, or None), ``weak`` (even the best is likely
            wrong), ``best_probability`` (also where no hit remains), ``note`` (a sentence for
            people, or None) and how many ``windows`` of how many ``videos`` were searched.

        Raises:
            QueryError, LibraryError, ServeError: it cannot be answered.
        """
        make_plan(request)  # a mistake shows before a clip is opened
        if not self._reads.has_rows():
            raise ServeError(409, "the library is empty", "add videos first", "empty")
        text, names = with_files(request.text, self.sources, self.media)
        reports: list[QueryReport] = []
        hits = self._library().search(replace(request, text=text, report=reports.append))
        report, listed = reports[-1], [self._hit(hit) for hit in hits]
        added_s = self._reads.added_s([hit.path for hit in hits])
        for hit in listed:
            _as_asked(hit.get("parts", ()), names)
            hit["added_s"] = added_s.get(hit["path"])
        return {
            "hits": listed,
            "weak": hits.weak,
            "decides": hits.decides,
            "guarantee": _promise(hits),
            "best_probability": report.best_probability,
            "note": _note(hits, report, request.min_probability),
            "windows": report.windows,
            "videos": report.videos,
            "searched": report.searched,
        }

    def concepts(self) -> JsonDict:
        """Concepts of the library."""
        return {"concepts": [concept.to_dict() for concept in self._reads.named_concepts()]}

    def teach(self, name: str, text: str, yes: Sequence[int], no: Sequence[int]) -> JsonDict:
        """Keep what judgements of the hits of a phrase teach (``vlar concept save``).

        Raises:
            UsageError, QueryError: the name, a judgement or the phrase cannot be used.
            LibraryLockedError: another process is writing.
        """
        return self._library().teach(name, text, yes, no).to_dict()

    def forget(self, name: str) -> JsonDict:
        """Forget a concept.

        Raises:
            UsageError: the library has no concept of that name.
        """
        self._reads.forget_concept(name)
        return self.concepts()

    def curves(self, text: str, video: str) -> JsonDict:
        """Fit of each phrase of a query to each window of one recording.

        Raises:
            QueryError, LibraryError, ServeError: it cannot be answered.
        """
        path = self.sources.stored_path(video)
        text, names = with_files(text, self.sources, self.media)
        curves = self._library().curves(text, path)
        listed = [curve.to_dict() for curve in curves]
        _as_asked(listed, names)
        end_s = max((w.end_s for curve in curves for w in curve.windows), default=0.0)
        return {
            **self._named(path),
            "path": path,
            "end_s": end_s,
            "curves": listed,
        }

    # Classifying

    def classify(
        self,
        source: RequestedRecording,
        labels: Sequence[str] | str | None = None,
        *,
        model: str = OWN,
        on_part: OnPart | None = None,
        **options: Any,
    ) -> JsonDict:
        """Classify a recording, or each part of it; see ``Model.classify``.

        Args:
            source: The recording.
            labels: Texts, or ``bank:NAME``; None for those of an adapted model.
            model: Name of a model of ``describe``.
            options: Others of ``vlar.model.requests.ClassifyRequest``.
            on_part: Called with the number of answers, ``total``, and then with each answer as it
                is made; nothing more is read where it returns False.

        Raises:
            VlarError: it cannot be answered.
        """
        return self._classifying(source, labels, model, options, on_part)

    def segments(
        self, video: str, labels: Sequence[str] | None = None, model: str = OWN
    ) -> JsonDict:
        """Spans of labels that a model finds in a whole recording (``vlar timeline``).

        Raises:
            VlarError: it cannot be answered.
        """
        return self._classifying.segments(video, labels, model)

    # Pictures and sound

    def thumbnail(
        self, video: str, at_s: float = 0.0, width: int = WIDTHS[1], box: Box | None = None
    ) -> bytes:
        """The picture of one moment of a recording of the library, or a box of it, as JPEG.

        Raises:
            ServeError, DecodeError: it has moved, lies outside the roots or cannot be read.
        """
        return self.media.thumbnail(self.sources.file(video), at_s, width, box)

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
        return {**hit.to_dict(), **self._named(hit.path), "picture_s": round(shown_s(hit), 3)}

    def _phrases(self, vectors: Float32) -> list[str]:
        """Names of at most three everyday actions that vectors (N, D) show and a query finds."""
        texts, fits = self._everyday(vectors)
        scores: dict[str, float] = {}
        best: list[int] = fits.argmax(axis=0).tolist()
        for text in dict.fromkeys(texts[row] for row in best):
            answer = self.search(QueryRequest(text, 1))
            if answer["hits"] and not answer["weak"]:
                scores[text] = answer["hits"][0]["probability"]
        return sorted(scores, key=lambda text: -scores[text])[:_SUGGESTED]

    def _everyday(self, vectors: Float32) -> tuple[Sequence[str], Float64]:
        """C everyday actions, and how well each fits each of N vectors: (C, N) probabilities."""
        model, texts = self.models.own(), load_bank("everyday_actions").texts
        queries = model.words.encode_queries(texts)
        return texts, np.stack([model.words.match_probability(vectors, query) for query in queries])

    def _named(self, path: str) -> JsonDict:
        return {"video": self.sources.id_of(path), "name": Path(path).name}


def _promise(hits: Hits) -> JsonDict | None:
    promise = hits.guarantee
    return promise and {**promise.to_dict(), "sentence": promise.sentence(len(hits))}


def _note(hits: Hits, report: QueryReport, min_probability: float) -> str | None:
    """Note for an empty list of answers, or for one without a sure answer."""
    best = report.best_probability
    notes = [f"{note[:1].upper()}{note[1:]}." for note in report.notes]
    if hits.guarantee is not None:
        return " ".join([f"{hits.guarantee.sentence(len(hits)).capitalize()}.", *notes])
    if hits.weak and best is not None:
        weak = f"The best match is weak ({_percent(best)}): the library may not show this."
        return " ".join([weak, *notes])
    if hits:
        return " ".join(notes) or None
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
