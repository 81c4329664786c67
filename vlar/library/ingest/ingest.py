"""An ``add`` whose recordings are read and encoded by a runner; this process decides and writes.

The driver looks up what the library holds, gives the runner what must be read, puts the parts of a
recording together and hands it whole to ``write_windows``. It alone writes, one transaction a
recording: a result that comes twice, late or never changes nothing, and the same call resumes one
that was ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from vlar import notebook
from vlar.encoders.captions import Captioner, as_captioner
from vlar.errors import VlarError
from vlar.formatting import is_url
from vlar.library.address import check_span, checked_tags, place
from vlar.library.ingest.encode import (
    EncodedWindow,
    clips_with_people,
    encode_clips,
    require_people,
    with_people,
)
from vlar.library.ingest.reader import (
    CHANGED,
    FAILED,
    UNCHANGED,
    FileRecord,
    StillFootage,
    by_content,
    by_stamp,
    failure_of,
    prefetch,
    read_files,
    require_unicode,
    stamp_of,
)
from vlar.library.ingest.remote import Recording, RemoteFiles
from vlar.library.ingest.runners.base import MEMORY, LocalRunner, LostJobs, Runner
from vlar.library.ingest.sources import is_source, recordings
from vlar.library.ingest.worker_tasks import EncodedPart, Facts, LoadModel, ReadJob, Setup
from vlar.library.ingest.writer import IngestProgress, write_windows
from vlar.library.manifest import LibraryManifest
from vlar.library.model_provider import LazyModel
from vlar.library.rows import AddReport
from vlar.library.shard_writing import ShardFolder, write_shards
from vlar.library.store.annotations import Caption, FailedFiles
from vlar.library.store.base import LibraryWriter, failed_by_path
from vlar.library.store.values import KnownVideo, RecordingFacts, Stamp
from vlar.media.lookup import IsolatedReader, isolated, reader
from vlar.media.shots import require_shots
from vlar.media.video.files import content_hash
from vlar.types import Clip, Failure

_ROUND = 50_000  # recordings whose parts may be under way together
_TRIES = 2
_HASHING = 4  # files that are hashed at a time
Stream = Iterator[FileRecord | EncodedWindow | Failure]


@dataclass
class _Task:
    """One recording that must be opened.

    Attributes:
        recording: Where it is, and its tags.
        stamp: Its size and time.
        digest: Hash of its content, once it is known.
        asks: Only its hash is asked for: another file has the same size.
        forced: It is read although the library has its content.
        tries: How many workers were lost with it.
        why: What the last of them died of.
        parts: What came of it, by index.
        count: How many parts it has, once that is known.
    """

    recording: Recording
    stamp: Stamp
    digest: str = ""
    asks: bool = False
    forced: bool = False
    tries: int = 0
    why: LostJobs | None = None
    parts: dict[int, EncodedPart] = field(default_factory=dict[int, EncodedPart])
    count: int = 0

    def job(self, number: int) -> ReadJob:
        """Job for a worker."""
        where = self.recording
        version = f"{self.stamp.size} {self.stamp.mtime_ns}"
        return ReadJob(number, where.path, self.asks, self.digest, version, where.span)


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
        recordings: Sequence[Recording],
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
        self.still_windows, self.still_s = 0, 0.0

    def stream(self) -> Stream:
        """Each recording's record and, where it was read, its windows, for ``write_windows``."""
        tasks: list[_Task] = []
        for recording in self._recordings:
            looked_at = self._look(recording)
            if isinstance(looked_at, _Task):
                tasks.append(looked_at)
                self._sizes[looked_at.stamp.size] += 1
            else:
                yield self._counted(looked_at, recording)
        if self._copies:
            yield from self._hashed(tasks)
        if tasks:
            self._runner.start(self._setup)
        while tasks:
            now, tasks = tasks[:_ROUND], tasks[_ROUND:]
            later: list[_Task] = []
            yield from self._round(now, later)
            tasks = later + tasks

    def _hashed(self, tasks: list[_Task]) -> Stream:
        """Find out the content of files that have the size of another one.

        Copies and renamed files do: they need not be decoded. What can be opened here is hashed
        here, for the rest a worker is asked.
        """
        alike = [task for task in tasks if not task.digest and self._sizes[task.stamp.size] > 1]
        for task in alike:
            task.asks = is_url(task.recording.path)
        here = [task for task in alike if not task.asks]
        with ThreadPoolExecutor(_HASHING) as threads:
            for task, facts in zip(here, threads.map(_content, here), strict=True):
                task.digest = facts.content_hash
                if facts.failure is not None:
                    tasks.remove(task)
                    yield from self._unreadable(task, facts)

    def _look(self, recording: Recording) -> FileRecord | _Task:
        """Record of a file by its size and time, or the task to open it."""
        file, path = recording.file, recording.path
        known = self._known.get(path)
        if recording.failure is not None:
            return FileRecord(file, FAILED, path, failure=recording.failure)
        try:
            require_unicode(file, path)
            stamp = recording.stamp or stamp_of(file)
        except (VlarError, OSError) as error:
            return FileRecord(file, FAILED, path, failure=failure_of(file, error))
        record = by_stamp(file, path, stamp, known, self._failed)
        if record is None:
            return _Task(recording, stamp)
        if record.state == UNCHANGED and path in self._again:
            return _Task(recording, stamp, record.content_hash, forced=True)
        return record

    def _counted(self, record: FileRecord, recording: Recording) -> FileRecord:
        """A record with its own tags; its path now holds its content, and no other."""
        if record.failure is None:
            old = self._known.get(record.path)
            self._contents[record.content_hash] += 1
            if old is not None:
                self._contents[old.content_hash] -= 1
        return replace(record, tags=recording.tags)

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
                yield self._counted(record, task.recording)
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
        where = task.recording
        facts = where.file, where.path, task.stamp
        if task.forced:
            return FileRecord(facts[0], CHANGED, facts[1], facts[2], task.digest)
        known = self._known.get(where.path)
        contents = self._contents if self._copies else Counter[str]()
        record = by_content(*facts, task.digest, known, contents, self._failed)
        if record.state == UNCHANGED and where.path in self._again:
            task.forced = True
            return replace(record, state=CHANGED)
        return record

    def _run(self, tasks: Sequence[_Task], later: list[_Task], alone: bool) -> Stream:
        jobs = [task.job(number) for number, task in enumerate(tasks)]
        waiting = dict(enumerate(tasks))
        for found in self._runner.run(jobs, alone=alone):
            if isinstance(found, LostJobs):
                for number in found.jobs:
                    if number in waiting and (len(found.jobs) == 1 or not waiting[number].why):
                        waiting[number].why = found
                continue
            task = waiting.get(found.job)
            if task is None:
                continue  # the same result for a second time
            task.parts[found.index] = found
            task.count = found.index + 1 if found.is_last else task.count
            if 0 < task.count == len(task.parts):
                del waiting[found.job]
                yield from self._done(task, later)
        for task in waiting.values():
            yield from self._lost(task, later)

    def _done(self, task: _Task, later: list[_Task]) -> Stream:
        parts = [task.parts[index] for index in range(task.count)]
        facts = parts[0].facts
        task.parts, task.count = {}, 0
        if facts.failure is not None:
            yield from self._unreadable(task, facts)
            return
        task.digest = facts.content_hash
        if task.asks:
            task.asks = False
            later.append(task)
            return
        record = replace(self._by_content(task), duration_s=facts.duration_s)
        own = {**facts.tags, **task.recording.tags}
        yield self._counted(record, replace(task.recording, tags=own))
        if record.state == CHANGED:
            self.still_windows += parts[-1].still_windows
            self.still_s += parts[-1].still_s
            for part in parts:
                yield from part.items

    def _unreadable(self, task: _Task, facts: Facts) -> Stream:
        where = task.recording
        if task.forced and where.path in self._again:
            # It cannot be opened any more, and its rows stay as they are.
            record = FileRecord(where.file, UNCHANGED, where.path, task.stamp, task.digest)
            yield self._counted(record, where)
            return
        yield FileRecord(
            where.file, FAILED, where.path, task.stamp, facts.content_hash, failure=facts.failure
        )

    def _lost(self, task: _Task, later: list[_Task]) -> Stream:
        """Try a recording again alone whose worker is gone; the second time it is given up."""
        task.tries += 1
        task.parts, task.count = {}, 0
        if task.tries < _TRIES:
            task.why = None
            later.append(task)
            return
        where = task.recording
        digest = task.digest or self._hash(task)
        failure = _given_up(where.file, where.path, task.why)
        yield FileRecord(where.file, FAILED, where.path, task.stamp, digest, failure=failure)

    def _hash(self, task: _Task) -> str:
        """The hash of a recording that no worker survives; empty where it is not to be had."""
        if not is_url(task.recording.path):
            return _content(task).content_hash
        job = replace(task.job(0), only_hash=True)
        found = [
            part for part in self._runner.run([job], alone=True) if not isinstance(part, LostJobs)
        ]
        return found[0].facts.content_hash if found else ""


