"""An ``add``: in this process, or through a runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vlar.captioning.base import Captioner, as_captioner
from vlar.index.ingest.driver import Driver
from vlar.index.ingest.local import add_files
from vlar.index.ingest.recording import Recording
from vlar.index.ingest.remote import RemoteFiles
from vlar.index.ingest.runners.base import Runner
from vlar.index.ingest.runners.local import LocalRunner
from vlar.index.ingest.sources import is_source, recordings
from vlar.index.ingest.stages import LoadModel, Setup
from vlar.index.ingest.writer import IngestProgress, write_windows
from vlar.index.manifest import LibraryManifest
from vlar.index.model_provider import LazyModel
from vlar.index.paths import place
from vlar.index.protocol import LibraryModel
from vlar.index.report import AddReport
from vlar.index.shards.write import ShardFolder, write_shards
from vlar.index.store.changes import LibraryWriter
from vlar.index.store.failed import FailedFiles
from vlar.sensors import reader
from vlar.sensors.shots import require_shots


@dataclass(frozen=True)
class AddOptions:
    """What an ``add`` keeps and leaves out; see ``Library.add``."""

    tags: Mapping[str, str]
    keep_context: bool = True
    retry: bool = False
    skip_still: bool = False
    captions: str | Captioner | None = None
    shards: str | Path | None = None


def add_paths(
    writer: LibraryWriter,
    manifest: LibraryManifest,
    models: LazyModel,
    paths: str | Path | Sequence[str | Path],
    runner: Runner | None,
    options: AddOptions,
    progress: IngestProgress | None,
) -> AddReport:
    """Index what arguments name: without a runner, files of this machine by ``add_files``."""
    source = reader(manifest.modality)
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if runner is None and options.shards is None and not any(map(is_source, given)):
        files = list({place(file): file for file in source.find(given)}.values())
        return add_files(
            *(writer, files, manifest),
            lambda: models.loaded(manifest),
            tags=options.tags,
            keep_context=options.keep_context,
            progress=progress,
            retry=options.retry,
            skip_still=options.skip_still,
            captioner=as_captioner(options.captions),
        )
    found = recordings(given, source)
    runner = runner or LocalRunner()
    return add_recordings(writer, found, manifest, models, runner, options, progress)


def add_recordings(
    writer: LibraryWriter,
    recordings: Sequence[Recording],
    manifest: LibraryManifest,
    models: LazyModel,
    runner: Runner,
    options: AddOptions,
    progress: IngestProgress | None,
) -> AddReport:
    """Index recordings; the rows are those that ``add_files`` gives.

    Args:
        writer: The library, with the writer's lock held.
        recordings: What to add.
        manifest: Of the library; written with the first recording of a new one.
        models: The library's model.
        runner: Reads and encodes; it is ended here.
        options: What to keep.
        progress: Called after the commit of each recording.

    Raises:
        LibraryError: the library cannot be written to; the message says how much was kept.
        UsageError: the runner cannot run here.
    """
    if manifest.spec.shots:
        require_shots(reader(manifest.modality))
    known = {video.path: video for video in writer.known()}
    broken = writer.failed_files()
    without, name = set[str](), ""
    if (captioner := as_captioner(options.captions)) is not None:
        name = captioner.name
        without = set(known) - writer.captioned_paths()
    folder = None
    if options.shards is not None:
        folder = ShardFolder(Path(options.shards))
        written, lost = folder.known()
        known, broken = known | written, broken | lost
        without -= written.keys()
    with closing(runner):
        setup = setup_of(runner, manifest, models, options)
        failed = FailedFiles(broken, options.retry)
        driver = Driver(runner, setup, recordings, known, failed, without, folder is None)
        write = partial(
            partial(write_windows, writer)
            if folder is None
            else partial(write_shards, folder, known),
            driver.stream(),
            manifest,
        )
        report = write(
            captioner=name,
            total=len(recordings),
            before=sum(each.path in known for each in recordings),
            tags=options.tags,
            progress=progress,
        )
    return replace(report, still_windows=driver.still_windows, still_s=driver.still_s)


def setup_of(
    runner: Runner, manifest: LibraryManifest, models: LazyModel, options: AddOptions
) -> Setup:
    """What the workers of a runner need to know."""
    captioner = options.captions
    load = runner.load
    if runner.in_process:
        load = _of_library(models, manifest)
    else:
        load = load or models.loader(manifest)
        captioner = captioner.name if isinstance(captioner, Captioner) else captioner
    return Setup(
        manifest,
        load,
        options.keep_context,
        captioner,
        options.skip_still,
        RemoteFiles.from_environment(),
    )


def _of_library(models: LazyModel, manifest: LibraryManifest) -> LoadModel:
    def load(device: str | None) -> LibraryModel:
        del device
        return models.loaded(manifest)

    return load
