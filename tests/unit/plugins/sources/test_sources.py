"""Addresses, lists and archives as arguments of an ``add``; two servers on this machine."""

from __future__ import annotations

import csv
import http.server
import importlib.util
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.refusals import refused
from tests.unit.library.fakes import FakeModel, stored, tiny_video
from vlar.errors import DecodeError, UsageError
from vlar.library.ingest.runners.processes import ProcessRunner
from vlar.library.ingest.sources import SourceName, recordings
from vlar.library.library import Library
from vlar.library.store.values import Stamp
from vlar.media.lookup import reader
from vlar.plugins.sources import remote
from vlar.plugins.sources.remote import RemoteFiles, patiently, stamp_of_url

fsspec = pytest.importorskip("fsspec")
S3 = importlib.util.find_spec("moto") is None or importlib.util.find_spec("s3fs") is None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remote, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(remote.patiently, "__defaults__", (0.01,))
    monkeypatch.setenv("VLAR_FETCH_FOLDER", str(tmp_path / "fetched"))


@pytest.fixture
def memory(clips: list[Path]) -> Iterator[str]:
    """Five videos in fsspec's file system in memory."""
    system = fsspec.filesystem("memory")
    for clip in clips:
        system.pipe(f"/store/{clip.name}", clip.read_bytes())
    yield "memory://store"
    system.rm("/store", recursive=True)


def vectors(library: Library) -> list[tuple[object, ...]]:
    """By the last part of each path, its rows."""
    return sorted(
        (path.partition("::")[0].rpartition("/")[2], *row) for path, *row in stored(library)
    )


@pytest.fixture
def expected(tmp_path: Path, clips: list[Path]) -> list[tuple[object, ...]]:
    with Library(tmp_path / "plain.vlar", FakeModel()) as library:
        library.add(clips)
        return vectors(library)


def added(tmp_path: Path, *given: str | Path) -> Library:
    library = Library(tmp_path / "l.vlar", FakeModel())
    report = library.add(list(given), remote=True)
    assert (report.added, report.failed) == (5, ())
    again = library.add(list(given), remote=True)
    assert (again.unchanged, again.failed) == (5, ())
    return library


def test_an_address_is_the_path_and_its_rows_those_of_the_file(
    tmp_path: Path, memory: str, expected: list[tuple[object, ...]]
):
    with added(tmp_path, memory) as library:
        assert vectors(library) == expected
        assert library.videos()[0].path == "memory://store/0.mp4"
        # The same content elsewhere is recognised, and an address is never taken for a gone file.
        report = library.add(tmp_path / "videos" / "0.mp4")
        assert (report.moved, len(library.videos())) == (1, 6)
        assert library.remove("memory://store/*") == 5
    assert list((tmp_path / "fetched").glob("use-*")) == []


def test_a_changed_object_is_read_again_and_a_missing_one_is_named(tmp_path: Path, memory: str):
    system = fsspec.filesystem("memory")
    with added(tmp_path, memory) as library:
        system.pipe("/store/1.mp4", tiny_video(tmp_path / "new.mp4", 9, 12).read_bytes())
        report = library.add([f"{memory}/{n}.mp4" for n in (0, 1, 8)])
        assert (report.updated, report.unchanged) == (1, 1)
        assert [f.message for f in report.failed] == [
            "memory://store/8.mp4: no such file; check the address"
        ]
        assert report.failed[0].to_dict()["path"] == "memory://store/8.mp4"


def test_a_file_address_is_the_file(tmp_path: Path, clips: list[Path]):
    with added(tmp_path, f"file://{clips[0].parent}") as library:
        assert [video.path for video in library.videos()] == [str(clip) for clip in clips]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_of_a_list_become_tags(
    tmp_path: Path, clips: list[Path], memory: str, ending: str, expected: list[tuple[object, ...]]
):
    paths = [f"videos/{n}.mp4" for n in range(3)] + [f"{memory}/{n}.mp4" for n in (3, 4)]
    table = {"path": paths, "actor": ["ann", "bob", "", "cy", "di"], "take": [1, 2, 3, 4, 5]}
    file = tmp_path / f"list.{ending}"
    if ending == "csv":
        with file.open("w", newline="") as stream:
            csv.writer(stream).writerows([table.keys(), *zip(*table.values(), strict=True)])
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(table | {"vector": [[1.0]] * 5}), file)
    with added(tmp_path, file) as library:
        assert vectors(library) == expected
        assert [dict(video.tags) for video in library.videos()] == [
            {"actor": "ann", "take": "1"}, {"actor": "bob", "take": "2"}, {"take": "3"},
            {"actor": "cy", "take": "4"}, {"actor": "di", "take": "5"},
        ]  # fmt: skip
        changed = file.with_name("again.csv")
        changed.write_text("path,actor\nvideos/0.mp4,eve\n")
        library.add(changed, tags={"actor": "all", "day": "1"})
        # What the list says of a recording comes after what is said of all.
        assert library.videos()[0].tags == {"actor": "eve", "take": "1", "day": "1"}


