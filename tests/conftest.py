"""What every test may use: where the shared clips are, a cache that is made once a session.

And the whole suite on several processes at once, where ``pytest-xdist`` is installed.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.device_process import DeviceProcess, on_device

if TYPE_CHECKING:
    from vlar.model.model import Model

CHECKOUT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("VLAR_SHARED", CHECKOUT.parent / "shared"))  # real data, where it is
MOST_WORKERS = 4  # each loads torch and the networks: about 1.5 GB

# Nothing in the tests may ask a model hub; the libraries obey these.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
# Spinning threads of several numeric libraries on two cores cost many times what they gain.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

WORKER = "PYTEST_XDIST_WORKER" in os.environ

# The background of a shell ignores the signal of Ctrl-C, and a child would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Thousands of tests and the libraries they import stay until the end. To look through them for
# garbage every 700 new objects took a fifth of the collection.
gc.set_threshold(50_000, 20, 20)

# Containers often ask Python to keep no bytecode. Every worker and child would then compile the
# tests and the package again, which takes half of the collection.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

DEAR_S, MOST_S = 1.0, 6.0  # processor seconds of a default test: told, refused
_LOOP_S = 0.011  # what the loop of ``slowness`` takes where the limits were chosen
_processor_s = time.process_time  # tests put another clock in its place

_DEVICE = pytest.StashKey[DeviceProcess]()


@pytest.fixture(autouse=True)
def _volume_of_the_command_line() -> Iterator[None]:
    """A test that was quiet or verbose leaves the loggers as they were."""
    loggers = [logging.getLogger(name) for name in ("vlar", "vlar.apps.cli", "vlar.failures")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        if logger.level != level or (logger.handlers and not level):
            logger.setLevel(level or logging.INFO)  # the first use sets it


def pytest_collection_finish(session: pytest.Session) -> None:
    """From here on the garbage collector passes over what the collection has made."""
    gc.collect()
    gc.freeze()
    option = session.config.option
    if any(map(on_device, session.items)) and not option.usepdb and not option.collectonly:
        session.config.stash[_DEVICE] = DeviceProcess(session.items)


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run tests on the fake device in their own process."""
    process = item.config.stash.get(_DEVICE, None)
    if process is None or not on_device(item):
        return None
    process.run(item, nextitem)
    return True


@pytest.hookimpl(tryfirst=True)  # before xdist reads its options
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Spread the default suite over the cores; less than that starts sooner in one process."""
    option = config.option
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    chosen = "not slow" not in option.markexpr or option.keyword or getattr(option, "lf", False)
    # Without xdist there is no such option, with it None where nobody said a number.
    asked = getattr(option, "numprocesses", 0) is not None
    if WORKER or asked or chosen or not whole or option.usepdb or option.collectonly:
        return
    option.numprocesses = min(cores(), MOST_WORKERS)
    option.dist = "loadfile"  # what a file makes once is made once
    option.loadscopereorder = False  # the long files stand first, and the short ones fill up


def cores() -> int:
    """Cores this process may use."""
    can_say = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if can_say else os.cpu_count() or 1


def shared_videos() -> Path | None:
    """The folder of real labelled clips, where this machine has one."""
    folder = SHARED / "videos"
    return folder if (folder / "manifest.csv").is_file() else None


@pytest.fixture(scope="session")
def real_videos() -> Path:
    folder = shared_videos()
    if folder is None:
        pytest.skip("the shared clips are not on this machine (VLAR_SHARED)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache a session, so that tests neither read nor fill the user's own."""
    base = tmp_path_factory.getbasetemp()
    session = base.parent if WORKER else base
    place = os.environ.get("VLAR_CACHE") or str(session / "cache")
    os.environ["VLAR_CACHE"] = place
    return Path(place)


@pytest.fixture(scope="session", autouse=True)
def _ended_workers() -> Iterator[None]:
    """No kept worker outlives the tests."""
    yield
    if kept := sys.modules.get("tests.warm_workers"):
        for worker in kept.KeptWorker.waiting:
            worker.end()


@pytest.hookimpl(tryfirst=True)  # before any fixture reads a recording
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Recordings are read in workers that wait from test to test."""
    if "vlar.files.workers" in sys.modules:
        from tests import warm_workers

        warm_workers.choose(item.path)


def slowness() -> float:
    """Time of a short loop by that on the machine where the limits were chosen; at least 1."""
    times_s = []
    for _ in range(3):
        start_s = _processor_s()
        sum(number * number for number in range(300_000))
        times_s.append(_processor_s() - start_s)
    return max(1.0, min(times_s) / _LOOP_S)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Measure a default test without its fixtures, and refuse what belongs to the slow ones."""
    start_s = _processor_s()
    yield
    spent_s = _processor_s() - start_s
    if item.get_closest_marker("slow") or item.get_closest_marker("gpu"):
        return
    if spent_s > DEAR_S:
        item.user_properties.append(("processor_s", spent_s))
    if spent_s > MOST_S and spent_s > MOST_S * slowness():
        pytest.fail(f"took {spent_s:.1f} s of processor time; make it smaller, or mark it slow")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tests that took more than a default test should, dearest first."""
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    times_s = {r.nodeid: dict(r.user_properties).get("processor_s", 0) for r in reports}
    dear = sorted((spent_s, test) for test, spent_s in times_s.items() if spent_s)
    if dear:
        total_s = sum(spent_s for spent_s, _ in dear)
        line = f"{len(dear)} tests took more than {DEAR_S:.0f} s of processor time: {total_s:.0f} s"
        terminalreporter.write_line(line)
    for spent_s, test in dear[:-6:-1]:
        terminalreporter.write_line(f"{spent_s:5.1f} s {test}")


@pytest.fixture(scope="session")
def lite_model() -> Model:
    """The default model, loaded once. Not to be changed by a test."""
    import vlar

    return vlar.load()


@pytest.fixture(scope="session")
def demo_clips() -> dict[str, Path]:
    """The three real clips of ``vlar demo``, by name."""
    from vlar.apps.cli.demo import demo_clips

    return {clip.stem: clip for clip in demo_clips()}
