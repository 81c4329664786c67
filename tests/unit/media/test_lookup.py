"""Which reader a path goes to, and what is said of what is not a file."""

from __future__ import annotations

from pathlib import Path

import pytest

import vlar
from tests import videos
from vlar.errors import DecodeError, UnknownNameError
from vlar.media.lookup import find, reader, reader_for


def test_a_clip_of_any_sensor(tmp_path: Path) -> None:
    clip = vlar.read_clip(videos.make_video(tmp_path / "a.mp4", 8, fps=4), n_frames=3)
    assert (clip.modality, clip.data.shape) == ("video", (3, 64, 96, 3))
    with pytest.raises(UnknownNameError, match="did you mean 'video'"):
        vlar.read_clip(tmp_path / "a.mp4", modality="vidoe")


def test_an_unknown_path_goes_to_the_video_reader(tmp_path: Path) -> None:
    assert reader_for(tmp_path / "clip.unknown") is reader("video")
    assert find([tmp_path]) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("https://a.org/clip.mp4", "https://a.org/clip.mp4: vlar reads files, not addresses"),
        ("rtsp://camera:554/live", "rtsp://camera:554/live: vlar reads files, not addresses"),
        ("0", "record camera 0 to a file"),
        ("c/missing.mp4", "c/missing.mp4: no such file"),
    ],
)
def test_what_is_not_a_file(given: str, said: str) -> None:
    for read in (vlar.read_clip, lambda path: reader("video").probe(Path(path))):
        with pytest.raises(DecodeError, match=said):
            read(given)


def test_a_frame_folder_is_claimed_as_one_recording(tmp_path: Path) -> None:
    folder = videos.make_frame_folder(tmp_path / "frames", 3)
    assert reader("video").claims(folder)
    assert not reader("video").claims(tmp_path)
    assert find([tmp_path]) == [folder]
