"""An ``add``: in this process, or through a runner.

The steps on this machine are plain functions over one stream: ``read_files`` gives records and
clips in one thread, ``encode_clips`` replaces clips by encoded windows in another, and
``write_windows`` makes them rows. A runner replaces the first two and feeds ``write_windows``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vlar.captioning.base import Captioner, as_captioner
from vlar.index.ingest.driver import Driver
from vlar.index.ingest.encode import encode_clips
from vlar.index.ingest.people import clips_with_people, require_people, with_people
from vlar.index.ingest.reader import item_bytes, read_files
from vlar.index.ingest.recording import Recording
from vlar.index.ingest.remote import RemoteFiles
from vlar.index.ingest.runners.base import Runner
from vlar.index.ingest.runners.local import LocalRunner
from vlar.index.ingest.sources import is_source, recordings
from vlar.index.ingest.stages import LoadModel, Setup
from vlar.index.ingest.still import StillFootage
from vlar.index.ingest.writer import IngestProgress, write_windows
from vlar.index.manifest import LibraryManifest
from vlar.index.model_provider import LazyModel
from vlar.index.paths import place
from vlar.index.protocol import LibraryModel
from vlar.index.report import AddReport
from vlar.index.shards.write import ShardFolder, write_shards
from vlar.index.store.annotations import Caption, FailedFiles
from vlar.index.store.base import LibraryWriter, failed_by_path
from vlar.index.store.values import RecordingFacts
from vlar.index.validation import check_span, checked_tags
from vlar.sensors import reader
from vlar.sensors.isolated import IsolatedReader, isolated
from vlar.sensors.shots import require_shots
from vlar.video.prefetch import prefetch

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

    Args:
        writer: The library, with the writer's lock held.
        models: The library's model, loaded for the first clip.
        request: The recordings and how they are indexed.

    Raises:
        LibraryError: the library cannot be written to; the message says how much was kept.
        UsageError: the runner cannot run here.
        ModelError: the library is cut at shots, and the network that finds them is not installed.
    """
    manifest = request.manifest(LibraryManifest.of(writer), models)
    source, paths = reader(manifest.modality), request.paths
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if request.runner is None and request.shards is None and not any(map(is_source, given)):
        files = list({place(file): file for file in source.find(given)}.values())
        return _add_files(writer, files, manifest, models, request)
    return _add_recordings(writer, recordings(given, source), manifest, models, request)


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
        clips = stack.enter_context(closing(prefetch(records, item_bytes, _WAITING_BYTES)))
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
    without, name = set[str](), ""
    if (captioner := as_captioner(request.captions)) is not None:
        name = captioner.name
        without = _uncaptioned(writer, known)
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
        write = partial(
            partial(write_windows, writer)
            if folder is None
            else partial(write_shards, folder, known),
            driver.stream(),
            manifest,
        )
        report = write(
            captioner=name,
            total=len(found),
            before=sum(each.path in known for each in found),
            tags=request.tags,
            progress=request.progress,
        )
    return replace(report, still_windows=driver.still_windows, still_s=driver.still_s)


def _uncaptioned(writer: LibraryWriter, known: Mapping[str, RecordingFacts]) -> set[str]:
    """Paths of the recordings whose windows were not captioned."""
    captioned = writer.annotated(Caption)
    return {path for path, recording in known.items() if recording.id not in captioned}


def _setup(
    runner: Runner, manifest: LibraryManifest, models: LazyModel, request: AddRequest
) -> Setup:
    """The facts that the workers of a runner need."""
    captioner = request.captions
    load = runner.load
    if runner.in_process:
        load = _of_library(models, manifest)
    else:
        load = load or models.loader(manifest)
        captioner = captioner.name if isinstance(captioner, Captioner) else captioner
    return Setup(
        manifest,
        load,
        request.keep_context,
        captioner,
        request.skip_still,
        RemoteFiles.from_environment(),
    )


def _of_library(models: LazyModel, manifest: LibraryManifest) -> LoadModel:
    def load(device: str | None) -> LibraryModel:
        del device
        return models.loaded(manifest)

    return load
