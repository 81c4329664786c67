"""Streams of output: progress and errors, without a network lookup."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import vlar
from tests import videos
from tests.fixtures.models_1 import tiny
from tests.unit.encoders.onnx import made

LABELS = "dancing, talking"


# The command with a line of progress every tenth of a second.
OFTEN = (
    "import sys, vlar.apps.cli.progress as p; p.EVERY_S = 0.1; "
    "from vlar.apps.cli import main; main()"
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [
        videos.make_video(folder / f"{seed}.mp4", 12, picture=lambda _, s=seed: videos.noise(s))
        for seed in range(3)
    ]


def stub(folder: Path, module: str, text: str) -> tuple[str, ...]:
    """Prefix of a command that imports a module of this text instead of a library."""
    (folder / f"{module}.py").write_text(text)
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return "env", f"PYTHONPATH={paths}"


@pytest.mark.slow
def test_a_missing_library_is_one_line_with_the_pip_command(vlar_command, clips, tmp_path: Path):
    text = "raise ModuleNotFoundError(\"No module named 'onnxruntime'\", name='onnxruntime')"
    prefix = stub(tmp_path, "onnxruntime", text)
    done = vlar_command("classify", clips[0], "-l", LABELS, prefix=prefix)
    assert done.code == 2
    assert done.out == ""
    assert "'onnxruntime' is not installed" in done.advice
    assert "pip install onnxruntime" in done.advice
    done = vlar_command("doctor", "--json", prefix=prefix)
    assert done.code == 1
    assert any("pip install onnxruntime" in row["detail"] for row in done.rows)


def test_an_unexpected_error_is_one_line_and_a_traceback_on_request(
    vlar_command, clips, tmp_path: Path
):
    prefix = stub(
        tmp_path, "onnxruntime", "def __getattr__(_): raise RuntimeError('the wheel is broken')"
    )
    done = vlar_command("classify", clips[0], "-l", LABELS, prefix=prefix)
    assert done.code == 2
    assert "RuntimeError: the wheel is broken" in done.advice
    assert "--debug" in done.advice
    command = [*prefix, sys.executable, "-c", OFTEN, "classify", str(clips[0]), "-l", LABELS]
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False)
    assert debug.returncode == 2
    assert "Traceback (most recent call last)" in debug.stderr
    assert debug.stderr.splitlines()[-1].startswith("vlar: unexpected RuntimeError")


def test_progress_is_lines_where_stderr_is_not_a_terminal(vlar_command, clips):
    command = [sys.executable, "-c", OFTEN, "classify", *map(str, clips), "-l", LABELS, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == list(map(str, clips))
    assert "loading lite, 0 s" in done.stderr.splitlines()
    assert any(line.startswith("classifying: ") for line in done.stderr.splitlines())
    assert " of 3 files, " in done.stderr


def test_a_bar_never_takes_results_that_go_to_a_file(vlar_command, clips):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", OFTEN, "classify", *map(str, clips), "-l", LABELS, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        out, _ = process.communicate()
    os.close(ours)
    assert [json.loads(line)["path"] for line in out.splitlines()] == list(map(str, clips))
    assert b"loading lite" in shown
    assert b"of 3 files" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""


def test_an_interrupt_is_one_line(vlar_command, clips, tmp_path: Path):
    for number in range(200):  # more than a busy machine can classify before it sends the signal
        (tmp_path / f"{number}.mp4").symlink_to(clips[number % len(clips)])
    command = [sys.executable, "-c", OFTEN, "classify", str(tmp_path), "-l", LABELS]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert "loading lite" in first
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert rest.splitlines()[-1].startswith("vlar: stopped")


def test_addresses_and_cameras_are_named_as_such(vlar_command, clips):
    given = ("https://example.org/a.mp4", "rtsp://camera/1", "0")
    done = vlar_command("classify", *given, clips[0], "-l", LABELS, "--json")
    assert done.code == 1
    failed = {row["path"]: row["error"]["message"] for row in done.rows if "error" in row}
    assert len(failed) == 3
    assert "no such file" not in done.err
    assert sum("not addresses" in message for message in failed.values()) == 2
    assert sum("not cameras" in message for message in failed.values()) == 1
    library = clips[0].parent / "x.vlar"
    done = vlar_command("index", "add", library, "http://127.0.0.1:1/a.mp4", "rtsp://camera/1")
    assert done.code == 2
    assert "http://127.0.0.1:1/a.mp4: cannot be fetched" in done.err
    assert "rtsp://camera/1" in done.err


CHECKOUT = Path(__file__).resolve().parents[2]


def test_the_runtime_is_told_to_be_silent_unless_the_user_says_otherwise():
    script = "import os, vlar; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, wanted in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), **given}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True
        )
        assert done.stdout.strip() == wanted
    assert vlar.__version__


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at system calls")
def test_classify_writes_and_asks_nothing_else(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    arguments = [
        "classify", str(tiny.clip(tmp_path, "fall", 5)), "--labels", "run, walk",
        "--model", f"onnx:{made.write(tmp_path / 'export')}",
    ]  # fmt: skip
    command = [sys.executable, "-c", "from vlar.apps.cli import main; main()", *arguments]
    calls = tmp_path / "calls"
    tracer = shutil.which("strace")
    traced = [tracer, "-f", "-qq", "-o", str(calls), "-e", "trace=connect,sendto"] if tracer else []
    if traced and subprocess.run([*traced, "true"], capture_output=True).returncode:
        traced = []  # a container that may not trace
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [*traced, *command], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    cache = home / ".cache" / "vlar"
    strange = [path for path in home.rglob("*") if path.is_file() and cache not in path.parents]
    assert strange == []
    if traced:
        assert [line for line in calls.read_text().splitlines() if "AF_INET" in line] == []
