"""Encoders in processes of their own: killed ones, and recordings that kill them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.faults import FaultyReader
from tests.unit.library.fakes import FakeModel, load_fake, tiny_video
from vlar.errors import EncoderMismatchError, UsageError
from vlar.library.ingest.runners import processes
from vlar.library.ingest.runners.processes import ProcessRunner
from vlar.library.ingest.worker_tasks import DecodedPart, ReadJob, Setup
from vlar.library.library import Library
from vlar.library.rows import AddEvent
from vlar.media.base import Reader
from vlar.types import Clip, Encoded

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")


class Deadly(FakeModel):
    """Ends its own process at some recordings, or its memory."""

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        for clip in clips:
            if clip.path.stem == "poison":
                os.kill(os.getpid(), signal.SIGKILL)
            if clip.path.stem == "large":
                raise MemoryError
        return super().encode(clips)


class Slow(FakeModel):
    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        time.sleep(0.02 * len(clips))
        return super().encode(clips)


def load_deadly(device: str | None) -> Deadly:
    return Deadly()


def load_slow(device: str | None) -> Slow:
    return Slow()


def load_other(device: str | None) -> FakeModel:
    return FakeModel(seed=7)


def vectors(library: Library) -> list[tuple[object, ...]]:
    return library._connection.reader().fetch(  # type: ignore[union-attr]
        "SELECT path, start_s, vector FROM rows JOIN videos ON videos.id = video_id "
        "ORDER BY path, start_s"
    )


@pytest.mark.slow
def test_what_kills_an_encoder_twice_is_named_and_skipped(tmp_path: Path, clips: list[Path]):
    folder = tmp_path / "videos"
    bad = [tiny_video(folder / "poison.mp4", 50), tiny_video(folder / "large.mp4", 51)]
    files = [*clips[:2], *bad, *clips[2:]]
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        report = library.add(files, runner=ProcessRunner(("cpu",), load_deadly))
        assert report.added == len(clips)
        kinds = {Path(failure.path).stem: failure.kind for failure in report.failed}
        assert kinds == {"poison": "crash", "large": "memory"}
        again = library.add(files, runner=ProcessRunner(load=load_deadly))
        assert (again.unchanged, again.added) == (len(clips), 0)
        assert all("skipped" in failure.message for failure in again.failed)
        healed = library.add(files, retry=True, runner=ProcessRunner(("cpu",), load_fake))
        assert (healed.added, healed.failed) == (2, ())


def test_an_encoder_killed_from_outside_costs_nothing(tmp_path: Path, clips: list[Path]):
    runner = ProcessRunner(load=load_slow)
    killed: list[int] = []

    def kill(event: AddEvent) -> None:
        if event.path is not None and not killed:
            for pool in runner._pools:
                for worker in pool._all:
                    killed.append(worker.process_id)
                    os.kill(worker.process_id, signal.SIGKILL)

    with (
        Library(tmp_path / "l.vlar", FakeModel()) as library,
        Library(tmp_path / "plain.vlar", FakeModel()) as plain,
    ):
        report = library.add(clips, runner=runner, progress=kill)
        plain.add(clips)
        assert killed
        assert (report.added, report.failed) == (len(clips), ())
        assert vectors(library) == vectors(plain)


@pytest.mark.slow
def test_a_recording_that_takes_the_memory_of_the_driver_is_named(
    tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
):
    def decode(job: ReadJob, setup: Setup, source: Reader) -> Iterator[DecodedPart]:
        if job.path.endswith("1.mp4"):
            raise MemoryError
        return plain(job, setup, source)

    plain = processes.decode
    monkeypatch.setattr(processes, "decode", decode)
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        report = library.add(clips[:3], runner=ProcessRunner(("cpu",), load_fake))
        assert (report.added, [f.kind for f in report.failed]) == (2, ["memory"])


@pytest.mark.slow
def test_decoders_that_crash_are_reported_as_without_a_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VLAR_FILE_MEMORY", "400MB")
    monkeypatch.setattr(processes, "reader", lambda _modality: FaultyReader())
    files = [tiny_video(tmp_path / f"{n}.mp4", i) for i, n in enumerate(("1", "abort", "2", "eat"))]
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        report = library.add(files, runner=ProcessRunner(load=load_fake))
        assert report.added == 2
        assert sorted(failure.kind for failure in report.failed) == ["crash", "memory"]


def test_a_worker_with_another_model_ends_the_call(tmp_path: Path, clips: list[Path]):
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        with pytest.raises(EncoderMismatchError, match="a worker loaded model 'fake'"):
            library.add(clips, runner=ProcessRunner(load=load_other))
        with pytest.raises(UsageError, match="cannot be loaded by another process"):
            library.add(clips, runner=ProcessRunner(load=lambda _: FakeModel()))
