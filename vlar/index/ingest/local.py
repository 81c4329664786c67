"""An ``add`` on this machine: read in one thread, encode and write in another.

The three steps are plain functions over one stream: ``read_files`` gives records and clips,
``encode_clips`` replaces clips by encoded windows, and ``write_windows`` makes them rows. Another
executor replaces the first two and feeds ``write_windows``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from vlar.captioning.base import Captioner
from vlar.index.ingest.encode import encode_clips
from vlar.index.ingest.people import clips_with_people
from vlar.index.ingest.reader import item_bytes, read_files
from vlar.index.ingest.still import StillFootage
from vlar.index.ingest.writer import IngestProgress, write_windows
from vlar.index.manifest import LibraryManifest
from vlar.index.paths import place
from vlar.index.protocol import LibraryModel
from vlar.index.report import AddReport
from vlar.index.store.changes import LibraryWriter
from vlar.index.store.failed import FailedFiles
from vlar.sensors import reader
from vlar.sensors.isolated import IsolatedReader, isolated
from vlar.sensors.shots import require_shots
from vlar.video.prefetch import prefetch

_WAITING_BYTES = 8 << 20  # of clips that wait for the encoder


def add_files(
    writer: LibraryWriter,
    files: Sequence[Path],
    manifest: LibraryManifest,
    model: Callable[[], LibraryModel],
    *,
    tags: Mapping[str, str],
    keep_context: bool,
    progress: IngestProgress | None,
    retry: bool = False,
    skip_still: bool = False,
    captioner: Captioner | None = None,
) -> AddReport:
    """Index files in their order; memory is bounded by the look-ahead and one batch.

    Args:
        writer: The library, with the writer's lock held.
        files: The recordings.
        manifest: Of the library; written with the first recording of a new one.
        model: Loads the model; called for the first clip.
        tags: Set on every recording.
        keep_context: Whether to keep context tokens, where the model's text depends on the video.
        progress: Called after the commit of each recording.
        retry: Read files again that crashed or took too long before.
        skip_still: Leave windows of video out in which nothing moves.
        captioner: Writes about each window. Recordings that were indexed without are read again.

    Raises:
        LibraryError: the library cannot be written to; the message says how much was kept.
        ModelError: the library is cut at shots, and the network that finds them is not installed.
    """
    if manifest.spec.shots:
        require_shots(reader(manifest.modality))
    known = {video.path: video for video in writer.known()}
    failed = FailedFiles(writer.failed_files(), retry)
    with ExitStack() as stack:
        batch = isolated(reader(manifest.modality), files, Path)
        source, all_files = stack.enter_context(batch)
        still = StillFootage() if skip_still and manifest.modality == "video" else None
        without = set(known) - writer.captioned_paths() if captioner is not None else set[str]()
        records = read_files(all_files, known, manifest, source, failed, still, without)
        clips = stack.enter_context(closing(prefetch(records, item_bytes, _WAITING_BYTES)))
        windows = stack.enter_context(clips_with_people(clips, manifest, files))
        if isinstance(source, IsolatedReader):
            # First of all: the thread that reads ahead may wait for a file that hangs.
            stack.callback(source.close)
        report = write_windows(
            writer,
            encode_clips(windows, model, keep_context, captioner),
            manifest,
            captioner="" if captioner is None else captioner.name,
            total=len(files),
            before=sum(place(file) in known for file in files),
            tags=tags,
            progress=progress,
        )
        if still is None:
            return report
        return replace(report, still_windows=still.windows, still_s=still.seconds)