def _content(task: _Task) -> Facts:
    """The hash of a file of this machine."""
    file = task.recording.file
    try:
        return Facts(content_hash(file))
    except (VlarError, OSError) as error:
        return Facts(failure=failure_of(file, error))


def _given_up(file: Path, path: str, why: LostJobs | None) -> Failure:
    if why is not None and why.kind == MEMORY:
        advice = "its machine has too little memory: use fewer workers, or re-encode the file"
        message = f"{path}: reading it took all memory of its worker, twice; {advice}"
    else:
        reason = f" ({why.why})" if why is not None and why.why else ""
        message = (
            f"{path}: the worker that read it ended{reason}, twice; the file is damaged or too "
            "large: copy or re-encode it"
        )
    return Failure(file, LostJobs(()).kind if why is None else why.kind, message)


_WAITING_BYTES = 8 << 20  # of clips that wait for the encoder


@dataclass(frozen=True)
class AddRequest:
    """One ``add``: the recordings and how they are indexed; ``Library.add`` has every field."""

    paths: str | Path | Sequence[str | Path]
    tags: Mapping[str, str] | None = None
    window_s: float | None = None
    stride_s: float | None = None
    long_times: float | None = None
    shots: bool | None = None
    keep_context: bool = True
    retry: bool = False
    skip_still: bool = False
    captions: str | Captioner | None = None
    persons: bool | None = None
    detector: str | None = None
    runner: Runner | None = None
    shards: str | Path | None = None
    progress: IngestProgress | None = None

    def checked(self) -> AddRequest:
        """The request with its tags as text.

        Raises:
            UsageError: a tag or a span of time is not usable.
        """
        tags = checked_tags(self.tags or {})
        check_span(self.window_s, self.stride_s, self.long_times)
        return replace(self, tags=tags)

    def manifest(self, own: LibraryManifest | None, models: LazyModel) -> LibraryManifest:
        """The library's manifest, which allows the request, or that of a new library.

        Raises:
            LibraryError: the library has other windows or other rows of people.
            EncoderMismatchError: another model made it.
        """
        spans = self.window_s, self.stride_s
        if own is None:
            new = models.new_manifest(*spans, self.long_times, bool(self.shots))
            own = with_people(new, self.persons, self.detector)
        else:
            own.require_windows(*spans, models.folder, self.long_times, self.shots)
            require_people(own, self.persons, self.detector, models.folder)
        models.require(own)
        return own


