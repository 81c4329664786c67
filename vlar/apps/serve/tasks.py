"""Work of a served library that becomes a job: indexing, adapting, evaluating, finding doubts."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlar.apps.serve.errors import ServeError, ServeLimits
from vlar.apps.serve.jobs import Job, Jobs
from vlar.apps.serve.library import Models, RequestedRecording, Sources
from vlar.errors import LibraryLockedError, one_line
from vlar.files.reading import MB
from vlar.heads.model_selection import AUTO, methods
from vlar.language.clean import label_key
from vlar.library.address import LibraryPlace
from vlar.library.backends import backend_of
from vlar.library.recording import checked_tags
from vlar.media.video.files import VIDEO_ENDINGS
from vlar.types import JsonDict

_LONGEST_STEM = 200  # bytes; file systems allow 255 for a name
_MOST_EVALUATED = 2000  # recordings


def _require_labels(truth: str, values: set[str], labels: Sequence[str] | None) -> None:
    """Refuse a truth that is not among the labels to choose from, before a model loads.

    Raises:
        ServeError: the message names the first ones.
    """
    if labels is None:
        return
    keys = {label_key(label) for label in labels}
    missing = sorted(value for value in values if label_key(value) not in keys)
    if missing:
        named = ", ".join(map(repr, missing[:3]))
        error = f"{len(missing)} values of {truth} are not among the labels: {named}"
        fix = f"the labels are {', '.join(map(repr, labels[:5]))}; add them, or take other ones"
        raise ServeError(400, one_line(error), one_line(fix), "labels")


def shortened(text: str, most: int) -> str:
    """The beginning of a text that has at most some bytes in UTF-8.

    >>> shortened("\u4e16\u754c", 4)
    '\u4e16'
    """
    return text.encode("utf-8", "ignore")[:most].decode("utf-8", "ignore")


def _linked(file: Path, place: Path) -> None:
    """A file under another name, which may be there already."""
    if not place.exists():
        try:
            os.link(file, place)
        except OSError:
            shutil.copyfile(file, place)


@dataclass(frozen=True)
class AdaptExample:
    """One example of an adaptation: a recording or a span of one, and what it shows."""

    source: RequestedRecording
    label: str


class Tasks:
    """Starts jobs; everything that they may touch is checked before they are queued."""

    def __init__(
        self,
        library: LibraryPlace,
        state: Path,
        sources: Sources,
        models: Models,
        limits: ServeLimits,
    ) -> None:
        self._library, self._sources, self._models = library, sources, models
        self._limits = limits
        self._examples, self._received = state / "examples", state / "recordings"
        roots = [*sources.roots.folders, self._examples, self._received]
        self.jobs = Jobs(state / "jobs", limits.jobs, self._allowed, self._ended, roots)
        self.jobs.hidden = [library.parent, state] if isinstance(library, Path) else [state]

    def close(self) -> None:
        """Stop the running job; the next server resumes it."""
        self.jobs.close()

    def add(
        self,
        paths: Sequence[str],
        tags: Mapping[str, str],
        *,
        uploads: Sequence[str] = (),
        **options: Any,
    ) -> JsonDict:
        """Index recordings of the server, and uploads by their ids, as a job; see ``AddRequest``.

        Raises:
            ServeError: a path lies outside the roots or does not exist; too many jobs wait; the
                library is read-only.
            LibraryLockedError: another program is writing.
            UsageError: a tag cannot be used.
        """
        self._sources.require_writable()
        if not paths and not uploads:
            raise ServeError(422, "nothing to add is given", "send paths or uploads", "source")
        real = [str(self._sources.roots.real(path)) for path in paths]
        sources = [self._sources.find(RequestedRecording(upload=upload)) for upload in uploads]
        real += [str(self._joined(*source)) for source in sources]
        spec: JsonDict = {
            "library": str(self._library),
            "model": self._models.spec,
            **self._models.placement,
            "paths": real,
            "tags": checked_tags(tags),
            "options": options,
        }
        if not any(job.state == "running" and job.kind == "add" for job in self.jobs.all()):
            self._require_unlocked()
        title = f"add {', '.join(Path(path).name or path for path in real)}"
        return self.jobs.start("add", title, spec).to_dict()

    def evaluate(
        self,
        model: str,
        tag: str | None,
        labels: Sequence[str] | None = None,
        other: str | None = None,
    ) -> JsonDict:
        """Compare a model's answers with what recordings show, as a job.

        Args:
            model: Name of the model.
            tag: The tag that names what a recording shows; None for the labelled spans.
            labels: Labels to choose from; None for those of the model or of the examples.
            other: Name of a second model, which is compared with the first.

        Raises:
            ServeError: no model of this name, too few or too many examples, or what they show is
                not a label.
        """
        truth = "the labelled spans" if tag is None else f"the tag {one_line(tag)[:80]!r}"
        examples = self._spans() if tag is None else self._tagged(tag)
        if not 1 < len(examples) <= _MOST_EVALUATED:
            error = f"{len(examples)} recordings have {truth}"
            if tag is None:
                error = f"{len(examples)} spans of the library are labelled"
            fix = f"choose a truth of 2 to {_MOST_EVALUATED} examples"
            raise ServeError(400, error, fix, "support")
        names = [model] if other is None else [model, other]
        shown = {example["label"] for example in examples}
        for name in names:
            _require_labels(truth, shown, labels or self._models.labels_of(name))
        spec: JsonDict = {
            "models": [self._models.spec_of(name) for name in names],
            "names": names,
            "examples": examples,
            "labels": None if labels is None else list(labels),
            "source": str(self._library),
            **self._models.placement,
        }
        title = f"evaluate {' and '.join(names)} by {tag or 'labelled spans'}"
        return self.jobs.start("evaluate", title, spec).to_dict()

    def review(self, model: str, labels: Sequence[str] | None = None, k: int = 40) -> JsonDict:
        """Find the windows about which a model has the most doubts, as a job.

        Windows that labelled spans cover by half are known: they are left out, and windows like
        them come later (``vlar.behaviour.candidates``).

        Raises:
            ServeError: no model of this name, or fewer than two labels to choose from.
        """
        spans = self._sources.labelled()
        chosen = labels
        if chosen is None and self._models.labels_of(model) is None:
            chosen = sorted({span.label for _, span in spans})
            if len(chosen) < 2:
                error = f"{len(chosen)} labels are in use in the library"
                fix = "write labels to choose from, or label spans of two kinds"
                raise ServeError(400, error, fix, "labels")
        known: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for video, span in spans:
            known[self._sources.stored_path(video)].append((span.start_s, span.end_s))
        spec: JsonDict = {
            "model": self._models.spec_of(model),
            **self._models.placement,
            "library": str(self._library),
            "labels": None if chosen is None else list(chosen),
            "known": dict(known),
            "k": k,
        }
        return self.jobs.start("review", f"doubts of {model}", spec).to_dict()

    def _tagged(self, tag: str) -> list[JsonDict]:
        return [
            {"video": video, "path": str(self._sources.stored_path(video)), "label": label.strip()}
            for video, label in self._sources.tagged(tag)
        ]

    def _spans(self) -> list[JsonDict]:
        return [
            {
                "video": video,
                "path": str(self._sources.stored_path(video)),
                "label": span.label,
                "start_s": span.start_s,
                "end_s": span.end_s,
            }
            for video, span in self._sources.labelled()
        ]

    def adapt(
        self, name: str, examples: Sequence[AdaptExample], method: str = AUTO, **options: Any
    ) -> JsonDict:
        """Learn labels from examples, as a job; its model then answers to ``name``.

        Args:
            name: Name of the model.
            examples: Examples of two labels or more.
            method: A few-shot method.
            options: Others of ``vlar.model.requests.AdaptRequest``.

        Raises:
            ServeError: a name, a method or an example cannot be used.
        """
        if method not in (AUTO, *methods()):
            names = ", ".join((AUTO, *methods()))
            raise ServeError(400, f"no method {method[:80]!r}", f"there are: {names}", "method")
        labels = {example.label for example in examples}
        if len(labels) < 2:
            fix = "collect examples of at least two labels"
            raise ServeError(400, f"{len(labels)} label has examples", fix, "support")
        if len(examples) > self._limits.examples:
            fix = f"send at most {self._limits.examples}"
            raise ServeError(400, f"{len(examples)} examples", fix, "support")
        out = self._models.place(name)
        spec: JsonDict = {
            "model": self._models.spec,
            **self._models.placement,
            "examples": [self._example(example) for example in examples],
            "source": str(self._library),
            "options": {"method": method, **options},
            "out": str(out),
        }
        return self.jobs.start("adapt", f"adapt {name}", spec).to_dict()

    def _example(self, example: AdaptExample) -> JsonDict:
        window = example.source.window
        path, _ = self._sources.find(example.source)
        if example.source.upload is not None:
            path = self._kept(path)
        return {
            "path": str(path),
            "start_s": None if window is None else window.start_s,
            "end_s": None if window is None else window.end_s,
            "label": example.label.strip(),
        }

    def _joined(self, upload: Path, name: str) -> Path:
        """An upload under its own name in a folder of its own, where it stays."""
        if upload.suffix:  # pictures have one (``Uploads``)
            error = f"{name} is a picture"
            raise ServeError(415, error, "upload a video, or search with the picture", "type")
        held = sum(file.stat().st_size for file in self._received.glob("*/*"))
        if held + upload.stat().st_size > self._limits.joined_bytes:
            error = f"uploads that joined the library take {held / MB:,.0f} MB"
            raise ServeError(507, error, "make room in the server's folder of recordings", "full")
        ending = Path(name).suffix.lower()
        if ending not in VIDEO_ENDINGS:
            name, ending = name.strip("."), ".mp4"
        stem = name[: -len(ending)] if name.lower().endswith(ending) else name
        file_name = (shortened(stem, _LONGEST_STEM) or "video") + ending
        path = self._received / upload.name / file_name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _linked(upload, path)
        return path

    def _kept(self, upload: Path) -> Path:
        """An upload under a name that stays until its job has ended."""
        self._examples.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._examples / upload.name
        _linked(upload, path)
        return path

    def _allowed(self, job: Job) -> None:
        """Check the paths of a job again: it may come from an earlier server with other roots."""
        for path in job.spec.get("paths", ()):
            self._sources.roots.real(path)
        for example in job.spec.get("examples", ()):
            if not Path(example["path"]).is_relative_to(self._examples):
                self._sources.roots.real(example["path"])

    def _ended(self, job: Job) -> None:
        """Delete kept uploads that no job needs; failed and cancelled ones can be resumed."""
        needed = {
            example["path"]
            for other in self.jobs.all()
            if other.state != "done"
            for example in other.spec.get("examples", ())
        }
        if not self._examples.is_dir():
            return
        for file in self._examples.iterdir():
            if str(file) not in needed:
                with suppress(OSError):
                    file.unlink()

    def _require_unlocked(self) -> None:
        """Refuse at once where another program writes; a job would only fail later."""
        backend = backend_of(self._library)
        if not backend.is_shared:
            raise LibraryLockedError(
                f"this server has {self._library} open, and a job is a process of its own; serve a "
                "library of 'milvus-lite server' instead (docs/operating.md)"
            )
        with backend.lock():
            pass
