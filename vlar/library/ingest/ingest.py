"""An ``add`` whose recordings are read and encoded by a runner; this process decides and writes.

The driver looks up what the library holds, gives the runner what must be read, puts the parts of a
recording together and hands it whole to ``write_windows``. It alone writes, one transaction a
recording: a result that comes twice, late or never changes nothing, and the same call resumes one
that was ended.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from vlar import notebook
from vlar.encoders.captions import as_captioner
from vlar.errors import VlarError
from vlar.library.ingest.encode import EncodedWindow
from vlar.library.ingest.request import AddRequest as AddRequest
from vlar.library.ingest.runners.base import MEMORY, LocalRunner, LostJobs, Runner
from vlar.library.ingest.settings import settled
from vlar.library.ingest.shard_writing import ShardFolder, write_shards
from vlar.library.ingest.sources import plugin, recordings
from vlar.library.ingest.worker_tasks import EncodedPart, Facts, ReadJob, Setup
from vlar.library.ingest.writer import IngestProgress, write_windows
from vlar.library.model_provider import BoundModel
from vlar.library.recording import (
    CHANGED,
    FAILED,
    UNCHANGED,
    FailedFiles,
    FileRecord,
    ListedRecording,
    failure_of,
)
from vlar.library.roots import extended, frozen
from vlar.library.rows import AddEvent, AddReport
from vlar.library.store.annotations import Caption
from vlar.library.store.base import LibraryWriter, failed_by_path
from vlar.library.store.values import KnownVideo, RecordingFacts
from vlar.media.lookup import reader
from vlar.media.video.files import content_hash
from vlar.types import Failure

_ROUND = 50_000  # recordings whose parts may be under way together
_TRIES = 2
PART_S = 1.0
"""Seconds between two reports of progress within a recording."""
_HASHING = 4  # files that are hashed at a time
Stream = Iterator[FileRecord | EncodedWindow | Failure]


@dataclass
class _Task:
    """One recording that must be opened.

    Attributes:
        recording: Where it is, and its tags.
        number: Its place in the call.
        digest: Hash of its content, once it is known.
        asks: Only its hash is asked for: another file has the same size.
        forced: It is read although the library has its content.
        tries: How many workers were lost with it.
        why: What the last of them died of.
        parts: What came of it, by index.
        count: How many parts it has, once that is known.
    """

    recording: ListedRecording
    number: int
    digest: str = ""
    asks: bool = False
    forced: bool = False
    tries: int = 0
    why: LostJobs | None = None
    parts: dict[int, EncodedPart] = field(default_factory=dict[int, EncodedPart])
    count: int = 0

    def job(self, number: int, is_here: bool = False) -> ReadJob:
        """Job for a worker; in this process files are called as the user called them."""
        where = self.recording
        path = str(where.file) if is_here and not where.is_remote else where.path
        version = f"{where.stamp.size} {where.stamp.mtime_ns}"
        remote = where.is_remote, where.span
        return ReadJob(number, path, self.asks, self.digest, version, *remote)


class Driver:
    """One ``add`` by a runner.

    Args:
        runner: Started for the first recording that must be opened.
        setup: Settings of its workers.
        recordings: Recordings to add.
        known: The library's recordings by path.
        failed: Files that earlier runs could not read.
        again: Paths of recordings to encode even where their content is known.
        copies: Recognise copies and renamed files by their content, and do not decode them.

    Attributes:
        still_windows: Windows left out so far because nothing moves in them.
        still_s: Seconds that no kept window covers.
    """

    def __init__(
        self,
        runner: Runner,
        setup: Setup,
        recordings: Sequence[ListedRecording],
        known: Mapping[str, KnownVideo],
        failed: FailedFiles,
        again: Collection[str] = (),
        copies: bool = True,
    ) -> None:
        self._runner, self._setup, self._recordings = runner, setup, recordings
        self._known, self._failed, self._again = known, failed, again
        self._copies = copies
        self._contents = Counter(video.content_hash for video in known.values())
        self._sizes = Counter(video.stamp.size for video in known.values())
        self._sizes.update(failed_file.stamp.size for failed_file in failed.by_path.values())
        self._decided: deque[tuple[int, FileRecord]] = deque()
        self.still_windows, self.still_s = 0, 0.0

    def stream(self) -> Stream:
        """Each recording's record and, where it was read, its windows, for ``write_windows``."""
        tasks: list[_Task] = []
        for number, recording in enumerate(self._recordings):
            decision = self._look(number, recording)
            if isinstance(decision, _Task):
                tasks.append(decision)
                self._sizes[recording.stamp.size] += 1
            else:
                self._decided.append((number, self._counted(decision)))
        if not self._runner.in_process:
            yield from self._until(len(self._recordings))
        if self._copies:
            yield from self._hashed(tasks)
        if tasks:
            self._runner.start(self._setup)
        while tasks:
            now, tasks = tasks[:_ROUND], tasks[_ROUND:]
            later: list[_Task] = []
            yield from self._round(now, later)
            tasks = later + tasks
        yield from self._until(len(self._recordings))

    def _until(self, number: int) -> Stream:
        """Records of the recordings before one that need not be opened."""
        while self._decided and self._decided[0][0] < number:
            yield self._decided.popleft()[1]

    def _hashed(self, tasks: list[_Task]) -> Stream:
        """Find out the content of files that have the size of another one.

        Copies and renamed files do: they need not be decoded. What can be opened here is hashed
        here, for the rest a worker is asked.
        """
        alike = [
            task for task in tasks if not task.digest and self._sizes[task.recording.stamp.size] > 1
        ]
        for task in alike:
            task.asks = task.recording.is_remote
        local = [task for task in alike if not task.asks]
        with ThreadPoolExecutor(_HASHING) as threads:
            for task, facts in zip(local, threads.map(_content, local), strict=True):
                task.digest = facts.content_hash
                if facts.failure is not None:
                    tasks.remove(task)
                    yield from self._unreadable(task, facts)

    def _look(self, number: int, recording: ListedRecording) -> FileRecord | _Task:
        """Record of a file by its size and time, or the task to open it."""
        video = self._known.get(recording.path)
        record = recording.by_stamp(video, self._failed)
        if record is not None and record.state == UNCHANGED and record.path in self._again:
            return _Task(recording, number, record.content_hash, forced=True)
        return record or _Task(recording, number)

    def _counted(self, record: FileRecord) -> FileRecord:
        """A record, whose path now holds its content, and no other."""
        if record.failure is None:
            old = self._known.get(record.path)
            self._contents[record.content_hash] += 1
            if old is not None:
                self._contents[old.content_hash] -= 1
        return record

    def _round(self, tasks: Sequence[_Task], later: list[_Task]) -> Stream:
        """Carry tasks out; those that must wait for another, or be tried again, are put off."""
        claimed: set[str] = set()
        run: list[_Task] = []
        for task in tasks:
            if not task.digest or task.tries:
                run.append(task)
                continue
            record = self._by_content(task)
            if record.state != CHANGED:
                yield self._counted(record)
            elif task.digest in claimed:
                later.append(task)  # a copy of one that is read now
            else:
                claimed.add(task.digest)
                run.append(task)
        together = [task for task in run if not task.tries]
        alone = [task for task in run if task.tries]
        for group in (together, alone):
            if group:
                yield from self._run(group, later, alone=group is alone)

    def _by_content(self, task: _Task) -> FileRecord:
        """Record of a file by the hash of its content."""
        recording, digest = task.recording, task.digest
        if task.forced:
            return recording.record(CHANGED, digest)
        video = self._known.get(recording.path)
        contents = self._contents if self._copies else Counter[str]()
        record = recording.by_content(digest, video, contents, self._failed)
        if record.state == UNCHANGED and record.path in self._again:
            task.forced = True
            return replace(record, state=CHANGED)
        return record

    def _run(self, tasks: Sequence[_Task], later: list[_Task], alone: bool) -> Stream:
        is_here = self._runner.in_process
        jobs = [task.job(number, is_here) for number, task in enumerate(tasks)]
        waiting = dict(enumerate(tasks))
        results = self._runner.run(jobs, alone=alone)
        if is_here:
            parts = (part for part in results if not isinstance(part, LostJobs))
            for number, of_job in groupby(parts, attrgetter("job")):
                yield from self._until(waiting[number].number)
                yield from self._done(waiting.pop(number), of_job, later)
        for result in results:
            if isinstance(result, LostJobs):
                for number in result.jobs:
                    if number in waiting and (len(result.jobs) == 1 or not waiting[number].why):
                        waiting[number].why = result
                continue
            task = waiting.get(result.job)
            if task is None:
                continue  # the same result for a second time
            task.parts[result.index] = result
            task.count = result.index + 1 if result.is_last else task.count
            if 0 < task.count == len(task.parts):
                del waiting[result.job]
                parts = [task.parts[index] for index in range(task.count)]
                task.parts, task.count = {}, 0
                yield from self._done(task, iter(parts), later)
        for task in waiting.values():
            yield from self._lost(task, later)

    def _done(self, task: _Task, parts: Iterator[EncodedPart], later: list[_Task]) -> Stream:
        first = next(parts)
        facts = first.facts
        if facts.failure is not None:
            yield from self._unreadable(task, facts)
            return
        task.digest = facts.content_hash
        if task.asks:
            task.asks = False
            later.append(task)
            return
        if facts.tags:
            tags = {**facts.tags, **task.recording.tags}
            task.recording = replace(task.recording, tags=tags)
        record = replace(self._by_content(task), duration_s=facts.duration_s)
        yield self._counted(record)
        if record.state == CHANGED:
            for part in chain([first], parts):
                self.still_windows += part.still_windows
                self.still_s += part.still_s
                yield from part.items

    def _unreadable(self, task: _Task, facts: Facts) -> Stream:
        if task.forced and task.recording.path in self._again:
            # It cannot be opened any more, and its rows stay as they are.
            yield self._counted(task.recording.record(UNCHANGED, task.digest))
        else:
            yield task.recording.record(FAILED, facts.content_hash, facts.failure)

    def _lost(self, task: _Task, later: list[_Task]) -> Stream:
        """Try a recording again alone whose worker is gone; the second time it is given up."""
        task.tries += 1
        task.parts, task.count = {}, 0
        if task.tries < _TRIES:
            task.why = None
            later.append(task)
            return
        digest = task.digest or self._hash(task)
        yield task.recording.record(FAILED, digest, _given_up(task.recording, task.why))

    def _hash(self, task: _Task) -> str:
        """The hash of a recording that no worker survives; empty where it is not to be had."""
        if not task.recording.is_remote:
            return _content(task).content_hash
        job = replace(task.job(0), only_hash=True)
        parts = [
            part for part in self._runner.run([job], alone=True) if not isinstance(part, LostJobs)
        ]
        return parts[0].facts.content_hash if parts else ""


