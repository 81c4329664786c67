from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests import videos
from vlar.media.video.files import VIDEO_ENDINGS, content_hash, find_videos


def test_folders_are_walked_in_order(tmp_path: Path):
    for name in (
        "b/2.MP4",
        "b/10.mp4",
        "a/x.webm",
        "a/notes.txt",
        ".hidden/y.mp4",
        "z.gif",
        "b/.z.mp4",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    frames = videos.make_frame_folder(tmp_path / "c" / "frames", 3)
    (tmp_path / "loop").symlink_to(tmp_path)
    found = find_videos([tmp_path])
    assert found == [
        tmp_path / "a/x.webm",
        tmp_path / "b/10.mp4",
        tmp_path / "b/2.MP4",
        frames,
        tmp_path / "z.gif",
    ]
    assert find_videos([str(tmp_path / "z.gif"), tmp_path]) == [found[-1], *found[:-1]]


def test_files_are_taken_as_given_and_empty_folders_give_nothing(tmp_path: Path):
    odd = tmp_path / "video.dat"
    odd.touch()
    missing = tmp_path / "missing.mp4"
    assert find_videos([odd, missing]) == [odd, missing]
    (tmp_path / "empty").mkdir()
    assert find_videos([tmp_path / "empty", tmp_path]) == []
    assert ".mp4" in VIDEO_ENDINGS


def test_a_folder_with_videos_and_pictures_is_no_frame_folder(tmp_path: Path):
    videos.make_frame_folder(tmp_path / "mixed", 3)
    (tmp_path / "mixed" / "clip.mp4").touch()
    assert find_videos([tmp_path]) == [tmp_path / "mixed" / "clip.mp4"]


def test_content_hash_of_a_file(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 9000)
    assert content_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert content_hash(path.rename(tmp_path / "b.mp4")) == content_hash(tmp_path / "b.mp4")


def test_content_hash_of_a_frame_folder(tmp_path: Path):
    folder = videos.make_frame_folder(tmp_path / "clip", 3)
    before = content_hash(folder)
    (folder / "label.txt").write_text("not a frame")
    assert content_hash(folder) == before
    assert content_hash(folder.rename(tmp_path / "moved")) == before
    first = tmp_path / "moved" / "1.jpg"
    first.write_bytes(first.read_bytes() + b"x")
    changed = content_hash(tmp_path / "moved")
    assert changed != before
    first.rename(tmp_path / "moved" / "0.jpg")
    assert content_hash(tmp_path / "moved") not in (before, changed)


@pytest.mark.parametrize("name", ["h264-b-frames.mp4", "gif.gif", "vp9.webm", "mpeg4.avi"])
def test_made_videos_are_found(kind, name: str):
    assert kind(name).suffix in VIDEO_ENDINGS
