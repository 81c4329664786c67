"""Runners of an ``add``: the driver, and encoders in processes of their own."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.faults import FaultyReader
from tests.unit.library.fakes import DIM, FakeModel, load_fake, stored, tiny_video
from vlar.errors import EncoderMismatchError, UsageError
from vlar.library.ingest.encode import EncodedWindow
from vlar.library.ingest.ingest import Driver
from vlar.library.ingest.runners import processes
from vlar.library.ingest.runners.base import MEMORY, LostJobs, Runner
from vlar.library.ingest.runners.processes import ProcessRunner
from vlar.library.ingest.worker_tasks import (
    DecodedPart,
    EncodedPart,
    Facts,
    ReadJob,
    RecordingPart,
    Setup,
)
from vlar.library.library import Library
from vlar.library.manifest import LibraryManifest
from vlar.library.recording import FailedFiles, FileRecord, ListedRecording
from vlar.library.rows import AddEvent
from vlar.library.store.annotations import FailedFile
from vlar.library.store.values import KnownVideo, Stamp
from vlar.media.base import Reader
from vlar.types import Clip, Encoded, Failure, Window

SETUP = Setup(LibraryManifest.new(FakeModel(), "fake", 4.0, 2.0), lambda _: FakeModel())

Answer = Callable[[ReadJob, bool], list[EncodedPart | LostJobs]]


class Told(Runner):
    """Answers each job by a function, in any order; counts what it was asked."""

    name = "told"

    def __init__(self, answer: Answer, seed: int = 0) -> None:
        self.answer, self.draw = answer, random.Random(seed)
        self.rounds: list[tuple[list[str], bool]] = []
        self.starts = 0

    @classmethod
    def from_spec(cls, argument: str, device: str | None = None) -> Told:
        raise NotImplementedError

    def start(self, setup: Setup) -> Told:
        self.starts += 1
        return super().start(setup)

    def run(
        self, jobs: Sequence[ReadJob], *, alone: bool = False
    ) -> Iterator[EncodedPart | LostJobs]:
        self.rounds.append(([job.path for job in jobs], alone))
        found = [each for job in jobs for each in self.answer(job, alone)]
        self.draw.shuffle(found)
        yield from found


def parts(job: ReadJob, content: str, count: int = 2) -> list[EncodedPart | LostJobs]:
    facts = Facts(content, 10.0)
    if job.only_hash:
        return [RecordingPart(job.number, 0, facts, is_last=True)]
    vector = np.eye(DIM, dtype=np.float32)[0]
    return [
        RecordingPart(
            job.number,
            index,
            facts,
            [EncodedWindow(Window(2.0 * index, 2.0 * index + 4), vector)],
            index == count - 1,
        )
        for index in range(count)
    ]


def recording(name: str, size: int = 0, stamp_ns: int = 1) -> ListedRecording:
    path = f"s3://bucket/{name}.mp4"
    return ListedRecording(
        Path(path), path, stamp=Stamp(size or sum(map(ord, name)), stamp_ns), is_remote=True
    )


def told(
    runner: Runner,
    recordings: Sequence[ListedRecording],
    known: Sequence[KnownVideo] = (),
    failed: FailedFiles | None = None,
) -> dict[str, tuple[FileRecord, list[EncodedWindow | Failure]]]:
    found: dict[str, tuple[FileRecord, list[EncodedWindow | Failure]]] = {}
    by_path = {video.path: video for video in known}
    latest = ""
    for item in Driver(runner, SETUP, recordings, by_path, failed or FailedFiles()).stream():
        if isinstance(item, FileRecord):
            latest = item.path.rpartition("/")[2].removesuffix(".mp4")
            assert latest not in found, "a recording is told twice"
            found[latest] = item, []
        else:
            found[latest][1].append(item)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_parts_in_any_order_and_twice_become_whole_recordings(seed: int):
    runner = Told(lambda job, _: [*parts(job, job.path, 4), *parts(job, job.path, 4)], seed)
    found = told(runner, [recording(name) for name in "abcde"])
    assert {name: record.state for name, (record, _) in found.items()} == dict.fromkeys(
        "abcde", "changed"
    )
    for _, windows in found.values():
        assert [w.window.start_s for w in windows if isinstance(w, EncodedWindow)] == [0, 2, 4, 6]
    assert [alone for _, alone in runner.rounds] == [False]


def test_a_recording_of_which_a_part_is_missing_is_read_again_alone():
    def answer(job: ReadJob, alone: bool) -> list[EncodedPart | LostJobs]:
        found = parts(job, job.path, 3)
        return found if alone or "b" not in job.path.rpartition("/")[2] else found[:1] + found[2:]

    runner = Told(answer)
    found = told(runner, [recording(name) for name in "abc"])
    assert [len(windows) for _, windows in found.values()] == [3, 3, 3]
    assert runner.rounds[1:] == [(["s3://bucket/b.mp4"], True)]


@pytest.mark.parametrize(
    ("lost", "kind"), [(LostJobs((1,)), "crash"), (LostJobs((1,), MEMORY), "memory")]
)
def test_what_ends_its_worker_twice_is_reported_and_the_rest_goes_on(lost: LostJobs, kind: str):
    def answer(job: ReadJob, alone: bool) -> list[EncodedPart | LostJobs]:
        if "b" in job.path.rpartition("/")[2] and not job.only_hash:
            return [LostJobs((job.number,), lost.kind)]
        return parts(job, job.path)

    runner = Told(answer)
    found = told(runner, [recording(name) for name in "abc"])
    record, windows = found["b"]
    assert (record.state, record.content_hash, windows) == ("failed", "s3://bucket/b.mp4", [])
    assert record.failure is not None
    assert record.failure.kind == kind
    assert "twice" in record.failure.message
    assert len(found["a"][1]) == len(found["c"][1]) == 2
    assert [alone for _, alone in runner.rounds] == [False, True, True]  # the last asks for a hash


def test_equal_sizes_are_hashed_before_anything_is_decoded():
    contents = {"a": "x", "b": "x", "c": "y", "d": "z"}
    old = KnownVideo(1, "s3://bucket/old.mp4", "y", Stamp(7, 5))
    decoded: list[str] = []

    def answer(job: ReadJob, alone: bool) -> list[EncodedPart | LostJobs]:
        name = job.path.rpartition("/")[2][0]
        if not job.only_hash:
            decoded.append(name)
        return parts(job, contents[name])

    files = [recording("a", 7), recording("b", 7), recording("c", 7), recording("d", 8)]
    found = told(Told(answer), files, [old])
    states = {name: record.state for name, (record, _) in found.items()}
    assert sorted((states["a"], states["b"])) == ["changed", "known"]
    assert (states["c"], states["d"]) == ("known", "changed")
    assert sorted(decoded) in (["a", "d"], ["b", "d"])


def test_a_copy_of_what_cannot_be_read_is_read_itself():
    def answer(job: ReadJob, alone: bool) -> list[EncodedPart | LostJobs]:
        if job.only_hash:
            return parts(job, "x")
        failure = Failure(Path(job.path), "decode", f"{job.path}: broken")
        return [RecordingPart(job.number, 0, Facts("x", failure=failure), is_last=True)]

    found = told(Told(answer), [recording("a", 7), recording("b", 7)])
    assert {record.state for record, _ in found.values()} == {"failed"}
    assert {f"s3://bucket/{name}.mp4: broken" for name in "ab"} == {
        record.failure.message for record, _ in found.values() if record.failure
    }


def test_nothing_to_open_starts_no_worker():
    known = KnownVideo(1, "s3://bucket/a.mp4", "x", Stamp(97, 1))
    broken = FailedFile("s3://bucket/b.mp4", "y", Stamp(98, 1), "crash", "died")
    runner = Told(lambda job, _: [])
    failed = FailedFiles({broken.path: broken})
    found = told(runner, [recording("a"), recording("b")], [known], failed)
    assert {name: record.state for name, (record, _) in found.items()} == {
        "a": "unchanged",
        "b": "skipped",
    }
    assert runner.starts == 0
    # A clock that goes backwards is another time, not an older one: the file is looked at.
    runner.answer = lambda job, _: parts(job, "x")
    assert told(runner, [recording("a", stamp_ns=-5)], [known])["a"][0].state == "unchanged"
    assert runner.starts == 1


posix = pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")


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


@posix
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


@posix
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
        assert stored(library) == stored(plain)


@posix
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


@posix
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


@posix
def test_a_worker_with_another_model_ends_the_call(tmp_path: Path, clips: list[Path]):
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        with pytest.raises(EncoderMismatchError, match="a worker loaded model 'fake'"):
            library.add(clips, runner=ProcessRunner(load=load_other))
        with pytest.raises(UsageError, match="cannot be loaded by another process"):
            library.add(clips, runner=ProcessRunner(load=lambda _: FakeModel()))