def test_a_list_names_its_bad_rows_and_the_others_are_added(tmp_path: Path, clips: list[Path]):
    file = tmp_path / "list.csv"
    file.write_text('path,start_s\nvideos/0.mp4,\n,\nvideos/no.mp4,\nvideos/1.mp4,3\n"x\0y",\n')
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        report = library.add(file)
    assert report.added == 1
    messages = " | ".join(failure.message for failure in report.failed)
    assert "row 2 has no path" in messages
    assert "no.mp4: no such file" in messages
    assert "'start_s' is reserved" in messages


def test_only_a_csv_with_paths_is_a_list(tmp_path: Path):
    samples = tmp_path / "imu.csv"
    samples.write_text("time_s,acc_x\n0,1\n")
    assert not SourceName.parse(samples).is_list
    samples.write_text("clip,path\n0,1\n")
    assert SourceName.parse(samples).is_list
    assert not SourceName.parse(tmp_path).is_list
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        broken = tmp_path / "list.parquet"
        broken.write_bytes(b"PAR1")
        assert "is not a Parquet file" in library.add(broken).failed[0].message


def archive(target: Path, clips: list[Path]) -> Path:
    """In the WebDataset format: three files of one name each."""
    with tarfile.open(target, "w") as tar:
        for number, clip in enumerate(clips):
            texts = {
                "json": json.dumps({"label": "wave", "n": number, "more": {}}).encode(),
                "txt": f"take {number}".encode(),
                "cls": b"3" if number else b"\xff",
            }
            for ending, content in texts.items():
                member = tarfile.TarInfo(f"train/{clip.stem}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            tar.add(clip, f"train/{clip.name}")
    return target


def test_an_archive_gives_its_recordings_and_their_texts_as_tags(
    tmp_path: Path, clips: list[Path], expected: list[tuple[object, ...]]
):
    file = archive(tmp_path / "shard.tar", clips)
    with added(tmp_path, file) as library:
        assert vectors(library) == expected
        first, second = library.videos()[:2]
        assert first.path == f"tar://train/0.mp4::{file}"
        assert first.tags == {"label": "wave", "n": "0", "txt": "take 0"}
        assert second.tags == {"label": "wave", "n": "1", "txt": "take 1", "cls": "3"}
    far = fsspec.filesystem("memory")
    far.pipe("/store/shard.tar", file.read_bytes())
    with Library(tmp_path / "far.vlar", FakeModel()) as library:
        assert library.add("memory://store/shard.tar").added == 5
        assert vectors(library) == expected
    file.write_bytes(file.read_bytes()[:3000])
    with Library(tmp_path / "cut.vlar", FakeModel()) as library:
        report = library.add(file)
        assert report.added == 0
        assert len(report.failed) > 0


class Flaky(http.server.BaseHTTPRequestHandler):
    """Serves a folder; the first answers to each file, or all, are 503."""

    folder: Path
    refusals: dict[str, int]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        left = self.refusals.get(self.path, 0)
        file = self.folder / self.path.strip("/")
        if left or not file.is_file():
            if left:
                self.refusals[self.path] = left - 1
            self.send_error(503 if left else 404)
            return
        content = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="needs aiohttp")
