"""What is said where Ray cannot be used, and what its errors mean; Ray itself is not needed."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.refusals import refused
from vlar.errors import UsageError
from vlar.plugins.ray import runner
from vlar.plugins.ray.runner import RayErrors, cannot_connect, require_answer, temporary_folder


class OutOfMemoryError(Exception):
    """As Ray calls it."""


class ActorDiedError(Exception):
    """As Ray calls it."""


def heard(error: BaseException, *causes: BaseException) -> RayErrors:
    chain = [error, *causes]
    for effect, cause in zip(chain, causes, strict=False):
        effect.__cause__ = cause
    with RayErrors() as errors:
        logging.getLogger("ray.data.executor").error("a block", exc_info=error)
    return errors


@pytest.mark.parametrize(
    ("error", "last"),
    [
        (OutOfMemoryError("x"), ("memory", "its machine had no memory left")),
        (ActorDiedError("x"), ("crash", "")),
    ],
)
def test_a_lost_worker_is_no_reason_to_end_the_call(
    error: Exception, last: tuple[str, str], capsys: pytest.CaptureFixture[str]
):
    errors = heard(RuntimeError("a task failed"), error)
    assert errors.last == last
    errors.check()
    assert capsys.readouterr() == ("", "")  # Ray's own tables of errors are not shown


def test_work_that_cannot_be_done_is_one():
    errors = heard(RuntimeError("a task failed"), ImportError("no module named 'vlar'"))
    assert errors.last is None
    refused(UsageError, r"no module named 'vlar'.*install the same vlar", errors.check)


def test_another_version_and_an_absent_cluster_have_their_own_advice():
    mismatch = RuntimeError("Version mismatch: The cluster was started with: Ray: 2.50.0")
    assert "install the same Python and the same Ray" in cannot_connect("a:1", mismatch).message
    assert "Ray: 2.50.0" in cannot_connect("a:1", mismatch).message
    assert "no Ray cluster answers at a:1" in cannot_connect("a:1", OSError("refused")).message


def test_addresses_are_checked_before_ray_waits_for_them():
    for address in ["there", "a:b", "127.0.0.1:1", "ray://127.0.0.1:1", "::1"]:
        raised = refused(UsageError, "", require_answer, address)
        assert address in raised.value.message


def test_an_address_that_answers_passes():
    with socket.create_server(("127.0.0.1", 0)) as server:
        require_answer(f"127.0.0.1:{server.getsockname()[1]}")
    require_answer("auto")


def test_folders_of_ended_runs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(runner, "_LONGEST_TEMPORARY", 10_000)
    (tmp_path / "vlar-ray-999999999-x" / "inside").mkdir(parents=True)
    running = tmp_path / f"vlar-ray-{os.getpid()}-y"
    running.mkdir()
    (tmp_path / "vlar-ray-of-somebody").mkdir()
    made = temporary_folder()
    assert made.name.startswith(f"vlar-ray-{os.getpid()}-")
    assert {entry.name for entry in tmp_path.iterdir()} == {
        made.name,
        running.name,
        "vlar-ray-of-somebody",
    }


class LateRay(SimpleNamespace):
    """Ray whose first processes are late."""

    def init(self, **options: Any) -> None:
        assert Path(options["_temp_dir"]).is_dir()
        self.folders.append(options["_temp_dir"])
        if len(self.folders) <= self.late:
            wait = "import time; print(flush=True); time.sleep(60)"
            command = [sys.executable, "-c", wait, options["_temp_dir"]]
            self.left.append(subprocess.Popen(command, stdout=subprocess.PIPE))
            self.left[-1].stdout.readline()  # it runs
            raise Exception("The current node timed out during startup")

    def shutdown(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("late", [0, 2, 3])
def test_a_late_start_is_tried_again(late: int, monkeypatch: pytest.MonkeyPatch):
    ray = LateRay(late=late, folders=[], ended=0, left=[], is_initialized=lambda: False)
    monkeypatch.setattr(runner, "imported", lambda is_private=False: ray)
    monkeypatch.setattr(runner, "require_vlar", print)
    begun = runner.RayRunner()
    if late == 3:
        refused(UsageError, "timed out during startup.*without --runner ray", begun.start, None)
    else:
        begun.start(None)  # pyright: ignore[reportArgumentType] - nothing is run
        begun.close()
    if sys.platform == "linux":
        for process in ray.left:
            process.communicate(timeout=5)
            assert process.returncode == -signal.SIGKILL
    assert ray.ended == len(ray.folders) == min(late + 1, 3)
    assert not any(Path(folder).exists() for folder in ray.folders)
