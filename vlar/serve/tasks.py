"""Requests that become jobs: adding recordings, adapting to examples."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vlar.errors import LibraryLockedError
from vlar.fewshot.model_selection import AUTO, methods
from vlar.index.address import LibraryPlace
from vlar.index.backends import backend_of
from vlar.index.validation import checked_tags
from vlar.serve.errors import ServeError
from vlar.serve.job import Job
from vlar.serve.jobs import Jobs
from vlar.serve.limits import ServeLimits
from vlar.serve.models import Models
from vlar.serve.sources import Source, Sources
from vlar.types import JsonDict


@dataclass(frozen=True)
class Example:
    """One example of an adaptation: a recording or a span of one, and what it shows."""

    source: Source
    label: str


class Tasks:
    """Starts jobs; everything that they may touch is checked before they are queued.

    Args:
        library: The library's folder, or its address in Milvus.
        state: The server's folder.
        sources: Finds recordings.
        models: Where adapted models are kept.
        limits: Of the server.
    """

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
        self._examples = state / "examples"
        self.jobs = Jobs(state / "jobs", limits.jobs, self._allowed, self._ended)

    def close(self) -> None:
        """Stop the running job; the next server resumes it."""
        self.jobs.close()

    def add(
        self, paths: Sequence[str], tags: Mapping[str, str], *, retry: bool = False
    ) -> JsonDict:
        """Index recordings, or bring them up to date, as a job.

        Raises:
            ServeError: a path lies outside the roots or does not exist; too many jobs wait.
            LibraryLockedError: another program is writing.
            UsageError: a tag cannot be used.
        """
        real = [str(self._sources.roots.real(path)) for path in paths]
        spec: JsonDict = {
            "library": str(self._library),
            "model": self._models.spec,
            "paths": real,
            "tags": checked_tags(tags),
            "retry": retry,
        }
        if not any(job.state == "running" and job.kind == "add" for job in self.jobs.all()):
            self._require_unlocked()
        title = f"add {', '.join(Path(path).name or path for path in real)}"
        return self.jobs.start("add", title, spec).to_dict()

    def adapt(self, name: str, examples: Sequence[Example], method: str = AUTO) -> JsonDict:
        """Learn labels from examples, as a job; its model then answers to ``name``.

        Raises:
            ServeError: a name, a method or an example cannot be used.
        """
        if method not in (AUTO, *methods()):
            known = ", ".join((AUTO, *methods()))
            raise ServeError(400, f"no method {method[:80]!r}", f"there are: {known}", "method")
        labels = {each.label for each in examples}
        if len(labels) < 2:
            fix = "collect examples of at least two labels"
            raise ServeError(400, f"{len(labels)} label has examples", fix, "support")
        if len(examples) > self._limits.examples:
            fix = f"send at most {self._limits.examples}"
            raise ServeError(400, f"{len(examples)} examples", fix, "support")
        out = self._models.place(name)
        spec: JsonDict = {
            "model": self._models.spec,
            "examples": [self._example(each) for each in examples],
            "source": str(self._library),
            "method": method,
            "out": str(out),
        }
        return self.jobs.start("adapt", f"adapt {name}", spec).to_dict()

    def _example(self, example: Example) -> JsonDict:
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

    def _kept(self, upload: Path) -> Path:
        """An upload under a name that stays until its job has ended."""
        self._examples.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = self._examples / upload.name
        if not kept.exists():
            try:
                os.link(upload, kept)
            except OSError:
                shutil.copyfile(upload, kept)
        return kept

    def _allowed(self, job: Job) -> None:
        """Check the paths of a job again: it may come from an earlier server with other roots."""
        for path in job.spec.get("paths", ()):
            self._sources.roots.real(path)
        for each in job.spec.get("examples", ()):
            if not Path(each["path"]).is_relative_to(self._examples):
                self._sources.roots.real(each["path"])

    def _ended(self, job: Job) -> None:
        """Delete kept uploads that no job needs; failed and cancelled ones can be resumed."""
        needed = {
            each["path"]
            for other in self.jobs.all()
            if other.state != "done"
            for each in other.spec.get("examples", ())
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
                "library of 'milvus-lite server' instead (docs/milvus.md)"
            )
        with backend.lock():
            pass
