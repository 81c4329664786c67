"""Streams and watched folders through the real command."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from tests import videos
from tests.unit.apps.test_live_stream import served

from .conftest import COMMAND


def test_a_dead_camera_is_one_line(vlar_command):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"rtsp://me:secret@127.0.0.1:{taken.getsockname()[1]}/1"
        done = vlar_command(
            "classify", address, "-l", "walking, running", "--every", "2s", "--json"
        )
    assert done.code == 2
    assert done.out == ""
    assert "cannot be opened" in done.advice
    assert "secret" not in done.err


def test_a_stream_is_answered_until_it_is_stopped(vlar_command, tmp_path: Path):
    body = videos.make_video(tmp_path / "a.ts", 200, gop=5).read_bytes()
    # Four times as fast as a camera: at full speed it would be decoded while the model is loaded.
    with served(body, pace_s=0.1) as address:
        command = [str(COMMAND), "classify", address, "-l", "walking, running", "--json"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            rows = []
            while len(rows) < 2:
                row = json.loads(process.stdout.readline())
                rows += [row] if "predictions" in row else []
            process.send_signal(signal.SIGINT)
            errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert all(row["path"] == address and row["at"] for row in rows)
    assert rows[1]["start_s"] >= rows[0]["end_s"]


def test_a_folder_is_watched(vlar_command, sparse_clips: dict[str, Path], tmp_path: Path):
    (tmp_path / "in").mkdir()
    shutil.copy(next(iter(sparse_clips.values())), tmp_path / "in")
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    watch = ("watch", tmp_path / "in", "--library", tmp_path / "l.vlar", "--settle", "100ms")
    done = vlar_command(*watch, "--once", "--json")
    assert done.code == 1
    assert [row["status"] for row in done.rows if "status" in row] == ["added"]
    assert "broken.mp4" in done.err