def add_paths(writer: LibraryWriter, models: LazyModel, request: AddRequest) -> AddReport:
    """Index what a request names: without a runner, files of this machine.

    Raises:
        LibraryError: the library cannot be written to; the message states how much was kept.
        UsageError: the runner cannot run here.
        ModelError: the library is cut at shots, and the network that finds them is not installed.
    """
    request = replace(request, progress=request.progress or _bar())
    manifest = request.manifest(LibraryManifest.of(writer), models)
    source, paths = reader(manifest.modality), request.paths
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if request.runner is None and request.shards is None and not any(map(is_source, given)):
        files = list({place(file): file for file in source.find(given)}.values())
        return _add_files(writer, files, manifest, models, request)
    return _add_recordings(writer, recordings(given, source), manifest, models, request)


def _bar() -> IngestProgress | None:
    """A bar in a notebook; None in any other process."""
    bar = notebook.bar("adding")
    return None if bar is None else lambda event: bar(event.advance, event.total)


def _add_files(
    writer: LibraryWriter,
    files: Sequence[Path],
    manifest: LibraryManifest,
    models: LazyModel,
    request: AddRequest,
) -> AddReport:
    """Index files in their order; memory is bounded by the look-ahead and one batch."""
    if manifest.spec.shots:
        require_shots(reader(manifest.modality))
    captioner = as_captioner(request.captions)
    known = {video.path: video for video in writer.recordings()}
    failed = FailedFiles(failed_by_path(writer), request.retry)
    with ExitStack() as stack:
        batch = isolated(reader(manifest.modality), files, Path)
        source, all_files = stack.enter_context(batch)
        still = StillFootage() if request.skip_still and manifest.modality == "video" else None
        without = set[str]() if captioner is None else _uncaptioned(writer, known)
        records = read_files(all_files, known, manifest, source, failed, still, without)
        clips = stack.enter_context(closing(prefetch(records, _clip_bytes, _WAITING_BYTES)))
        windows = stack.enter_context(clips_with_people(clips, manifest, files))
        if isinstance(source, IsolatedReader):
            # First of all: the thread that reads ahead may wait for a file that hangs.
            stack.callback(source.close)
        model = partial(models.loaded, manifest)
        report = write_windows(
            writer,
            encode_clips(windows, model, request.keep_context, captioner),
            manifest,
            captioner="" if captioner is None else captioner.name,
            total=len(files),
            before=sum(place(file) in known for file in files),
            tags=request.tags,
            progress=request.progress,
        )
        if still is None:
            return report
        return replace(report, still_windows=still.windows, still_s=still.seconds)


