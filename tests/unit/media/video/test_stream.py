from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import videos
from vlar.errors import UsageError
from vlar.media.video.decode import ClipRequest, read_clip, read_clips
from vlar.types import Clip, Failure, Window


def test_results_come_in_order_and_errors_are_values(kind: Callable[[str], Path], tmp_path: Path):
    good, other = kind("h264-b-frames.mp4"), kind("vp9.webm")
    missing = tmp_path / "missing.mp4"
    requests = [
        ClipRequest(good, Window(0, 1), 4),
        ClipRequest(missing),
        ClipRequest(other, None, 3),
        ClipRequest(good, Window(3, 2), 4),
        ClipRequest(good, Window(1, 2), 2),
    ] * 3
    results = list(read_clips(requests, workers=3, look_ahead=5))
    assert [r.path for r in results] == [r.path for r in requests]
    kinds = [r.kind if isinstance(r, Failure) else len(r.data) for r in results]
    assert kinds == [4, "decode", 3, "usage", 2] * 3
    first = results[0]
    assert isinstance(first, Clip)
    assert (first.data == read_clip(good, Window(0, 1), 4).data).all()


def test_requests_are_drawn_only_as_needed(kind: Callable[[str], Path]):
    path = kind("h264-b-frames.mp4")
    drawn = 0

    def endless() -> Iterator[ClipRequest]:
        nonlocal drawn
        while True:
            drawn += 1
            yield ClipRequest(path, Window(0, 1), 2)

    clips = read_clips(endless(), workers=2, look_ahead=3)
    assert drawn == 0
    for count in range(1, 6):
        next(clips)
        assert drawn <= count + 3
    clips.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("vlar-decode")]


def test_an_error_of_the_caller_stops_the_workers(kind: Callable[[str], Path]):
    path = kind("h264-b-frames.mp4")

    def consume() -> None:
        clips = read_clips([ClipRequest(path)] * 50)
        try:
            for _ in clips:
                raise RuntimeError("the caller failed")
        finally:
            clips.close()

    with pytest.raises(RuntimeError, match="the caller failed"):
        consume()
    assert not [t for t in threading.enumerate() if t.name.startswith("vlar-decode")]


def test_decoding_goes_on_while_the_caller_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = videos.make_video(tmp_path / "a.mp4", 20)
    decoded = threading.Semaphore(0)

    def counted(*arguments, **options):
        clip = read_clip(*arguments, **options)
        decoded.release()
        return clip

    monkeypatch.setattr("vlar.media.video.decode.read_clip", counted)
    clips = read_clips([ClipRequest(path)] * 3, workers=1, look_ahead=2)
    next(clips)
    for number in (1, 2):  # the caller asks for the first only, yet the second gets decoded
        assert decoded.acquire(timeout=30), f"clip {number} was not decoded ahead"
    clips.close()


def test_interrupt_ends_at_once(kind: Callable[[str], Path]):
    code = (
        "import sys, time\n"
        "from vlar.media.video.decode import ClipRequest, read_clips\n"
        "for _ in read_clips(ClipRequest(sys.argv[1]) for _ in range(10**9)):\n"
        "    print('running', flush=True)\n"
        "    time.sleep(0.01)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(kind("h264-b-frames.mp4"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[3],
        # A shell's background jobs, and what they start, ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0


@pytest.mark.parametrize("arguments", [{"workers": 0}, {"look_ahead": 0}])
def test_wrong_arguments(arguments: dict):
    with pytest.raises(UsageError):
        read_clips([], **arguments)
    assert list(read_clips([])) == []
