"""Faults at calls of the system, in a process that forks (``fork_checks.py``)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKS = Path(__file__).with_name("fork_checks.py")


def checked(marks: str, most_s: int) -> None:
    """Run the checks of some marks in a process of their own."""
    environment = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    call = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", CHECKS]
    done = subprocess.run(
        [*call, "-m", marks], capture_output=True, text=True, check=False, timeout=most_s,
        cwd=CHECKS.parents[2], env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    if " passed" not in done.stdout:
        pytest.skip(done.stdout[-200:])


def test_faults_at_some_calls():
    checked("not slow", 120)


@pytest.mark.slow
def test_faults_at_calls_of_every_command():
    checked("slow", 1200)
