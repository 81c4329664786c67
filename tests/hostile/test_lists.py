"""Lists and archives of a stranger: each is one sentence, at once, and opens nothing else."""

from __future__ import annotations

import os
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.test_any_bytes import peak_bytes
from tests.refusals import refused
from vlar.errors import DecodeError
from vlar.library.ingest.sources import recordings
from vlar.media.lookup import reader
from vlar.media.video.files import content_hash


def mutual(path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        path.with_name(f"{name}.csv").write_text("path\n" + f"{other}.csv\n" * 1_000)


def long_line(path: Path) -> None:
    path.write_bytes(b"path\n" + b"a" * 100_000_000)


def sparse_member(path: Path) -> None:
    """A member of 6 GB in 2 kB."""
    member = tarfile.TarInfo("a.mp4")
    member.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a.mp4",
        "GNU.sparse.realsize": str(6 << 30),
    }  # fmt: skip
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member)


def long_header(path: Path) -> None:
    """A header of 64 MB for one member."""
    member = tarfile.TarInfo("a.mp4")
    member.pax_headers = {"comment": "x" * (64 << 20)}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member)


def many_members(path: Path, count: int = 50_000) -> None:
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            tar.addfile(tarfile.TarInfo(f"{number}.mp4"))


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a.csv": (mutual, "names the list 'b.csv'"),
    "line.csv": (long_line, "a line has over"),
    "pipe.csv": (pipe, "a pipe"),
    "device.csv": (device, "a device"),
    "pipe.tar": (pipe, "named pipe"),
    "device.parquet": (device, "a device"),
    "sparse.tar": (sparse_member, "sparse files"),
    "header.tar": (long_header, "a header in it has"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_list_is_one_sentence(tmp_path: Path, name: str) -> None:
    make, says = CASES[name]
    make(tmp_path / name)
    begin_s, before = time.process_time(), peak_bytes()
    found = list(recordings([tmp_path / name], reader("video")))
    failures = [each.failure.message for each in found if each.failure is not None]
    if not failures:  # it is no list: a CSV without the column is a recording, and refused as one
        failures = [str(refused(DecodeError, "", content_hash, found[0].file).value)]
    assert len(failures) == 1 or name == "a.csv"
    assert re.search(says, failures[0]), failures[0]
    assert "\n" not in failures[0]
    assert time.process_time() - begin_s < 5
    assert peak_bytes() - before < 300e6


def test_members_of_an_archive_are_drawn_one_by_one(tmp_path: Path) -> None:
    many_members(tmp_path / "a.tar", 2_000)
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert len(tar.getmembers()) == 2_000
    assert next(iter(recordings([tmp_path / "a.tar"], reader("video")))).failure is None
