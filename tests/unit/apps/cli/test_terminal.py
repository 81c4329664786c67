"""What a person sees in a real (pseudo) terminal while a progress bar is shown."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

SCRIPT = """
from vlar.apps.cli import output
from vlar.apps.cli.progress import progress
with progress("working", 2):
    output.line("clip.mp4  " + "long " * 30 + "verdict", strong=7)
    output.note("a remark")
"""


def terminal(script: str, **environment: str) -> str:
    """Everything that a script writes to a terminal of 60 columns."""
    own, others = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=others,
        stdout=others,
        stderr=others,
        env={**kept, "COLUMNS": "60", "TERM": "xterm", **environment},
    )
    os.close(others)
    parts: list[bytes] = []
    try:
        while part := os.read(own, 65536):
            parts.append(part)
    except OSError:  # Linux reports the end so
        pass
    finally:
        os.close(own)
    assert process.wait(60) == 0
    return b"".join(parts).decode()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo terminals here")
def test_long_answers_stay_in_one_piece_and_verdicts_are_bold():
    shown = terminal(SCRIPT)
    assert "long " * 30 in shown  # a terminal wraps by itself; a copied path has no line end
    assert "\x1b[1mverdict\x1b[0m" in shown
    assert "working: 0 of 2 files" in shown
    assert "a remark" in shown


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo terminals here")
def test_no_color_is_obeyed():
    shown = terminal(SCRIPT, NO_COLOR="1")
    assert "verdict" in shown
    assert "\x1b[1m" not in shown
    assert "\x1b[3" not in shown  # no colours in the bar either
