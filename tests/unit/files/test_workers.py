"""A job that crashes, hangs or takes all memory ends its worker; the program goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests import faults
from tests.refusals import refused
from vlar.errors import DecodeCrash, DecodeError, DecodeOutOfMemory, DecodeTimeout, UsageError
from vlar.files.workers import process, transfer
from vlar.files.workers.pool import WorkerPool, can_isolate, is_batch
from vlar.files.workers.process import FileLimits, WorkerStartError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")
CLIP = Path("clip.mp4")
CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    limits = FileLimits(timeout_s=1.0, memory_bytes=100_000_000)
    with WorkerPool(limits, module="tests.faults") as made:
        yield made


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (faults.abort, DecodeCrash, "crashed (SIGABRT)"),
        (faults.touch_address_zero, DecodeCrash, "crashed (SIGSEGV)"),
        (faults.leave, DecodeCrash, "crashed (exit code 3)"),
        (faults.hang, DecodeTimeout, "no result within 1.1 s"),
        (faults.hang_with_the_interpreter, DecodeTimeout, "no result within 1.1 s"),
        (faults.eat_memory, DecodeOutOfMemory, "more than 0.1 GB"),
    ],
)
def test_a_fault_is_the_error_of_its_file(
    pool: WorkerPool, fault: Callable[[], object], error: type[DecodeError], words: str
):
    raised = refused(error, "", list, pool.stream(CLIP, 0.0, fault))
    assert raised.value.message.startswith("clip.mp4: ")
    assert words in raised.value.message
    assert pool.call(CLIP, 0.0, faults.add, 2, 3) == 5


def test_relative_paths_start_where_the_program_is_now(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("one", "two", "gone"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "gone":
            (tmp_path / name).rmdir()
        found = pool.call(CLIP, 0.0, os.getcwd)
        assert found == str(tmp_path / ("two" if name == "gone" else name))


def test_a_worker_that_ends_while_it_waits_is_no_fault_of_the_next_file():
    with WorkerPool(FileLimits(timeout_s=5.0), module="tests.faults") as own:
        assert own.call(CLIP, 0.0, faults.add, 1, 1) == 2
        (worker,) = own._free
        os.kill(worker.process_id, signal.SIGKILL)
        while not worker.has_ended:
            time.sleep(0.01)
        assert own.call(CLIP, 0.0, faults.add, 2, 3) == 5
        assert len(own._all) == 1


def test_results_before_a_crash_are_kept(pool: WorkerPool):
    stream = pool.stream(CLIP, 0.0, faults.counted_then, 5, faults.abort)
    assert list(islice(stream, 5)) == [0, 1, 2, 3, 4]
    refused(DecodeCrash, "", next, stream)


def test_a_result_is_kept_whose_worker_crashes_while_it_is_copied(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
):
    def copied_late(*given: Any) -> Any:
        time.sleep(0.5)
        return transfer.unpacked(*given)

    monkeypatch.setattr(process, "unpacked", copied_late)
    stream = pool.stream(CLIP, 0.0, faults.counted_then, 2, faults.abort)
    assert list(islice(stream, 2)) == [0, 1]
    refused(DecodeCrash, "", next, stream)


def test_arrays_come_whole_in_order_and_can_be_written_to(pool: WorkerPool):
    arrays = list(pool.stream(CLIP, 0.0, faults.counted, 40, 20_000))
    assert [len(array) for array in arrays] == [20_000 * (n + 1) for n in range(40)]
    for number, array in enumerate(arrays):
        assert (array == number).all()
        array.fill(1)


def test_a_worker_stays_warm_also_after_an_error_of_the_job(pool: WorkerPool):
    worker = pool.call(CLIP, 0.0, faults.process_id)
    assert worker != os.getpid()
    refused(DecodeError, r"clip\.mp4: broken", pool.call, CLIP, 0.0, faults.broken)
    with pytest.raises(RuntimeError, match="IndexError: list index out of range"):
        pool.call(CLIP, 0.0, faults.foreign)
    refused(RuntimeError, "pickle", pool.call, CLIP, 0.0, faults.not_to_pickle)
    assert pool.call(CLIP, 0.0, faults.process_id) == worker


def test_a_stream_that_is_left_early_ends_its_worker(pool: WorkerPool):
    worker = pool.call(CLIP, 0.0, faults.process_id)
    stream = pool.stream(CLIP, 0.0, faults.counted, 1000, 10)
    next(stream)
    stream.close()
    assert not is_alive(worker)
    assert pool.call(CLIP, 0.0, faults.add, 1, 1) == 2


def test_a_slow_reader_of_results_is_not_called_a_hang(pool: WorkerPool):
    stream = pool.stream(CLIP, 0.0, faults.counted, 6, 10)
    next(stream)
    time.sleep(1.5)
    assert len(list(stream)) == 5


def test_a_long_file_may_take_longer_as_a_whole_but_not_for_one_result():
    with WorkerPool(FileLimits(timeout_s=0.3)) as pool:
        assert pool.call(CLIP, 10.0, time.sleep, 0.6) is None
        refused(DecodeTimeout, "", pool.call, CLIP, 0.0, time.sleep, 0.6)
        refused(DecodeTimeout, "", list, pool.stream(CLIP, 10.0, time.sleep, 0.6))


def test_closing_ends_a_job_that_hangs_in_another_thread():
    pool = WorkerPool(FileLimits())
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            pool.call(CLIP, 0.0, faults.hang)
        except (DecodeError, WorkerStartError) as error:
            raised.append(error)

    pool.call(CLIP, 0.0, faults.add, 1, 1)
    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    pool.close()
    thread.join(10)
    assert not thread.is_alive()
    assert raised
    refused(WorkerStartError, "closed", pool.call, CLIP, 0.0, faults.add, 1, 1)


def test_as_many_workers_as_threads_ask_at_once():
    with WorkerPool(FileLimits()) as pool:
        streams = [pool.stream(CLIP, 0.0, faults.counted, 3, 5) for _ in range(3)]
        for stream in streams:
            next(stream)
        assert [len(list(stream)) for stream in streams] == [2, 2, 2]


SCRIPT = """
import sys
from pathlib import Path
from tests import faults
from vlar.files.workers.process import FileLimits
from vlar.files.workers.pool import WorkerPool
with WorkerPool(FileLimits()) as pool:
    print(pool.call(Path("a"), 0, faults.process_id), flush=True)
    pool.call(Path("a"), 0, getattr(faults, sys.argv[1]))
