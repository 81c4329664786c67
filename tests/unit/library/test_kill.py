"""kill -9 in the middle of things; ``benchmarks/kill_index.py``, ``kill_library.py`` at length."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "kill_index.py"
CHANGES = SCRIPT.with_name("kill_library.py")


@pytest.mark.skipif(not SCRIPT.is_file(), reason="benchmarks/ is not part of this copy")
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_nothing_committed_is_lost_and_the_next_run_completes():
    small = ["--encoder", "fake", "--clips", "8", "--kills", "3", "--seed", "5"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *small], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 good" in done.stdout
    assert "0 of them killed" not in done.stdout


@pytest.mark.skipif(not CHANGES.is_file(), reason="benchmarks/ is not part of this copy")
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_no_change_is_lost_and_verify_is_clean():
    done = subprocess.run(
        [sys.executable, str(CHANGES), "--kills", "3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 good" in done.stdout
