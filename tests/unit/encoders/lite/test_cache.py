from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlar.encoders.lite.cache import cached


class Maker:
    def __init__(self, content: bytes = b"content") -> None:
        self.content, self.calls = content, 0

    def __call__(self) -> bytes:
        self.calls += 1
        return self.content


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "part" / "x.bin"


def test_made_once(place: Path, caplog: pytest.LogCaptureFixture):
    make = Maker()
    with caplog.at_level(logging.INFO, logger="vlar"):
        assert cached("part", "x.bin", make, "the part") == b"content"
    assert "preparing the part once" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="vlar"):
        assert cached("part", "x.bin", make, "the part") == b"content"
    assert make.calls == 1
    assert not caplog.records
    assert [p.name for p in place.parent.iterdir()] == ["x.bin"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_seen_and_mended(place: Path, data: st.DataObject):
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
