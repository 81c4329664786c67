"""Drives the installed ``vlar`` command in a subprocess."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

COMMAND = Path(sys.executable).with_name("vlar")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Stdout as JSON lines; fails where anything else stands there."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def advice(self) -> str:
        """The one line of stderr that starts with ``vlar:``."""
        lines = [line for line in self.err.splitlines() if line.startswith("vlar: ")]
        assert len(lines) == 1, f"expected one line of advice, got:\n{self.err}"
        return lines[0]


def run_vlar(*arguments: object, timeout_s: float = 600, prefix: tuple[str, ...] = ()) -> Result:
    command = [*prefix, str(COMMAND), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def vlar_command(tmp_path_factory: pytest.TempPathFactory):
    assert COMMAND.is_file(), f"{COMMAND} is missing: install the package before testing"
    # The first runs prepare the encoder and the verbs and offer bodies; tests compare what follows.
    subprocess.run([sys.executable, "-c", "import vlar; vlar.load()"], timeout=300, check=True)
    run_vlar("describe", "wave", "--out", tmp_path_factory.mktemp("first") / "bank.json")
    return run_vlar
