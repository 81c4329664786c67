"""A command looks up no host and leaves no file but vlar's own in the home of its user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vlar
from tests.fixtures.models_1 import tiny
from tests.unit.encoders.onnx import made

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
