"""Regular files of a bounded size, read without waiting."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile import kit
from vlar.files.reading import check_file, opened, read_file, special_kind


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_file(tmp_path / "a", 5) == b"12345"
    assert check_file(tmp_path / "a", 5) == 5
    assert special_kind(tmp_path / "a") is None


def test_one_byte_more_is_too_much(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123456")
    with pytest.raises(OSError, match="at most"):
        read_file(tmp_path / "a", 5)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (kit.fifo, "a named pipe"), (kit.zeros, "a device"), (kit.folder, "a folder"),
    ],
)  # fmt: skip
def test_what_is_not_a_file_is_named(
    tmp_path: Path, make: Callable[[Path], None], kind: str
) -> None:
    make(tmp_path / "a")
    for read in (read_file, check_file):
        with pytest.raises(OSError, match=f"it is {kind}, not a file"):
            read(tmp_path / "a", 100)
    assert special_kind(tmp_path / "a") == kind


def test_a_link_is_followed_only_where_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert read_file(tmp_path / "b", 9) == b"1"
    with pytest.raises(OSError, match="it is a link"):
        read_file(tmp_path / "b", 9, links=False)


def test_a_file_that_becomes_a_link_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"1")
    real = os.open

    def swap(path: Path, flags: int) -> int:
        (tmp_path / "a").unlink()
        (tmp_path / "a").symlink_to("/dev/zero")
        return real(path, flags)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(OSError), opened(tmp_path / "a", 9, links=False):
        pass
