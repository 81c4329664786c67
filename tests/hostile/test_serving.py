"""Names, full disks and keys of tags that once failed a server, and search caches of others."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.refusals import refused
from tests.unit.library.fakes import FakeModel, tiny_video
from vlar.apps.serve import media_jobs
from vlar.apps.serve.errors import DiskFullError, answer_of
from vlar.apps.serve.tasks import Tasks, shortened
from vlar.errors import UsageError
from vlar.library import cache
from vlar.library.library import Library
from vlar.library.recording import checked_tags
from vlar.media.video import cut


@pytest.mark.parametrize("name", ["界" * 190, "é" * 200, "a" * 300])
def test_a_name_of_wide_letters_fits_a_file_system(tmp_path: Path, name: str) -> None:
    stem = shortened(name, 200)
    assert stem
    (tmp_path / f"{stem}.mp4").touch()


def test_an_upload_of_a_wide_name_joins_the_library(tmp_path: Path) -> None:
    tasks = Tasks.__new__(Tasks)
    tasks._received = tmp_path / "received"
    tasks._limits = type("Limits", (), {"joined_bytes": 10**9})()
    for number, name in enumerate(("界" * 190, "界" * 190 + ".webm", ".mp4")):
        upload = tmp_path / f"{number}"
        upload.write_bytes(b"video")
        made = tasks._joined(upload, name)
        assert made.read_bytes() == b"video"
        assert made.suffix in (".mp4", ".webm")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_507_and_names_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    video = tiny_video(tmp_path / "a.mp4", 1)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code), str(tmp_path / "secret"))

    monkeypatch.setattr(cut, "encode_span", full)
    with pytest.raises(DiskFullError) as problem:
        media_jobs.span(video, 0.0, 1.0, tmp_path / "out.mp4")
    for error in (problem.value, OSError(code, os.strerror(code), str(tmp_path / "spans.csv"))):
        status, body, _ = answer_of(error)
        assert status == 507
        assert str(tmp_path) not in str(body)


@pytest.mark.parametrize("key", ["a\x1b[2J", "a\nb", "a\u202eb", "\x00"])
def test_a_key_of_a_tag_holds_no_control_character(key: str) -> None:
    refused(UsageError, "control character|empty", checked_tags, {key: "1"})


# A search cache of another library

Answer = tuple[str, float, float]


def library(place: Path, first: int) -> Path:
    with Library(place, FakeModel()) as made:
        made.add([tiny_video(place.parent / f"{place.stem}-{n}.mp4", first + n) for n in range(3)])
    return place


def answers(place: Path) -> list[Answer]:
    with Library(place, FakeModel()) as opened:
        hits = opened.query("x", k=9, min_probability=0)
        return [(hit.path, hit.start_s, hit.similarity) for hit in hits]


def cache_of(place: Path) -> Path:
    with Library(place, FakeModel()) as opened:
        return cache.file_of(opened._connection.nonempty()[0])


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path, Path]:
    """Two libraries of equal size that answer otherwise, and their caches."""
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    a, b = library(tmp_path / "a.vlar", 0), library(tmp_path / "b.vlar", 10)
    assert answers(a) != answers(b)
    of_a, of_b = cache_of(a), cache_of(b)
    assert abs(of_a.stat().st_size - of_b.stat().st_size) < 16
    return a, b, of_a, of_b


def same_time(file: Path, like: os.stat_result) -> None:
    os.utime(file, ns=(like.st_atime_ns, like.st_mtime_ns))


def test_a_swapped_cache_answers_for_nobody(two: tuple[Path, Path, Path, Path]) -> None:
    a, b, of_a, of_b = two
    before, stamp = (answers(a), answers(b)), of_a.stat()
    kept = of_a.with_suffix(".kept")
    shutil.copy(of_a, kept)
    of_a.write_bytes(of_b.read_bytes())
    of_b.write_bytes(kept.read_bytes())
    for file in (of_a, of_b):
        same_time(file, stamp)
    assert (answers(a), answers(b)) == before


@pytest.mark.parametrize("how", ["cut", "replaced", "zeros", "link", "flipped"])
def test_a_changed_cache_changes_no_answer(two: tuple[Path, Path, Path, Path], how: str) -> None:
    a, _, of_a, of_b = two
    before, data, stamp = answers(a), of_a.read_bytes(), of_a.stat()
    if how == "link":
        of_a.unlink()
        of_a.symlink_to(of_b)
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        contents = {"cut": data[:middle], "replaced": os.urandom(len(data))}
        contents |= {"zeros": bytes(len(data)), "flipped": flipped}
        of_a.write_bytes(contents[how])
        same_time(of_a, stamp)
    assert answers(a) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="gives a file away")
def test_a_cache_of_another_user_is_not_read(two: tuple[Path, Path, Path, Path]) -> None:
    a, _, of_a, _ = two
    before = answers(a)
    os.chown(of_a, 65534, -1)
    with pytest.raises(PermissionError, match="another user"):
        cache._opened(of_a)
    assert answers(a) == before


def test_a_stale_cache_answers_for_the_present_state(two: tuple[Path, Path, Path, Path]) -> None:
    """The cache of an earlier state of the same library, put back."""
    a, _, of_a, _ = two
    data = of_a.read_bytes()
    with Library(a, FakeModel()) as opened:
        removed = opened.videos()[0].path
        opened.remove(removed)
        opened.add(tiny_video(a.parent / "new.mp4", 99))
    now = answers(a)
    of_a.write_bytes(data)
    assert answers(a) == now
    assert not any(path == removed for path, *_ in now)
