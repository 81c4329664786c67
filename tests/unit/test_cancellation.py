"""Work whose request is over stops at its next look, in whatever thread or process it runs."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.unit.library.fakes import FakeModel, tiny_video
from vlar.cancellation import Cancelled, cancellable, carried, check
from vlar.files.workers.ahead import in_order
from vlar.files.workers.pool import WorkerPool
from vlar.files.workers.process import FileLimits
from vlar.library.library import Library


def over() -> bool:
    return True


def test_only_work_inside_a_context_can_be_over():
    check()
    with cancellable(over):
        with pytest.raises(Cancelled):
            check()
        with cancellable(None):  # others wait for it too
            check()
    check()


def test_it_is_no_error_of_a_file():
    assert not issubclass(Cancelled, Exception)


def test_threads_that_read_ahead_stop_too():
    ended, begun = threading.Event(), threading.Event()

    def read(number: int) -> int:
        begun.set()
        while number:
            check()
            time.sleep(0.001)
        return number

    with cancellable(ended.is_set):
        items = in_order(iter([0, 1, 2]), read)
        assert next(items) == 0
        assert begun.wait(5)
        ended.set()
        with pytest.raises(Cancelled):
            next(items)
    assert carried(read)(0) == 0


@pytest.mark.parametrize("is_over", [True, False])
def test_reading_ahead_that_is_over_interrupts_nobody_else(is_over: bool):
    """Workers are shared: only a caller that stops for itself ends those at work."""
    ended, interrupted = list[bool](), list[int]()
    with cancellable(lambda: bool(ended)):
        items = in_order(iter(range(9)), abs, interrupt=lambda: interrupted.append(1))
        next(items)
    if is_over:
        ended.append(True)
    items.close()
    assert bool(interrupted) is not is_over


def test_a_worker_that_works_for_a_request_that_is_over_is_ended():
    ended = threading.Event()
    with WorkerPool(FileLimits(60.0, 10**9)) as pool:
        assert pool.call(Path("x"), 0.0, abs, -1) == 1
        threading.Timer(0.2, ended.set).start()
        begin_s = time.monotonic()
        with cancellable(ended.is_set), pytest.raises(Cancelled):
            pool.call(Path("x"), 0.0, time.sleep, 50)
        assert time.monotonic() - begin_s < 5
        assert pool.call(Path("x"), 0.0, abs, -2) == 2  # by a new one


def test_a_query_that_is_over_stops_and_the_next_one_is_answered(tmp_path: Path):
    with Library(tmp_path / "a.vlar", FakeModel()) as library:
        library.add(tiny_video(tmp_path / "a.mp4", 1))
        before = library.query("x THEN y", min_probability=0)
        with cancellable(over), pytest.raises(Cancelled):
            library.query("x THEN y", min_probability=0)
        assert library.query("x THEN y", min_probability=0) == before


def test_clips_of_a_request_that_is_over_are_not_encoded(tmp_path: Path, lite_model):
    path = tiny_video(tmp_path / "a.mp4", 1)
    with cancellable(over), pytest.raises(Cancelled):
        lite_model.classify(path, ["wave", "sit"])
    assert lite_model.classify(path, ["wave", "sit"])
