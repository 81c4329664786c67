"""A single file of a sensor is parsed in a worker: what it does to a parser ends it alone."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from tests import faults
from tests.command_line import invoke
from tests.faults import FaultySignals
from tests.refusals import refused
from vlar.errors import DecodeCrash, DecodeError, DecodeOutOfMemory, DecodeTimeout
from vlar.files.workers import single
from vlar.media.lookup import reader
from vlar.media.skeleton import export
from vlar.media.skeleton.formats.base import Bodies
from vlar.media.views import ViewSampler
from vlar.plugins.integrity import check
from vlar.types import Sampling

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")
SAMPLING = Sampling(8)


def file(place: Path, name: str) -> Path:
    path = place / name
    path.write_bytes(b"x")
    return path


def process(path: Path, source: FaultySignals | None = None) -> int:
    return (source or FaultySignals()).read_clip(path, None, SAMPLING).meta["process"]


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("abort.ramp", DecodeCrash, "crashed (SIGABRT)"),
        ("zero.ramp", DecodeCrash, "crashed (SIGSEGV)"),
        ("stuck.ramp", DecodeTimeout, "no result within 1.1 s"),
        ("eat.ramp", DecodeOutOfMemory, "not enough memory"),
        ("foreign.ramp", DecodeError, "reading it failed (IndexError: list index out of range)"),
    ],
)
def test_a_fault_is_the_error_of_its_file(
    tmp_path: Path,
    name: str,
    error: type[DecodeError],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad, good = file(tmp_path, name), file(tmp_path, "good.ramp")
    # On a busy machine a worker alone may start for a second, so others have time.
    monkeypatch.setenv("VLAR_FILE_MEMORY", "400MB")
    monkeypatch.setenv("VLAR_FILE_TIMEOUT_S", "1" if error is DecodeTimeout else "60")
    raised = refused(error, "", ViewSampler(FaultySignals(), SAMPLING).sample, bad)
    monkeypatch.setenv("VLAR_FILE_TIMEOUT_S", "60")
    assert raised.value.message.startswith(f"{bad}: ")
    assert says in raised.value.message
    (clip,) = ViewSampler(FaultySignals(), SAMPLING).sample(good)
    assert np.array_equal(clip.data, np.arange(16).reshape(8, 2))


def test_one_worker_stays_warm_for_all_files(tmp_path: Path) -> None:
    used = {process(file(tmp_path, f"{number}.ramp")) for number in range(4)}
    assert len(used) == 1
    assert used != {os.getpid()}


def test_threads_wait_for_the_workers_there_are(tmp_path: Path) -> None:
    os.environ.pop("VLAR_DECODE_WORKERS", None)
    limits = single.FileLimits.from_environment()
    used: set[int] = set()
    files = [file(tmp_path, f"{number}.ramp") for number in range(6)]
    threads = [threading.Thread(target=lambda f=f: used.add(process(f))) for f in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(used) <= limits.workers


def test_where_there_are_no_workers_it_is_read_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Local(FaultySignals):
        """A reader of a script cannot be imported elsewhere."""

    Local.__module__ = "__main__"
    assert process(file(tmp_path, "script.ramp"), Local()) == os.getpid()
    monkeypatch.setenv("VLAR_DECODE_WORKERS", "0")
    assert process(file(tmp_path, "off.ramp")) == os.getpid()


def test_a_worker_starts_no_worker(tmp_path: Path) -> None:
    path = file(tmp_path, "nested.ramp")
    outer = single.call(path, faults.process_id)
    assert single.call(path, single.call, path, faults.process_id) == outer


def test_a_fork_has_workers_of_its_own(tmp_path: Path) -> None:
    ours = single.call(tmp_path, faults.process_id)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(single.call(tmp_path, faults.process_id)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(read, 20)) != ours
    os.close(read)
    os.close(write)
    assert single.call(tmp_path, faults.process_id) == ours


def test_a_foreign_exception_is_logged_with_its_origin(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "vlar.failures"):
        refused(DecodeError, "IndexError", process, file(tmp_path, "foreign.ramp"))
    assert "in foreign\n" in caplog.text
    assert "IndexError: list index out of range" in caplog.text


def test_skeletons_of_a_file_of_many_come_from_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.ones((4, 1, 25, 3), np.float32)
    path = tmp_path / "a.npz"
    export.write(path, Bodies(points, "ntu25", "m", 30.0))
    used: list[Path] = []
    monkeypatch.setattr(single.WorkerPool, "stream", lambda pool, path, *_: used.append(path) or ())
    monkeypatch.setattr(single, "_now", None)
    assert list(reader("skeleton").find([path])) == [path]
    refused(DecodeError, "no skeleton", export.recordings, path)
    assert used == [path]


def test_a_command_names_the_file_that_crashes_a_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "reader_for", lambda path: FaultySignals())
    bad = file(tmp_path, "zero.ramp")
    done = invoke(["check", str(bad)])
    assert done.exit_code == 2, done.output
    assert "zero.ramp" in done.output
    assert "its decoder crashed (SIGSEGV) and was stopped" in done.output
    assert "Traceback" not in done.output
    assert invoke(["check", str(file(tmp_path, "good.ramp"))]).exit_code == 0


def test_debug_shows_where_a_foreign_exception_arose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "reader_for", lambda path: FaultySignals())
    bad = file(tmp_path, "foreign.ramp")
    plain, debug = (invoke(["check", str(bad), *more]) for more in ([], ["--debug"]))
    assert plain.exit_code == debug.exit_code == 2
    for done in (plain, debug):
        assert "reading it failed (IndexError: list index out of range)" in done.output
    assert "Traceback" not in plain.output
    assert "in foreign\n" in debug.output
