"""Mapped rows that a runner encodes, on several processes or machines (``vlar.library.ingest``).

A recording is yielded once, when all of its parts are there. One whose worker was lost is encoded
once more, alone.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlar.errors import DecodeCrash, UsageError
from vlar.library.ingest.encode import EncodedWindow
from vlar.library.ingest.runners.base import LostJobs, Runner
from vlar.library.ingest.worker_tasks import EncodedPart, ReadJob, Setup
from vlar.library.manifest import LibraryManifest
from vlar.library.model_provider import LoadModel
from vlar.library.rows import RowBatch
from vlar.library.store.values import KnownVideo
from vlar.types import Failure, Float32


@dataclass(frozen=True)
class EncodedRecording:
    """A recording and its windows as a runner encoded them; or why it cannot be read."""

    video: KnownVideo
    windows: Sequence[EncodedWindow | Failure] = ()
    failure: Failure | None = None

    def vectors(self, rows: RowBatch) -> tuple[Float32, dict[int, Failure]]:
        """The vector of each row (N, D), and which rows have none: these are zero."""
        windows = [item for item in self.windows if isinstance(item, EncodedWindow)]
        by_span = {(w.window.start_s, w.window.end_s): w.vector for w in windows}
        failures = [item for item in self.windows if isinstance(item, Failure)]
        file = Path(self.video.path)
        lost = Failure(file, "decode", f"{file}: a window cannot be read any more")
        vectors = np.zeros((len(rows.spans), rows.vectors.shape[1]), np.float32)
        missing: dict[int, Failure] = {}
        for index, span in enumerate(rows.spans):
            vector = by_span.get((span[0], span[1]))
            if vector is None:
                missing[index] = failures[0] if failures else lost
            else:
                vectors[index] = vector
        return vectors, missing


def encoded_by(
    runner: Runner, manifest: LibraryManifest, load: LoadModel, videos: Sequence[KnownVideo]
) -> Generator[EncodedRecording]:
    """Each recording once, in the order in which a runner ends them.

    Args:
        runner: Is started and ended here.
        manifest: Of the rows.
        load: Loads the model in a worker.
        videos: The recordings.

    Raises:
        UsageError: the library has rows of people, or the runner cannot run here.
    """
    if manifest.persons:
        raise UsageError("rows of people are encoded in this process; leave --runner out")
    jobs = {number: ReadJob(number, video.path) for number, video in enumerate(videos)}
    why = "its worker ended"
    with closing(runner):
        runner.start(Setup(manifest, load, False))
        for alone in (False, True):
            parts: dict[int, dict[int, EncodedPart]] = {}
            for item in runner.run(list(jobs.values()), alone=alone) if jobs else ():
                if isinstance(item, LostJobs):
                    why = item.why or why
                    continue
                of_job = parts.setdefault(item.job, {})
                of_job[item.index] = item
                last = max(of_job)
                if item.job in jobs and of_job[last].is_last and len(of_job) == last + 1:
                    del jobs[item.job]
                    yield _whole(videos[item.job], [of_job[i] for i in range(last + 1)])
                    del parts[item.job]
    for number in jobs:
        file = Path(videos[number].path)
        message = f"{file}: could not be encoded twice ({why}); leave --runner out"
        yield EncodedRecording(videos[number], (), Failure(file, DecodeCrash.kind, message))


def _whole(video: KnownVideo, parts: Sequence[EncodedPart]) -> EncodedRecording:
    facts, file = parts[0].facts, Path(video.path)
    failure = facts.failure
    if failure is None and facts.content_hash != video.content_hash:
        failure = Failure(file, "decode", f"{file}: has changed since it was indexed")
    return EncodedRecording(video, [item for part in parts for item in part.items], failure)