def test_503_is_waited_for_and_then_reported(tmp_path: Path, clips: list[Path]):
    Flaky.folder, Flaky.refusals = clips[0].parent, {"/1.mp4": 2, "/2.mp4": -1}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        with Library(tmp_path / "l.vlar", FakeModel()) as library:
            report = library.add([f"{base}/{n}.mp4" for n in (0, 1, 2, 7)])
            assert report.added == 2
            busy, missing = (failure.message for failure in report.failed)
            assert "503" in busy
            assert "tried 4 times" in busy
            assert missing == f"{base}/7.mp4: no such file; check the address"
            Flaky.refusals.clear()
            assert library.add(f"{base}/2.mp4").added == 1  # it is not held against the file
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
@pytest.mark.skipif(S3, reason="needs moto and s3fs")
def test_a_bucket_of_a_local_s3_server(
    tmp_path: Path, clips: list[Path], expected: list[Any], monkeypatch: pytest.MonkeyPatch
):
    """Also from several processes, each of which fetches for itself."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    try:
        bucket = fsspec.filesystem("s3", skip_instance_cache=True)
        bucket.mkdir("films")
        for clip in clips:
            bucket.put_file(str(clip), f"films/day/{clip.name}")
        with added(tmp_path, "s3://films/day") as library:
            assert vectors(library) == expected
            assert library.videos()[0].path == "s3://films/day/0.mp4"
        with Library(tmp_path / "other.vlar", FakeModel()) as library:
            from tests.unit.library.fakes import load_fake

            runner = ProcessRunner(("cpu",), load_fake)
            report = library.add(["s3://films/day/[0-4].mp4", "s3://none/a.mp4"], runner=runner)
            assert (report.added, len(report.failed)) == (5, 1)
            assert vectors(library) == expected
    finally:
        server.stop()


def test_copies_are_kept_within_a_limit_and_shared(tmp_path: Path, memory: str):
    kept = tmp_path / "kept"
    files = RemoteFiles(str(kept), most_bytes=1)
    with files.fetched(f"{memory}/0.mp4", "1") as one, files.fetched(f"{memory}/0.mp4", "1") as two:
        assert one.read_bytes() == two.read_bytes()
        assert one.suffix == ".mp4"
        (kept / "use-999999999-0.mp4").touch()  # of a process that has ended
    assert list(kept.iterdir()) == []
    roomy = RemoteFiles(str(kept))
    with roomy.fetched(f"{memory}/0.mp4", "1"):
        pass
    shutil.copy(next(kept.iterdir()), tmp_path / "copy")
    fsspec.filesystem("memory").rm("/store/0.mp4")
    with roomy.fetched(f"{memory}/0.mp4", "1") as one:  # no second journey
        assert one.read_bytes() == (tmp_path / "copy").read_bytes()
    with pytest.raises(DecodeError, match="no such file"), roomy.fetched(f"{memory}/0.mp4", "2"):
        pass
    fsspec.filesystem("memory").touch("/store/0.mp4")


def test_files_of_others_in_the_folder_of_copies_stay(tmp_path: Path, memory: str):
    kept = tmp_path / "videos of mine"
    kept.mkdir()
    for name in ("holiday.mp4", "part-2.mp4", "use-me-1.txt", "0123456789abcdef"):
        (kept / name).write_bytes(b"mine")
    with RemoteFiles(str(kept), most_bytes=1).fetched(f"{memory}/0.mp4") as file:
        assert file.stat().st_size > 1
    left = {entry.name for entry in kept.iterdir()}
    assert left == {"holiday.mp4", "part-2.mp4", "use-me-1.txt", "0123456789abcdef"}


def test_a_folder_of_somebody_else_is_refused(
    tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vlar.plugins.sources.remote.tempfile.gettempdir", lambda: str(tmp_path))
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"vlar-fetched-{os.getuid()}").symlink_to(tmp_path / "theirs")
    with (
        pytest.raises(UsageError, match="set VLAR_FETCH_FOLDER"),
        RemoteFiles().fetched(f"{memory}/0.mp4"),
    ):
        pass
    assert not list((tmp_path / "theirs").iterdir())


def test_an_action_is_tried_again_but_not_where_a_package_is_missing():
    tried: list[int] = []

    def fails() -> None:
        tried.append(1)
        raise OSError("503 Slow Down")

    refused(DecodeError, r"503 Slow Down.*tried 4 times", patiently, "s3://a/b", fails, 0.0)
    assert len(tried) == 4

    def lacks() -> None:
        raise ImportError("Install s3fs to access S3")

    refused(UsageError, r"Install s3fs.*\[remote\]", patiently, "s3://a/b", lacks, 0.0)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"size": 1, "ETag": "a"}, {"size": 1, "ETag": "a"}, True),
        ({"size": 1, "ETag": "a"}, {"size": 1, "ETag": "b"}, False),
        ({"size": 1, "mtime": 5.5}, {"size": 1, "mtime": 5.5}, True),
        ({"updated": "2026-01-01T00:00:00Z"}, {"updated": "2026-01-01T00:00:01Z"}, False),
        ({"size": 1}, {"size": 1}, False),
    ],
)  # fmt: skip
def test_stamps_tell_states_apart(one: dict[str, Any], other: dict[str, Any], equal: bool):
    assert (stamp_of_url(one) == stamp_of_url(other)) == equal
    when = stamp_of_url({"size": 3, "LastModified": "2026-01-01T00:00:00Z", "ETag": "x"})
    assert when.size == 3
    assert when.mtime_ns // 10**9 == 1767225600
    assert isinstance(when, Stamp)


def test_places_are_named_once(tmp_path: Path, clips: list[Path]):
    given = [str(clips[0].parent), clips[0], f"file://{clips[1]}"]
    found = recordings(given, reader("video"))
    assert [each.path for each in found] == [str(clip) for clip in clips]
    assert os.environ["VLAR_FETCH_FOLDER"]
