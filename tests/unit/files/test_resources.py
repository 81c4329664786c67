"""The cache: made once, checked whenever it is read, bounded in size."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.errors import UsageError
from vlar.files.resources import cache_limit, cached, work_folder
from vlar.progress import shown_by


class Maker:
    def __init__(self, content: bytes = b"content") -> None:
        self.content, self.calls = content, 0

    def __call__(self) -> bytes:
        self.calls += 1
        return self.content


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "made" / "part" / "x.bin"


def test_made_once(place: Path):
    make, stages = Maker(), []

    def display(what: str, total: int | None, unit: str):
        stages.append(what)
        return nullcontext(lambda count=0, total=None: None)

    with shown_by(display):
        for _ in range(2):
            assert cached("part", "x.bin", make, "the part") == b"content"
    assert make.calls == 1
    assert stages == ["preparing the part, once for all"]
    assert [p.name for p in place.parent.iterdir()] == ["x.bin"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_found_and_repaired(place: Path, data: st.DataObject):
    cached("part", "x.bin", Maker(), "the part")
    good = place.read_bytes()
    where = data.draw(st.integers(0, len(good) - 1))
    damage = data.draw(st.sampled_from(["cut", "flip"]))
    flipped = good[:where] + bytes([good[where] ^ 1]) + good[where + 1 :]
    place.write_bytes(good[:where] if damage == "cut" else flipped)
    make = Maker()
    assert cached("part", "x.bin", make, "the part") == b"content"
    assert make.calls == 1
    assert place.read_bytes() == good


def test_without_a_place_to_write_the_content_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "file"))
    make = Maker()
    with caplog.at_level(logging.WARNING, logger="vlar"):
        assert cached("part", "x.bin", make, "the part") == b"content"
        assert cached("part", "x.bin", make, "the part") == b"content"
    assert make.calls == 2
    assert "VLAR_CACHE" in caplog.text


def test_a_full_disk_leaves_nothing_behind(place: Path, monkeypatch: pytest.MonkeyPatch):
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_space)
    assert cached("part", "x.bin", Maker(), "the part") == b"content"
    assert list(place.parent.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="a file in use cannot be replaced there")
def test_many_at_once_agree(place: Path):
    make = Maker(b"c" * 100_000)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cached("part", "x.bin", make, "the part"), range(32)))
    assert set(found) == {make.content}
    assert [p.name for p in place.parent.iterdir()] == ["x.bin"]


def test_a_content_nobody_waits_for_is_cached_in_silence(
    place: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO, logger="vlar"):
        cached("part", "x.bin", Maker())
    assert not caplog.records
    assert place.is_file()


def test_what_was_unused_for_the_longest_time_is_removed(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VLAR_CACHE_LIMIT", "1KB")
    other = place.parents[2] / "a-download"  # not an entry: never removed
    other.parent.mkdir(parents=True)
    other.write_bytes(b"d" * 5000)
    make = Maker(b"c" * 400)
    for age, name in enumerate(["first", "second"]):
        cached("part", name, make)
        os.utime(place.with_name(name), (1000 + age, 1000 + age))
    cached("part", "first", make)  # used again
    cached("part", "third", make)
    assert sorted(file.name for file in place.parent.iterdir()) == ["first", "third"]
    cached("part", "large", Maker(b"l" * 2000))
    assert [file.name for file in place.parent.iterdir()] == ["large"]
    assert other.is_file()


@pytest.mark.parametrize(
    ("text", "size"), [("", 10**9), ("0", 0), ("500MB", 5 * 10**8), ("1.5 gb", 1_500_000_000)]
)
def test_the_limit_is_a_size(text: str, size: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLAR_CACHE_LIMIT", text)
    assert cache_limit() == size


def test_a_wrong_limit_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLAR_CACHE_LIMIT", "much")
    refused(UsageError, "500MB", cache_limit)


@pytest.mark.skipif(os.name != "posix", reason="asks whether a process runs")
def test_what_a_killed_process_left_is_deleted_at_the_next_run(tmp_path: Path):
    script = (
        "import sys, time; from pathlib import Path; from vlar.files.resources import work_folder\n"
        "with work_folder(Path(sys.argv[1])) as place:\n"
        "    print(place, flush=True); time.sleep(60)"
    )
    lefts: list[Path] = []
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            lefts.append(Path(other.stdout.readline().strip()))
            with work_folder(tmp_path) as mine:
                assert mine.is_dir()
                assert lefts[-1].is_dir()  # its process still works
            assert not mine.exists()
            other.kill()
    (lefts[1] / "old").mkdir()  # a model of the user lies in it
    with work_folder(tmp_path):
        assert [left.exists() for left in lefts] == [False, True]