def _add_recordings(
    writer: LibraryWriter,
    found: Sequence[Recording],
    manifest: LibraryManifest,
    models: LazyModel,
    request: AddRequest,
) -> AddReport:
    """Index recordings by a runner, which is ended here; rows are those of ``_add_files``."""
    runner = request.runner or LocalRunner()
    if manifest.spec.shots:
        require_shots(reader(manifest.modality))
    known = {video.path: video for video in writer.recordings()}
    broken = failed_by_path(writer)
    captioner = as_captioner(request.captions)
    without = set[str]() if captioner is None else _uncaptioned(writer, known)
    folder = None
    if request.shards is not None:
        folder = ShardFolder(Path(request.shards))
        written, lost = folder.known()
        known, broken = known | written, broken | lost
        without -= written.keys()
    with closing(runner):
        setup = _setup(runner, manifest, models, request)
        failed = FailedFiles(broken, request.retry)
        driver = Driver(runner, setup, found, known, failed, without, folder is None)
        to_library = partial(write_windows, writer)
        write = to_library if folder is None else partial(write_shards, folder, known)
        report = write(
            driver.stream(),
            manifest,
            captioner="" if captioner is None else captioner.name,
            total=len(found),
            before=sum(each.path in known for each in found),
            tags=request.tags,
            progress=request.progress,
        )
    return replace(report, still_windows=driver.still_windows, still_s=driver.still_s)


def _clip_bytes(item: FileRecord | Clip | Failure) -> int:
    return item.data.nbytes if isinstance(item, Clip) else 0


def _uncaptioned(writer: LibraryWriter, known: Mapping[str, RecordingFacts]) -> set[str]:
    """Paths of the recordings whose windows were not captioned."""
    captioned = writer.annotated(Caption)
    return {path for path, recording in known.items() if recording.id not in captioned}


def _setup(
    runner: Runner, manifest: LibraryManifest, models: LazyModel, request: AddRequest
) -> Setup:
    """The facts that the workers of a runner need."""
    captioner, remote = request.captions, RemoteFiles.from_environment()
    if runner.in_process:
        load: LoadModel = lambda _: models.loaded(manifest)  # noqa: E731 - it crosses no process
    else:
        load = runner.load or models.loader(manifest)
        captioner = captioner.name if isinstance(captioner, Captioner) else captioner
    return Setup(manifest, load, request.keep_context, captioner, request.skip_still, remote)
