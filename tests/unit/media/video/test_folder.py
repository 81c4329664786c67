from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import videos
from vlar.errors import DecodeError
from vlar.media.integrity.check import check_video
from vlar.media.video.decode import read_clip, read_windows
from vlar.media.video.source import probe
from vlar.types import Window


@pytest.mark.parametrize("ending", [".jpg", ".png", ".JPEG"])
def test_frames_by_number_and_time(tmp_path: Path, ending: str):
    folder = videos.make_frame_folder(tmp_path / "clip", 12, ending=ending)
    (folder / "label.txt").write_text("jump")
    (folder / "thumbnail.jpg").write_bytes(b"not numbered")
    info = probe(folder, fps=4)
    assert (info.width, info.height, info.n_frames, info.codec) == (96, 64, 12, "frames")
    assert (info.duration_s, info.fps) == (3.0, 4)
    clip = read_clip(folder, None, 12, fps=4)
    assert [videos.read_barcode(frame) for frame in clip.data] == list(range(12))
    np.testing.assert_allclose(clip.times_s, np.arange(12) / 4)
    part = read_clip(folder, Window(1.0, 2.0), 2, fps=4)
    assert [videos.read_barcode(frame) for frame in part.data] == [5, 7]
    assert read_clip(folder).window.end_s == pytest.approx(12 / 25)
    assert check_video(folder).ok


def test_windows_of_a_folder(tmp_path: Path):
    folder = videos.make_frame_folder(tmp_path / "clip", 12)
    clips = list(read_windows(folder, [Window(0, 2), Window(1, 3)], 4, fps=4))
    numbers = [[videos.read_barcode(f) for f in clip.data] for clip in clips]
    assert numbers == [[1, 3, 5, 7], [5, 7, 9, 11]]


def test_sizes_that_differ_take_the_first(tmp_path: Path):
    folder = videos.make_frame_folder(tmp_path / "clip", 3)
    Image.fromarray(videos.barcode(1, 200, 100)).save(folder / "2.jpg")
    clip = read_clip(folder, None, 3)
    assert clip.data.shape == (3, 64, 96, 3)
    assert [videos.read_barcode(frame) for frame in clip.data] == [0, 1, 2]


def test_orientation_and_grey_and_alpha(tmp_path: Path):
    folder = tmp_path / "clip"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(videos.barcode(77), 1)))
    stored.save(folder / "1.jpg", exif=exif, quality=95)
    Image.fromarray(videos.barcode(78)).convert("L").save(folder / "2.png")
    Image.fromarray(videos.barcode(79)).convert("RGBA").save(folder / "3.png")
    clip = read_clip(folder, None, 3)
    assert [videos.read_barcode(frame) for frame in clip.data] == [77, 78, 79]
    assert probe(folder).width == 96


def test_broken_pictures_are_lost_and_replaced(tmp_path: Path):
    folder = videos.make_frame_folder(tmp_path / "clip", 8)
    (folder / "1.jpg").write_bytes(b"")
    (folder / "5.jpg").write_bytes((folder / "5.jpg").read_bytes()[:200])
    clip = read_clip(folder, None, 8)
    assert clip.lost == 2 / 8
    assert [videos.read_barcode(frame) for frame in clip.data] == [1, 1, 2, 3, 3, 5, 6, 7]
    report = check_video(folder)
    assert (report.ok, report.kind, report.lost, report.n_frames) == (False, "damaged", 0.25, 6)
    for number in range(1, 6):
        (folder / f"{number}.jpg").write_bytes(b"x")
    with pytest.raises(DecodeError, match="5 of 8"):
        read_clip(folder, None, 8)
    for number in range(1, 9):
        (folder / f"{number}.jpg").write_bytes(b"x")
    with pytest.raises(DecodeError, match="none of its 8 pictures"):
        read_clip(folder, None, 8)


def test_shrinks_big_pictures(tmp_path: Path):
    folder = videos.make_frame_folder(tmp_path / "clip", 2, size=(960, 640))
    clip = read_clip(folder, None, 2, shorter_side=100)
    assert clip.data.shape == (2, 100, 150, 3)
    assert [videos.read_barcode(frame) for frame in clip.data] == [0, 1]
