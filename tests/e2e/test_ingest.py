"""Adding at scale with the real command: bad options, rows as Parquet, several processes, Ray."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_runners import assert_same, state
from tests.unit.library.fakes import FakeModel, tiny_video
from vlar.errors import UsageError
from vlar.library.library import Library

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")
WITHOUT_RAY = importlib.util.find_spec("ray") is None


def test_an_option_that_does_not_fit_is_refused_in_one_line(vlar_command, tmp_path: Path):
    video = tiny_video(tmp_path / "a.mp4", 1)
    done = vlar_command("index", "add", tmp_path / "l.vlar", video, "--runner", "processes:gpu")
    assert done.code == 2
    assert "'gpu' is not a device; write cpu:2 or cuda:0,cuda:1" in done.err
    assert not (tmp_path / "l.vlar").exists()


def test_rows_as_parquet_are_imported(vlar_command, tmp_path: Path, clips: list[Path]):
    with Library(tmp_path / "for.vlar", FakeModel()) as library:
        library.add(clips, shards=tmp_path / "rows")
    (tmp_path / "rows" / "cut.parquet").write_bytes(b"PAR1 and no more")
    done = vlar_command("index", "import", tmp_path / "l.vlar", tmp_path / "rows", "--json")
    assert done.code == 1
    assert [row["status"] for row in done.rows if "status" in row] == ["added"] * len(clips)
    assert "cut.parquet: is not a whole Parquet file" in done.out + done.err
    assert f"{len(clips)} added, 1 failed" in done.err


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    return [tiny_video(tmp_path / "videos" / f"{i}.mp4", i) for i in range(3)]


def rows(library: Path) -> dict[str, Any]:
    with Library(library) as opened:
        return state(opened)


@pytest.mark.slow
def test_two_processes_and_ray_add_what_one_adds(vlar_command, tmp_path: Path, clips: list[Path]):
    ways = {"plain": [], "processes": ["--runner", "processes:cpu:2"]}
    if not WITHOUT_RAY:
        ways["ray"] = ["--runner", "ray:?workers=2"]
    for name, options in ways.items():
        library = tmp_path / f"{name}.vlar"
        model = ("--model", "lite-objects", "--json")
        done = vlar_command("index", "add", library, tmp_path / "videos", *model, *options)
        assert done.code == 0, done.err
        assert {row["status"] for row in done.rows} == {"added"}  # nothing else stands on stdout
        assert "3 added; 9 new windows" in done.advice
        assert_same(rows(tmp_path / "plain.vlar"), rows(library))


@pytest.mark.slow
@pytest.mark.skipif(WITHOUT_RAY, reason="needs Ray")
def test_ray_survives_kill_9_of_an_actor_and_of_the_driver(tmp_path: Path):
    """Nothing is lost, nothing is there twice, and no process or folder stays."""
    videos = tmp_path / "videos"
    for number in range(24):
        tiny_video(videos / f"{number}.mp4", number, 8 + number)
    command = [sys.executable, "-m", "tests.e2e.test_ingest", str(tmp_path / "l.vlar"), str(videos)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    killed: list[int] = []
    for line in process.stdout:
        done = json.loads(line)
        if done == 4:
            killed += [pid for pid, name in below(process.pid).items() if "EncodeBlock" in name][:1]
            os.kill(killed[0], signal.SIGKILL)
        if done == 12:
            break
    left = below(process.pid)
    process.kill()
    process.wait()
    second = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    assert len(killed) == 1
    assert json.loads(second.stdout.splitlines()[-1]) == 24
    with Library(tmp_path / "plain.vlar", FakeModel()) as library:
        library.add(videos)
    assert_same(rows(tmp_path / "plain.vlar"), rows(tmp_path / "l.vlar"))
    end_s = time.monotonic() + 90
    while any(name == names().get(pid) for pid, name in left.items()):
        assert time.monotonic() < end_s, "processes of Ray are still there"
        time.sleep(1)


def names() -> dict[int, str]:
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                found[int(entry.name)] = (entry / "cmdline").read_text()
            except OSError:
                continue
    return found


def below(process: int) -> dict[int, str]:
    """Command lines of all processes that a process started, directly or not."""
    known, parents = names(), {}
    for pid in known:
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[pid] = int(status[1])
    inside = {process}
    while more := {pid for pid, parent in parents.items() if parent in inside} - inside:
        inside |= more
    return {pid: known[pid] for pid in inside if pid != process}


@pytest.mark.skipif(WITHOUT_RAY, reason="needs Ray")
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"),
        ("there", "'there' is not an address of Ray; write host:6379"),
    ],
)
def test_a_cluster_that_is_not_there_is_named(
    tmp_path: Path, clips: list[Path], address: str, says: str
):
    from vlar.plugins.ray.runner import RayRunner

    with (
        Library(tmp_path / "l.vlar", FakeModel()) as library,
        pytest.raises(UsageError, match=says),
    ):
        library.add(clips, runner=RayRunner(address))


def main(library: str, videos: str) -> None:
    """What the killed process runs: the driver of Ray with the tests' model."""
    from tests.unit.library.test_runners import load_slow
    from vlar.plugins.ray.runner import RayRunner

    with Library(library, FakeModel()) as opened:
        opened.add(
            videos,
            runner=RayRunner(workers=2, load=load_slow),
            progress=lambda event: print(event.done, flush=True),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