"""


@pytest.mark.parametrize("fault", ["hang", "hang_in_native_code"])
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_no_worker_outlives_the_program(number: signal.Signals, fault: str):
    program = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, fault],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    worker = int(program.stdout.readline())
    assert is_alive(worker)
    time.sleep(0.2)
    # Ctrl-C reaches the whole group.
    os.killpg(program.pid, number) if number == signal.SIGINT else program.send_signal(number)
    program.wait(10)
    deadline = time.monotonic() + 10
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(worker)


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process_id}/stat")
    return not (state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def test_modules_of_the_working_folder_are_not_imported(tmp_path: Path):
    for name in ("json", "numpy", "socket", "pickle", "vlar"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(9)")
    script = (
        "from pathlib import Path\n"
        "from vlar.files.workers.process import FileLimits\n"
        "from vlar.files.workers.pool import WorkerPool\n"
        "import time\n"
        "with WorkerPool(FileLimits()) as pool: print(pool.call(Path('a'), 0, time.time) > 0)"
    )
    file = tmp_path / "elsewhere" / "run.py"
    file.parent.mkdir()
    file.write_text(script)
    done = subprocess.run(
        [sys.executable, str(file)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "True", done.stderr


def test_a_machine_that_starts_no_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with WorkerPool(FileLimits()) as pool, pytest.raises(WorkerStartError):
        pool.call(CLIP, 0.0, faults.add, 1, 1)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with WorkerPool(FileLimits()) as pool, pytest.raises(WorkerStartError):
        pool.call(CLIP, 0.0, faults.add, 1, 1)


def test_what_can_be_isolated(monkeypatch: pytest.MonkeyPatch):
    assert can_isolate(faults.add)
    monkeypatch.setattr(faults.add, "__module__", "__main__")
    assert not can_isolate(faults.add)


def test_one_small_file_needs_no_worker(tmp_path: Path):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"x")
    with large.open("wb") as file:
        file.truncate(65 << 20)
    assert not is_batch([])
    assert not is_batch([small])
    assert not is_batch([tmp_path / "missing"])
    assert is_batch([large])
    assert is_batch([small, small])


def test_limits_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLAR_FILE_TIMEOUT_S", "7.5")
    monkeypatch.setenv("VLAR_FILE_MEMORY", "500MB")
    monkeypatch.setenv("VLAR_DECODE_WORKERS", "3")
    assert FileLimits.from_environment() == FileLimits(7.5, 500_000_000, 3)
    assert FileLimits.from_environment().whole_s(10.0) == 27.5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("VLAR_FILE_TIMEOUT_S", "0"),
        ("VLAR_FILE_TIMEOUT_S", "soon"),
        ("VLAR_FILE_TIMEOUT_S", "inf"),
        ("VLAR_FILE_MEMORY", "much"),
        ("VLAR_DECODE_WORKERS", "-1"),
    ],
)
def test_limits_that_cannot_be(monkeypatch: pytest.MonkeyPatch, name: str, text: str):
    monkeypatch.setenv(name, text)
    refused(UsageError, name, FileLimits.from_environment)
