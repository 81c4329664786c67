"""Jobs: their states with a process that is made for the test, and the real one end to end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.refusals import refused
from vlar.apps.serve import jobs as module
from vlar.apps.serve.errors import ServeError
from vlar.apps.serve.jobs import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Job, Jobs

from .conftest import Served, serve

# A job that does what its specification says, one step at a time.
STEPS = """
import json, sys, threading, os, time
job = json.loads(sys.stdin.readline())
def watch():
    sys.stdin.read()
    os._exit(1)
threading.Thread(target=watch, daemon=True).start()
for step in job["steps"]:
    if step == "wait":
        time.sleep(60)
    elif step == "die":
        os._exit(3)
    else:
        print(json.dumps(step), flush=True)
"""
PROGRESS = {"event": "progress", "done": 1, "total": 2, "path": "/a.mp4", "failure": None}
BAD = {**PROGRESS, "done": 2, "failure": "/b.mp4: it is damaged; copy it again"}
END = {"event": "done", "report": {"added": 2}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_START", STEPS)
    return tmp_path / "jobs"


def opened(folder: Path, most: int = 5, ended=lambda job: None, allowed=lambda job: None) -> Jobs:
    return Jobs(folder, most, allowed, ended)


@pytest.fixture
def jobs(folder: Path) -> Iterator[Jobs]:
    made = opened(folder)
    yield made
    made.close()


def wait_for(job: Job, *states: str, limit_s: float = 30.0) -> Job:
    end_s = time.monotonic() + limit_s
    while job.state not in states:
        assert time.monotonic() < end_s, job
        time.sleep(0.01)
    return job


def status(call, *arguments) -> int:
    problem = refused(ServeError, "", call, *arguments)
    return problem.value.status


def test_a_job_reports_and_ends(jobs: Jobs):
    job = wait_for(jobs.start("add", "add a\x1b[2J", {"steps": [PROGRESS, BAD, END]}), DONE, FAILED)
    assert (job.state, job.done, job.total, job.current) == (DONE, 2, 2, "/a.mp4")
    assert (job.failed, job.failures) == (1, [BAD["failure"]])
    assert job.report == {"added": 2}
    assert "\x1b" not in job.title
    assert "spec" not in job.to_dict()
    assert status(jobs.cancel, job.id) == 409
    assert status(jobs.resume, job.id) == 409
    assert status(jobs.get, "absent") == 404


def test_an_error_is_split_into_what_happened_and_what_to_do(jobs: Jobs):
    error = {"event": "error", "message": "it is locked; wait", "kind": "locked"}
    job = wait_for(jobs.start("add", "x", {"steps": [error]}), FAILED)
    assert job.error == {"error": "it is locked", "fix": "wait", "kind": "locked"}
    assert job.to_dict()["resumable"]
    jobs.hidden = ["/example/state"]
    lasting = {"message": "/example/state/x.mp4: only one label; add another", "kind": "support"}
    job = wait_for(jobs.start("adapt", "x", {"steps": [{"event": "error", **lasting}]}), FAILED)
    assert job.error == {"error": "x.mp4: only one label", "fix": "add another", "kind": "support"}
    assert not job.to_dict()["resumable"]  # it would fail again
    job = wait_for(jobs.start("add", "x", {"steps": ["die"]}), FAILED)
    assert job.error is not None
    assert "resume" in job.error["fix"]


def test_a_job_is_cancelled_and_resumed_and_the_next_one_runs(jobs: Jobs):
    first = jobs.start("add", "x", {"steps": [PROGRESS, "wait"]})
    second = jobs.start("add", "y", {"steps": [END]})
    wait_for(first, RUNNING)
    assert second.state == QUEUED
    jobs.cancel(first.id)
    assert first.state == CANCELLED
    wait_for(second, DONE)
    first.spec["steps"] = [END]
    jobs.resume(first.id)
    assert wait_for(first, DONE).starts == 2


def test_a_job_may_be_resumed_while_its_process_still_ends(jobs: Jobs):
    job = wait_for(jobs.start("add", "x", {"steps": [PROGRESS, "wait"]}), RUNNING)
    jobs.cancel(job.id)
    job.spec["steps"] = [END]
    jobs.resume(job.id)
    assert wait_for(job, DONE, FAILED).state == DONE
    assert job.starts == 2


def test_a_waiting_job_is_cancelled_without_ever_running(jobs: Jobs):
    first = jobs.start("add", "x", {"steps": ["wait"]})
    second = jobs.start("add", "y", {"steps": [END]})
    jobs.cancel(second.id)
    jobs.cancel(first.id)
    last = wait_for(jobs.start("add", "z", {"steps": [END]}), DONE)
    assert (second.state, second.starts, last.starts) == (CANCELLED, 0, 1)


def test_too_many_jobs_are_refused(folder: Path):
    jobs = opened(folder, most=2)
    for _ in range(2):
        jobs.start("add", "x", {"steps": ["wait"]})
    assert status(jobs.start, "add", "x", {"steps": []}) == 503
    jobs.close()


def test_jobs_that_a_server_left_start_again_with_the_next(folder: Path):
    jobs = opened(folder)
    running = wait_for(jobs.start("add", "x", {"steps": [PROGRESS, "wait"]}), RUNNING)
    waiting = jobs.start("add", "y", {"steps": [END]})
    jobs.close()
    stored = folder / f"{running.id}.json"
    assert json.loads(stored.read_text())["state"] == QUEUED
    content = json.loads(stored.read_text())
    # As after a power cut: it says that it runs. And a file that was being written.
    stored.write_text(json.dumps({**content, "state": RUNNING, "spec": {"steps": [END]}}))
    (folder / f"{'a' * 16}.json").write_text('{"id": "a')
    (folder / "other.json").write_text("{}")
    jobs = opened(folder)
    assert wait_for(jobs.get(running.id), DONE).starts == 2
    wait_for(jobs.get(waiting.id), DONE)
    jobs.close()
    assert {job.state for job in opened(folder).all()} == {DONE}


def test_a_job_whose_paths_are_outside_by_now_does_not_start(folder: Path):
    def allowed(job: Job) -> None:
        raise ServeError(403, f"{job.title} lies outside", "start it with --root", "outside")

    jobs = opened(folder, allowed=allowed)
    job = wait_for(jobs.start("add", "x", {"steps": [END]}), FAILED)
    assert job.error is not None
    assert "--root" in job.error["fix"]
    jobs.close()


def test_the_process_ends_with_the_server(folder: Path):
    jobs = opened(folder)
    wait_for(jobs.start("add", "x", {"steps": [PROGRESS, "wait"]}), RUNNING)
    while jobs._process is None:
        time.sleep(0.01)
    process = jobs._process
    jobs.close()
    assert process.wait(10) is not None


@pytest.mark.slow
def test_the_real_process_adds_and_adapts(made_library: Path, tmp_path: Path, lite_model):
    """One server: recordings are indexed, a model is learned, and it answers."""
    assert sys.executable
    library = tmp_path / "small.vlar"
    library.mkdir()
    for file in (made_library / "small.vlar").iterdir():
        (library / file.name).write_bytes(file.read_bytes())
    for served in serve(library, made_library / "clips", tmp_path / "state", lite_model):
        check_add(served)
        check_adapt(served)


def check_add(served: Served) -> None:
    body = {"paths": [str(served.folder)], "tags": {"seen": "twice"}, "skip_still": True}
    answer = served.client.post("/api/jobs", json=body)
    assert answer.status_code == 202
    job = served.application.tasks.jobs.get(answer.json()["id"])
    assert job.spec["options"] == {"retry": False, "skip_still": True}
    wait_for(job, DONE, FAILED)
    assert job.report is not None, job.error
    assert (job.report["unchanged"], job.done, job.total) == (3, 3, 3)
    found = served.client.get("/api/videos").json()["videos"]
    assert all(video["tags"]["seen"] == "twice" for video in found)


def check_adapt(served: Served) -> None:
    content = (served.folder / "noise.mp4").read_bytes()
    upload = served.client.post("/api/uploads?name=n.mp4", content=content).json()["id"]
    video = served.id_of("moving")
    examples = [
        {"video": video, "start_s": 0.0, "end_s": 2.0, "label": "a square"},
        {"upload": upload, "label": "noise"},
    ]
    body = {"name": "mine", "examples": examples, "method": "prototype"}
    job_id = served.client.post("/api/adapt", json=body).json()["id"]
    job = wait_for(served.application.tasks.jobs.get(job_id), DONE, FAILED)
    assert job.report is not None, job.error
    assert job.report["labels"] == ["a square", "noise"]
    names = [each["name"] for each in served.client.get("/api/library").json()["models"]]
    assert names == ["library", "mine"]
    asked = {"source": {"upload": upload}, "model": "mine"}
    answer = served.client.post("/api/classify", json=asked).json()
    assert answer["answers"][0]["predictions"][0]["label"] == "noise"
    end_s = time.monotonic() + 5  # its copy of the upload is deleted after the end
    kept = served.application.tasks._examples
    while list(kept.iterdir()):
        assert time.monotonic() < end_s
        time.sleep(0.02)
