"""Files that a server gives: inside its roots, with their true type."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import videos
from tests.refusals import refused
from vlar.apps.serve.errors import ServeError
from vlar.apps.serve.files import HEAD_BYTES, AllowedFolders, container_of, open_inside

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


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "shelf" / "deep").mkdir(parents=True)
    (tmp_path / "shelf" / "a.mp4").write_bytes(b"a")
    (tmp_path / "shelf" / "deep" / "b.mp4").write_bytes(b"b")
    (tmp_path / "shelfless").mkdir()
    (tmp_path / "shelfless" / "c.mp4").write_bytes(b"c")
    (tmp_path / "shelf" / "way-out").symlink_to(tmp_path / "shelfless")
    (tmp_path / "shelf" / "out.mp4").symlink_to(tmp_path / "shelfless" / "c.mp4")
    (tmp_path / "shelf" / "in.mp4").symlink_to(tmp_path / "shelf" / "a.mp4")
    return tmp_path


def status(roots: AllowedFolders, path: object) -> int:
    problem = refused(ServeError, "", roots.real, str(path))
    assert "\n" not in problem.value.message
    return problem.value.status


def test_inside_is_found_also_by_a_link_that_stays_inside(place: Path):
    roots = AllowedFolders([place / "shelf"])
    assert roots.real(str(place / "shelf" / "a.mp4")) == place / "shelf" / "a.mp4"
    assert roots.real(str(place / "shelf" / "in.mp4")) == place / "shelf" / "a.mp4"
    assert roots.real(f"{place}/shelf/deep/../deep/b.mp4").name == "b.mp4"


@pytest.mark.parametrize(
    "path",
    [
        "shelf/../shelfless/c.mp4", "shelf/out.mp4", "shelf/way-out/c.mp4", "shelfless/c.mp4",
        "shelf/../../../../../../etc/passwd", "shelf/deep/../../shelfless/c.mp4",
        "shelf/../shelfless/absent.mp4",
    ],
)  # fmt: skip
def test_outside_is_refused_the_same_whether_it_exists_or_not(place: Path, path: str):
    assert status(AllowedFolders([place / "shelf"]), f"{place}/{path}") == 403


@pytest.mark.parametrize("path", ["/etc/passwd", "relative.mp4", "~nobody/x", "//etc/passwd"])
def test_a_path_elsewhere_is_outside(place: Path, path: str):
    assert status(AllowedFolders([place / "shelf"]), path) == 403


def test_what_is_escaped_in_an_address_is_part_of_a_name_here(place: Path):
    assert status(AllowedFolders([place / "shelf"]), f"{place}/shelf/%2e%2e/shelfless/c.mp4") == 404
    assert status(AllowedFolders([place / "shelf"]), f"{place}/shelf/..%2fshelfless/c.mp4") == 404


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000])
def test_what_cannot_be_a_path_is_named(place: Path, path: str):
    assert status(AllowedFolders([place / "shelf"]), path) == 400


def test_a_recording_that_is_gone_has_moved(place: Path):
    with pytest.raises(ServeError) as problem:
        AllowedFolders([place / "shelf"]).recording(str(place / "shelf" / "gone.mp4"))
    assert problem.value.status == 410
    assert "vlar index add" in problem.value.fix


def test_roots_are_the_folders_of_the_recordings(place: Path):
    paths = [str(place / "shelf" / "a.mp4"), str(place / "shelf" / "deep" / "b.mp4")]
    assert AllowedFolders.around(paths).folders == (place / "shelf", place / "shelf" / "deep")
    assert AllowedFolders.around([]).folders == ()
    assert AllowedFolders.around(["/a.mp4"]).folders == ()  # never the whole disk


def test_many_folders_become_one_above_them(place: Path):
    paths = []
    for number in range(70):
        (place / "shelf" / f"d{number}").mkdir()
        paths.append(str(place / "shelf" / f"d{number}" / "x.mp4"))
    assert AllowedFolders.around(paths).folders == (place / "shelf",)


def test_only_regular_files_are_opened(place: Path):
    os.mkfifo(place / "shelf" / "pipe.mp4")
    os.close(open_inside(place / "shelf" / "a.mp4"))
    for name, wanted in (("pipe.mp4", 415), ("gone.mp4", 410), ("out.mp4", 410)):
        problem = refused(ServeError, "", open_inside, place / "shelf" / name)
        assert problem.value.status == wanted


def test_the_parts_of_a_bundle_lie_inside_too(tmp_path: Path):
    for folder in ("inside", "outside"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").write_text("a")
    allowed = AllowedFolders([tmp_path / "inside"])
    path = tmp_path / "inside" / "a.bundle.json"
    path.write_text('{"imu": "a.csv"}')
    assert allowed.real(str(path)) == path
    for part in ("../outside/a.csv", str(tmp_path / "outside" / "a.csv"), "../outside/no.csv"):
        path.write_text(f'{{"imu": "{part}"}}')
        with pytest.raises(ServeError) as caught:
            allowed.real(str(path))
        assert caught.value.status == 403
