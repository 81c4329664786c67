"""Drives the ``vlar`` command in processes of its own.

Most are forks of one warm process, which saves the seconds of importing; what stands behind a
``prefix`` other than ``env VLAR_...``, or is asked for ``cold``, starts the installed script.
``VLAR_TESTS_COLD=1`` starts it for all.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vlar
from tests import videos
from tests.command_server import CommandServer
from vlar.media.video.decode import read_clip
from vlar.media.video.source import probe

COMMAND = Path(sys.executable).with_name("vlar")
_PACKAGES = os.environ.get("PYTHONPATH")


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
    def notes(self) -> str:
        """Stderr without the lines of progress that a busy machine makes longer runs print."""
        lines = self.err.splitlines()
        return "\n".join(line for line in lines if not re.search(r", \d+ s$", line))

    @property
    def advice(self) -> str:
        """The one line of stderr that starts with ``vlar:``."""
        lines = [line for line in self.err.splitlines() if line.startswith("vlar: ")]
        assert len(lines) == 1, f"expected one line of advice, got:\n{self.err}"
        return lines[0]


@cache
def warm() -> CommandServer:
    """The warm process of this session."""
    server = CommandServer()
    atexit.register(server.close)
    return server


def run_vlar(
    *arguments: object,
    timeout_s: float = 600,
    prefix: tuple[str, ...] = (),
    folder: Path | None = None,
    cold: bool = False,
) -> Result:
    words = [*map(str, arguments)]
    # The warm process found the packages that were there at its start.
    other = os.environ.get("PYTHONPATH") != _PACKAGES
    variables = _variables(prefix)
    if cold or variables is None or other or os.environ.get("VLAR_TESTS_COLD"):
        done = subprocess.run(
            [*prefix, str(COMMAND), *words],
            capture_output=True, text=True, timeout=timeout_s, check=False, cwd=folder,
        )  # fmt: skip
        code, out, err = done.returncode, done.stdout, done.stderr
    else:
        code, out, err = _run_warm(words, timeout_s, folder, variables)
    assert "Traceback" not in err, err
    return Result(code, out, err)


def _variables(prefix: tuple[str, ...]) -> dict[str, str] | None:
    """What ``env`` sets, where a prefix sets only variables of vlar; else it must be run."""
    if not prefix:
        return {}
    program, *words = prefix
    if program != "env" or not all(re.match(r"VLAR_\w+=", word) for word in words):
        return None
    return dict(word.split("=", 1) for word in words)


def _run_warm(
    words: list[str], timeout_s: float, folder: Path | None, variables: dict[str, str]
) -> tuple[int, str, str]:
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        told = warm().run(words, out, err, seconds=timeout_s, folder=folder, environment=variables)
        assert not told["late"], f"'vlar {' '.join(words)}' did not end in {timeout_s:g} s"
        return told["code"], out.read_text("utf-8"), err.read_text("utf-8")


def cache_but(place: Path, *left_out: str) -> Path:
    """A cache in ``place`` that shares with the tests' own all entries but some: nothing is made
    twice, and what is left out is missing."""
    place.mkdir()
    own = Path(os.environ["VLAR_CACHE"])
    own.mkdir(parents=True, exist_ok=True)  # nothing is in it yet where this test runs first
    for kept in own.iterdir():
        if kept.name not in left_out:
            (place / kept.name).symlink_to(kept)
    return place


@pytest.fixture(scope="session")
def vlar_command(tmp_path_factory: pytest.TempPathFactory):
    assert COMMAND.is_file(), f"{COMMAND} is missing: install the package before testing"
    # The first runs prepare the encoder and the verbs and offer bodies; tests compare what follows.
    vlar.load()
    run_vlar("describe", "wave", "--out", tmp_path_factory.mktemp("first") / "bank.json")
    return run_vlar


@pytest.fixture(scope="session")
def sparse_clips(
    tmp_path_factory: pytest.TempPathFactory, demo_clips: dict[str, Path]
) -> dict[str, Path]:
    """The demo clips with one frame a second: they show the same in a third of the time, as a
    frame that is repeated is looked at once."""
    folder = tmp_path_factory.mktemp("sparse")
    return {name: _sparse(clip, folder / f"{name}.mp4") for name, clip in demo_clips.items()}


def _sparse(clip: Path, path: Path) -> Path:
    pictures = read_clip(clip, n_frames=round(probe(clip).duration_s), shorter_side=240).data
    height, width = (side // 2 * 2 for side in pictures.shape[1:3])
    return videos.make_video(
        path,
        len(pictures),
        fps=1,
        size=(width, height),
        codec="mpeg4",
        picture=lambda number: np.ascontiguousarray(pictures[number, :height, :width]),
    )