def _content(task: _Task) -> Facts:
    """The hash of a file of this machine."""
    file = task.recording.file
    try:
        return Facts(content_hash(file))
    except (VlarError, OSError) as error:
        return Facts(failure=failure_of(file, error))


def _given_up(recording: ListedRecording, why: LostJobs | None) -> Failure:
    path = recording.path
    if why is not None and why.kind == MEMORY:
        advice = "its machine has too little memory: use fewer workers, or re-encode the file"
        message = f"{path}: reading it took all memory of its worker, twice; {advice}"
    else:
        reason = f" ({why.why})" if why is not None and why.why else ""
        message = (
            f"{path}: the worker that read it ended{reason}, twice; the file is damaged or too "
            "large: copy or re-encode it"
        )
    return Failure(recording.file, LostJobs(()).kind if why is None else why.kind, message)


def _bar() -> IngestProgress | None:
    """A bar in a notebook; None in any other process."""
    bar = notebook.bar("adding")
    return None if bar is None else lambda event: bar(event.advance, event.total)


def _remote_files(found: Sequence[ListedRecording]) -> Any:
    """Storage of copies of remote files; None where no recording is one."""
    address = next((recording.path for recording in found if recording.is_remote), None)
    return address and plugin("remote", address).RemoteFiles.from_environment()


