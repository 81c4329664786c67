from __future__ import annotations

from pathlib import Path

import pytest

from tests import videos
from vlar.apps.serve.files import HEAD_BYTES, container_of

KINDS = {
    "h264-one-frame.mp4": "mp4", "h264.mov": "mp4", "mpeg4.avi": "avi", "vp8.webm": "matroska",
    "mpeg2.ts": "mpegts", "mpeg2.mpg": "mpegps", "gif.gif": "gif", "h264.flv": "flv",
    "h264-raw.h264": "h264",
}  # fmt: skip


@pytest.mark.parametrize(("name", "container"), KINDS.items())
def test_a_video_is_known_by_its_first_bytes(name: str, container: str, tmp_path: Path):
    file = videos.KINDS[name](tmp_path / name)
    assert container_of(file.read_bytes()[:HEAD_BYTES]) == container


@pytest.mark.parametrize(
    "head",
    [
        *(b"", b"PK\x03\x04" + bytes(600), b"root:x:0:0:root:/root:/bin/bash\n", b"\x7fELF"),
        *(b"%PDF-1.7", b"SQLite format 3\0", b"GGGG", b"G" + bytes(600), b"<html>", b"#!/bin/sh"),
        b"RIFF\0\0\0\0WAVEfmt ",
    ],
)  # fmt: skip
def test_nothing_else_passes(head: bytes):
    assert container_of(head) is None
