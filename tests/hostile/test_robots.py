"""Recordings of robots that a stranger sends: one line, no file left, no definition executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.refusals import refused
from vlar.errors import DecodeError
from vlar.plugins.robots import unpacking
from vlar.plugins.robots.unpacking import unpack

mcap_writer = pytest.importorskip("mcap.writer")
pytest.importorskip("rosbags")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLAR_DECODE_WORKERS", "0")


def recording(path: Path, kind: str, encoding: str, data: bytes) -> Path:
    """Two messages of a type, with a definition."""
    with path.open("wb") as stream:
        writer = mcap_writer.Writer(stream)
        writer.start()
        schema = writer.register_schema(kind, "ros2msg", f"int32 x\n{kind}".encode())
        channel = writer.register_channel("/a/Imu", encoding, schema)
        for time_ns in (1, 2):
            writer.add_message(channel, time_ns, data, time_ns)
        writer.finish()
    return path


def chunk(size: int, data: bytes, compression: str) -> bytes:
    """An MCAP file whose one chunk states a size."""
    from mcap.data_stream import RecordBuilder
    from mcap.records import Chunk, Footer, Header

    records = RecordBuilder()
    Header("", "").write(records)
    Chunk(compression, data, 0, 0, 0, size).write(records)
    Footer(0, 0, 0).write(records)
    magic = bytes([137, 77, 67, 65, 80, 48, 13, 10])
    return magic + records.end() + magic


def zeros(size: int) -> bytes:
    import zstandard

    return zstandard.compress(bytes(size))


HOSTILE = {
    "empty": (b"", "no topic"),
    "words": (b"MCAP" * 99, "magic"),
    "chunk-of-1-TB": (lambda: chunk(1 << 40, b"", ""), "a chunk of it has"),
    "bomb": (lambda: chunk(64, zeros(1 << 26), "zstd"), "no topic|unknown|read"),
    "unknown-compression": (lambda: chunk(4, b"abcd", "evil"), "compressed by 'evil'"),
    "bag": (b"#ROSBAG V2.0\n" + bytes(99), "run.bag"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_recordings_end_in_one_line(name: str, tmp_path: Path):
    content, says = HOSTILE[name]
    path = tmp_path / ("run.bag" if name == "bag" else "run.mcap")
    path.write_bytes(content if isinstance(content, bytes) else content())
    refused(DecodeError, says, unpack, path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_definitions_of_a_file_are_not_read(tmp_path: Path):
    """rosbags makes code of definitions: a name that is a program stays a name."""
    path, canary = tmp_path / "run.mcap", tmp_path / "canary"
    name = f"a/Imu(object):\n  open({str(canary)!r}, 'w')\nclass b"
    recording(path, name, "cdr", bytes(12))
    refused(DecodeError, "no topic of it", unpack, path, tmp_path / "out")
    assert not canary.exists()


def test_messages_that_unpack_to_far_more_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(unpacking, "_FREE_BYTES", 0)
    monkeypatch.setattr(unpacking, "_MOST_TIMES", 0.1)
    path = recording(tmp_path / "run.mcap", "foxglove.CompressedImage", "json", b"{}" * 99)
    refused(DecodeError, "far more than its size", unpack, path, tmp_path / "out")
