"""Files that take the place of others: whole or not at all, with the mode of the old one."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from vlar.files import replacing as module
from vlar.files.replacing import replacing


@pytest.mark.parametrize("durable", [False, True])
def test_the_new_content_is_there_when_the_block_ends(tmp_path: Path, durable: bool):
    file = tmp_path / "a.json"
    file.write_text("old")
    with replacing(file, durable=durable) as part:
        part.write_text("new")
        assert file.read_text() == "old"
        assert (part.parent, part.suffix) == (tmp_path, ".json")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_after_an_error_the_old_file_stays_alone(tmp_path: Path):
    file = tmp_path / ("x" * 250)
    file.write_text("old")
    with suppress(KeyboardInterrupt), replacing(file) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_the_mode_stays_and_a_link_is_not_followed(tmp_path: Path):
    secret, file, link = tmp_path / "secret", tmp_path / "a.csv", tmp_path / "link.csv"
    for path in (secret, file):
        path.write_text("old")
    file.chmod(0o640)
    link.symlink_to(secret)
    for path in (file, link, tmp_path / "fresh.csv"):
        with replacing(path) as part:
            part.write_text("new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert secret.read_text() == "old"
    assert not link.is_symlink()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "fresh.csv").stat().st_mode) == 0o666 & ~umask


def test_a_folder_that_is_missing_is_an_error_of_the_system(tmp_path: Path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "none" / "a"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="asks whether a process runs")
def test_what_a_killed_process_left_goes_and_other_files_stay(tmp_path: Path):
    file = tmp_path / "a.json"
    child = os.fork()
    if child == 0:
        with replacing(file) as part:
            part.write_text("half")
            os._exit(0)
    os.waitpid(child, 0)
    (half,) = tmp_path.iterdir()
    running = half.with_name(half.name.replace(f"-{child}-", f"-{os.getpid()}-"))
    other = tmp_path / ".a.vm-1-0123.json"
    running.touch()
    other.touch()
    module._remove_stale.cache_clear()  # as a new process
    with replacing(file) as part:
        part.write_text("new")
    assert sorted(tmp_path.iterdir()) == sorted([file, running, other])