def add_paths(writer: LibraryWriter, model: BoundModel, request: AddRequest) -> AddReport:
    """Index what a request names, by its runner or in this process; the runner is ended here.

    Raises:
        LibraryError: the library cannot be written to, or has other windows or rows of people.
        UsageError: the runner cannot run here; a path or a setting is not usable.
        ModelError: a network that a setting needs is not installed.
    """
    manifest = settled(model.manifest, request, writer.address, is_new=model.is_new)
    source = reader(model.manifest.modality)
    found = recordings(request.paths, source, remote=request.remote)
    captioner = as_captioner(request.captions)
    videos = {video.path: video for video in writer.recordings()}
    broken = failed_by_path(writer)
    without = set[str]() if captioner is None else _uncaptioned(writer, videos)
    folder = None
    if request.shards is not None:
        folder = ShardFolder(Path(request.shards))
        written, lost = folder.known()
        videos, broken = videos | written, broken | lost
        without -= written.keys()
    with closing(request.runner or LocalRunner()) as runner:
        setup = Setup(
            manifest,
            model.here if runner.in_process else runner.load or model.elsewhere(),
            request.keep_context,
            captioner if runner.in_process or captioner is None else captioner.name,
            request.skip_still,
            _remote_files(found),
            tuple(recording.file for recording in found[:2]),
            request.keep,
        )
        failed = FailedFiles(broken, request.retry)
        driver = Driver(runner, setup, found, videos, failed, without, folder is None)
        folders = frozen(writer) if request.served else extended(found, writer.meta())
        to_library = partial(write_windows, writer, folders=folders)
        write = to_library if folder is None else partial(write_shards, folder, videos)
        stream, progress = driver.stream(), request.progress or _bar()
        report = write(
            _within(stream, progress, len(found)) if request.served and progress else stream,
            manifest,
            captioner="" if captioner is None else captioner.name,
            total=len(found),
            before=sum(recording.path in videos for recording in found),
            tags=request.tags,
            progress=progress,
        )
    order = {recording.file: number for number, recording in enumerate(found)}
    failed = sorted(report.failed, key=lambda each: order.get(each.path, 0))
    still = {"still_windows": driver.still_windows, "still_s": driver.still_s}
    return replace(report, failed=tuple(failed), **still)


def _within(stream: Stream, progress: IngestProgress, total: int) -> Stream:
    """The stream; once a second its progress within a recording is reported."""
    record, done, due_s = None, -1, time.monotonic() + PART_S
    for item in stream:
        if isinstance(item, FileRecord):
            record, done = item, done + 1
        elif record and isinstance(item, EncodedWindow) and time.monotonic() >= due_s:
            due_s = time.monotonic() + PART_S
            part = min(item.window.end_s / max(record.duration_s, 1e-9), 1.0)
            progress(AddEvent("reading", done, total, record.file, part=part))
        yield item


def _uncaptioned(writer: LibraryWriter, known: Mapping[str, RecordingFacts]) -> set[str]:
    """Paths of the recordings whose windows were not captioned."""
    captioned = writer.annotated(Caption)
    return {path for path, recording in known.items() if recording.id not in captioned}
